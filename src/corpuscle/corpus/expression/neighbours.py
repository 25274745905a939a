"""Exact nearest neighbours between two sets of points, in one pass over all pairs and with bounded memory.

Pairs are compared by direct differences in float32, not by |a|² + |b|² - 2ab, which loses the small distances of points
far from the origin. The distance of a to b is that of b to a to the last bit, and of equal points 0: so "at most the
radius" means just that where points coincide. Axes in names: T points, S others, K dimensions.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError

# Others compared at once: as many × 50 dimensions in float32 are 51 kB, and stay in the processor's cache.
BLOCK = 256
BLOCK_POINTS = 1024


class NeighbourTable(NamedTuple):
    """What a pass over all pairs found.

    Attributes
    ----------
    square_Tk
        Squared distances of each point to its k nearest others, rising.
    balls_S
        In how many of the points' balls each other lies, edges included; zeros where no radii were given.
    """

    square_Tk: NDArray[np.float32]
    balls_S: NDArray[np.int64]


def neighbours(
    points_TK: NDArray[np.floating],
    others_SK: NDArray[np.floating],
    k: int,
    square_radius_T: NDArray[np.float32] | None = None,
) -> NeighbourTable:
    """Find the k nearest others of each point and, with radii, in how many of the points' balls each other lies.

    Parameters
    ----------
    points_TK, others_SK
        The points; float32 is computed with.
    k
        How many nearest others, at least 1.
    square_radius_T
        The squared radius of each point's ball.

    Raises
    ------
    MeasureError
        When there are fewer than k others, the dimensions differ, or a coordinate is NaN or infinite.

    Examples
    --------
    >>> found = neighbours(np.array([[0.0], [4.0]]), np.array([[1.0], [3.0], [9.0]]), 2, np.float32([1, 4]))
    >>> found.square_Tk.tolist(), found.balls_S.tolist()
    ([[1.0, 9.0], [1.0, 9.0]], [1, 1, 0])
    """
    points_TK = np.ascontiguousarray(points_TK, np.float32)
    others_SK = np.asarray(others_SK, np.float32)
    if points_TK.ndim != 2 or others_SK.ndim != 2 or points_TK.shape[1] != others_SK.shape[1]:
        raise MeasureError(f"cells have the shapes {points_TK.shape} and {others_SK.shape}; give them equal dimensions")
    if len(others_SK) < k:
        raise MeasureError(f"{k} nearest cells were asked for, but there are {len(others_SK):,}")
    if not (np.isfinite(points_TK).all() and np.isfinite(others_SK).all()):
        raise MeasureError("coordinates hold NaN or infinite values")
    square_Tk = np.full((len(points_TK), k), np.inf, np.float32)
    balls_S = np.zeros(len(others_SK), np.int64)
    square_radius_T = np.full(len(points_TK), -1, np.float32) if square_radius_T is None else square_radius_T
    _scan(points_TK, np.ascontiguousarray(others_SK.T), square_radius_T, square_Tk, balls_S)
    return NeighbourTable(square_Tk, balls_S)


def square_radii(points_NK: NDArray[np.floating], k: int) -> NDArray[np.float32]:
    """Return each point's squared distance to its k-th nearest other point, shape (N,).

    Raises
    ------
    MeasureError
        When there are not more than k points.

    Examples
    --------
    >>> square_radii(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 4.0]
    """
    if len(points_NK) <= k:
        raise MeasureError(
            f"a cell's {k} nearest other cells were asked for, but there are only {len(points_NK):,} cells"
        )
    # Each point is its own nearest, at 0.
    return neighbours(points_NK, points_NK, k + 1).square_Tk[:, k].copy()


def nearest_others(points_NK: NDArray[np.float32], n_neighbours: int) -> NDArray[np.int64]:
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
    >>> nearest_others(np.array([[0.0], [1.0], [3.0], [7.0]], np.float32), 2).tolist()
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


@njit(cache=True, nogil=True, fastmath={"contract"})
def _scan(points_TK: Any, others_KS: Any, square_radius_T: Any, square_Tk: Any, balls_S: Any) -> None:
    n_points, n_dims = points_TK.shape
    n_others, k = others_KS.shape[1], square_Tk.shape[1]
    square = np.empty(BLOCK, np.float32)
    for start in range(0, n_others, BLOCK):
        width = min(BLOCK, n_others - start)
        for t in range(n_points):
            square[:width] = np.float32(0)
            dim = 0
            # Four dimensions a pass: the sums are loaded and stored a quarter as often.
            while dim + 3 < n_dims:
                a, b, c, d = points_TK[t, dim], points_TK[t, dim + 1], points_TK[t, dim + 2], points_TK[t, dim + 3]
                row_a, row_b = others_KS[dim, start : start + width], others_KS[dim + 1, start : start + width]
                row_c, row_d = others_KS[dim + 2, start : start + width], others_KS[dim + 3, start : start + width]
                for j in range(width):
                    gap_a, gap_b, gap_c, gap_d = a - row_a[j], b - row_b[j], c - row_c[j], d - row_d[j]
                    square[j] += gap_a * gap_a + gap_b * gap_b + (gap_c * gap_c + gap_d * gap_d)
                dim += 4
            for rest in range(dim, n_dims):
                at, row = points_TK[t, rest], others_KS[rest, start : start + width]
                for j in range(width):
                    gap = at - row[j]
                    square[j] += gap * gap
            furthest, radius = square_Tk[t, k - 1], square_radius_T[t]
            for j in range(width):
                if square[j] <= radius:
                    balls_S[start + j] += 1
                if square[j] < furthest:
                    place = k - 1
                    while place > 0 and square_Tk[t, place - 1] > square[j]:
                        square_Tk[t, place] = square_Tk[t, place - 1]
                        place -= 1
                    square_Tk[t, place] = square[j]
                    furthest = square_Tk[t, k - 1]
