"""How sure we are of a mean over a handful of seeds: Student's t interval, and why not the bootstrap."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ONE_SEED = "interval not estimable from one seed"


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


def seed_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean over seeds with Student's t confidence interval.

    A study has few seeds, often three. The percentile bootstrap then resamples three numbers: it uses the
    variance with n rather than n - 1 and normal rather than t quantiles, so that its nominal 95 % interval
    covers far less (Hesterberg 2015). Student's t is exact for normal seeds and errs on the wide side for
    light tails. The interval speaks of redrawing the corpus and refitting, not of new donors.

    Parameters
    ----------
    values
        One value per seed, shape (n_seeds,). Values that are not finite are left out and not counted in `n`.
    level
        Coverage aimed at, between 0 and 1.

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
    deviation = float(finite.std(ddof=1)) if n > 1 else np.nan
    half = float(half_width(deviation, n, level))
    return Interval(mean, mean - half, mean + half, int(n))


def half_width(deviation: ArrayLike, n: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
    """Half the width of Student's t interval of a mean, element by element.

    Parameters
    ----------
    deviation
        Sample standard deviation, with n - 1 in its denominator.
    n
        Number of values behind each mean; where it is below 2 the half width is NaN, never zero.
    level
        Coverage aimed at, between 0 and 1.

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
    return np.asarray(quantile * np.asarray(deviation, dtype=float) / np.sqrt(usable), dtype=float)
