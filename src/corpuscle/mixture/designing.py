"""Design: which mixtures to run first, so that few runs say most of all others.

Axes: K sources, N candidates, P features of a mixture.
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
from corpuscle.mixture.table import SAME_WEIGHTS

# Of the first mixtures, so large a part may be given ones: the best is mostly between sources, and in made-up worlds of
# eight sources two thirds of given ones left a regret of 0.068, a third 0.054 (12 of the worlds of
# benchmarks/mixture.py).
GIVEN = 1 / 3
N_CANDIDATES = 512
# Variance of noise over that of a coefficient: keeps the criterion finite with fewer runs than features.
RIDGE = 0.01


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


def design(  # noqa: PLR0913  # all but two by name
    sources: Sequence[str],
    n: int = 16,
    *,
    rng: np.random.Generator,
    n_held_out: int = 0,
    caps: Mapping[str, float] | ArrayLike | None = None,
    natural: Mapping[str, float] | None = None,
    base: str | None = None,
) -> Design:
    """Choose mixtures to run: given ones, then those that lower the mean variance of predictions the most.

    In order: natural and uniform weights; of the single sources and the halves of base and another source, those that
    say most, up to a third of all; then Dirichlet draws, greedily by the same criterion (I-optimality: the mean over
    the simplex of the variance of a linear prediction from w and √w). Single sources and halves are brought within
    the caps, where what a source cannot have goes to the others as `natural` has them.

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
    base
        The source that edges begin at; None: the largest in `natural`.

    Raises
    ------
    InputError
        When a source is unknown, or named twice, or no mixture is within the caps.

    Examples
    --------
    >>> found = design(["blood", "lung", "skin"], 7, rng=np.random.default_rng(0), base="blood")
    >>> found.runs.round(2)
                blood  lung  skin
    natural      0.33  0.33  0.33
    only blood   1.00  0.00  0.00
    mixed 1      0.27  0.01  0.72
    mixed 2      0.00  1.00  0.00
    mixed 3      0.00  0.00  1.00
    mixed 4      0.71  0.19  0.10
    mixed 5      0.53  0.47  0.00
    """
    names = _checked_names(sources, n, n_held_out)
    caps_K, n_sources = checked_caps(caps, names), len(names)
    natural_K = _natural(natural, names)
    if base is not None and base not in names:
        raise InputError(f"base: there is no source {shortened(base)!r}; there are {shortened(', '.join(names))}")
    at_base = names.index(base) if base is not None else int(natural_K.argmax())
    given = {"natural": natural_K, "uniform": np.full(n_sources, 1 / n_sources)}
    single_KK = np.eye(n_sources)
    corners = {f"only {name}": single_KK[at] for at, name in enumerate(names)}
    corners |= {
        f"{names[at_base]} + {name}": (single_KK[at] + single_KK[at_base]) / 2
        for at, name in enumerate(names)
        if at != at_base
    }
    # What a cap takes from a source goes to the others as natural weights have them.
    placed = {name: within(row[None] + 1e-6 * natural_K, caps_K)[0] for name, row in (given | corners).items()}
    rows = _distinct({name: within(_rounded(row)[None], caps_K)[0] for name, row in placed.items()})
    pool_NK = dirichlet(rng, N_CANDIDATES, caps_K)
    chosen = {name: rows[name] for name in given if name in rows}
    others = {name: row for name, row in rows.items() if name not in given}
    chosen |= _greedy(chosen, others, pool_NK, max(0, min(int(GIVEN * n), len(rows)) - len(chosen)))
    drawn = {f"mixed {at + 1}": row for at, row in enumerate(pool_NK)}
    added = _greedy(chosen, drawn, pool_NK, n - len(chosen))
    chosen |= {f"mixed {at + 1}": row for at, row in enumerate(added.values())}
    held_NK = dirichlet(rng, n_held_out, caps_K) if n_held_out else np.empty((0, n_sources))
    held = pd.DataFrame(held_NK, [f"held out {at + 1}" for at in range(n_held_out)], list(names))
    return Design(pd.DataFrame(np.stack(list(chosen.values())), list(chosen), list(names)).iloc[:n], held)


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


def _rounded(weights_K: Array) -> Array:
    """Return a mixture without the traces of natural weights that said where to put what a cap takes."""
    weights_K = np.where(weights_K < 1e-5, 0.0, weights_K)
    return np.asarray(weights_K / weights_K.sum())


def _distinct(rows: Mapping[str, Array]) -> dict[str, Array]:
    """Leave mixtures out that the caps have made equal to an earlier one."""
    found: dict[str, Array] = {}
    for name, row in rows.items():
        if not any(np.abs(row - other).max() < SAME_WEIGHTS * 10 for other in found.values()):
            found[name] = row
    return found


def _features(weights_NK: Array) -> Array:
    return np.hstack([weights_NK, np.sqrt(weights_NK)])


def _greedy(chosen: Mapping[str, Array], others: Mapping[str, Array], pool_NK: Array, n: int) -> dict[str, Array]:
    """Add mixtures one by one, each the one that lowers the mean variance over the pool the most."""
    pool_NP = _features(pool_NK)
    moment_PP = pool_NP.T @ pool_NP / len(pool_NP)
    inverse_PP = np.eye(pool_NP.shape[1]) / RIDGE
    for row in chosen.values():
        inverse_PP = _updated(inverse_PP, _features(row[None])[0])
    names, left = list(others), np.ones(len(others), bool)
    found: dict[str, Array] = {}
    if not others:
        return found
    features_NP = _features(np.stack(list(others.values())))
    for _ in range(min(n, len(names))):
        turned_NP = features_NP @ inverse_PP
        gain_N = np.einsum("np,pq,nq->n", turned_NP, moment_PP, turned_NP, optimize=True)
        gain_N /= 1 + (turned_NP * features_NP).sum(axis=1)
        best = int(np.where(left, gain_N, -np.inf).argmax())
        left[best] = False
        found[names[best]] = others[names[best]]
        inverse_PP = _updated(inverse_PP, features_NP[best])
    return found


def _updated(inverse_PP: Array, row_P: Array) -> Array:
    """Return the inverse after one more run (Sherman and Morrison)."""
    turned_P = inverse_PP @ row_P
    return np.asarray(inverse_PP - np.outer(turned_P, turned_P) / (1 + row_P @ turned_P))
