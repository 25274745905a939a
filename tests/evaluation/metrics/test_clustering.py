"""Clusterings agree with types as published, to the fourth decimal, and with scikit-learn where nothing is balanced.

The goldens of the random tables are those of balanced-clustering 0.1.0 (which needs Python <= 3.10), with
scikit-learn's expected mutual information in place of its compiled one.
"""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans

from corpuscle.evaluation.metrics.clustering import agreement, balanced_agreement, k_means, leiden
from corpuscle.evaluation.metrics.neighbours import connectivities, nearest

SIMULATION_A = (
    [(0, 0.5, 500), (-2, 0.1, 20), (3, 1, 500)],
    2,
    (0.915, 0.8671, 0.8204, 0.9198, 0.8673),
    (0.5434, 0.686, 0.5402, 0.941, 0.6864),
)


def simulated(groups):
    draws = [np.random.default_rng(seed).normal(loc, scale, (n, 2)) for seed, (loc, scale, n) in enumerate(groups)]
    return np.concatenate(draws), np.repeat(["A", "B", "C"], [n for *_, n in groups])


def test_the_published_simulation():
    groups, k, plain, balanced = SIMULATION_A
    z, types = simulated(groups)
    clusters = KMeans(k, random_state=42, n_init=10).fit_predict(z)
    np.testing.assert_allclose(agreement(types, clusters), plain, atol=5.1e-5)
    np.testing.assert_allclose(balanced_agreement(types, clusters), balanced, atol=5.1e-5)
    assert balanced_agreement(types, clusters).ari == pytest.approx(0.54336, abs=5e-6)


def test_ours_is_the_published_clustering():
    groups, k, _, balanced = SIMULATION_A
    z, types = simulated(groups)
    np.testing.assert_allclose(balanced_agreement(types, k_means(z, k, 0)), balanced, atol=5.1e-5)


def random_labels(seed):
    rng = np.random.default_rng(seed)
    types = rng.choice(["A", "B", "C", "D"], 300, p=[0.6, 0.3, 0.08, 0.02])
    return types, np.where(rng.random(300) < 0.7, np.searchsorted(["A", "B", "C", "D"], types), rng.integers(0, 5, 300))


GOLDENS = {
    0: (0.5438305551175671, 0.5022612135396546, 0.5373231693696352, 0.48417892455588213, 0.5093686167290767),
    1: (0.5110795581516858, 0.5014647048798717, 0.5299925315832225, 0.48909182275426666, 0.5087214070452554),
    2: (0.4690949402556305, 0.46439175926972437, 0.48513391685563273, 0.460454864421965, 0.4724723396367762),
}


@pytest.mark.parametrize("seed", sorted(GOLDENS))
def test_balanced_scores_are_those_of_the_published_package(seed):
    np.testing.assert_allclose(balanced_agreement(*random_labels(seed)), GOLDENS[seed], rtol=1e-9)


def test_balancing_changes_nothing_where_types_are_of_one_size():
    rng = np.random.default_rng(0)
    types, clusters = np.repeat(["A", "B", "C"], 50), rng.integers(0, 3, 150)
    np.testing.assert_allclose(balanced_agreement(types, clusters), agreement(types, clusters), atol=1e-12)


def test_a_cluster_of_which_nothing_is_left_adds_nothing():
    types = np.repeat(["A", "B"], [90, 10])
    one, other = np.repeat([0, 2, 1], [1, 89, 10]), np.repeat([2, 1], [90, 10])
    # The one cell of cluster 0 counts as 0.6 of a cell, which is cut to none; the 89 count as 49, not 50.
    assert balanced_agreement(types, one).completeness == pytest.approx(1)
    np.testing.assert_allclose(balanced_agreement(types, one), balanced_agreement(types, other), atol=0.02)


def test_plain_scores_are_scikit_learns():
    types, clusters = random_labels(0)
    found = agreement(types, clusters)
    assert found.ari == metrics.adjusted_rand_score(types, clusters)
    assert found.ami == metrics.adjusted_mutual_info_score(types, clusters)


def test_leiden_finds_the_communities_that_scanpy_finds():
    import anndata
    import scanpy as sc

    rng = np.random.default_rng(0)
    z = (rng.normal(0, 3, (5, 10))[rng.integers(0, 5, 400)] + rng.normal(size=(400, 10))).astype(np.float32)
    weights = connectivities(nearest(z, 15))
    data = anndata.AnnData(z)
    sc.pp.neighbors(data, n_neighbors=15, use_rep="X", transformer="sklearn")
    np.testing.assert_allclose(weights.toarray(), data.obsp["connectivities"].toarray(), atol=1e-5)
    sc.tl.leiden(data, flavor="igraph", n_iterations=2, directed=False)
    ours = leiden(weights, 1.0, seed=0)
    assert metrics.adjusted_rand_score(data.obs["leiden"], ours) > 0.95
    np.testing.assert_array_equal(ours, leiden(weights, 1.0, seed=0))
    assert len(set(leiden(weights, 0.01, 0))) <= len(set(ours)) < len(set(leiden(weights, 5.0, 0)))


def test_k_means_makes_fewer_clusters_where_cells_lie_at_fewer_places():
    assert len(set(k_means(np.repeat([[0.0], [1.0]], 5, axis=0), 4, 0))) == 2
