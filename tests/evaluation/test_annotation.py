"""Annotation gives what scikit-learn gives, says which types were unseen, and asks label models themselves."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from corpuscle.evaluation.tasks.annotation import Annotation
from placed import Placed, run


def noisy(types, seed=0):
    rng = np.random.default_rng(seed)
    placed = 1.5 * (types[:, None] == np.unique(types))
    return (placed + rng.normal(size=placed.shape)).astype(np.float32)


def test_it_is_scikit_learns_classifiers_on_the_same_half(typed):
    target, types = typed(200)
    z = noisy(types)
    scores = run(Annotation(), Placed(z), target, seed=3)
    order = np.random.default_rng(3).permutation(200)
    half, rest = np.sort(order[:100]), np.sort(order[100:])
    scaler = StandardScaler().fit(z[half].astype(float))
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(z[half].astype(float)), types[half])
    answers = {
        "": KNeighborsClassifier(5).fit(z[half], types[half]).predict(z[rest]),
        "_knn15": KNeighborsClassifier(15).fit(z[half], types[half]).predict(z[rest]),
        "_linear": probe.predict(scaler.transform(z[rest].astype(float))),
    }
    for suffix, predicted in answers.items():
        assert scores[f"macro_f1{suffix}", "all"].value == pytest.approx(
            f1_score(types[rest], predicted, average="macro")
        )
        assert scores[f"accuracy{suffix}", "all"].value == pytest.approx((types[rest] == predicted).mean())
        per_type = dict(zip(np.unique(types), f1_score(types[rest], predicted, average=None), strict=True))
        for label, f1 in per_type.items():
            assert scores[f"f1{suffix}", f"cell_type={label}"].value == pytest.approx(f1)
            assert scores[f"f1{suffix}", f"cell_type={label}"].n_cells == (types[rest] == label).sum()
        for batch in ("b1", "b2"):
            here = target.labels("batch")[rest] == batch
            found = scores[f"accuracy{suffix}", f"batch={batch}"]
            assert (found.value, found.n_cells) == (pytest.approx((types[rest] == predicted)[here].mean()), here.sum())


def test_a_split_by_donor_asks_for_new_donors_and_names_unseen_types(typed):
    donors = np.array([f"d{at % 4}" for at in range(120)])
    target, types = typed(120, donor=donors)
    types = np.where(donors == "d0", "own", types)
    target, _ = typed(120, donor=donors, cell_type=types)
    by_seed = [run(Annotation(split="donor"), Placed(noisy(types)), target, seed) for seed in range(6)]
    for scores in by_seed:
        assert len({unit for _, unit in scores if unit.startswith("donor=")}) == 2
        assert scores["accuracy", "all"].n_cells == 60
    unseen = [scores for scores in by_seed if ("recall", "cell_type=own") in scores]
    assert 0 < len(unseen) < 6
    for scores in unseen:
        row = scores["recall", "cell_type=own"]
        assert (row.value, row.n_cells) == (0, 30)
        assert "unseen: no reference cell has this type" in row.reason
        assert scores["unseen_share", "all"].value == 0.5
        assert "own" in scores["macro_f1", "all"].reason
        assert math.isnan(scores["precision", "cell_type=own"].value)


def test_one_donor_has_no_other_to_learn_from(typed):
    target, types = typed(40, batch=["b1"] * 40)
    scores = run(Annotation(split="donor"), Placed(noisy(types)), target)
    assert all(math.isnan(score.value) for score in scores.values())
    assert "no other to learn from" in scores["macro_f1", "all"].reason


def test_the_corpus_can_be_the_reference(typed):
    whole, types = typed(120)
    train, target = whole.take(np.arange(80), "train"), whole.take(np.arange(80, 120), "target")
    z = noisy(types)
    scores = run(Annotation(split="corpus"), Placed(z), target, train=train)
    predicted = KNeighborsClassifier(5).fit(z[:80], types[:80]).predict(z[80:])
    assert scores["accuracy", "all"].value == pytest.approx((types[80:] == predicted).mean())
    assert scores["accuracy", "all"].n_cells == 40


def test_a_type_with_fewer_cells_than_k_is_said_to_have_them(typed):
    types = np.array(["B"] * 76 + ["T"] * 4)
    target, _ = typed(80, cell_type=types)
    scores = run(Annotation(), Placed(np.random.default_rng(0).normal(size=(80, 3))), target, seed=1)
    assert "fewer than k = 15" in scores["f1_knn15", "cell_type=T"].reason
    assert "fewer than k" not in scores["f1_knn15", "cell_type=B"].reason


class Teller(Placed):
    """A label model that is right about everything but NK, which it does not know."""

    labels = ("B", "T")

    def label_probabilities(self, cells):
        types = cells.labels("cell_type")
        return np.where((types == "T")[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32)


def test_a_label_model_gives_its_own_answer(typed):
    target, _ = typed(120)
    scores = run(Annotation(), Teller(np.zeros((120, 1))), target)
    assert {metric for metric, _ in scores if metric.endswith(("knn15", "linear"))} == set()
    assert scores["recall", "cell_type=B"].value == scores["recall", "cell_type=T"].value == 1
    assert scores["recall", "cell_type=NK"].value == 0
    share = scores["unseen_share", "all"].value
    assert share > 0
    assert scores["accuracy", "all"].value == pytest.approx(1 - share)
    assert scores["calibration_error", "all"].value == pytest.approx(abs(0.9 - (1 - share)), abs=1e-6)
