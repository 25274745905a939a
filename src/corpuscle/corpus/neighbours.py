"""Nearest neighbours, exactly and deterministically, for some ten thousand points. Axes: N points, K coordinates."""

import numpy as np
from numpy.typing import NDArray

BLOCK_POINTS = 1024


def nearest(points_NK: NDArray[np.float32], n_neighbours: int) -> NDArray[np.int64]:
    """Return each point's nearest other points in Euclidean distance, nearest first; equal ones by position.

    Parameters
    ----------
    points_NK
        More points than `n_neighbours`.
    n_neighbours
        How many.

    Returns
    -------
    Positions, shape (N, n_neighbours).

    Examples
    --------
    >>> nearest(np.array([[0.0], [1.0], [3.0], [7.0]], np.float32), 2).tolist()
    [[1, 2], [0, 2], [1, 0], [2, 1]]
    """
    points = points_NK.astype(np.float64)
    square_N = np.einsum("nk,nk->n", points, points)
    found = np.empty((len(points), n_neighbours), np.int64)
    for start in range(0, len(points), BLOCK_POINTS):
        block = slice(start, min(start + BLOCK_POINTS, len(points)))
        distance_BN = square_N - 2 * points[block] @ points.T
        distance_BN[np.arange(block.stop - start), np.arange(start, block.stop)] = np.inf
        found[block] = np.argsort(distance_BN, axis=1, kind="stable")[:, :n_neighbours]
    return found
