"""The task clustering: each donor or batch as well, and concordance with a reference."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from corpuscle.evaluation.metrics.clustering import k_means
from corpuscle.evaluation.tasks.clustering import Clustering
from placed import Placed, run


def test_clusters_are_compared_in_each_batch(typed):
    target, types = typed(120)
    z = (2 * (types[:, None] == np.unique(types)) + np.random.default_rng(1).normal(size=(120, 3))).astype(np.float32)
    scores = run(Clustering(resolutions=[]), Placed(z), target, seed=0)
    clusters = k_means(z, 3, int(np.random.default_rng(0).integers(2**31)))
    for unit, here in (("all", np.ones(120, bool)), ("batch=b1", target.labels("batch") == "b1")):
        expected = adjusted_rand_score(types[here], clusters[here])
        assert (scores["ari, k-means", unit].value, scores["ari, k-means", unit].n_cells) == (expected, here.sum())
    assert scores["n_clusters, k-means", "all"].value == 3
    assert not any("leiden" in metric for metric, _ in scores)


def test_concordance_is_1_with_itself_and_chance_with_noise(typed):
    target, types = typed(120)
    rng = np.random.default_rng(0)
    z = 20 * (types[:, None] == np.unique(types)) + rng.normal(size=(120, 3))
    task = Clustering(resolutions=[0.2], reference_model="x")
    for other, low, high in ((3 * z[:, ::-1], 0.999, 1.0), (rng.normal(size=(120, 3)), -0.2, 0.2)):
        found = list(task.compare(Placed(z), Placed(other), target, target, np.random.default_rng(0)))
        assert {(score.metric, score.way) for score in found} == {
            ("concordance", "Leiden 0.2"),
            ("concordance", "k-means"),
        }
        assert {score.unit for score in found} == {"all", "batch=b1", "batch=b2", "half=1", "half=2"}
        assert all(low <= score.value <= high + 1e-9 for score in found)


def test_a_resolution_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="stands twice"):
        Clustering(resolutions=[1.0, 1.0])


def test_cells_that_each_have_a_type_of_their_own_are_no_groups(make):
    cells = make(30, obs={"cell_type": [f"t{at}" for at in range(30)], "batch": ["b"] * 30, "donor": ["d"] * 30})
    scores = run(Clustering(resolutions=[]), Placed(np.random.default_rng(0).normal(size=(30, 2))), cells)
    assert all(np.isnan(score.value) for score in scores.values())
    assert "each of 30 typed cells has a type of its own" in scores["ari, k-means", "all"].reason
