"""How sure we are of a mean over a handful of seeds: Student's t interval, and what overlapping draws do to it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ONE_SEED = "interval not estimable from one seed"
# Results that agree to so many parts are one result: single precision does not keep them apart.
SAME = 1e-7
# Draws that share more of their cells than this are one draw.
WHOLE = 1 - 1e-9


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Attributes
    ----------
    mean
        Mean of the finite values; NaN when there is none.
    low, high
        Ends of the interval; NaN when there are fewer than two finite values.
    n
        How many values were finite.
    """

    mean: float
    low: float
    high: float
    n: int


def seed_interval(values: ArrayLike, level: float = 0.95, overlap: float = 0.0) -> Interval:
    """Mean over seeds with Student's t confidence interval.

    A study has few seeds, often three. The percentile bootstrap then resamples three numbers: it uses the
    variance with n rather than n - 1 and normal rather than t quantiles, so that its nominal 95 % interval
    covers far less (Hesterberg 2015). Student's t is exact for normal seeds and errs on the wide side for
    light tails. The interval speaks of redrawing the corpus and refitting, not of new donors. Values that are the same
    in all seeds are one replicate, and have no interval.

    Parameters
    ----------
    values
        One value per seed, shape (n_seeds,). Values that are not finite are left out and not counted in `n`.
    level
        Coverage aimed at, between 0 and 1.
    overlap
        Which share of its cells a seed's draw has in common with another seed's: see `widening`.

    Raises
    ------
    ValueError
        When `level` is not strictly between 0 and 1, or `values` has more than one axis.

    References
    ----------
    Hesterberg (2015), What teachers should know about the bootstrap, The American Statistician 69:371-386,
    https://doi.org/10.1080/00031305.2015.1089789

    Examples
    --------
    >>> mean, low, high, n = seed_interval([0.50, 0.52, 0.54])
    >>> print(f"{mean:.3f} [{low:.3f}, {high:.3f}] from {n} seeds")
    0.520 [0.470, 0.570] from 3 seeds
    >>> seed_interval([0.5])
    Interval(mean=0.5, low=nan, high=nan, n=1)
    """
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        msg = f"expected one value per seed, shape (n_seeds,); got shape {array.shape}"
        raise ValueError(msg)
    finite = array[np.isfinite(array)]
    n = finite.size
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(finite.mean())
    same = bool(is_same(np.ptp(finite), np.abs(finite).max()))
    deviation = np.nan if same else float(finite.std(ddof=1))
    half = float(half_width(deviation, n, level, overlap))
    return Interval(mean, mean - half, mean + half, int(n))


def is_same(spread: ArrayLike, size: ArrayLike) -> NDArray[np.bool_]:
    """Return whether values are the same to rounding, element by element: one replicate, however many there are.

    Parameters
    ----------
    spread
        The largest value minus the smallest.
    size
        How large the numbers are that the values were calculated from.

    Examples
    --------
    >>> is_same([0.0, 1e-12, 1e-3], 0.5).tolist()
    [True, True, False]
    """
    return np.asarray(np.asarray(spread, float) <= SAME * np.asarray(size, float), bool)


def widening(n: ArrayLike, overlap: ArrayLike) -> NDArray[np.float64]:
    """By how much an interval over n seeds is widened, because their draws share cells.

    Seeds that draw a share f of one pool have cells in common, and scatter less than fresh cells of the same source
    would. In a mean over cells the results of two seeds are correlated by the share of cells that their draws have in
    common, which is f for uniform draws. With that correlation r, the seeds' variance s² estimates (1 - r) σ², while
    the variance of their mean, as a statement on the source, is σ² (r + (1 - r) / n). Their ratio is 1/n + r / (1 - r),
    the correction of Nadeau and Bengio (2003), in place of the usual 1/n.

    It is exact for the mean of what cells contribute. What a seed changes besides, as a model's initialisation, is not
    correlated, and the interval then is too wide rather than too narrow.

    Parameters
    ----------
    n
        Number of seeds.
    overlap
        Which share of its cells a draw has in common with another seed's. At 1 all draws are one, and nothing can be
        said of other cells: the interval is about these cells only, and is not widened.

    References
    ----------
    Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52:239-281,
    https://doi.org/10.1023/A:1024068626366

    Examples
    --------
    >>> widening(3, [0, 0.2, 0.5, 0.9, 1]).round(2).tolist()
    [1.0, 1.32, 2.0, 5.29, 1.0]
    """
    shared = np.asarray(overlap, dtype=float)
    shared = np.where(np.isfinite(shared) & (shared < WHOLE), shared, 0.0)
    return np.asarray(np.sqrt(1 + np.asarray(n, dtype=float) * shared / (1 - shared)), dtype=float)


def half_width(
    deviation: ArrayLike, n: ArrayLike, level: float = 0.95, overlap: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Half the width of Student's t interval of a mean, element by element.

    Parameters
    ----------
    deviation
        Sample standard deviation, with n - 1 in its denominator.
    n
        Number of values behind each mean; where it is below 2 the half width is NaN, never zero.
    level
        Coverage aimed at, between 0 and 1.
    overlap
        Which share of its cells a seed's draw has in common with another seed's: see `widening`.

    Examples
    --------
    >>> half_width([0.02, 0.02], [3, 1]).round(4).tolist()
    [0.0497, nan]
    """
    if not 0 < level < 1:
        msg = f"level: expected a coverage between 0 and 1, such as 0.95; got {level}"
        raise ValueError(msg)
    count: NDArray[np.float64] = np.asarray(n, dtype=float)
    usable = np.where(count >= 2, count, np.nan)
    quantile: Any = stats.t.ppf((1 + level) / 2, usable - 1)
    width = quantile * np.asarray(deviation, dtype=float) / np.sqrt(usable)
    return np.asarray(width * widening(count, overlap), dtype=float)
