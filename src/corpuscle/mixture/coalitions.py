"""Coalitions: which subsets of the sources to train on, so that each source's value can be learnt.

Axes: S subsets, K sources.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened

# Of so many sources, all subsets can be run: 256.
MOST_FOR_ALL = 8
# A fold-over of 64 subsets has room for so many.
MOST_SOURCES = 31


def coalitions(sources: Sequence[str], n: int = 64, *, rng: np.random.Generator) -> pd.DataFrame:
    """Choose the subsets of sources to train on.

    Of up to eight sources all subsets, if `n` allows it. Else a fold-over, the largest there is room for: the rows of a
    Hadamard matrix (a Plackett–Burman design; 1946, https://doi.org/10.1093/biomet/33.4.305) and their complements, in
    which each source is in half of the subsets, and no main effect is aliased with an interaction of two. What `n`
    leaves is drawn in pairs of complements, sizes uniformly, for Shapley values (Musco & Witter 2025,
    https://arxiv.org/abs/2410.01917): of 20 sources, 128 subsets have both.

    Parameters
    ----------
    sources
        Names, 2 to 31.
    n
        How many subsets at most.
    rng
        The only source of randomness: of the pairs.

    Returns
    -------
    Subsets × sources, whether each is in; named by the sources, the empty subset ``nothing``, the full one ``all``.

    Raises
    ------
    InputError
        When there are too few or too many sources, or `n` is too small for them.

    Examples
    --------
    >>> coalitions(["blood", "lung"], rng=np.random.default_rng(0))
             blood   lung
    nothing  False  False
    lung     False   True
    blood     True  False
    all       True   True
    >>> len(coalitions([f"donor {at}" for at in range(20)], rng=np.random.default_rng(0)))
    64
    """
    names = list(sources)
    k = len(names)
    if not 2 <= k <= MOST_SOURCES or len(set(names)) < k:
        raise InputError(
            f"sources: expected 2 to {MOST_SOURCES}, each once; got {plural(k, 'source')}: "
            f"{shortened(', '.join(names))}"
        )
    if k <= MOST_FOR_ALL and n >= 2**k:
        chosen_SK = np.array(list(itertools.product([False, True], repeat=k)))
    else:
        fitting = [order for order in orders(k) if 2 * order <= n]
        if not fitting:
            least = min([2**k, *(2 * order for order in orders(k))])
            raise InputError(
                f"n: {plural(k, 'source')} need at least {least} subsets to be valued; got {n}; raise it, or join "
                "sources"
            )
        chosen_SK = fold_over(k, fitting[-1])
        chosen_SK = np.vstack([chosen_SK, _pairs(k, (n - len(chosen_SK)) // 2, chosen_SK, rng)])
    index = [subset_name(names, row_K) for row_K in chosen_SK]
    return pd.DataFrame(chosen_SK, pd.Index(index), names)


def subset_name(names: Sequence[str], members_K: NDArray[np.bool_]) -> str:
    """Return the name of a subset: its sources, or what is shorter, those that it lacks."""
    within = [name for name, inside in zip(names, members_K, strict=True) if inside]
    if not within:
        return "nothing"
    if len(within) == len(names):
        return "all"
    if len(within) <= len(names) / 2:
        return " + ".join(within)
    return f"all but {', '.join(name for name in names if name not in within)}"


def orders(k: int) -> list[int]:
    """Return the numbers of rows of the Hadamard matrices that have room for so many sources, ascending; may be none.

    Those in which no two subsets are the same: cut to few columns, rows of large matrices repeat, and a subset that is
    run twice says nothing new.

    Of Paley's construction (orders of a prime + 1), in which no two columns give a third when they are multiplied (from
    12 on): what three sources do together is spread thinly over all main effects, with both signs, rather than added to
    one of them.
    """
    fitting = (order for order in (4, 8, 12, 20, 24, 32) if order > k)
    return [order for order in fitting if len(np.unique(fold_over(k, order), axis=0)) == 2 * order]


def fold_over(k: int, order: int) -> NDArray[np.bool_]:
    """Return the rows of a Hadamard matrix and their complements, shape (S, K); the full and the empty subset are in.

    Examples
    --------
    >>> fold_over(3, 4).sum(axis=0).tolist(), len(fold_over(3, 4)), len(fold_over(31, 32))
    ([4, 4, 4], 8, 64)
    >>> signs = np.where(fold_over(11, 12), 1, -1)
    >>> bool((signs.T @ signs == 24 * np.eye(11)).all())
    True
    """
    prime = order - 1
    squares = {at * at % prime for at in range(1, prime)}
    # Row 0 is all ones; row r + 1 is −1 on the diagonal, and there where the difference is a square: q = 3 mod 4.
    at = (np.arange(prime)[None, :] - np.arange(prime)[:, None]) % prime
    rows = np.where((at == 0) | np.isin(at, list(squares)), -1, 1)
    half_SK = np.vstack([np.ones(prime, int), rows])[:, :k] > 0
    return np.asarray(np.vstack([half_SK, ~half_SK]))


def _pairs(k: int, n_pairs: int, taken_SK: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw subsets and their complements, none twice: sizes uniformly, as a subset's leverage is 1 / C(k, size)."""
    seen = {row_K.tobytes() for row_K in taken_SK}
    found: list[NDArray[np.bool_]] = []
    most = min(n_pairs, (2**k - len(seen)) // 2)
    while len(found) < 2 * most:
        row_K = np.zeros(k, bool)
        row_K[rng.permutation(k)[: rng.integers(1, k)]] = True
        if row_K.tobytes() in seen:
            continue
        found += [row_K, ~row_K]
        seen |= {row_K.tobytes(), (~row_K).tobytes()}
    return np.array(found, bool).reshape(-1, k)
