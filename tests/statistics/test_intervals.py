"""Student's t intervals: known answers, an independent implementation, and what is missing."""

import numpy as np
import pytest
from scipy import stats

from corpuscle.statistics.intervals import half_width, seed_interval


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_agrees_with_scipy(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(0.5, 0.02, n)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    found = seed_interval(values, level)
    assert found.n == n
    np.testing.assert_allclose([found.mean, found.low, found.high], [values.mean(), *expected], rtol=1e-12)


def test_known_answer_from_a_t_table() -> None:
    # t(0.975, 2 df) = 4.302653; the mean of 1, 2, 3 has standard error 1 / sqrt(3).
    found = seed_interval([1.0, 2.0, 3.0])
    assert found.high - found.mean == pytest.approx(4.302653 / np.sqrt(3), abs=1e-6)


def test_covers_as_often_as_it_says_where_the_percentile_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(2000, 3))
    half = half_width(samples.std(axis=1, ddof=1), np.full(2000, 3))
    coverage = np.mean(np.abs(samples.mean(axis=1)) <= half)
    resampled = samples[:, rng.integers(0, 3, size=(400, 3))].mean(axis=2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    bootstrap = np.mean((low <= 0) & (high >= 0))
    assert coverage == pytest.approx(0.95, abs=0.02)
    assert bootstrap < 0.85


def test_leaves_out_what_is_not_finite_and_counts_the_rest() -> None:
    assert seed_interval([0.4, np.nan, 0.6, np.inf]) == seed_interval([0.4, 0.6])


@pytest.mark.parametrize(("values", "n"), [([], 0), ([np.nan], 0), ([0.3], 1), ([0.3, np.nan], 1)])
def test_one_or_no_seed_has_no_interval_rather_than_a_zero_one(values: list[float], n: int) -> None:
    found = seed_interval(values)
    assert found.n == n
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert np.isnan(found.mean) == (n == 0)


def test_refuses_a_level_that_is_no_coverage_and_values_with_two_axes() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        seed_interval([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="one value per seed"):
        seed_interval([[1.0, 2.0]])


def false_positives(overlap: float, n_seeds: int, statistic: str, *, widened: bool = True) -> float:
    """Compare two sources that do not differ, again and again; return how often the interval leaves out 0.

    Each source is a fresh pool of the same population; each seed draws a share of the pool without replacement.
    """
    n_pool, n_studies = 120, 1500
    n_drawn = int(overlap * n_pool)
    rng = np.random.default_rng([round(100 * overlap), n_seeds])
    found = []
    for _ in range(2):
        pool = rng.gamma(4, size=(n_studies, n_pool))
        order = rng.random((n_seeds, n_studies, n_pool)).argpartition(n_drawn - 1, axis=2)[:, :, :n_drawn]
        drawn = np.take_along_axis(pool[None], order, axis=2)
        found.append(drawn.mean(axis=2) if statistic == "mean" else np.log(drawn).std(axis=2))
    change = found[0] - found[1]
    half = half_width(change.std(axis=0, ddof=1), n_seeds, overlap=overlap if widened else 0.0)
    return float((np.abs(change.mean(axis=0)) > half).mean())


@pytest.mark.parametrize("statistic", ["mean", "deviation of logs"])
@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("overlap", [0.2, 0.5, 0.9])
def test_false_positives_are_five_percent_however_much_of_a_pool_is_drawn(overlap, n_seeds, statistic):
    assert 0.03 <= false_positives(overlap, n_seeds, statistic) <= 0.07
    if overlap >= 0.5:
        assert false_positives(overlap, n_seeds, statistic, widened=False) > 0.12


def test_draws_that_are_one_are_about_these_cells_and_not_widened():
    assert half_width(0.02, 3, overlap=1.0) == half_width(0.02, 3)
    assert half_width(0.02, 3, overlap=np.nan) == half_width(0.02, 3)


def test_the_same_value_at_all_seeds_has_no_interval():
    found = seed_interval([0.52, 0.52, 0.52 + 1e-12])
    assert np.isnan(found.low)
    assert found.n == 3
