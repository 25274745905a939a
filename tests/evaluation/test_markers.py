"""Markers: planted ones are found again where clusters are the types, and nowhere else."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from corpuscle.evaluation.tasks.markers import Markers
from corpuscle.statistics.marker_ranks import marker_ranks
from placed import Placed, run

RNG = partial(np.random.default_rng, 0)
N_GENES, TYPES = 60, ("B", "NK", "T")


@pytest.fixture
def planted(make):
    """Cells of three types, in two batches, of which each type has five genes of its own: the genes 0-4, 5-9, 10-14."""

    def made(**obs):
        rng = np.random.default_rng(0)
        type_N = rng.permutation(np.repeat(TYPES, 50))
        mean_NG = np.full((150, N_GENES), 1.0)
        for at, kind in enumerate(TYPES):
            mean_NG[type_N == kind, 5 * at : 5 * at + 5] = 9.0
        labels = {"cell_type": type_N, "batch": np.repeat(["b1", "b2"], 75), "donor": [np.nan] * 150}
        return make(rng.poisson(mean_NG), obs={**labels, **obs}), type_N

    return made


def perfect(type_N):
    return 20.0 * (type_N[:, None] == np.array(TYPES)) + np.random.default_rng(1).normal(0, 0.1, (len(type_N), 3))


TASK = {"n_markers": 5, "overlaps": [5, 10], "resolution": 0.1}


def test_where_clusters_are_the_types_every_marker_is_found_again(planted):
    target, type_N = planted()
    scores = run(Markers(**TASK), Placed(perfect(type_N)), target)
    assert scores["marker_overlap, 5 highest", "all"].value == 1
    assert scores["marker_overlap, 10 highest", "cell_type=B"].value == 1
    own = {unit.removeprefix("marker=B: ") for _, unit in scores if unit.startswith("marker=B: ")}
    assert own == {f"G{gene}" for gene in range(5)}
    # Five markers of each type in each batch, the same five: their places are 0 to 4.
    for way in ("published", "signed"):
        for kind in TYPES:
            assert scores[f"marker_rank, {way}", f"cell_type={kind}"].value == pytest.approx(2.0)
        assert scores[f"marker_rank, {way}", "all"].value == pytest.approx(2.0)


def test_clusters_of_nothing_have_no_markers(planted):
    target, _ = planted()
    scores = run(Markers(**{**TASK, "resolution": 1.0}), Placed(np.random.default_rng(0).normal(size=(150, 3))), target)
    assert scores["marker_overlap, 5 highest", "all"].value < 0.5
    assert scores["marker_rank, signed", "all"].value > 4


def test_the_published_order_takes_genes_that_go_down_for_markers(planted):
    # Of two clusters, what is high in one is low in the other, and as surely.
    target, type_N = planted()
    two = np.where(type_N == "B", -10.0, 10.0)[:, None] + np.random.default_rng(0).normal(0, 0.1, (150, 3))
    scores = run(Markers(**{**TASK, "resolution": 0.02}), Placed(two), target)
    t = [scores["marker_rank, signed", unit].value for unit in ("cell_type=NK", "cell_type=T")]
    assert scores["marker_rank, signed", "cell_type=B"].value == pytest.approx(2.0)
    assert max(t) < 15
    assert scores["marker_rank, published", "all"].value != scores["marker_rank, signed", "all"].value


@pytest.mark.parametrize(
    ("z", "obs", "reason"),
    [
        (np.zeros((150, 3)), {}, "the embedding is the same for all cells"),
        (None, {"cell_type": ["B"] * 150}, "there are no markers"),
        (np.random.default_rng(0).normal(size=(150, 3)) * 0.1, {}, "all cells are in one cluster"),
    ],
)
def test_what_cannot_be_ranked_is_nan_with_its_reason(planted, z, obs, reason):
    target, type_N = planted(**obs)
    scores = run(Markers(**{**TASK, "resolution": 1e-6}), Placed(perfect(type_N) if z is None else z), target)
    assert set(scores) == {
        *((f"marker_overlap, {n} highest", "all") for n in (5, 10)),
        *((f"marker_rank, {way}", "all") for way in ("published", "signed")),
    }
    assert all(math.isnan(score.value) and reason in score.reason for score in scores.values())


def test_types_of_few_cells_have_no_markers(planted):
    _, type_N = planted()
    target, type_N = planted(cell_type=np.where(np.arange(150) < 4, "rare", type_N))
    scores = run(Markers(**TASK), Placed(perfect(type_N)), target)
    assert not any(unit.startswith(("marker=rare", "cell_type=rare")) for _, unit in scores)


def test_mitochondrial_and_ribosomal_genes_are_no_markers(make):
    rng = np.random.default_rng(0)
    genes = ["MT-ND1", "mt-Co1", "RPS4X", "Rpl3", "MRPL11", "CD3D", *(f"G{at}" for at in range(20))]
    type_N = np.repeat(["B", "T"], 30)
    counts = rng.poisson(np.where(type_N[:, None] == "T", [[9.0] * 6 + [1.0] * 20], 1.0))
    target = make(counts, genes=genes, obs={"cell_type": type_N, "batch": ["b"] * 60, "donor": ["d"] * 60})
    z = np.where(type_N == "T", 9.0, -9.0)[:, None] + rng.normal(0, 0.1, (60, 2))
    scores = run(Markers(n_markers=1, overlaps=[1], resolution=0.1), Placed(z), target)
    markers = {unit for metric, unit in scores if unit.startswith("marker=") and "published" in metric}
    assert markers == {"marker=B: CD3D", "marker=T: CD3D"}
    # No gene is high in B, so that the highest by z are any; and what is high in T is no marker of B by z.
    assert ("marker_rank, signed", "marker=B: CD3D") not in scores


def test_markers_of_another_corpus_are_the_same_whatever_was_altered(planted):
    whole, type_N = planted()
    task = Markers(**TASK, reference_corpus="whole")
    found = []
    for kept_N in (np.ones(150, bool), type_N != "NK", np.arange(150) % 3 > 0):
        target, model = whole.take(kept_N), Placed(perfect(type_N))
        scores = {(score.way, score.unit): score for score in task.compare(model, model, whole, target, RNG())}
        found.append({place for place in scores if place[1].startswith("marker=")})
        assert not any(unit.startswith("marker=") for _, unit in run(task, model, target))
        assert not np.isnan([score.value for score in scores.values()]).any()
    assert found[0] == found[1] == found[2]
    assert {unit for way, unit in found[0] if way == "signed"} >= {f"marker=NK: G{gene}" for gene in range(5, 10)}


def test_where_nothing_was_counted_there_are_no_markers(planted, make):
    _, type_N = planted()
    target = make(np.zeros((150, N_GENES)), obs={"cell_type": type_N, "batch": ["b"] * 150, "donor": ["d"] * 150})
    scores = run(Markers(**TASK), Placed(perfect(type_N)), target)
    assert scores["marker_overlap, 5 highest", "all"].n_cells == 150


def test_more_highest_genes_than_there_are_have_no_overlap(planted):
    target, type_N = planted()
    scores = run(Markers(**{**TASK, "overlaps": [100]}), Placed(perfect(type_N)), target)
    score = scores["marker_overlap, 100 highest", "all"]
    assert math.isnan(score.value)
    assert "the cells have 60 genes that can be markers" in score.reason


def test_places_are_summarised_over_seeds():
    rows = [
        (corpus, seed, f"marker=T: a: G{gene}", place)
        for corpus, places in (("A", [[1, 5, 9], [2, 2, 2]]), ("B", [[0, 0, np.nan], [4, 4, 10]]))
        for gene, seeds in enumerate(places)
        for seed, place in enumerate(seeds)
    ]
    scores = pd.DataFrame(rows, columns=["corpus", "seed", "unit", "value"])
    found = marker_ranks(scores.assign(task="markers", target="t", model="m", way="signed"))
    assert found["cell_type"].unique().tolist() == ["T: a"]
    table = found.set_index(["corpus", "gene"])
    assert table.loc[("A", "G0"), ["mean", "variance", "deviation", "range"]].tolist() == [5, 16, 4, 8]
    assert table.loc[("B", "G0"), "n_seeds"] == 2
    assert marker_ranks(scores.assign(unit="all")).empty
