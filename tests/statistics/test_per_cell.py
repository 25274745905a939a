"""The published test over cells, and what it is worth; the mixed model."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from corpuscle.core.scores import Score, score_table
from corpuscle.statistics.comparisons import summarise
from corpuscle.statistics.mixed_model import mixed_model
from corpuscle.statistics.per_cell import published_cell_tests


def rows_of(values: np.ndarray, corpus: str, seed: int, unit: str) -> pd.DataFrame:
    scores = [Score("r2", f"{unit}={at}", float(value), 1, "higher") for at, value in enumerate(values)]
    return score_table(scores, corpus=corpus, seed=seed, model="m", task="t", target="blood")


def test_is_scipys_over_all_pairs_and_seeds_and_leaves_missing_cells_out() -> None:
    rng = np.random.default_rng(0)
    values = {(corpus, seed): rng.normal(0.5, 0.1, 50) for corpus in "ABC" for seed in range(2)}
    values["B", 1][:5] = np.nan
    tables = [rows_of(row, corpus, seed, "cell") for (corpus, seed), row in values.items()]
    other = rows_of(np.ones(3), "A", 0, "donor")
    found = published_cell_tests(pd.concat([*tables, other], ignore_index=True))
    assert len(found) == 6
    for _, row in found.iterrows():
        one, two = values[row["corpus"], row["seed"]], values[row["other"], row["seed"]]
        expected = stats.ttest_rel(one, two, nan_policy="omit")
        assert row["p_cells"] == pytest.approx(expected.pvalue)
        assert row["n_cells"] == (45 if row["seed"] == 1 and "B" in (row["corpus"], row["other"]) else 50)
    assert found["warning"].str.contains("not about the corpora").all()


def test_it_finds_what_is_not_there_where_runs_find_nothing() -> None:
    # Two corpora that do not differ, in 20 studies: each fit shifts all cells by a little of its own.
    rng = np.random.default_rng(1)
    found, cells = [], []
    for study in range(20):
        for corpus in "AB":
            for seed in range(3):
                values = 0.5 + 0.02 * rng.normal() + 0.05 * rng.normal(size=200)
                task = f"study {study}"
                cells.append(rows_of(values, corpus, seed, "cell").assign(task=task))
                score = [Score("r2", "all", float(values.mean()), 200, "higher")]
                found.append(score_table(score, corpus=corpus, seed=seed, model="m", task=task, target="blood"))
    published = published_cell_tests(pd.concat(cells, ignore_index=True))
    assert (published["p_cells"] < 0.05).mean() > 0.6
    verdicts = summarise(pd.concat(found, ignore_index=True), "A")["verdict"]
    assert verdicts.isin(["better", "worse"]).sum() <= 4


def test_without_rows_of_cells_there_is_none() -> None:
    assert published_cell_tests(rows_of(np.ones(3), "A", 0, "donor")).empty


def test_a_mixed_model_recovers_what_scores_were_made_of() -> None:
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(2)
    sd_donor, sd_run, sd_both, sd_rest = 0.08, 0.03, 0.02, 0.01
    donor_D = sd_donor * rng.normal(size=30)
    tables = []
    for corpus, gain in (("A<", 0.0), ('B "', 0.1), ("C'", 0.0)):
        both_D = sd_both * rng.normal(size=30)
        for seed in range(8):
            values = 0.5 + gain + donor_D + both_D + sd_run * rng.normal() + sd_rest * rng.normal(size=30)
            tables.append(rows_of(values, corpus, seed, "donor"))
    scores = pd.concat(tables, ignore_index=True)
    found = mixed_model(scores, "A<").set_index("corpus")
    own = scores.groupby("corpus")["value"].mean()
    # Balanced: the fixed effects are the differences of the means, whatever the components.
    np.testing.assert_allclose(found["difference"], own[['B "', "C'"]] - own["A<"], atol=1e-6)
    row = found.loc['B "']
    assert row["low"] < 0.1 < row["high"]
    made = {"sd_donor": sd_donor, "sd_run": sd_run, "sd_donor_corpus": sd_both, "sd_rest": sd_rest}
    for name, value in made.items():
        assert row[name] == pytest.approx(value, rel=0.35), name
    error = np.sqrt(2 * (row["sd_run"] ** 2 / 8 + row["sd_donor_corpus"] ** 2 / 30 + row["sd_rest"] ** 2 / 240))
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.01)
    assert (row["n_seeds"], row["n_donors"], row["reason"]) == (8, 30, "")
