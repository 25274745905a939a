"""Means over runs and donors that are crossed: how sure we are of one, for new runs and new donors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# With fewer, their scatter says next to nothing of other donors.
FEWEST_DONORS = 5


Array = NDArray[np.float64]


class Mean(NamedTuple):
    """Means over runs and donors, of one table or of many.

    Attributes
    ----------
    mean
        Every donor counts alike, whatever its cells.
    error
        Its standard error, as an estimate for new runs and new donors; NaN where there are fewer than two of either.
    df
        Degrees of freedom of the error.
    """

    mean: Array
    error: Array
    df: Array


class Components(NamedTuple):
    """Variance components of runs × donors: what runs, donors, and the two together add to one value's variance.

    Estimates from mean squares; they may be negative where there is nothing to estimate.
    """

    run: Array
    donor: Array
    rest: Array


def two_way(values_RD: Array, widening: float | Array = 1.0, runs: Mean | None = None) -> Mean:
    """Estimate a mean over crossed runs and donors with its standard error.

    Every run is evaluated on every donor, so that a value is the mean plus a part of its run, a part of its donor and a
    rest. Cells of a donor, and donors of a run, are not independent: treating them as such is pseudoreplication. From
    the mean squares of runs, of donors and of the rest (a two-way analysis of variance), the variance of the mean is
    (MS_runs + MS_donors - MS_rest) / (R D), with Satterthwaite's degrees of freedom. Where that is below what runs or
    donors alone give, the larger of these stands, with its own degrees of freedom.

    The pigeonhole bootstrap (Owen 2007), which resamples runs and donors independently, estimates the same variance
    with MS_rest counted several times; with three runs its quantiles are far too short, and studentised ones are no
    better than Student's. See ``benchmarks/interval_coverage.py``, which measures all of them.

    Parameters
    ----------
    values_RD
        One value per run and donor, all finite; further axes, before these, are further tables.
    widening
        By how much the runs' part of the standard error is widened because their draws share cells: see
        `corpuscle.statistics.intervals.widening`.
    runs
        The mean over runs, where runs are not independent: it stands for their part; see
        `corpuscle.statistics.crossed`.

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
    n_runs, n_donors = values_RD.shape[-2:]
    mean = np.asarray(values_RD.mean(axis=(-2, -1)))
    if n_runs < 2 or n_donors < 2:
        return Mean(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    of_runs, of_donors, rest = mean_squares(values_RD)
    of_runs, rest = of_runs * widening**2, rest * widening**2
    df_runs, df_donors = np.asarray(n_runs - 1.0), n_donors - 1
    df_rest = df_runs * df_donors
    if runs is not None:
        of_runs, df_runs = runs.error**2 * n_runs * n_donors, runs.df
    both, larger = of_runs + of_donors - rest, np.maximum(of_runs, of_donors)
    parts = of_runs**2 / df_runs + of_donors**2 / df_donors + rest**2 / df_rest
    with np.errstate(invalid="ignore", divide="ignore"):
        satterthwaite = both**2 / parts
    alone = np.where(of_runs >= of_donors, df_runs, df_donors)
    df = np.where(both > larger, satterthwaite, alone)
    return Mean(mean, np.sqrt(np.maximum(both, larger) / (n_runs * n_donors)), df)


def mean_squares(values_RD: Array) -> tuple[Array, Array, Array]:
    """Return the mean squares of runs, of donors and of the rest; further axes as for `two_way`."""
    n_runs, n_donors = values_RD.shape[-2:]
    mean = values_RD.mean(axis=(-2, -1), keepdims=True)
    run_R1, donor_1D = values_RD.mean(axis=-1, keepdims=True) - mean, values_RD.mean(axis=-2, keepdims=True) - mean
    rest_RD = values_RD - mean - run_R1 - donor_1D
    df = (n_runs - 1) * (n_donors - 1)
    return (
        n_donors * (run_R1**2).sum(axis=(-2, -1)) / (n_runs - 1),
        n_runs * (donor_1D**2).sum(axis=(-2, -1)) / (n_donors - 1),
        (rest_RD**2).sum(axis=(-2, -1)) / df,
    )


def components(values_RD: Array) -> Components:
    """Return what runs, donors and the rest add to a value's variance.

    Examples
    --------
    >>> run, donor, rest = components(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))
    >>> print(f"{run:.1f} {donor:.1f} {rest:.1f}")
    0.5 1.0 0.0
    """
    n_runs, n_donors = values_RD.shape[-2:]
    of_runs, of_donors, rest = mean_squares(values_RD)
    return Components((of_runs - rest) / n_donors, (of_donors - rest) / n_runs, rest)
