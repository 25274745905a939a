"""Power: which difference so many seeds and donors can show, and how many it takes for one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from corpuscle.statistics.intervals import widening
from corpuscle.statistics.two_way import FEWEST_DONORS

# How often a difference is to be shown where it is there.
POWER = 0.8
# Nobody runs more; what takes more is out of reach.
MOST_SEEDS, MOST_DONORS = 10_000, 10_000
# Standard normal deviates that a power is integrated over, and their weights.
_Z = np.linspace(-9, 9, 2001)
_WEIGHT = stats.norm.pdf(_Z) * (_Z[1] - _Z[0])


class Scatter(NamedTuple):
    """Variances of one paired difference, of one seed and one donor: see `corpuscle.statistics.two_way.components`.

    Attributes
    ----------
    run
        What seeds add; the whole variance over seeds where donors are not told apart.
    donor, rest
        What donors, and seeds and donors together, add.
    overlap
        Which share of its cells a seed's draw has in common with another seed's.
    """

    run: float
    donor: float = 0.0
    rest: float = 0.0
    overlap: float = 0.0


class Error(NamedTuple):
    """The standard error that is to be expected of a mean difference, and its degrees of freedom."""

    size: float
    df: float


def expected_error(scatter: Scatter, n_seeds: int, n_donors: int = 1) -> Error:
    """Return the standard error of a mean difference over so many seeds and donors, as `summarise` estimates it.

    From expected mean squares, where there are at least `FEWEST_DONORS` donors; else over seeds alone, whatever the
    donors.
    """
    run, donor, rest, overlap = scatter
    wide = float(widening(n_seeds, overlap))
    if n_donors < FEWEST_DONORS:
        return Error(wide * float(np.sqrt((run + rest / max(n_donors, 1)) / n_seeds)), n_seeds - 1.0)
    # Of what is observed, draws that share cells show less: the widening puts that back, as the analysis does.
    of_runs, of_donors = (rest + n_donors * run) * wide**2, rest * wide**2 + n_seeds * donor
    rest = rest * wide**2
    df_runs, df_donors = n_seeds - 1.0, n_donors - 1.0
    both = of_runs + of_donors - rest
    parts = of_runs**2 / df_runs + of_donors**2 / df_donors + rest**2 / (df_runs * df_donors)
    df = both**2 / parts if parts > 0 else df_runs
    return Error(float(np.sqrt(both / (n_seeds * n_donors))), max(df, min(df_runs, df_donors)))


def power_of(effect: float, df: float, alpha: float = 0.05) -> float:
    """Power of a two-sided t test: the chance that it finds an effect of so many standard errors.

    These are the tails of the noncentral t distribution, found by integrating over the mean's deviate: at few degrees
    of freedom and levels far below 5 %, where a correction for many comparisons leads, scipy 1.17's series end in NaN.

    Examples
    --------
    >>> print(f"{power_of(3.0, df=4):.4f}, {power_of(0.0, df=4):.4f}")
    0.6193, 0.0500
    """
    quantile = stats.t.isf(alpha / 2, df)
    beyond: NDArray[np.float64] = stats.chi2.cdf(df * ((effect + _Z) / quantile) ** 2, df)
    return float(beyond @ _WEIGHT)


def resolvable(
    scatter: Scatter,
    n_seeds: int,
    n_donors: int = 1,
    *,
    comparisons: int = 1,
    power: float = POWER,
    alpha: float = 0.05,
) -> float:
    """Return the smallest difference that so many seeds and donors show, in the chance `power`.

    Parameters
    ----------
    scatter
        What one paired difference scatters by.
    n_seeds, n_donors
        How many; fewer than five donors are not told apart.
    comparisons
        How many Holm's correction is for: the difference is shown at the level `alpha` over their number, which is what
        the smallest p has to pass. Others need less.
    power, alpha
        Of the test.

    Returns
    -------
    The difference, in the unit of the scatter; NaN with one seed.

    Examples
    --------
    >>> for n_seeds in (3, 5, 10):
    ...     print(f"{resolvable(Scatter(run=0.01**2), n_seeds):.4f}")
    0.0326
    0.0168
    0.0100
    """
    if n_seeds < 2:
        return float("nan")
    size, df = expected_error(scatter, n_seeds, n_donors)
    level = alpha / max(comparisons, 1)
    # Where even the largest standard error that is likely would be passed.
    most = 2 * stats.t.isf(level / 2, df) * np.sqrt(stats.chi2.ppf((1 + power) / 2, df) / df) + 20
    return size * float(optimize.brentq(lambda effect: power_of(effect, df, level) - power, 0, most))


def half_width(scatter: Scatter, n_seeds: int, n_donors: int = 1, *, level: float = 0.95) -> float:
    """Return half the width that is to be expected of a difference's interval (not corrected); NaN with one seed.

    Examples
    --------
    >>> print(f"{half_width(Scatter(run=0.01**2), 3):.4f}")
    0.0248
    """
    if n_seeds < 2:
        return float("nan")
    size, df = expected_error(scatter, n_seeds, n_donors)
    return size * float(stats.t.isf((1 - level) / 2, df))


def seeds_for(scatter: Scatter, half: float, n_donors: int = 1, *, level: float = 0.95) -> int | None:
    """Return how many seeds make a difference's interval so narrow, ± `half`; None: no number does.

    Examples
    --------
    >>> seeds_for(Scatter(run=0.01**2), 0.01), seeds_for(Scatter(run=0.01**2, donor=0.01**2), 0.001, n_donors=5)
    (7, None)
    """
    return _smallest(lambda n: half_width(scatter, n, n_donors, level=level), 2, MOST_SEEDS, half)


def donors_for(scatter: Scatter, half: float, n_seeds: int, *, level: float = 0.95) -> int | None:
    """Return how many donors, at least five, make a difference's interval so narrow, ± `half`; None: no number does.

    Examples
    --------
    >>> donors_for(Scatter(run=0.0, donor=0.01**2), 0.005, n_seeds=3)
    18
    """
    return _smallest(lambda n: half_width(scatter, n_seeds, n, level=level), FEWEST_DONORS, MOST_DONORS, half)


def _smallest(width: Callable[[int], float], least: int, most: int, half: float) -> int | None:
    """Return the smallest number whose width is at most `half`, by halving: widths fall with numbers."""
    if not width(most) <= half:
        return None
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if width(middle) <= half else (middle + 1, most)
    return least
