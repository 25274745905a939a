"""Reference mapping: whose types are carried where, that batches do not see each other, and the baseline."""

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.neighbors import KNeighborsClassifier

from corpuscle.corpus.cell_ontology import Match
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.evaluation.metrics.classification import weighted_vote
from corpuscle.evaluation.metrics.neighbours import neighbours_in
from corpuscle.evaluation.tasks.reference_mapping import ReferenceMapping, acceptable
from placed import Placed, run

WEIGHTED = "15 nearest, weighted"
WAYS = (WEIGHTED, "1 nearest", "1 nearest, variable genes")


@pytest.fixture
def halves(typed):
    """A corpus of 60 cells and a target of 60 others, in one file, and where a model puts all of them."""

    def made(**obs):
        whole, types = typed(120, **obs)
        rng = np.random.default_rng(2)
        z_NK = 1.5 * (types[:, None] == np.unique(types)) + rng.normal(0, 1, (120, len(np.unique(types))))
        return whole.take(np.arange(60), "train"), whole.take(np.arange(60, 120), "target"), z_NK

    return made


def test_votes_and_answers_are_those_of_scikit_learn(halves):
    train, target, z_NK = halves()
    truth, seen = target.labels("cell_type"), train.labels("cell_type")
    z_RK, z_QK = (z_NK.astype(np.float32)[cells.cells["row"]] for cells in (train, target))
    oracle = KNeighborsClassifier(15, weights="distance").fit(z_RK, seen)
    found = neighbours_in(z_RK, z_QK, 15)
    vote_QL = weighted_vote(np.unique(seen, return_inverse=True)[1][found.index_NJ], found.distance_NJ, 3)
    np.testing.assert_allclose(vote_QL, oracle.predict_proba(z_QK), rtol=1e-5)
    assert weighted_vote(np.array([[0, 1, 1]]), np.array([[0.0, 1e-9, 1.0]]), 2).tolist() == [[1.0, 0.0]]
    scores = run(ReferenceMapping(min_confidence=0.7), Placed(z_NK), target, train=train)
    given, sure = oracle.predict(z_QK), oracle.predict_proba(z_QK).max(axis=1) >= 0.7
    batch = target.labels("batch")
    for unit, mask in {"all": truth != "", "batch=b1": batch == "b1", "batch=b2": batch == "b2"}.items():
        assert scores[f"accuracy, {WEIGHTED}", unit].value == pytest.approx((given == truth)[mask].mean())
        assert scores[f"unassigned_share, {WEIGHTED}", unit].value == pytest.approx(1 - sure[mask].mean())
        accuracy = (given == truth)[mask & sure].mean()
        assert scores[f"assigned_accuracy, {WEIGHTED}", unit].value == pytest.approx(accuracy)
        assert scores[f"assigned_accuracy, {WEIGHTED}", unit].n_cells == (mask & sure).sum()
    nearest = KNeighborsClassifier(1).fit(z_RK, seen).predict(z_QK)
    assert scores["accuracy, 1 nearest", "all"].value == pytest.approx((nearest == truth).mean())
    # The baseline is of the cells' counts, whatever the model.
    log_RG, log_QG = (cp10k(cells.counts()).log1p().toarray() for cells in (train, target))
    by_genes = KNeighborsClassifier(1).fit(log_RG, seen).predict(log_QG)
    assert scores["accuracy, 1 nearest, variable genes", "all"].value == pytest.approx((by_genes == truth).mean())


class Joined(Placed):
    """Embeds cells together: each less the mean of all that are embedded with it."""

    def embed(self, cells):
        z_NK = super().embed(cells)
        self.batches = [*getattr(self, "batches", []), set(cells.labels("batch").tolist())]
        return z_NK - z_NK.mean(axis=0)


def test_each_batch_is_embedded_by_itself(halves):
    shift = np.where(np.arange(120)[:, None] < 60, 0.0, 30.0 * (np.arange(120) % 3)[:, None])
    batches = np.array(["b0", "b1", "b2"])[np.arange(120) % 3]
    train, target, z_NK = halves(batch=batches)
    model = Joined(z_NK + shift)
    scores = run(ReferenceMapping(), model, target, train=train)
    assert model.batches[1:] == [{"b0"}, {"b1"}, {"b2"}]
    alone = run(ReferenceMapping(), Joined(z_NK), target, train=train)
    key = f"accuracy, {WEIGHTED}", "all"
    assert scores[key].value == pytest.approx(alone[key].value), "a shift of a batch does not matter where it is alone"
    # What is found of a batch does not depend on which others there are.
    first = run(ReferenceMapping(), model, target.take(target.labels("batch") == "b1"), train=train)
    for metric in ("accuracy", "macro_f1", "unassigned_share"):
        name = f"{metric}, {WEIGHTED}"
        assert first[name, "batch=b1"].value == scores[name, "batch=b1"].value
    assert "one batch: the target is mapped as one" in first[key].reason


def test_cells_without_a_batch_or_type_are_said(halves):
    batches = np.where(np.arange(120) % 4 == 0, None, "b1")
    train, target, z_NK = halves(batch=batches)
    found = run(ReferenceMapping(), Placed(z_NK), target, train=train)[f"accuracy, {WEIGHTED}", "all"]
    assert found.n_cells == 60
    assert "15 of 60 cells have no batch" in found.reason
    no_batch = run(ReferenceMapping(by="study"), Placed(z_NK), target, train=train)[f"accuracy, {WEIGHTED}", "all"]
    assert no_batch.value == found.value
    assert "no known study: the target is mapped as one" in no_batch.reason


def test_a_type_that_the_reference_lacks_counts_as_not_found(halves):
    train, target, z_NK = halves()
    train = train.take(train.labels("cell_type") != "NK")
    scores = run(ReferenceMapping(), Placed(z_NK), target, train=train)
    share = (target.labels("cell_type") == "NK").mean()
    for way in WAYS:
        assert scores[f"unseen_share, {way}", "all"].value == pytest.approx(share)
        assert scores[f"recall, {way}", "cell_type=NK"].value == 0
        assert "unseen: no reference cell has this type" in scores[f"recall, {way}", "cell_type=NK"].reason
        assert "no reference cell has count as not found: NK" in scores[f"accuracy, {way}", "all"].reason


def without_types(cells):
    return replace(cells, cells=cells.cells.drop(columns="cell_type"))


BROKEN = {
    "too few": (lambda train: train.take(np.arange(9)), None, "9 reference cells: fewer than k = 15", {WEIGHTED}),
    "one type": (
        lambda train: train.take(train.labels("cell_type") == "B"),
        None,
        "reference cells are all B",
        {*WAYS},
    ),
    "no types": (without_types, None, "no cell of the training corpus has a type", {*WAYS}),
    "not finite": (None, lambda z: np.where(np.arange(120)[:, None] == 70, np.nan, z), "is not finite", {*WAYS[:2]}),
    "constant": (None, np.ones_like, "the embedding is the same for all cells", {*WAYS[:2]}),
}


@pytest.mark.parametrize(("of_train", "of_z", "why", "ways"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_mapped_is_nan_with_its_reason(halves, of_train, of_z, why, ways):
    train, target, z_NK = halves()
    model, train = Placed(of_z(z_NK) if of_z else z_NK), of_train(train) if of_train else train
    scores = run(ReferenceMapping(acceptable={"B": ["T"]}), model, target, train=train)
    for way in WAYS:
        for metric in ("accuracy", "macro_f1", "acceptable_accuracy"):
            score = scores[f"{metric}, {way}", "all"]
            assert math.isnan(score.value) == (way in ways)
            assert way not in ways or why in score.reason
    assert math.isnan(scores[f"unassigned_share, {WEIGHTED}", "all"].value)
    assert all(math.isfinite(score.value) or score.reason for score in scores.values())
    empty = run(ReferenceMapping(), model, target.take(np.arange(0)), train=train)
    assert all(math.isnan(score.value) and score.reason for score in empty.values())


class Line:
    """Three terms, one above the other, and one apart."""

    def find(self, label):
        term = {"cell": "CL:1", "T": "CL:2", "CD4 T": "CL:3", "T4": "CL:3", "B": "CL:4"}.get(label)
        return Match(term, label, "name") if term else None

    def ancestors(self, term):
        return {"CL:1": {"CL:1": 0}, "CL:2": {"CL:2": 0, "CL:1": 1}, "CL:3": {"CL:3": 0, "CL:2": 1, "CL:1": 2}}.get(
            term, {term: 0}
        )

    def parents(self, term):
        return ()


def test_an_ancestor_a_descendant_and_what_the_table_says_are_acceptable():
    given, true = np.array(["T", "B", "odd"]), np.array(["CD4 T", "T4", "cell", "B", "odd"])
    table = {"odd": ["B"]}
    assert acceptable(given, true, table, None) == ({"T": {"T"}, "B": {"B"}, "odd": {"odd", "B"}}, "")
    found, unknown = acceptable(given, true, table, Line())
    assert found == {"T": {"T", "CD4 T", "T4", "cell"}, "B": {"B"}, "odd": {"odd", "B"}}
    assert unknown == "no known term: odd"


def test_acceptable_answers_are_counted(halves):
    train, target, z_NK = halves()
    plain = run(ReferenceMapping(), Placed(z_NK), target, train=train)
    assert not any(metric.startswith("acceptable") for metric, _ in plain)
    all_right = {given: ["B", "T", "NK"] for given in ("B", "T", "NK")}
    for table, least in ((all_right, 1.0), ({"B": ["B"]}, plain[f"accuracy, {WEIGHTED}", "all"].value)):
        scores = run(ReferenceMapping(acceptable=table), Placed(z_NK), target, train=train)
        assert scores[f"acceptable_accuracy, {WEIGHTED}", "all"].value == pytest.approx(least)
    with pytest.raises(ValidationError):
        ReferenceMapping(k=1)
