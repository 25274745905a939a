"""Turns: groups of cells take turns, so that any beginning of the order is as balanced as the groups' sizes allow.

This is water-filling, written as an order: groups that run out leave their turns to the others. Axes in names: N
cells, K groups.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def take_turns(
    group_N: NDArray[np.integer],
    n_cells: int,
    number_N: NDArray[np.uint64],
    number_K: NDArray[Any],
    weight_K: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose cells in rounds: in each, every group that has cells left gives the one with the smallest number.

    Parameters
    ----------
    group_N
        Each cell's group, 0 … K - 1.
    n_cells
        How many to choose, at most N.
    number_N
        A random number of each cell, which decides which of a group's cells go first: see `cell_numbers`.
    number_K
        A random number of each group, which decides which groups go first in a round. Were it left to the cells'
        numbers, large groups would come first.
    weight_K
        How often each group has its turn, relative to the others; None: equally often. A group gives cells in
        proportion to its weight (Sainte-Laguë's rule) until it has no more.

    Returns
    -------
    Positions, `n_cells` of them, none twice, in the order of the turns: with the same numbers, a smaller choice is the
    beginning of a larger one.

    Examples
    --------
    >>> group_N = np.repeat([0, 1, 2], [2, 50, 50])
    >>> number_N = np.random.default_rng(0).integers(2**63, size=102, dtype=np.uint64)
    >>> np.bincount(group_N[take_turns(group_N, 12, number_N, np.array([2, 0, 1]))]).tolist()
    [2, 5, 5]
    """
    shuffled = np.argsort(number_N)
    group_N = group_N[shuffled]
    turn_N = rank_within(group_N)
    key_N = turn_N if weight_K is None else (turn_N + 0.5) / weight_K[group_N]
    return shuffled[smallest(key_N, n_cells, number_K[group_N])]


def rank_within(group_N: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return each cell's place in its group, from 0, in the order in which they stand; shape (N,).

    Examples
    --------
    >>> rank_within(np.array([3, 1, 3, 3, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    # numpy sorts small integers in linear time.
    if len(group_N) and group_N.max() < 2**16:
        group_N = group_N.astype(np.uint16)
    order = np.argsort(group_N, kind="stable")
    start_K = np.concatenate([[0], np.cumsum(np.bincount(group_N))])
    rank_N = np.empty(len(group_N), np.int64)
    rank_N[order] = np.arange(len(group_N)) - start_K[group_N[order]]
    return rank_N


def smallest(key_N: NDArray[Any], n: int, then_N: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Return the positions of the n smallest keys, in ascending order; equal ones by `then_N`, then by position.

    Examples
    --------
    >>> smallest(np.array([2.0, 1.0, 2.0, 0.5]), 3).tolist()
    [3, 1, 0]
    """
    candidates = np.arange(len(key_N))
    if 0 < n < len(key_N):
        candidates = np.flatnonzero(key_N <= np.partition(key_N, n - 1)[n - 1])
    keys = (key_N,) if then_N is None else (then_N, key_N)
    return candidates[np.lexsort([key[candidates] for key in keys])[:n]]
