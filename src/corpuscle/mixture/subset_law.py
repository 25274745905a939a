"""Subset law: a law of diminishing returns over subsets of sources, which takes out most of what sources do together.

Axes: S subsets, K sources.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from corpuscle.core.randomness import generator
from corpuscle.mixture.surrogate import Array

# Standard deviations of the normal priors of log s, of log e, and of log a about its centre; in units of noise.
SPREAD_SOURCE, SPREAD_FLOOR, SPREAD_POWER = 2.5, 2.0, 1.0
CENTRE_POWER = np.log(0.5)
# Standard deviation of a subset about the law, in standard deviations of all subsets, that the priors are weighed by.
NOISE = 0.1
# Means over subsets and orders are over so many draws, with their complements and reversals.
N_DRAWS = 2048
STARTS = (0.0, -2.0)

Law = Callable[[NDArray[np.bool_]], Array]


def subset_law(subset_SK: NDArray[np.bool_], mean_S: Array) -> Law:
    """Fit v(S) = c − b (e + Σ_{i in S} s_i)^(−a), with s, e, a, b above 0, and return it as a function.

    The law of mixtures (`surrogates.saturating`) on amounts rather than shares. It cannot hold a source that does harm:
    estimates are of what it leaves, too, so that they are right where it is wrong.

    Parameters
    ----------
    subset_SK
        Whether each source is in.
    mean_S
        Scores, higher is better.

    Examples
    --------
    >>> subsets = np.array([[a, b] for a in (False, True) for b in (False, True)])
    >>> law = subset_law(subsets, np.array([0.0, 0.5, 0.5, 0.7]))
    >>> bool(law(subsets)[3] - law(subsets)[2] < law(subsets)[2] - law(subsets)[0])
    True
    """
    member_SK = subset_SK.astype(float)
    centre, unit = float(mean_S.mean()), float(mean_S.std()) or 1.0
    value_S = (mean_S - centre) / unit
    k = member_SK.shape[1]

    def of(parameters: Array, members_SK: Array) -> Array:
        top, log_b, log_a, log_e = parameters[:4]
        amount = np.exp(log_e) + members_SK @ np.exp(parameters[4:]) / k
        return np.asarray(top - np.exp(log_b - np.exp(log_a) * np.log(amount)))

    def errors(parameters: Array) -> Array:
        prior = np.concatenate([
            [(parameters[2] - CENTRE_POWER) / SPREAD_POWER, parameters[3] / SPREAD_FLOOR, parameters[1] / 3],
            parameters[4:] / SPREAD_SOURCE,
        ])  # fmt: skip
        return np.concatenate([(of(parameters, member_SK) - value_S) / NOISE, prior])

    bounds = np.concatenate([[20.0, 6.0, 2.0, 6.0], np.full(k, 8.0)])
    fits = [
        least_squares(errors, np.concatenate([[1.0, 0.0, CENTRE_POWER, start], np.zeros(k)]), bounds=(-bounds, bounds))
        for start in STARTS
    ]
    best: Array = min(fits, key=lambda fit: fit.cost).x
    return lambda subsets_SK: centre + unit * of(best, subsets_SK.astype(float))


def banzhaf_of(law: Law, k: int) -> Array:
    """Return the mean over subsets of what each source adds under a law, shape (K,)."""
    subset_SK = _subsets(k)
    return np.array(
        [(law(_with(subset_SK, {at: True})) - law(_with(subset_SK, {at: False}))).mean() for at in range(k)]
    )


def interactions_of(law: Law, pairs: Sequence[tuple[int, int]], k: int) -> Array:
    """Return the mean over subsets of what pairs of sources add beyond what each adds alone, under a law."""
    subset_SK = _subsets(k)[:: 1 if len(pairs) <= k else 8]

    def at(one: int, two: int, *, first: bool, second: bool) -> float:
        return float(law(_with(subset_SK, {one: first, two: second})).mean())

    return np.array([
        at(*pair, first=True, second=True) - at(*pair, first=True, second=False)
        - at(*pair, first=False, second=True) + at(*pair, first=False, second=False)
        for pair in pairs
    ])  # fmt: skip


def _subsets(k: int) -> NDArray[np.bool_]:
    """Draw subsets and their complements."""
    half_SK = generator(0, "subsets of a law").random((N_DRAWS, k)) < 0.5
    return np.asarray(np.stack([half_SK, ~half_SK], axis=1).reshape(-1, k))


def _with(subset_SK: NDArray[np.bool_], members: dict[int, bool]) -> NDArray[np.bool_]:
    """Return subsets in which some sources are, or are not."""
    found = subset_SK.copy()
    for at, inside in members.items():
        found[:, at] = inside
    return found


def shapley_of(law: Law, k: int) -> Array:
    """Return the mean over orders of what each source adds under a law, shape (K,)."""
    rng = generator(0, "orders of a law")
    place_DK = np.argsort(rng.random((N_DRAWS, k)), axis=1)
    place_DK = np.vstack([place_DK, k - 1 - place_DK])
    value_DN = np.stack([law(place_DK < n) for n in range(k + 1)], axis=1)
    added_DN = np.diff(value_DN, axis=1)
    return np.asarray(np.take_along_axis(added_DN, place_DK, axis=1).mean(axis=0))
