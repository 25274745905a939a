"""Two controls bound every metric: an embedding that shows nothing but the types, and one that shows nothing at all."""

import math

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.evaluation.task import Task
from placed import Placed, run

HOW = ("", ", 15 nearest", ", linear probe")
# Each metric, with what a perfect embedding gives at least (at most, where lower is better), and a random one at most.
BOUNDS = {
    "annotation": {
        **{f"{name}{how}": (1.0, high) for how in HOW
           for name, high in (("macro_f1", 0.5), ("accuracy", 0.6), ("micro_f1", 0.6), ("balanced_accuracy", 0.5))},
        **{f"calibration_error{how}": (0.02, 0.05) for how in HOW},
        **{f"{name}{how}": (1.0, 0.75) for how in HOW for name in ("f1", "precision")},
    },
    # Its reference is the corpus, here the other half of the cells.
    "reference_mapping": {
        f"{name}, {way}": (1.0, high) for way in ("15 nearest, weighted", "1 nearest")
        for name, high in (("macro_f1", 0.5), ("accuracy", 0.6), ("micro_f1", 0.6), ("balanced_accuracy", 0.5),
                           ("f1", 0.75), ("recall", 0.9))
    } | {"assigned_accuracy, 15 nearest, weighted": (1.0, 0.7)},
    "clustering": {
        f"{balance}{name}{how}": (0.999, 0.12)
        for how in (", Leiden 0.1", ", k-means") for balance in ("", "balanced_")
        for name in ("ari", "ami", "homogeneity", "completeness", "v_measure")
    },
    "integration": {
        "avg_bio": (0.97, 0.3), "nmi": (0.99, 0.2), "ari": (0.99, 0.2), "asw_label": (0.9, 0.55),
        "isolated_labels": (0.9, 0.55), "clisi": (0.99, 0.75), "knn_f1, other batches": (1.0, 0.75),
        "knn_f1, published split": (1.0, 0.75),
    },
}  # fmt: skip
LOWER = ("calibration_error",)
# One cluster for all has every type in one cluster.
del BOUNDS["clustering"]["completeness, Leiden 0.1"], BOUNDS["clustering"]["balanced_completeness, Leiden 0.1"]
BOUND = [(task, metric, *bounds) for task, metrics in BOUNDS.items() for metric, bounds in metrics.items()]
SETTINGS = {"clustering": {"resolutions": [0.1]}}


@pytest.fixture(scope="module")
def controls():
    """The scores of each task, by whether the embedding is perfect or random; found once."""
    return {}


def scores_of(controls, name, typed):
    if name not in controls:
        target, types = typed(240)
        rng = np.random.default_rng(1)
        perfect = 20 * (types[:, None] == np.unique(types)) + rng.normal(0, 0.1, (240, 3))
        task = components.build(Task, name, SETTINGS.get(name, {}))
        train = target.take(np.arange(120, 240)) if task.looks_up else None
        asked = target.take(np.arange(120)) if task.looks_up else target
        controls[name] = [run(task, Placed(z), asked, train=train) for z in (perfect, rng.normal(size=(240, 3)))]
    return controls[name]


@pytest.mark.parametrize("bound", BOUND, ids=[f"{task}-{metric}" for task, metric, *_ in BOUND])
def test_every_metric_is_bounded_by_a_perfect_and_a_random_embedding(controls, typed, bound):
    name, metric, perfect, random = bound
    best, chance = scores_of(controls, name, typed)
    # Chance is further from its mean in half of the cells.
    units = [unit for found, unit in best if found == metric and not unit.startswith("half=")]
    assert units
    for unit in units:
        good, bad = best[metric, unit].value, chance[metric, unit].value
        if metric.startswith(LOWER):
            assert good <= perfect
            assert bad >= random
        else:
            assert good >= perfect - 1e-9
            assert bad <= random


# A perfect embedding of types mixes batches, as does a random one: the controls of mixing are parted by batch.
MIXING = {"asw_batch": 0.9, "avg_batch": 0.85, "ilisi": 0.75, "kbet": 0.8, "pcr": 0.0}


@pytest.mark.parametrize("metric", MIXING)
def test_every_metric_of_mixing_is_bounded_by_mixed_and_by_parted_batches(controls, typed, metric):
    mixed, _ = scores_of(controls, "integration", typed)
    if "parted" not in controls:
        target, _ = typed(240)
        parted = 20 * (target.labels("batch")[:, None] == ["b1", "b2"]) + np.random.default_rng(1).normal(
            0, 0.1, (240, 2)
        )
        controls["parted"] = run(components.build(Task, "integration", {}), Placed(parted), target)
    apart = controls["parted"]
    assert mixed[metric, "all"].value >= MIXING[metric]
    assert apart[metric, "all"].value <= (0.75 if metric == "avg_batch" else 0.1)
    if metric == "avg_batch":
        assert apart["graph_connectivity", "all"].value <= mixed["graph_connectivity", "all"].value


TASKS = ("annotation", "clustering", "integration")
TROUBLES = {
    "one batch": ({"batch": ["b1"] * 60}, None, {"integration"}),
    "one type": ({"cell_type": ["B"] * 60}, None, set(TASKS)),
    "no types": ({"cell_type": [np.nan] * 60}, None, set(TASKS)),
    "not finite": ({}, lambda z: np.where(np.arange(60)[:, None] == 3, np.nan, z), set(TASKS)),
    "constant": ({}, np.ones_like, set(TASKS)),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_cannot_be_measured_is_nan_with_its_reason_and_no_row_is_dropped(typed, name, trouble):
    obs, spoil, concerned = TROUBLES[trouble]
    target, _ = typed(60, **obs)
    z = np.random.default_rng(0).normal(size=(60, 3))
    found = run(components.build(Task, name, {}), Placed(spoil(z) if spoil else z), target)
    sound = run(components.build(Task, name, {}), Placed(z), typed(60)[0])
    assert {metric for metric, unit in sound if unit == "all"} == {metric for metric, unit in found if unit == "all"}
    assert all(math.isfinite(score.value) or score.reason for score in found.values())
    whole = [score for (metric, unit), score in found.items() if unit == "all" and metric != "n_clusters, k-means"]
    if name in concerned:
        broken = [score for score in whole if not score.metric.startswith("n_clusters")]
        assert all(math.isnan(score.value) and score.reason for score in broken)
    else:
        assert any(math.isfinite(score.value) for score in whole)


@pytest.mark.parametrize("name", TASKS)
def test_cells_without_a_type_are_left_out_and_counted(typed, name):
    # 60 are left, as many as other tests ask about: scib-metrics compiles for each number of cells anew.
    target, types = typed(66)
    types = np.where(np.arange(66) < 6, None, types)
    target, _ = typed(66, cell_type=types)
    scores = run(components.build(Task, name, {}), Placed(np.random.default_rng(0).normal(size=(66, 3))), target)
    whole = [score for (metric, unit), score in scores.items() if unit == "all" and not metric.startswith("n_clusters")]
    assert all("6 of 66 cells have no cell type" in score.reason for score in whole)
    assert {score.n_cells for score in whole} == {30 if name == "annotation" else 60}


@pytest.mark.parametrize("name", TASKS)
def test_a_constant_column_changes_nothing(typed, name):
    target, _ = typed(60)
    z = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    plain, padded = (
        run(components.build(Task, name, {}), Placed(at), target) for at in (z, np.hstack([z, np.full((60, 1), 3.0)]))
    )
    assert plain.keys() == padded.keys()
    for key, score in plain.items():
        assert padded[key].value == pytest.approx(score.value, abs=2e-3, nan_ok=True)
