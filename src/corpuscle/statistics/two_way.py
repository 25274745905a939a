"""Means over runs and donors that are crossed: how sure we are of one, for new runs and new donors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# With fewer, their scatter says next to nothing of other donors.
FEWEST_DONORS = 5


class Mean(NamedTuple):
    """A mean over runs and donors.

    Attributes
    ----------
    mean
        Every donor counts alike, whatever its cells.
    error
        Its standard error, as an estimate for new runs and new donors.
    df
        Degrees of freedom of the error.
    n_runs, n_donors
        How many there are.
    """

    mean: float
    error: float
    df: float
    n_runs: int
    n_donors: int


class Components(NamedTuple):
    """Variance components of runs × donors: what runs, donors, and the two together add to one value's variance.

    Estimates from mean squares; they may be negative where there is nothing to estimate.
    """

    run: float
    donor: float
    rest: float


def two_way(values_RD: NDArray[np.float64], widening: float = 1.0) -> Mean:
    """Estimate a mean over crossed runs and donors with its standard error.

    Every run is evaluated on every donor, so that a value is the mean plus a part of its run, a part of its donor and a
    rest. Cells of a donor, and donors of a run, are not independent: treating them as such is pseudoreplication. From
    the mean squares of runs, of donors and of the rest (a two-way analysis of variance), the variance of the mean is
    (MS_runs + MS_donors - MS_rest) / (R D), with Satterthwaite's degrees of freedom. Where that is below what runs or
    donors alone give, the larger of these stands, with its own degrees of freedom.

    The pigeonhole bootstrap (Owen 2007), which resamples runs and donors independently, estimates the same variance
    with MS_rest counted several times; with three runs its quantiles are far too short, and studentised ones are no
    better than Student's. See ``benchmarks/coverage.py``, which measures all of them.

    Parameters
    ----------
    values_RD
        One value per run and donor; all finite.
    widening
        By how much the runs' part of the standard error is widened because their draws share cells: see
        `corpuscle.statistics.intervals.widening`.

    Returns
    -------
    Mean
        With NaN as its error where there are fewer than two runs or donors.

    References
    ----------
    Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1:386-411, https://doi.org/10.1214/07-AOAS122

    Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bulletin
    2:110-114, https://doi.org/10.2307/3002019

    Examples
    --------
    >>> values_RD = np.array([[0.50, 0.60, 0.70, 0.55, 0.65], [0.54, 0.62, 0.75, 0.58, 0.71]])
    >>> found = two_way(values_RD)
    >>> print(f"{found.mean:.3f}, standard error {found.error:.3f}, {found.df:.1f} degrees of freedom")
    0.620, standard error 0.042, 4.9 degrees of freedom
    """
    n_runs, n_donors = values_RD.shape
    mean = float(values_RD.mean())
    if n_runs < 2 or n_donors < 2:
        return Mean(mean, np.nan, np.nan, n_runs, n_donors)
    of_runs, of_donors, rest = mean_squares(values_RD)
    of_runs *= widening**2
    df_runs, df_donors = n_runs - 1, n_donors - 1
    both = of_runs + of_donors - rest * widening**2
    if both > max(of_runs, of_donors):
        parts = (of_runs**2 / df_runs, of_donors**2 / df_donors, rest**2 * widening**4 / (df_runs * df_donors))
        square, df = both, both**2 / sum(parts)
    else:
        square, df = (of_runs, df_runs) if of_runs >= of_donors else (of_donors, df_donors)
    return Mean(mean, float(np.sqrt(square / values_RD.size)), float(df), n_runs, n_donors)


def mean_squares(values_RD: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean squares of runs, of donors and of the rest."""
    n_runs, n_donors = values_RD.shape
    mean = values_RD.mean()
    run_R, donor_D = values_RD.mean(axis=1) - mean, values_RD.mean(axis=0) - mean
    rest_RD = values_RD - mean - run_R[:, None] - donor_D
    df = (n_runs - 1) * (n_donors - 1)
    return (
        float(n_donors * (run_R**2).sum() / (n_runs - 1)),
        float(n_runs * (donor_D**2).sum() / (n_donors - 1)),
        float((rest_RD**2).sum() / df),
    )


def components(values_RD: NDArray[np.float64]) -> Components:
    """Return what runs, donors and the rest add to a value's variance.

    Examples
    --------
    >>> components(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))
    Components(run=0.5, donor=1.0, rest=0.0)
    """
    n_runs, n_donors = values_RD.shape
    of_runs, of_donors, rest = mean_squares(values_RD)
    return Components((of_runs - rest) / n_donors, (of_donors - rest) / n_runs, rest)
