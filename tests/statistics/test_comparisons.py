"""Fold changes and differences against the baseline: known answers, pairing by seed, and what is missing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from corpuscle.core.errors import InputError
from corpuscle.core.scores import Score, score_table
from corpuscle.statistics import comparisons
from corpuscle.statistics.comparisons import differences, log2_fold_changes, summarise

Values = dict[str, list[float]]


def scores_of(values: Values, *, metric: str = "r2_log", unit: str = "all", reason: str = "") -> pd.DataFrame:
    """One score per corpus and seed; seeds are numbered from 0."""
    placed = [(corpus, seed, value) for corpus, row in values.items() for seed, value in enumerate(row)]
    table = score_table(
        [
            Score(metric, unit, value, 10, "higher", reason=reason if np.isnan(value) else "")
            for _, _, value in placed
        ],
        corpus="", seed=0, model="m", task="reconstruction", target="blood",
    )  # fmt: skip
    corpora, seeds = [corpus for corpus, _, _ in placed], [seed for _, seed, _ in placed]
    return table.assign(corpus=pd.array(corpora, dtype="string"), seed=seeds)


def row_of(table: pd.DataFrame, corpus: str) -> pd.Series:
    return table.set_index("corpus").loc[corpus]


def test_fold_change_is_the_paired_mean_log_ratio_with_a_t_interval() -> None:
    base, other = np.array([0.50, 0.55, 0.60]), np.array([0.40, 0.43, 0.49])
    row = row_of(summarise(scores_of({"A": [*base], "B": [*other]}), "A"), "B")
    test = stats.ttest_rel(np.log2(other), np.log2(base))
    low, high = test.confidence_interval(0.95)
    assert row["log2_fold_change"] == pytest.approx(np.log2(other / base).mean())
    assert (row["fc_low"], row["fc_high"]) == pytest.approx((low, high))
    assert (row["n_seeds"], row["n_pairs"], row["reason"], row["fc_reason"]) == (3, 3, "", "")


def test_means_agree_with_scipy_for_every_group_at_once() -> None:
    rng = np.random.default_rng(1)
    values = {name: list(rng.uniform(0.2, 0.8, 4)) for name in "ABCDEF"}
    table = summarise(scores_of(values), "A").set_index("corpus")
    for name, row in values.items():
        low, high = stats.ttest_1samp(row, 0.0).confidence_interval(0.95)
        found = table.loc[name, ["mean", "low", "high"]].astype(float)
        np.testing.assert_allclose(found, [np.mean(row), low, high])


def test_the_baseline_is_zero_by_definition() -> None:
    row = row_of(summarise(scores_of({"A": [0.5, 0.6], "B": [0.4, 0.5]}), "A"), "A")
    assert row["log2_fold_change"] == 0
    assert np.isnan(row["fc_low"])
    assert row["fc_reason"] == comparisons.IS_BASELINE


def test_pairs_by_seed_and_not_by_position() -> None:
    scores = scores_of({"A": [1.0, 2.0, 4.0], "B": [2.0, 4.0, 8.1]})
    shuffled = scores.sample(frac=1, random_state=0)
    row = row_of(log2_fold_changes(shuffled, "A"), "B")
    assert row["log2_fold_change"] == pytest.approx(1.0, abs=0.01)
    assert row["fc_low"] == pytest.approx(row["fc_high"], abs=0.1)


def test_uses_the_seeds_that_both_have() -> None:
    scores = scores_of({"A": [1.0, 1.0], "B": [2.0, 2.0, 64.0]})
    row = row_of(log2_fold_changes(scores, "A"), "B")
    assert (row["n_pairs"], row["log2_fold_change"]) == (2, 1.0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"A": [0.5, 0.5], "B": [0.5, 0.0]}, comparisons.NOT_POSITIVE, id="zero"),
        pytest.param({"A": [0.5, -0.1], "B": [0.5, 0.5]}, comparisons.NOT_POSITIVE, id="negative baseline"),
        pytest.param({"A": [np.nan, np.nan], "B": [0.5, 0.5]}, comparisons.NO_PAIR, id="baseline is NaN"),
        pytest.param({"B": [0.5, 0.5]}, comparisons.NO_BASELINE, id="no baseline"),
    ],
)
def test_a_fold_change_that_cannot_be_has_a_reason(values: Values, reason: str) -> None:
    row = row_of(summarise(scores_of(values), "A"), "B")
    assert np.isnan(row["log2_fold_change"])
    assert np.isnan(row["fc_low"])
    assert row["fc_reason"] == reason
    assert np.isfinite(row["mean"])


def test_missing_values_keep_their_reason_and_the_seeds_left_are_counted() -> None:
    table = summarise(scores_of({"A": [0.5, 0.5, 0.5], "B": [0.9, np.nan, 1.1]}, reason="too few cells"), "A")
    row = row_of(table, "B")
    assert (row["mean"], row["n_seeds"], row["n_pairs"]) == (1.0, 2, 2)
    assert row["reason"] == "too few cells (1 of 3 seeds)"
    assert row["log2_fold_change"] == pytest.approx(np.log2([1.8, 2.2]).mean())


def test_what_scores_say_of_themselves_is_kept_and_counted_where_not_all_say_it() -> None:
    scores = scores_of({"A": [0.5, 0.6], "B": [1.0, 1.1]})
    scores["reason"] = ["", "", "two types unseen", "two types unseen"]
    assert row_of(summarise(scores, "A"), "B")["reason"] == "two types unseen"
    assert row_of(summarise(scores, "A"), "A")["reason"] == ""
    scores["reason"] = ["", "", "two types unseen", "one type unseen"]
    told = row_of(summarise(scores, "A"), "B")["reason"]
    assert told == "two types unseen (1 of 2 seeds); one type unseen (1 of 2 seeds)"


def test_all_missing_and_infinite_values() -> None:
    table = summarise(scores_of({"A": [0.5, 0.5], "B": [np.nan, np.inf]}, reason="no such cells"), "A")
    row = row_of(table, "B")
    assert np.isnan(row["mean"])
    assert row["reason"] == "no such cells (1 of 2 seeds); infinite value (1 of 2 seeds)"


def test_one_seed_has_no_interval() -> None:
    row = row_of(summarise(scores_of({"A": [0.5], "B": [1.0]}), "A"), "B")
    assert (row["mean"], row["log2_fold_change"]) == (1.0, 1.0)
    assert row[["low", "high", "fc_low", "fc_high"]].isna().all()
    assert row["reason"] == row["fc_reason"] == "interval not estimable from one seed"


def test_differences_agree_with_a_paired_t_test_and_allow_negative_values() -> None:
    base, other = np.array([-0.1, 0.0, 0.2]), np.array([0.9, 0.95, 0.97])
    scores = scores_of({"A": [*base], "B": [*other]}, metric="relative_residual", unit="gene=LYZ")
    row = row_of(differences(scores, "A"), "B")
    low, high = stats.ttest_rel(other, base).confidence_interval(0.95)
    found = (row["difference"], row["difference_low"], row["difference_high"])
    assert found == pytest.approx(((other - base).mean(), low, high))


def test_metric_versions_are_never_mixed() -> None:
    old, new = scores_of({"A": [0.5, 0.5]}), scores_of({"A": [0.7, 0.7]}).assign(version=2)
    assert summarise(pd.concat([old, new]), "A").set_index("version")["mean"].to_dict() == {1: 0.5, 2: 0.7}


def test_refuses_two_values_of_one_seed() -> None:
    scores = scores_of({"A": [0.5, 0.5]})
    with pytest.raises(InputError, match="one value per seed"):
        summarise(pd.concat([scores, scores]), "A")


def test_no_scores_no_rows() -> None:
    empty = scores_of({"A": [0.5]}).iloc[:0]
    assert summarise(empty, "A").empty


def test_leaves_the_callers_scores_alone() -> None:
    scores = scores_of({"A": [0.5, np.inf]})
    before = scores.copy()
    summarise(scores, "A")
    pd.testing.assert_frame_equal(scores, before)


IDENTICAL = {
    "to the last digit": [0.52, 0.52, 0.52],
    "to rounding": [0.52, 0.52 + 1e-12, 0.52 - 3e-10],
    "zero": [0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("values", IDENTICAL.values(), ids=IDENTICAL)
def test_identical_results_are_one_replicate(values: list[float]) -> None:
    table = summarise(scores_of({"A": [0.5, 0.5, 0.5], "B": values}), "A")
    row = row_of(table, "B")
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["difference"] == pytest.approx(np.mean(values) - 0.5)
    assert row[["low", "high", "fc_low", "fc_high", "difference_low", "difference_high"]].isna().all()
    assert row["reason"] == row["difference_reason"] == "the same result at 3 seeds: one replicate"
    one_draw = row_of(summarise(scores_of({"A": [0.5, 0.5, 0.5], "B": values}), "A", overlaps={"A": 1, "B": 1}), "B")
    assert one_draw["difference_reason"].startswith("the same cells and the same result at 3 seeds")


def test_a_corpus_that_equals_the_baseline_at_every_seed_has_no_interval_of_the_difference() -> None:
    row = row_of(summarise(scores_of({"A": [0.5, 0.6, 0.7], "B": [0.5, 0.6, 0.7]}), "A"), "B")
    assert np.isfinite(row["low"])
    assert (row["difference"], row["log2_fold_change"]) == (0, 0)
    assert row[["fc_low", "difference_low"]].isna().all()


def test_small_but_real_scatter_has_an_interval() -> None:
    row = row_of(summarise(scores_of({"A": [0.5, 0.6, 0.7], "B": [0.52, 0.520001, 0.520002]}), "A"), "B")
    assert row["high"] > row["low"]


def test_intervals_are_widened_by_the_larger_overlap_of_the_two_corpora() -> None:
    scores = scores_of({"A": [0.5, 0.6, 0.65], "B": [0.7, 0.72, 0.8], "C": [0.4, 0.42, 0.5]})
    plain = summarise(scores, "A").set_index("corpus")
    wide = summarise(scores, "A", overlaps={"A": 0.2, "B": 0.5, "C": 0.1}).set_index("corpus")

    def ratio(corpus: str, low: str, high: str) -> float:
        return (wide.loc[corpus, high] - wide.loc[corpus, low]) / (plain.loc[corpus, high] - plain.loc[corpus, low])

    of_half, of_fifth = 2.0, np.sqrt(1 + 3 * 0.2 / 0.8)
    assert ratio("B", "low", "high") == pytest.approx(of_half)
    assert ratio("B", "fc_low", "fc_high") == pytest.approx(of_half)
    assert ratio("C", "difference_low", "difference_high") == pytest.approx(of_fifth)
    assert ratio("A", "low", "high") == pytest.approx(of_fifth)


@pytest.mark.parametrize(
    ("values", "scale", "better", "chosen"),
    [
        pytest.param({"A": [0.50, 0.52], "B": [0.60, 0.61]}, "positive", "lower", "ratio", id="an error"),
        pytest.param({"A": [0.50, 0.52], "B": [0.0, 0.0]}, "positive", "lower", "difference", id="an error of zero"),
        pytest.param({"A": [0.50, 0.52], "B": [0.6, 0.7]}, "positive", "none", "difference", id="no direction"),
        pytest.param({"A": [0.039, 0.040], "B": [0.059, 0.060]}, "share", "higher", "difference", id="a small share"),
        pytest.param({"A": [0.64, 0.65], "B": [0.5, 0.51]}, "correlation", "higher", "difference", id="a correlation"),
        pytest.param({"A": [64.0, 65.0], "B": [50.0, 51.0]}, "real", "higher", "difference", id="any number"),
    ],
)
def test_only_errors_are_compared_by_ratios(values: Values, scale: str, better: str, chosen: str) -> None:
    scores = scores_of(values).assign(scale=scale, better=better)
    assert set(summarise(scores, "A")["compared_by"]) == {chosen}


def test_one_metric_of_a_task_is_compared_in_one_way_on_all_targets() -> None:
    fine = scores_of({"A": [0.5, 0.51], "B": [0.6, 0.61]}).assign(scale="positive", better="lower")
    zero = scores_of({"A": [0.5, 0.51], "B": [0.0, 0.0]}).assign(target="pancreas", scale="positive", better="lower")
    other = fine.assign(metric="mse")
    found = summarise(pd.concat([fine, zero, other]), "A").groupby("metric")["compared_by"].unique()
    assert found.map(list).to_dict() == {"r2_log": ["difference"], "mse": ["ratio"]}


@pytest.mark.parametrize(
    ("scale", "values", "low", "high"),
    [("share", [0.1, 0.9], 0, 1), ("correlation", [-0.5, 0.9], -1, 1), ("positive", [0.1, 30.0], 0, np.inf)],
)
def test_no_interval_leaves_what_a_metric_can_be(scale: str, values: list[float], low: float, high: float) -> None:
    row = row_of(summarise(scores_of({"A": values[::-1], "B": values}).assign(scale=scale), "A"), "B")
    assert low < row["low"] < row["mean"] < row["high"] < high
    if scale != "positive":
        assert low - high < row["difference_low"] < row["difference_high"] < high - low


def test_a_value_out_of_its_metrics_range_is_refused() -> None:
    with pytest.raises(InputError, match="is a share, from 0 to 1, and has the value"):
        summarise(scores_of({"A": [0.5, 1.2]}).assign(scale="share"), "A")


def donors_of(values_CRD: np.ndarray, corpora: str) -> pd.DataFrame:
    """Rows of donors, and of all cells (the mean of donors, weighted by their place)."""
    n_donors = values_CRD.shape[2]
    weights = np.arange(1, n_donors + 1) / np.arange(1, n_donors + 1).sum()
    overall = {c: list(v_RD @ weights) for c, v_RD in zip(corpora, values_CRD, strict=True)}
    rows = [scores_of(overall)]
    for at in range(n_donors):
        one = {c: list(v_RD[:, at]) for c, v_RD in zip(corpora, values_CRD, strict=True)}
        rows.append(scores_of(one, unit=f"donor=d{at}"))
    return pd.concat(rows, ignore_index=True)


def test_five_donors_make_intervals_about_new_donors_and_fewer_do_not() -> None:
    rng = np.random.default_rng(0)
    values = 0.5 + 0.1 * rng.normal(size=(2, 1, 6)) + 0.01 * rng.normal(size=(2, 3, 6))
    many = row_of(summarise(donors_of(values, "AB"), "A").query("unit == 'all'"), "B")
    assert (many["over"], many["n_donors"], many["n_seeds"]) == ("runs and donors", 6, 3)
    assert many["mean"] == many["donor_mean"] == pytest.approx(values[1].mean())
    assert many["cell_mean"] != many["donor_mean"]
    assert many["difference"] == pytest.approx((values[1] - values[0]).mean())
    assert many["pair_mean"] - many["pair_base"] == pytest.approx(many["difference"])
    few = row_of(summarise(donors_of(values[:, :, :4], "AB"), "A").query("unit == 'all'"), "B")
    assert (few["over"], few["n_donors"]) == ("runs", 4)
    assert few["mean"] == few["cell_mean"] != few["donor_mean"]
    assert many["high"] - many["low"] > 2 * (few["high"] - few["low"]), "donors differ more than runs do"


def test_a_paired_test_over_runs_and_donors_agrees_with_a_mixed_model() -> None:
    # Random effects of runs and donors, balanced: the two-way analysis of variance is what REML gives.
    rng = np.random.default_rng(3)
    shape = (4, 7)
    d_RD = 0.05 + 0.05 * rng.normal(size=(4, 1)) + 0.08 * rng.normal(size=(1, 7)) + 0.02 * rng.normal(size=shape)
    base = np.full(shape, 0.4)
    row = row_of(summarise(donors_of(np.stack([base, base + d_RD]), "AB"), "A").query("unit == 'all'"), "B")
    of_runs, of_donors = 7 * d_RD.mean(1).var(ddof=1), 4 * d_RD.mean(0).var(ddof=1)
    rest = ((d_RD - d_RD.mean(1, keepdims=True) - d_RD.mean(0) + d_RD.mean()) ** 2).sum() / (3 * 6)
    error = np.sqrt((of_runs + of_donors - rest) / 28)
    df = error**4 * 28**2 / (of_runs**2 / 3 + of_donors**2 / 6 + rest**2 / 18)
    assert row["p"] == pytest.approx(2 * stats.t.sf(d_RD.mean() / error, df))


def test_p_values_agree_with_scipy_and_are_corrected_over_the_tasks_comparisons() -> None:
    rng = np.random.default_rng(5)
    values = {name: list(rng.normal(0.5 + 0.05 * at, 0.02, 4)) for at, name in enumerate("ABCD")}
    table = summarise(scores_of(values), "A").set_index("corpus")
    p = [stats.ttest_rel(values[name], values["A"]).pvalue for name in "BCD"]
    np.testing.assert_allclose(table.loc[list("BCD"), "p"], p)
    worst, middle, best = sorted(p, reverse=True)
    expected = {best: 3 * best, middle: max(3 * best, 2 * middle), worst: max(3 * best, 2 * middle, worst)}
    np.testing.assert_allclose(table.loc[list("BCD"), "p_holm"], [min(1, expected[each]) for each in p])
    np.testing.assert_allclose(table.loc[list("BCD"), "p_bh"], stats.false_discovery_control(p))
    assert np.isnan(table.loc["A", "p"])


def test_superiority_is_mann_and_whitneys() -> None:
    row = row_of(summarise(scores_of({"A": [0.1, 0.5, 0.3], "B": [0.3, 0.4, 0.6]}), "A"), "B")
    u = stats.mannwhitneyu([0.3, 0.4, 0.6], [0.1, 0.5, 0.3]).statistic
    assert row["superiority"] == pytest.approx(u / 9)


def test_the_size_control_is_compared_with_besides() -> None:
    values = {"A": [0.50, 0.52, 0.54], "A+A": [0.55, 0.58, 0.59], "B": [0.60, 0.62, 0.67]}
    table = summarise(scores_of(values), "A", control="A+A").set_index("corpus")
    low, high = stats.ttest_rel(values["B"], values["A+A"]).confidence_interval(0.95)
    found = table.loc["B", ["control_low", "control_high"]].astype(float)
    np.testing.assert_allclose(found, [low, high])
    assert np.isnan(table.loc["A+A", "control_difference"])


CLEAR, NEAR, NOISY = [0.60, 0.61, 0.605, 0.612], [0.501, 0.499, 0.5005, 0.502], [0.3, 0.7, 0.52, 0.44]


@pytest.mark.parametrize(
    ("values", "better", "verdict"),
    [
        (CLEAR, "higher", "better"),
        (CLEAR, "lower", "worse"),
        (CLEAR, "none", "higher"),
        (NEAR, "higher", "equivalent"),
        (NOISY, "higher", "unresolved"),
        ([0.6, 0.6, 0.6, 0.6], "higher", "no interval"),
    ],
)
def test_verdicts(values: list[float], better: str, verdict: str) -> None:
    scores = scores_of({"A": [0.5, 0.5, 0.5, 0.5], "B": values}).assign(better=better, scale="share")
    table = summarise(scores, "A", margins={"r2_log": 0.02})
    assert row_of(table, "A")["verdict"] == "baseline"
    assert row_of(table, "B")["verdict"] == verdict
    without = row_of(summarise(scores, "A"), "B")["verdict"]
    assert without == ("unresolved" if verdict == "equivalent" else verdict)


def test_equivalence_is_two_one_sided_tests() -> None:
    scores = scores_of({"A": [0.5, 0.51, 0.49, 0.5], "B": NEAR})
    row = row_of(summarise(scores, "A", margins={"r2_log": 0.02}), "B")
    change = np.array(NEAR) - np.array([0.5, 0.51, 0.49, 0.5])
    above = stats.ttest_1samp(change, -0.02, alternative="greater").pvalue
    below = stats.ttest_1samp(change, 0.02, alternative="less").pvalue
    assert row["p_equivalent"] == pytest.approx(max(above, below))
    assert (row["p_equivalent"] <= 0.05) == (row["equivalent_low"] > -0.02 and row["equivalent_high"] < 0.02)


def test_of_corpora_that_do_not_differ_a_verdict_is_rare() -> None:
    # Eight corpora that share a baseline: without a correction, a third of such studies find a difference.
    rng = np.random.default_rng(0)
    studies = [
        scores_of({f"C{at}": list(0.5 + 0.02 * rng.normal(size=3)) for at in range(9)}).assign(task=f"study {at}")
        for at in range(60)
    ]
    by_study = summarise(pd.concat(studies, ignore_index=True), "C0").groupby("task")["verdict"].agg(set)
    found = sum(bool({"better", "worse"} & verdicts) for verdicts in by_study)
    perhaps = sum(any(verdict.endswith(("better", "worse")) for verdict in verdicts) for verdicts in by_study)
    assert found <= 7, "5 % of 60 studies, and what chance adds to that"
    assert perhaps >= 10
