"""Trajectories: how far cells are from a root along the neighbour graph, and which groups of cells are connected.

Axes in names: N cells, J neighbours of each, C groups.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from corpuscle.evaluation.metrics.neighbours import Neighbours

Array = NDArray[np.float64]
# As scanpy: so many diffusion components are found, of which the distance has the first; and from which eigenvalue on
# a component is stationary.
N_COMPONENTS, N_FIRST, STATIONARY = 15, 10, 0.9994


def diffusion_pseudotime(weights_NN: csr_matrix, root: int) -> Array:
    """Return how far cells are from a root by random walks of all lengths on the neighbour graph, from 0 to 1.

    Parameters
    ----------
    weights_NN
        Symmetric weights; see `corpuscle.evaluation.metrics.neighbours.connectivities`.
    root
        Where walks begin.

    Returns
    -------
    Shape (N,): 0 for the root, 1 for the cell farthest from it; NaN for cells that no path leads to.

    References
    ----------
    Haghverdi et al. 2016, Nat Methods 13:845; the transition matrix is normalised for density and symmetric, as
    ``scanpy.tl.dpt`` has it.

    Examples
    --------
    >>> three = csr_matrix([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0.0]])
    >>> found = diffusion_pseudotime(three, 0)
    >>> float(found[0]), bool(np.isnan(found[3]))
    (0.0, True)
    """
    weights = csr_matrix(weights_NN, dtype=np.float64)
    n_cells = weights.shape[0]
    _, part_N = connected_components(weights, directed=False)
    reached_N = part_N == part_N[root]
    density = diags(_inverse(np.asarray(weights.sum(axis=0)).ravel()))
    kernel = density @ weights @ density
    scale = diags(np.sqrt(_inverse(np.asarray(kernel.sum(axis=0)).ravel())))
    transitions = (scale @ kernel @ scale).tocsr()
    if n_cells <= N_COMPONENTS + 1:
        value_K, vector_NK = np.linalg.eigh(transitions.toarray())
    else:
        start = np.random.default_rng(0).random(n_cells)
        value_K, vector_NK = eigsh(transitions, N_COMPONENTS, which="LM", v0=start)
    first = np.argsort(-value_K, kind="stable")[:N_FIRST]
    value_K, vector_NK = value_K[first], vector_NK[:, first]
    moving_K = value_K < STATIONARY
    factor_K = np.ones(len(value_K))
    factor_K[moving_K] = value_K[moving_K] / (1 - value_K[moving_K])
    distance_N = np.sqrt((((vector_NK[root] - vector_NK) * factor_K) ** 2).sum(axis=1))
    distance_N[~reached_N] = np.nan
    farthest = np.nanmax(distance_N)
    found: Array = distance_N / farthest if farthest > 0 else distance_N
    return found


def _inverse(values: Array) -> Array:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def group_connectivities(found: Neighbours, group_N: NDArray[np.int64], n_groups: int) -> Array:
    """Return how strongly groups of cells are connected: edges between them over those that chance would give.

    Parameters
    ----------
    found
        The nearest of each cell, itself the first.
    group_N
        Which group each cell is in, from 0.
    n_groups
        How many there are, C.

    Returns
    -------
    Shape (C, C), symmetric, from 0 to 1, 0 on the diagonal.

    References
    ----------
    Wolf et al. 2019, Genome Biol 20:59 (PAGA), as ``scanpy.tl.paga`` has it (model v1.2).

    Examples
    --------
    >>> near = Neighbours(np.array([[0, 1], [1, 2], [2, 1], [3, 2]]), np.zeros((4, 2)))
    >>> group_connectivities(near, np.array([0, 0, 1, 1]), 2).round(2).tolist()
    [[0.0, 0.75], [0.75, 0.0]]
    """
    n_cells, n = found.index_NJ.shape
    start = np.repeat(np.arange(n_cells), n - 1)
    edges_CC = np.zeros((n_groups, n_groups))
    np.add.at(edges_CC, (group_N[start], group_N[found.index_NJ[:, 1:].ravel()]), 1.0)
    size_C, out_C = np.bincount(group_N, minlength=n_groups), edges_CC.sum(axis=1)
    between_CC = edges_CC + edges_CC.T
    expected_CC = (np.outer(out_C, size_C) + np.outer(size_C, out_C)) / max(n_cells - 1, 1)
    ratio_CC = np.divide(between_CC, expected_CC, out=np.ones_like(between_CC), where=expected_CC > 0)
    ratio_CC = np.where(between_CC > 0, np.minimum(ratio_CC, 1.0), 0.0)
    np.fill_diagonal(ratio_CC, 0.0)
    return ratio_CC
