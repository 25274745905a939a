"""Metrics of mixing are those of scib-metrics, also where they are computed otherwise here."""

import numpy as np
import pytest
import scib_metrics
from scib_metrics.nearest_neighbors import NeighborsResults

from corpuscle.evaluation.metrics import mixing
from corpuscle.evaluation.metrics.neighbours import connectivities, nearest


@pytest.fixture(scope="module")
def cells():
    """240 cells of three types in three batches, partly mixed; one type is in one batch only."""
    rng = np.random.default_rng(0)
    type_N, batch_N = rng.choice(["B", "NK", "T"], 240, p=[0.6, 0.3, 0.1]), rng.choice(["1", "2", "3"], 240)
    batch_N[type_N == "T"] = "1"
    centre = {"B": [0, 0, 0, 0], "NK": [4, 0, 0, 0], "T": [0, 4, 0, 0]}
    shift = {"1": 0.0, "2": 0.7, "3": 0.0}
    z = np.array([centre[label] for label in type_N]) + rng.normal(size=(240, 4))
    z[:, 3] += [shift[batch] for batch in batch_N]
    return z.astype(np.float32), type_N, batch_N


def theirs(z, n):
    found = nearest(z, n)
    return found, NeighborsResults(found.index_NJ, found.distance_NJ)


def test_silhouettes(cells):
    z, types, batches = cells
    apart = mixing.silhouettes(z, types)
    assert apart.mean() == pytest.approx(float(scib_metrics.silhouette_label(z, types)), abs=1e-5)
    isolated = mixing.isolated_types(types, batches)
    assert isolated.tolist() == ["T"]
    expected = float(scib_metrics.isolated_labels(z, types, batches))
    assert apart[types == "T"].mean() == pytest.approx(expected, abs=1e-5)
    mixed = mixing.batch_silhouettes(z, types, batches)
    assert np.isnan(mixed[types == "T"]).all()
    means = [mixed[types == label].mean() for label in ("B", "NK")]
    assert np.mean(means) == pytest.approx(float(scib_metrics.silhouette_batch(z, types, batches)), abs=1e-5)


def test_lisi_is_scaled_as_scib_does(cells):
    z, types, batches = cells
    found, results = theirs(z, 90)
    scaled = (np.median(mixing.lisi(found, batches)) - 1) / 2
    assert scaled == pytest.approx(float(scib_metrics.ilisi_knn(results, batches)), abs=1e-5)
    scaled = (3 - np.median(mixing.lisi(found, types))) / 2
    assert scaled == pytest.approx(float(scib_metrics.clisi_knn(results, types)), abs=1e-5)


def test_kbet_of_a_type_is_scibs(cells):
    """The golden values are those of scib-metrics 0.5.10 (`kbet_per_label`, whose search takes a minute to compile)."""
    z, types, batches = cells
    found = mixing.kbet(connectivities(nearest(z, 50)), types, batches)
    assert np.isnan(found["T"])
    assert found["B"] == pytest.approx(0.917910447761194)
    assert found["NK"] == pytest.approx(0.875)


def test_principal_component_regression_by_hand(cells):
    z, _, batches = cells
    z = z.astype(float) - z.mean(axis=0)
    onehot = (batches[:, None] == np.unique(batches)).astype(float)
    fitted = onehot @ np.linalg.lstsq(onehot, z, rcond=None)[0]
    # Over all components, the share of variance explained does not depend on the rotation.
    assert mixing.batch_variance(z, batches) == pytest.approx((fitted**2).sum() / (z**2).sum(), abs=1e-3)


def test_isolated_types_are_those_in_the_fewest_batches():
    types, batches = np.array(["B", "B", "NK", "NK", "T"]), np.array(["1", "2", "1", "1", "2"])
    assert mixing.isolated_types(types, batches).tolist() == ["NK", "T"]
