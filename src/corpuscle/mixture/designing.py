"""Design: which mixtures to run first, so that few runs say most of all others.

Axes: K sources, N candidates, T targets: the mixtures that are to be predicted.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.simplex import checked_caps, dirichlet, within
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.surrogates.many_kinds import kernels
from corpuscle.mixture.table import SAME_WEIGHTS

N_CANDIDATES, N_TARGETS = 512, 256
# Variances of a run's noise and of the level of scores, over that between mixtures.
NOISE, LEVEL = 0.01, 1.0


class Design(NamedTuple):
    """Mixtures to run: named rows × sources.

    Attributes
    ----------
    runs
        What surrogates learn from.
    held_out
        Interior mixtures, drawn on their own, that only test what was learnt.
    """

    runs: pd.DataFrame
    held_out: pd.DataFrame


def design(
    sources: Sequence[str],
    n: int = 16,
    *,
    rng: np.random.Generator,
    n_held_out: int = 0,
    caps: Mapping[str, float] | ArrayLike | None = None,
    natural: Mapping[str, float] | None = None,
) -> Design:
    """Choose mixtures to run: given ones, then those that lower the mean variance of predictions the most.

    Natural and uniform weights, brought within the caps, then Dirichlet draws, one after another that which says most:
    I-optimality, the mean over the simplex of what stays unknown of a mixture, by the covariances of
    `mixture/surrogates/many_kinds`, before any run. Single sources are not among them: they say less of what is
    between them than mixtures do.

    Parameters
    ----------
    sources
        Names, two or more.
    n
        How many mixtures to learn from, at least 5.
    rng
        The only source of randomness.
    n_held_out
        How many mixtures to test on.
    caps
        The largest weight of each source; see `caps_of`.
    natural
        Weights, or numbers of cells, by source; None: all alike.

    Raises
    ------
    InputError
        When a source is unknown, or named twice, or no mixture is within the caps.

    Examples
    --------
    >>> found = design(["blood", "lung", "skin"], 7, rng=np.random.default_rng(0))
    >>> found.runs.round(2)
             blood  lung  skin
    natural   0.33  0.33  0.33
    mixed 1   0.78  0.18  0.04
    mixed 2   0.37  0.04  0.59
    mixed 3   0.05  0.75  0.20
    mixed 4   0.03  0.15  0.81
    mixed 5   0.25  0.73  0.02
    mixed 6   0.98  0.02  0.01
    """
    names = _checked_names(sources, n, n_held_out)
    caps_K, n_sources = checked_caps(caps, names), len(names)
    natural_K = _natural(natural, names)
    given = {"natural": natural_K, "uniform": np.full(n_sources, 1 / n_sources)}
    first = _distinct({name: within(row[None], caps_K)[0] for name, row in given.items()})
    drawn_NK = dirichlet(rng, max(N_CANDIDATES, 2 * n), caps_K)
    target_TK = within(rng.dirichlet(np.ones(n_sources), N_TARGETS), caps_K)
    added_NK = _greedy(np.stack(list(first.values())), drawn_NK, target_TK, n - len(first))
    runs_NK = np.vstack([*first.values(), added_NK])
    runs = pd.DataFrame(runs_NK, [*first, *(f"mixed {at + 1}" for at in range(len(added_NK)))], list(names))
    held_NK = dirichlet(rng, n_held_out, caps_K) if n_held_out else np.empty((0, n_sources))
    held = pd.DataFrame(held_NK, [f"held out {at + 1}" for at in range(n_held_out)], list(names))
    return Design(runs, held)


def _checked_names(sources: Sequence[str], n: int, n_held_out: int) -> tuple[str, ...]:
    """Return the names of sources."""
    names = tuple(map(str, sources))
    if isinstance(sources, str) or len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"sources: expected two names or more, none twice; got {shortened(repr(sources))}")
    if n < 5 or n_held_out < 0:
        raise InputError(f"expected at least 5 mixtures, and 0 or more held out; got {n} and {n_held_out}")
    return names


def _natural(natural: Mapping[str, float] | None, names: Sequence[str]) -> Array:
    """Return natural weights, shape (K,)."""
    if natural is None:
        return np.full(len(names), 1 / len(names))
    wrong = [name for name in natural if name not in names] + [name for name in names if name not in natural]
    if wrong or not all(0 <= number < np.inf for number in natural.values()) or not sum(natural.values()):
        raise InputError(
            f"natural: expected a number of cells, or a weight, for each of {shortened(', '.join(names))}; got "
            f"{shortened(repr(dict(natural)))}"
        )
    natural_K = np.array([natural[name] for name in names], float)
    return np.asarray(natural_K / natural_K.sum())


def _distinct(rows: Mapping[str, Array]) -> dict[str, Array]:
    """Leave mixtures out that the caps have made equal to an earlier one."""
    found: dict[str, Array] = {}
    for name, row in rows.items():
        if not any(np.abs(row - other).max() < SAME_WEIGHTS * 10 for other in found.values()):
            found[name] = row
    return found


def _greedy(first_NK: Array, drawn_NK: Array, target_TK: Array, n: int) -> Array:
    """Return n draws, one after another that which lowers the mean variance over the targets the most."""
    pool_NK = np.vstack([first_NK, drawn_NK])
    covariances = kernels(target_TK)
    unknown_NN = np.mean([one(pool_NK, pool_NK) for one in covariances], axis=0) + LEVEL
    unknown_NT = np.mean([one(pool_NK, target_TK) for one in covariances], axis=0) + LEVEL
    chosen: list[int] = []
    for turn in range(len(first_NK) + n):
        gain_N = (unknown_NT**2).sum(axis=1) / (np.diag(unknown_NN) + NOISE)
        gain_N[[*range(len(first_NK)), *chosen]] = -np.inf
        best = turn if turn < len(first_NK) else int(gain_N.argmax())
        chosen.append(best)
        # What a run says of the others is no longer unknown.
        share_N = unknown_NN[:, best] / (unknown_NN[best, best] + NOISE)
        unknown_NT = unknown_NT - np.outer(share_N, unknown_NT[best])
        unknown_NN = unknown_NN - np.outer(share_N, unknown_NN[best])
    return np.asarray(pool_NK[chosen[len(first_NK) :]])
