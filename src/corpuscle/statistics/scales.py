"""The scales that metrics live on, so that no interval leaves the values that a metric can have."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

# What a mean, or a difference of two means, can be: within these ends, both excluded.
Kind = Literal["share", "correlation", "positive", "real", "share difference", "correlation difference"]
ENDS: dict[str, tuple[float, float]] = {
    "share": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "positive": (0.0, np.inf),
    "real": (-np.inf, np.inf),
    "share difference": (-1.0, 1.0),
    "correlation difference": (-2.0, 2.0),
}
# Of what a difference of two values of a scale is; the difference of two positive numbers can be any.
DIFFERENCES: dict[str, str] = {"share": "share difference", "correlation": "correlation difference"}


class Ends(NamedTuple):
    """Ends of intervals, shape of what they are of."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def interval_of(mean: ArrayLike, error: ArrayLike, df: ArrayLike, kind: ArrayLike, level: float = 0.95) -> Ends:
    """Student's t intervals of means, formed on the metrics' natural scales, element by element.

    The scale is the logit for shares, Fisher's z for correlations and (with the range stretched) differences, the
    logarithm for positive numbers. There the interval is symmetric, with the mean's standard error carried over by the
    scale's slope (the delta method); its ends are carried back. It contains the mean, never leaves the range, and is
    Student's own where it is narrow. The values themselves are not transformed: their mean is what is estimated.

    Parameters
    ----------
    mean
        Means, in the metric's unit.
    error
        Their standard errors; where one is NaN, or its mean lies on an end of the range, there is no interval.
    df
        Degrees of freedom of the standard errors.
    kind
        The scales; see `Kind`.
    level
        Coverage aimed at, between 0 and 1.

    Examples
    --------
    >>> low, high = interval_of([0.545, 0.545], [0.0484, 0.0484], [1, 1], ["real", "share"])
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([-0.07, 0.09], [1.16, 0.93])
    """
    if not 0 < level < 1:
        msg = f"level: expected a coverage between 0 and 1, such as 0.95; got {level}"
        raise ValueError(msg)
    mean_N, kind_N = np.asarray(mean, float), np.asarray(kind, object)
    quantile: Any = stats.t.ppf((1 + level) / 2, np.asarray(df, float))
    half_N = quantile * np.asarray(error, float)
    low, high = np.full(mean_N.shape, np.nan), np.full(mean_N.shape, np.nan)
    for name in set(kind_N.ravel()):
        here = kind_N == name
        at, slope = stretched(mean_N[here], name)
        with np.errstate(invalid="ignore"):
            half = slope * half_N[here]
        low[here], high[here] = _back(at - half, name), _back(at + half, name)
    return Ends(low, high)


def p_value(mean: ArrayLike, error: ArrayLike, df: ArrayLike, kind: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p of Student's t test that a mean is 0, below 0.05 exactly where `interval_of` leaves out 0.

    Examples
    --------
    >>> p_value([0.1], [0.03], [4], ["real"]).round(4).tolist()
    [0.029]
    """
    mean_N, kind_N, found = np.asarray(mean, float), np.asarray(kind, object), np.asarray(error, float).copy()
    for name in set(kind_N.ravel()):
        here = kind_N == name
        at, slope = stretched(mean_N[here], name)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[here] = at / (slope * found[here])
    p: Any = 2 * stats.t.sf(np.abs(found), np.asarray(df, float))
    return np.asarray(p, float)


def stretched(mean: NDArray[np.float64], kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carry means over to the line without ends; return them, and the slope there. NaN on and beyond the ends."""
    low, high = ENDS[kind]
    inside = np.where((mean > low) & (mean < high), mean, np.nan)
    if kind == "real":
        return inside, np.ones_like(inside)
    if kind == "positive":
        return np.log(inside), 1 / inside
    if kind == "share":
        return special.logit(inside), 1 / (inside * (1 - inside))
    return np.arctanh(inside / high), high / (high**2 - inside**2)


def _back(at: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Carry ends of intervals back."""
    if kind == "real":
        return at
    if kind == "positive":
        with np.errstate(over="ignore"):
            return np.exp(at)
    if kind == "share":
        return np.asarray(special.expit(at), float)
    return np.asarray(ENDS[kind][1] * np.tanh(at), float)
