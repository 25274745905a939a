"""Mixing: whether cells of different batches and one type lie together, and cells of different types apart.

What scib-metrics offers is taken from there (extra ``integration``); it is imported only when it is called. Axes in
names: N cells, K dimensions, J neighbours, B batches.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from sklearn.metrics import silhouette_samples

from corpuscle.evaluation.metrics.neighbours import Neighbours, nearest

KBET_ALPHA = 0.05
KBET_COMPONENTS = 100


def silhouettes(z_NK: NDArray[np.floating], label_N: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return each cell's silhouette width, scaled to 0 to 1 as scib does: (s + 1) / 2; higher is better apart.

    References
    ----------
    Luecken et al. 2022, Benchmarking atlas-level data integration, https://doi.org/10.1038/s41592-021-01336-8.
    """
    width_N: NDArray[np.float64] = (silhouette_samples(z_NK.astype(np.float64), label_N) + 1) / 2
    return width_N


def batch_silhouettes(
    z_NK: NDArray[np.floating], type_N: NDArray[np.str_], batch_N: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Return 1 - abs(silhouette width of batches within a cell's type): 0 to 1, higher is better mixed.

    NaN for cells of a type that is in one batch only, or has as many batches as cells. scib's ASW of batches is the
    mean over types of the mean over their cells.
    """
    mixed_N = np.full(len(z_NK), np.nan)
    for label in np.unique(type_N):
        here = type_N == label
        if 1 < len(np.unique(batch_N[here])) < here.sum():
            mixed_N[here] = 1 - np.abs(silhouette_samples(z_NK[here].astype(np.float64), batch_N[here]))
    return mixed_N


def isolated_types(type_N: NDArray[np.str_], batch_N: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the types that are in the fewest batches, as scib chooses the isolated ones.

    Examples
    --------
    >>> isolated_types(np.array(["B", "B", "T"]), np.array(["1", "2", "1"])).tolist()
    ['T']
    """
    types, type_code_N = np.unique(type_N, return_inverse=True)
    pairs = np.unique(np.column_stack([type_code_N, np.unique(batch_N, return_inverse=True)[1]]), axis=0)
    n_batches = np.bincount(pairs[:, 0], minlength=len(types))
    fewest: NDArray[np.str_] = types[n_batches == n_batches.min()]
    return fewest


def lisi(found: Neighbours, label_N: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return each cell's local inverse Simpson index: how many labels its neighbours effectively have, from 1 up.

    References
    ----------
    Korsunsky et al. 2019, Harmony, https://doi.org/10.1038/s41592-019-0619-0.
    """
    from scib_metrics import lisi_knn
    from scib_metrics.nearest_neighbors import NeighborsResults

    index_N: NDArray[np.float64] = np.asarray(
        lisi_knn(NeighborsResults(found.index_NJ, found.distance_NJ), label_N), np.float64
    )
    return index_N


def graph_connectivity(found: Neighbours, type_N: NDArray[np.str_]) -> float:
    """Return how much of each type hangs together in the neighbour graph, averaged over types; higher is better."""
    from scib_metrics import graph_connectivity as connectivity
    from scib_metrics.nearest_neighbors import NeighborsResults

    return float(connectivity(NeighborsResults(found.index_NJ, found.distance_NJ), type_N))


def batch_variance(z_NK: NDArray[np.floating], batch_N: NDArray[np.str_]) -> float:
    """Return the share of an embedding's variance that batches explain, by principal component regression; lower mixes.

    References
    ----------
    Büttner et al. 2019, A test metric for assessing single-cell RNA-seq batch correction,
    https://doi.org/10.1038/s41592-018-0254-1.
    """
    from scib_metrics.utils import principal_component_regression

    varying = z_NK[:, z_NK.std(axis=0) > 0]
    return float(principal_component_regression(varying, batch_N, categorical=True))


def optimal_leiden(found: Neighbours, type_N: NDArray[np.str_]) -> tuple[float, float]:
    """Return NMI and ARI with the types of the Leiden clustering, of ten resolutions, whose NMI is best."""
    from scib_metrics import nmi_ari_cluster_labels_leiden
    from scib_metrics.nearest_neighbors import NeighborsResults

    best = nmi_ari_cluster_labels_leiden(NeighborsResults(found.index_NJ, found.distance_NJ), type_N)
    return float(best["nmi"]), float(best["ari"])


def kbet(weights_NN: csr_matrix, type_N: NDArray[np.str_], batch_N: NDArray[np.str_]) -> dict[str, float]:
    """Return per type the share of cells whose neighbourhood has the batches that the type has, by a χ² test.

    As scib: within a type, k = max(10, a quarter of its mean number of cells per batch), at most 70, neighbours in a
    diffusion map of its part of the graph; the test is scib-metrics', at the 5 % level. Neighbours are exact here.

    Parameters
    ----------
    weights_NN
        Connectivities of the neighbour graph.
    type_N, batch_N
        Types and batches.

    Returns
    -------
    By type: 0 to 1, higher is better mixed. NaN for a type in one batch or of fewer than 10 cells; 0, as in scib, where
    less than three quarters of its cells are in parts of the graph that are large enough.
    """
    return {
        str(label): _kbet_of_type(weights_NN[type_N == label][:, type_N == label], batch_N[type_N == label])
        for label in np.unique(type_N)
    }


def _kbet_of_type(weights_NN: csr_matrix, batch_N: NDArray[np.str_]) -> float:
    from scib_metrics import kbet as test
    from scib_metrics.nearest_neighbors import NeighborsResults

    n_cells, sizes = len(batch_N), np.unique(batch_N, return_counts=True)[1]
    if n_cells < 10 or len(sizes) == 1:
        return float("nan")
    k = int(np.clip(sizes.mean() // 4, 10, 70))
    _, part_N = connected_components(weights_NN, directed=False)
    part_sizes = np.bincount(part_N)
    kept = np.flatnonzero(part_sizes[part_N] >= 3 * k) if len(part_sizes) > 1 else np.arange(n_cells)
    if len(kept) < 0.75 * n_cells:
        return 0.0
    mapped = _diffusion_map(weights_NN[kept][:, kept])
    found = nearest(mapped, k + 1)
    rate, *_ = test(NeighborsResults(found.index_NJ, found.distance_NJ), batch_N[kept], alpha=KBET_ALPHA)
    return float(rate)


def _diffusion_map(weights_NN: csr_matrix) -> NDArray[np.float64]:
    """Embed a graph so that distances are those of diffusion over all times (Haghverdi et al. 2016)."""
    # In single precision the first eigenvalue would not be 1 to within rounding, and its scale anything.
    weights_NN = weights_NN.astype(np.float64)
    density_N = np.asarray(weights_NN.sum(axis=0)).ravel()
    kernel = diags(1 / density_N) @ weights_NN @ diags(1 / density_N)
    scale = diags(1 / np.sqrt(np.asarray(kernel.sum(axis=0)).ravel()))
    n_components = min(KBET_COMPONENTS, weights_NN.shape[0] - 1)
    values, vectors = eigsh(scale @ kernel @ scale, k=n_components, which="LM", v0=np.ones(weights_NN.shape[0]))
    steady = np.abs(1 - values) < 1e-7
    mapped: NDArray[np.float64] = vectors * np.where(steady, 1.0, values / np.where(steady, 1.0, 1 - values))
    return mapped
