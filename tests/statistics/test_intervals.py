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
