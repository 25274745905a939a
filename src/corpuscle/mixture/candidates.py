"""Candidates: the mixtures that are compared in draws, and which of them to take.

Axes: K sources, N candidates, D draws, W ways of weighing the outputs.
"""

from collections.abc import Callable

import numpy as np

from corpuscle.mixture.simplex import dirichlet, within
from corpuscle.mixture.surrogate import Array

# Mixtures whose mean is found, around the best of which others are drawn, and those whose draws are.
N_WIDE, N_NEAR, N_DRAWN = 2000, 1000, 300
# The best of the first, around which the second are drawn.
N_GOOD = 20
# Dirichlet strengths around a good mixture, over one: standard deviations of a weight of 0.5 of 0.11 to 0.035.
NEARNESS = (20.0, 60.0, 200.0)


def candidates(
    given_NK: Array, value: Callable[[Array], Array], caps_K: Array, rng: np.random.Generator
) -> Array:  # fmt: skip
    """Return mixtures that may be the best, shape (N, K): those that are given, then others.

    Parameters
    ----------
    given_NK
        Mixtures to compare in any case.
    value
        Takes mixtures, and returns how good they are expected to be, shape (N, W); higher is better.
    caps_K
        The largest weight of each source.
    rng
        The only source of randomness.
    """
    wide_NK = np.vstack([given_NK, dirichlet(rng, N_WIDE, caps_K), within(np.eye(len(caps_K)), caps_K)])
    good_NK = wide_NK[_best_first(value(wide_NK))[:N_GOOD]]
    centre_NK = np.resize(good_NK, (N_NEAR, len(caps_K)))
    near_NK = rng.gamma(np.maximum(np.resize(NEARNESS, N_NEAR)[:, None] * centre_NK, 1e-3)) + 1e-300
    near_NK = within(near_NK / near_NK.sum(axis=1, keepdims=True), caps_K)
    others_NK = np.vstack([wide_NK[len(given_NK) :], near_NK])
    # Half of the best, half of any: the best by the mean may not be the best.
    order_N = _best_first(value(others_NK))
    rest = rng.choice(order_N[N_DRAWN // 2 :], N_DRAWN // 2, replace=False)
    return np.vstack([given_NK, others_NK[order_N[: N_DRAWN // 2]], others_NK[rest]])


def _best_first(value_NW: Array) -> np.ndarray:
    """Return an order of mixtures by the best of their ranks: the best of each way first."""
    order_NW = np.argsort(-value_NW, axis=0, kind="stable")
    return np.asarray(np.argsort(np.argsort(order_NW, axis=0, kind="stable").min(axis=1), kind="stable"))


def best_of(mean_N: Array, draws_DN: Array, centre: int) -> int:
    """Return the candidate to take: the mean of the draws' best, while it ties with the highest mean.

    The highest of many expected values is partly luck. More of a source helps less and less, so that a mean of good
    mixtures is good, and its luck is averaged out.

    Parameters
    ----------
    mean_N
        Expected values.
    draws_DN
        Draws of them.
    centre
        Which candidate is the mean of the draws' best.
    """
    highest = int(mean_N.argmax())
    behind_D = draws_DN[:, highest] - draws_DN[:, centre]
    return centre if np.quantile(behind_D, 0.05) <= 1e-12 else highest
