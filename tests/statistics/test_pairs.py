"""All pairs of corpora: agreement with paired tests, donors, and ties with the best."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from corpuscle.core.scores import Score, score_table
from corpuscle.statistics.comparisons import summarise
from corpuscle.statistics.pairs import all_pairs, ties_with_best


def scores_of(values_CRD: np.ndarray, corpora: str, **columns: object) -> pd.DataFrame:
    """Rows over all cells (donors' means), and of donors where there is more than one."""
    rows = []
    for corpus, values_RD in zip(corpora, values_CRD, strict=True):
        for seed, value_D in enumerate(values_RD):
            units = {"all": value_D.mean()}
            if len(value_D) > 1:
                units |= {f"donor={at}": value for at, value in enumerate(value_D)}
            scores = [Score("f1", unit, value, 10, "higher", headline=True) for unit, value in units.items()]
            rows.append(score_table(scores, corpus=corpus, seed=seed, model="m", task="t", target="x"))
    return pd.concat(rows, ignore_index=True).assign(**columns)


def test_agrees_with_paired_tests_and_corrects_over_all_pairs() -> None:
    values = 0.5 + 0.05 * np.random.default_rng(0).normal(size=(4, 5, 1)) + 0.04 * np.arange(4)[:, None, None]
    table = all_pairs(scores_of(values, "ABCD"), list("ABCD"))
    assert list(zip(table["corpus"], table["other"], strict=True)) == [*zip("AAABBC", "BCDCDD", strict=True)]
    for _, row in table.iterrows():
        one, other = values["ABCD".index(row["corpus"])][:, 0], values["ABCD".index(row["other"])][:, 0]
        test = stats.ttest_rel(one, other)
        assert (row["change"], row["p"]) == pytest.approx(((one - other).mean(), test.pvalue))
        assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert row["superiority"] == pytest.approx(stats.mannwhitneyu(one, other).statistic / 25)
    assert table["p_holm"].min() == pytest.approx(6 * table["p"].min())


def test_pairs_with_the_baseline_are_those_of_the_summary_with_and_without_donors() -> None:
    rng = np.random.default_rng(1)
    values = 0.5 + 0.1 * rng.normal(size=(3, 1, 6)) + 0.02 * rng.normal(size=(3, 4, 6))
    values[1, 2] = np.nan
    for n_donors, over in ((6, 6), (1, 0)):
        scores = scores_of(values[:, :, :n_donors], "ABC")
        summary = summarise(scores, "A").query("unit == 'all'").set_index("corpus")
        pairs = all_pairs(scores, list("ABC")).query("corpus == 'A'").set_index("other")
        np.testing.assert_allclose(-pairs["change"], summary.loc[["B", "C"], "difference"])
        np.testing.assert_allclose(pairs["p"], summary.loc[["B", "C"], "p"])
        assert pairs["n_seeds"].to_dict() == {"B": 3, "C": 4}
        assert set(pairs["n_donors"]) == {over}


def test_what_ties_with_the_best() -> None:
    values = np.array([[0.50, 0.51, 0.49, 0.50], [0.80, 0.81, 0.79, 0.82], [0.81, 0.79, 0.80, 0.80]])[:, :, None]
    for better, tied in (("higher", "BC"), ("lower", "A"), ("zero", "A"), ("none", "")):
        scores = scores_of(values, "ABC", better=better)
        summary = summarise(scores, "A")
        found = ties_with_best(summary, all_pairs(scores, list("ABC")))
        assert "".join(summary.loc[found, "corpus"]) == tied, better


def test_of_corpora_that_do_not_differ_none_is_left_out() -> None:
    rng = np.random.default_rng(2)
    tables = [scores_of(0.5 + 0.02 * rng.normal(size=(6, 3, 1)), "ABCDEF", task=f"study {at}") for at in range(30)]
    scores = pd.concat(tables, ignore_index=True)
    tied = ties_with_best(summarise(scores, "A"), all_pairs(scores, list("ABCDEF")))
    assert tied.size == 180
    assert (~tied).sum() <= 6


def test_one_seed_ties_with_all() -> None:
    scores = scores_of(np.array([0.1, 0.9])[:, None, None], "AB")
    pairs = all_pairs(scores, ["A", "B"])
    assert np.isnan(pairs["p"]).all()
    assert ties_with_best(summarise(scores, "A"), pairs).all()
