"""Hierarchical k-means: balanced over clusters of clusters, where there are no labels to balance."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.balanced_order import rank_within
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import N_COMPONENTS
from corpuscle.corpus.sampler import Sampler

# A centroid is well placed by this many points (as in faiss); more only cost time.
POINTS_PER_CENTROID = 256
# Distances computed at once: as many float32 are 64 MB.
BLOCK_DISTANCES = 2**24


@component
class HierarchicalKmeans(Sampler):
    """Cluster the cells, their clusters, and so on; from the top down, let sibling clusters give cells in turn.

    Plain k-means puts most centroids where most cells are. Clustering the centroids again, each counting as one
    point, flattens that: the higher levels spread over the space that cells take up, and a budget shared equally
    among them from the top down is balanced over states, rare ones too (Vo et al. 2024, arXiv 2405.15613). As there,
    each level is clustered again on the points next to its centroids, to flatten it further. With one generator
    state, a smaller draw is contained in a larger.

    Parameters
    ----------
    n_clusters
        How many clusters on each level, from the cells up. A level has at most as many as it has points.
    n_components
        On how many principal components, at most 50.
    n_rounds
        How often a level is clustered again.
    """

    n_clusters: Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: [1000, 100, 10]
    )
    n_components: Annotated[int, Field(ge=1, le=N_COMPONENTS)] = N_COMPONENTS
    n_rounds: Annotated[int, Field(ge=0, le=1000)] = 2

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        if n_cells in (0, len(pool)):
            return rng.permutation(len(pool))[:n_cells]
        point_NK = context.components(pool).of(pool, self.n_components)
        if not np.isfinite(point_NK).all():
            raise CorpusError("hierarchical_kmeans: the cells' coordinates hold NaN or infinite values")
        cluster_N, in_turn = np.arange(len(pool)), rng.permutation(len(pool))
        for n_clusters in self.n_clusters:
            centroid_CK = _cluster(point_NK, n_clusters, self.n_rounds, rng)
            cluster_N = _nearest(point_NK, centroid_CK)[0][cluster_N]
            in_turn = _merge(in_turn, cluster_N, rng.permutation(len(centroid_CK)))
            point_NK = centroid_CK
        return in_turn[:n_cells]


def _merge(in_turn: NDArray[np.int64], cluster_N: NDArray[np.int64], order_C: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let clusters take turns, each giving its cells in the order in which they stand."""
    cluster_N = cluster_N[in_turn]
    return in_turn[np.lexsort((order_C[cluster_N], rank_within(cluster_N)))]


def _cluster(
    points_NK: NDArray[np.float32], n_clusters: int, n_rounds: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Place centroids by k-means, again and again on the points next to them; shape (C, K)."""
    n_clusters = min(n_clusters, len(points_NK))
    some = np.sort(rng.permutation(len(points_NK))[: POINTS_PER_CENTROID * n_clusters])
    points_NK = points_NK[some]
    centroid_CK = _kmeans(points_NK, points_NK[rng.permutation(len(points_NK))[:n_clusters]])
    for _ in range(n_rounds):
        # Half of an equal share: large clusters count for less than their size, small ones give all.
        n_near = max(1, len(points_NK) // (2 * n_clusters))
        cluster_N, distance_N = _nearest(points_NK, centroid_CK)
        nearest_first = np.argsort(distance_N, kind="stable")
        near = nearest_first[rank_within(cluster_N[nearest_first]) < n_near]
        centroid_CK = _kmeans(points_NK[np.sort(near)], centroid_CK)
    return centroid_CK


def _kmeans(points_NK: NDArray[np.float32], centroid_CK: NDArray[np.float32], n_steps: int = 10) -> NDArray[np.float32]:
    """Move centroids by Lloyd's algorithm; one that has no points stays where it is."""
    n_clusters = len(centroid_CK)
    for _ in range(n_steps):
        cluster_N, _ = _nearest(points_NK, centroid_CK)
        size_C = np.bincount(cluster_N, minlength=n_clusters)
        # One row a cluster, a one for each of its points: times the points, it sums them.
        ends_C = np.concatenate([[0], np.cumsum(size_C)])
        members = np.argsort(cluster_N, kind="stable")
        sum_CK = csr_matrix((np.ones(len(members)), members, ends_C), (n_clusters, len(members))) @ points_NK
        moved_CK = np.where(size_C[:, None] > 0, sum_CK / np.maximum(size_C, 1)[:, None], centroid_CK)
        moved_CK = moved_CK.astype(np.float32)
        if np.array_equal(moved_CK, centroid_CK):
            break
        centroid_CK = moved_CK
    return centroid_CK


def _nearest(
    points_NK: NDArray[np.float32], centroid_CK: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each point's nearest centroid and its squared distance (less the point's own square), in blocks."""
    nearest_N, distance_N = np.empty(len(points_NK), np.int64), np.empty(len(points_NK), np.float32)
    square_C = np.square(centroid_CK).sum(axis=1)
    step = max(1, BLOCK_DISTANCES // max(1, len(centroid_CK)))
    for start in range(0, len(points_NK), step):
        block_BK = points_NK[start : start + step]
        distance_BC = square_C - 2 * (block_BK @ centroid_CK.T)
        nearest_B = distance_BC.argmin(axis=1)
        nearest_N[start : start + step] = nearest_B
        distance_N[start : start + step] = distance_BC[np.arange(len(block_BK)), nearest_B]
    return nearest_N, distance_N
