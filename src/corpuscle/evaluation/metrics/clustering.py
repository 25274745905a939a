"""Clustering: finding groups in an embedding, and how they agree with known types, each cell or type counting as much.

Axes in names: N cells, T types, C clusters, K dimensions.
"""

import random
import warnings
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
)
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information


class Agreement(NamedTuple):
    """How clusters agree with types; higher is better, 1 is perfect, 0 is chance for `ari` and `ami`.

    Attributes
    ----------
    ari, ami
        Adjusted Rand index and adjusted mutual information (arithmetic mean).
    homogeneity, completeness, v_measure
        Whether a cluster has one type; whether a type is in one cluster; their harmonic mean.
    """

    ari: float
    ami: float
    homogeneity: float
    completeness: float
    v_measure: float


def agreement(truth_N: NDArray[np.str_], cluster_N: NDArray[np.int64]) -> Agreement:
    """Compare clusters with types, each cell counting once."""
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(truth_N, cluster_N)
    return Agreement(
        float(adjusted_rand_score(truth_N, cluster_N)),
        float(adjusted_mutual_info_score(truth_N, cluster_N)),
        float(homogeneity),
        float(completeness),
        float(v_measure),
    )


def balanced_agreement(truth_N: NDArray[np.str_], cluster_N: NDArray[np.int64]) -> Agreement:
    """Compare clusters with types, each type counting as much, as Maan et al. 2024 do.

    Every row of the contingency table C (types × clusters) is scaled to the mean size of a type, T = round(N / types):
    C'_ij = int(C_ij · 1 / (Σ_j C_ij / T)), cut to whole cells as in the published code (0.54336, not 0.5419, for its
    example). The metrics are then those of C'; the Rand index and the expected mutual information keep N.

    References
    ----------
    Maan et al. 2024, Characterizing the impacts of dataset imbalance on single-cell data integration, Nat Biotechnol,
    https://doi.org/10.1038/s41587-023-02097-9.

    Examples
    --------
    >>> types, clusters = np.repeat(["A", "B", "C"], [500, 20, 500]), np.repeat([0, 0, 1], [500, 20, 500])
    >>> agreement(types, clusters).ari, balanced_agreement(types, clusters).ari
    (0.961..., 0.571...)
    """
    n = len(truth_N)
    table_TC = _balanced(contingency_matrix(truth_N, cluster_N))
    information, h_type, h_cluster = _information(table_TC), _entropy(table_TC.sum(1)), _entropy(table_TC.sum(0))
    homogeneity = information / h_type if h_type else 1.0
    completeness = information / h_cluster if h_cluster else 1.0
    total = homogeneity + completeness
    v_measure = 2 * homogeneity * completeness / total if total else 0.0
    ami = _adjusted_information(table_TC, n, information, (h_type + h_cluster) / 2)
    return Agreement(_balanced_rand(table_TC, n), ami, homogeneity, completeness, v_measure)


def _balanced(table_TC: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every type the mean size of all; the cut to whole numbers is the published code's."""
    size_T1 = table_TC.sum(axis=1, keepdims=True)
    mean_size = round(float(size_T1.mean()))
    scaled: NDArray[np.int64] = (table_TC * (1 / (size_T1 / mean_size))).astype(np.int64)
    return scaled


def _balanced_rand(table_TC: NDArray[np.int64], n: int) -> float:
    """Return the adjusted Rand index of a table of pairs among n cells (Hubert and Arabie 1985)."""
    size_T, size_C = table_TC.sum(axis=1), table_TC.sum(axis=0)
    squares = int((table_TC**2).sum())
    fp = int((table_TC @ size_C).sum()) - squares
    fn = int((table_TC.T @ size_T).sum()) - squares
    tp, tn = squares - n, n**2 - fp - fn - squares
    if fn == 0 and fp == 0:
        return 1.0
    return 2.0 * (tp * tn - fn * fp) / ((tp + fn) * (fn + tn) + (tp + fp) * (fp + tn))


def _information(table_TC: NDArray[np.int64]) -> float:
    """Return the mutual information of a table, in nats."""
    share_TC = table_TC / table_TC.sum()
    expected_TC = np.outer(share_TC.sum(axis=1), share_TC.sum(axis=0))
    there = share_TC > 0
    return max(0.0, float((share_TC[there] * np.log(share_TC[there] / expected_TC[there])).sum()))


def _entropy(sizes: NDArray[np.int64]) -> float:
    share = sizes[sizes > 0] / sizes.sum()
    return max(0.0, float(-(share * np.log(share)).sum()))


def _adjusted_information(table_TC: NDArray[np.int64], n: int, information: float, mean_entropy: float) -> float:
    """Adjust the mutual information for chance (Vinh et al. 2010), with the expectation for n cells."""
    if table_TC.shape == (1, 1):
        return 1.0
    # A type or cluster of which the cut leaves nothing adds nothing, and has no logarithm.
    left_TC = table_TC[table_TC.any(axis=1)][:, table_TC.any(axis=0)].astype(np.float64)
    expected = float(expected_mutual_information(csr_matrix(left_TC), n))
    room, least = mean_entropy - expected, float(np.finfo(np.float64).eps)
    return (information - expected) / (min(room, -least) if room < 0 else max(room, least))


def require_igraph(hint: str = "") -> None:
    """Refuse, where a study is read, to cluster by Leiden without igraph; `hint` is what else can be done.

    Raises
    ------
    ValueError
        When igraph is not installed.
    """
    if find_spec("igraph") is None:
        raise ValueError(f"Leiden needs igraph: pip install 'corpuscle[clustering]'{hint}")


def leiden(weights_NN: csr_matrix, resolution: float, seed: int) -> NDArray[np.int64]:
    """Find communities of a weighted neighbour graph that maximise modularity, by the Leiden algorithm.

    Parameters
    ----------
    weights_NN
        Symmetric weights; see `corpuscle.evaluation.metrics.neighbours.connectivities`.
    resolution
        The larger, the more clusters; 1 is plain modularity.
    seed
        The same seed gives the same clusters.

    Returns
    -------
    The cluster of each cell, shape (N,).

    References
    ----------
    Traag, Waltman and van Eck 2019, From Louvain to Leiden, https://doi.org/10.1038/s41598-019-41695-z.
    """
    import igraph

    upper = weights_NN.tocoo()
    once = upper.row < upper.col
    edges = np.column_stack([upper.row[once], upper.col[once]])
    graph = igraph.Graph(n=weights_NN.shape[0], edges=edges, edge_attrs={"weight": upper.data[once]})
    # igraph draws from one generator for the whole process; it is given ours, and then its own back.
    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution, n_iterations=2
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership, np.int64)


def k_means(z_NK: NDArray[np.floating], n_clusters: int, seed: int) -> NDArray[np.int64]:
    """Cluster cells by k-means, the best of ten starts; the cluster of each cell, shape (N,).

    There are fewer clusters where cells lie at fewer places.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(z_NK)
    return np.asarray(found, np.int64)
