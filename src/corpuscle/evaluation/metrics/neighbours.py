"""Nearest neighbours of an embedding: exact, found once, and what is built on them.

Axes in names: N cells, Q query cells, R reference cells, K dimensions, J neighbours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors


class Neighbours(NamedTuple):
    """The nearest neighbours of each cell, itself first (distance 0), then by rising Euclidean distance.

    Attributes
    ----------
    index_NJ
        Positions of the neighbours.
    distance_NJ
        Their distances.
    """

    index_NJ: NDArray[np.int64]
    distance_NJ: NDArray[np.float64]

    def first(self, n: int) -> "Neighbours":
        """Return the first n of each cell, itself among them."""
        return Neighbours(self.index_NJ[:, :n], self.distance_NJ[:, :n])


def nearest(z_NK: NDArray[np.floating], n: int) -> Neighbours:
    """Find the n nearest of each cell, itself among them; all cells where there are fewer than n.

    Exact, a block of cells at a time: memory grows with N × n, not N².

    Examples
    --------
    >>> nearest(np.array([[0.0], [1.0], [3.0]]), 2).index_NJ.tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    n_cells = len(z_NK)
    itself = np.arange(n_cells)[:, None]
    if min(n, n_cells) < 2:
        return Neighbours(itself, np.zeros((n_cells, 1)))
    search = NearestNeighbors(n_neighbors=min(n, n_cells) - 1, algorithm="brute").fit(z_NK)
    # Asked of its own cells, it leaves out the cell itself, also where another lies at the same place.
    distance_NJ, index_NJ = search.kneighbors()
    return Neighbours(
        np.hstack([itself, index_NJ]).astype(np.int64), np.hstack([np.zeros((n_cells, 1)), distance_NJ]).astype(float)
    )


def nearest_in(reference_RK: NDArray[np.floating], query_QK: NDArray[np.floating], n: int) -> NDArray[np.int64]:
    """Find the n nearest reference cells of each query cell, nearest first: positions, shape (Q, n).

    Examples
    --------
    >>> nearest_in(np.array([[0.0], [1.0], [3.0]]), np.array([[2.5]]), 2).tolist()
    [[2, 1]]
    """
    return neighbours_in(reference_RK, query_QK, n).index_NJ


def neighbours_in(reference_RK: NDArray[np.floating], query_QK: NDArray[np.floating], n: int) -> Neighbours:
    """Find the n nearest reference cells of each query cell, nearest first, and how far they are.

    Examples
    --------
    >>> neighbours_in(np.array([[0.0], [1.0], [3.0]]), np.array([[2.5]]), 2).distance_NJ.tolist()
    [[0.5, 1.5]]
    """
    search = NearestNeighbors(n_neighbors=n, algorithm="brute").fit(reference_RK)
    distance_QJ, index_QJ = search.kneighbors(query_QK)
    return Neighbours(index_QJ.astype(np.int64), distance_QJ.astype(np.float64))


def connectivities(found: Neighbours) -> csr_matrix:
    """Return the symmetric weights of the neighbour graph as UMAP and scanpy define them, shape (N, N).

    References
    ----------
    McInnes, Healy and Melville 2018, UMAP, https://arxiv.org/abs/1802.03426.
    """
    from umap.umap_ import fuzzy_simplicial_set

    n_cells, n = found.index_NJ.shape
    weights, *_ = fuzzy_simplicial_set(
        csr_matrix((n_cells, 1)),
        n_neighbors=n,
        random_state=None,
        metric=None,
        knn_indices=found.index_NJ,
        knn_dists=found.distance_NJ.astype(np.float32),
    )
    return csr_matrix(weights)


def neighbour_overlap(one: Neighbours, other: Neighbours) -> NDArray[np.float64]:
    """Return the share of each cell's neighbours in one embedding that are its neighbours in another too.

    Parameters
    ----------
    one, other
        The neighbours of the same N cells, as many in both; the cell itself does not count.

    Returns
    -------
    Shape (N,), from 0 to 1, higher is more alike; J / (N - 1) is expected by chance.

    Examples
    --------
    >>> z = np.array([[0.0], [1.0], [3.0]])
    >>> neighbour_overlap(nearest(z, 2), nearest(-2 * z, 2)).tolist()
    [1.0, 1.0, 1.0]
    """
    one_NJ, other_NJ = one.index_NJ[:, 1:], other.index_NJ[:, 1:]
    n_cells, n = one_NJ.shape
    # A neighbour's number is made its own for each cell, so that one sorted look-up serves all.
    offset_N1 = np.arange(n_cells)[:, None] * n_cells
    shared = np.isin(one_NJ + offset_N1, other_NJ + offset_N1)
    share: NDArray[np.float64] = shared.sum(axis=1) / n
    return share
