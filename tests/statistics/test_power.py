"""Power: against scipy, statsmodels and simulation."""

import warnings

import numpy as np
import pytest
from scipy import stats

from corpuscle.statistics.power import (
    Scatter,
    donors_for,
    expected_error,
    half_width,
    power_of,
    resolvable,
    seeds_for,
)
from corpuscle.statistics.two_way import two_way


@pytest.mark.parametrize(("effect", "df", "alpha"), [(5, 2, 0.05), (6, 4, 0.01), (2.8, 29, 0.05), (30, 2, 0.0025)])
def test_power_is_that_of_the_noncentral_t_distribution(effect, df, alpha):
    quantile = stats.t.isf(alpha / 2, df)
    expected = stats.nct.sf(quantile, df, effect) + stats.nct.cdf(-quantile, df, effect)
    assert power_of(effect, df, alpha) == pytest.approx(expected, abs=1e-9)


def test_power_without_an_effect_is_the_level_and_many_corrections_leave_a_number():
    assert power_of(0.0, 4, 0.01) == pytest.approx(0.01)
    for comparisons in (1, 225, 100_000):
        assert np.isfinite(resolvable(Scatter(1e-4), 2, comparisons=comparisons))


def test_what_is_resolvable_agrees_with_statsmodels():
    statsmodels = pytest.importorskip("statsmodels.stats.power")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effect = statsmodels.TTestPower().solve_power(nobs=6, alpha=0.05 / 5, power=0.8)
    assert resolvable(Scatter(0.03**2), 6, comparisons=5) == pytest.approx(0.03 * effect, rel=1e-4)


def test_with_one_seed_nothing_is_resolvable():
    assert np.isnan(resolvable(Scatter(1.0), 1))
    assert np.isnan(half_width(Scatter(1.0), 1))


@pytest.mark.parametrize(("n_seeds", "n_donors"), [(3, 5), (5, 20)])
def test_runs_by_donors_have_the_power_that_simulation_finds(n_seeds, n_donors):
    scatter = Scatter(run=1.0, donor=4.0, rest=0.5)
    effect = resolvable(scatter, n_seeds, n_donors)
    rng = np.random.default_rng(0)
    n_tables = 20_000
    values = effect + rng.normal(size=(n_tables, n_seeds, 1)) * scatter.run**0.5
    values = values + rng.normal(size=(n_tables, 1, n_donors)) * scatter.donor**0.5
    values = values + rng.normal(size=(n_tables, n_seeds, n_donors)) * scatter.rest**0.5
    mean, error, df = two_way(values)
    found = (2 * stats.t.sf(np.abs(mean / error), df) < 0.05).mean()
    # Satterthwaite's degrees of freedom are approximate, and estimated ones vary.
    assert found == pytest.approx(0.8, abs=0.05)
    assert expected_error(scatter, n_seeds, n_donors).size ** 2 == pytest.approx(mean.var(), rel=0.05)


def test_numbers_of_seeds_and_donors_are_the_smallest_that_do():
    scatter = Scatter(run=0.01**2, donor=0.02**2, rest=0.005**2)
    n_donors = donors_for(scatter, 0.015, n_seeds=5)
    assert half_width(scatter, 5, n_donors) <= 0.015 < half_width(scatter, 5, n_donors - 1)
    n_seeds = seeds_for(Scatter(run=0.01**2), 0.004)
    assert half_width(Scatter(run=0.01**2), n_seeds) <= 0.004 < half_width(Scatter(run=0.01**2), n_seeds - 1)


def test_where_donors_or_shared_cells_limit_it_no_number_of_seeds_does():
    assert seeds_for(Scatter(run=0.0, donor=1.0), 0.5, n_donors=6) is None
    assert seeds_for(Scatter(run=1.0, overlap=0.5), 0.9) is None
    assert seeds_for(Scatter(run=1.0, overlap=0.5), 2.5) is not None
