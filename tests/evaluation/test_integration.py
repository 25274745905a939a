"""What integration computes itself is what scikit-learn and scipy give, type by type."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from corpuscle.corpus.expression.principal_components import find_axes, project
from corpuscle.evaluation.tasks.integration import Integration
from placed import Placed, run


@pytest.fixture
def cells(typed):
    """120 cells whose types overlap and whose batches are apart, except one of NK in the second batch."""
    target, types = typed(120)
    batches = target.labels("batch")
    second = np.flatnonzero((types == "NK") & (batches == "b2"))
    batches[second[1:]] = "b1"
    target, _ = typed(120, batch=batches)
    rng = np.random.default_rng(0)
    z = 1.5 * (types[:, None] == np.unique(types)) + rng.normal(size=(120, 3)) + (batches == "b2")[:, None]
    z = z.astype(np.float32)
    return target, types, batches, z


@pytest.fixture
def scores(cells):
    return run(Integration(), Placed(cells[3]), cells[0])


def test_f1_on_the_published_split_is_that_of_scikit_learn(cells, scores):
    _, types, _, z = cells
    train, test = train_test_split(np.arange(120), stratify=types, test_size=0.7, random_state=42)
    predicted = KNeighborsClassifier(15).fit(z[train], types[train]).predict(z[test])
    for label in np.unique(types):
        f1 = f1_score(types[test], predicted, labels=[label], average=None)[0]
        assert scores["knn_f1, published split", f"cell_type={label}"].value == pytest.approx(f1)
        support = math.log2((types[test] == label).sum())
        assert scores["log2_support", f"cell_type={label}"].value == pytest.approx(support)


def test_f1_from_other_batches_learns_from_no_cell_of_its_own_batch(cells, scores):
    _, types, batches, z = cells
    predicted = types.copy()
    for batch in ("b1", "b2"):
        here = batches == batch
        predicted[here] = KNeighborsClassifier(15).fit(z[~here], types[~here]).predict(z[here])
    for label in np.unique(types):
        f1 = f1_score(types, predicted, labels=[label], average=None)[0]
        assert scores["knn_f1, other batches", f"cell_type={label}"].value == pytest.approx(f1)
    # All but one of the NK cells have that one alone to learn from.
    assert (
        scores["knn_f1, other batches", "cell_type=NK"].value < scores["knn_f1, published split", "cell_type=NK"].value
    )


def test_the_centre_distance_is_the_least_weighted_cosine_in_any_batch(cells, scores):
    target, types, batches, _ = cells
    least = dict.fromkeys(np.unique(types), math.inf)
    for batch in ("b1", "b2"):
        here = np.flatnonzero(batches == batch)
        axes = find_axes(target.take(here))
        z = np.empty((len(here), len(axes.variance_K)), np.float32)
        project(target.take(here), axes, z)
        centres = {label: z[types[here] == label, :20].mean(axis=0) for label in np.unique(types[here])}
        for one, centre in centres.items():
            others = [other for label, other in centres.items() if label != one]
            least[one] = min([least[one], *(cosine(centre, other, axes.variance_K[:20]) for other in others)])
    for label, distance in least.items():
        assert scores["centre_distance", f"cell_type={label}"].value == pytest.approx(distance, abs=1e-5)


def test_averages_are_of_the_parts_and_units_are_batches_and_types(scores):
    bio, batch = ("nmi", "ari", "asw_label"), ("asw_batch", "graph_connectivity")
    for whole, parts in (("avg_bio", bio), ("avg_batch", batch)):
        assert scores[whole, "all"].value == pytest.approx(np.mean([scores[part, "all"].value for part in parts]))
    assert {unit for metric, unit in scores if metric == "ilisi"} == {"all", "batch=b1", "batch=b2"}
    by_type = {unit: score.value for (metric, unit), score in scores.items() if metric == "kbet" and unit != "all"}
    assert set(by_type) == {"cell_type=B", "cell_type=NK", "cell_type=T"}
    assert scores["kbet", "all"].value == pytest.approx(np.mean(list(by_type.values())))


def test_a_type_in_one_batch_says_so_and_donors_can_be_the_batches(typed):
    target, types = typed(120)
    donors = np.where(types == "NK", "d1", target.labels("batch"))
    target, _ = typed(120, donor=donors)
    found = run(Integration(by="donor"), Placed(np.random.default_rng(0).normal(size=(120, 3))), target)
    for metric in ("kbet", "asw_batch"):
        assert math.isnan(found[metric, "cell_type=NK"].value)
        assert "one batch" in found[metric, "cell_type=NK"].reason
    assert found["knn_f1, other batches", "cell_type=NK"].value == 0
    assert "the type is in one batch" in found["knn_f1, other batches", "cell_type=NK"].reason
    assert {unit for metric, unit in found if metric == "clisi"} == {"all", "donor=b1", "donor=b2", "donor=d1"}
