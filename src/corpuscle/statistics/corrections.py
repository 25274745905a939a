"""P values of many comparisons: Holm's correction and Benjamini and Hochberg's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values so that the chance of any false finding among them stays below the level (Holm 1979).

    Parameters
    ----------
    p
        P values, shape (n,); NaN ones are no comparisons and stay NaN.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6:65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    p_N = np.asarray(p, float)
    found = np.full(p_N.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p_N))
    order = known[np.argsort(p_N[known], kind="stable")]
    left = np.arange(len(order), 0, -1)
    found[order] = np.minimum(1, np.maximum.accumulate(p_N[order] * left)) if len(order) else []
    return found


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values so that at most a share of what is found is false, on average (Benjamini and Hochberg 1995).

    Parameters
    ----------
    p
        P values, shape (n,); NaN ones are no comparisons and stay NaN.

    References
    ----------
    Benjamini and Hochberg (1995), Controlling the false discovery rate, Journal of the Royal Statistical Society B
    57:289-300, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    found = np.asarray(p, float).copy()
    known = ~np.isnan(found)
    if known.any():
        found[known] = stats.false_discovery_control(found[known])
    return found
