"""Annotation gives what scikit-learn gives, says which types were unseen, and asks label models themselves."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from corpuscle.core.components import build
from corpuscle.core.errors import ComponentError
from corpuscle.evaluation.annotators import COSTS
from corpuscle.evaluation.task import Task
from corpuscle.evaluation.tasks.annotation import SUMMARIES, Annotation
from corpuscle.model.architectures.masked_autoencoder import MaskedAutoencoder
from corpuscle.model.model import Stored
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.store import Store
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
        ", 15 nearest": KNeighborsClassifier(15).fit(z[half], types[half]).predict(z[rest]),
        ", linear probe": probe.predict(scaler.transform(z[rest].astype(float))),
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
    assert "fewer than k = 15" in scores["f1, 15 nearest", "cell_type=T"].reason
    assert "fewer than k" not in scores["f1, 15 nearest", "cell_type=B"].reason


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


QUICK = {"learning_rate": 1e-2, "budget": {"steps": 60}, "n_hidden": 16}


def test_a_frozen_model_is_fine_tuned_on_the_reference_half(typed):
    target, types = typed(200)
    z = noisy(types)
    scores = run(Annotation(fine_tune=["frozen"], training=QUICK), Placed(z), target, seed=3)
    rng = np.random.default_rng(3)
    order = rng.permutation(200)
    half, rest = target.take(np.sort(order[:100])), target.take(np.sort(order[100:]))
    seed = int(rng.integers(2**31))
    tuned = fine_tune(Placed(z), half, half.labels("cell_type"), FineTuning(**QUICK), seed)
    predicted = np.array(tuned.labels)[tuned.label_probabilities(rest).argmax(axis=1)]
    truth = rest.labels("cell_type")
    assert scores["macro_f1, frozen", "all"].value == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["macro_f1, frozen", "all"].value > 0.5
    for label, f1 in zip(np.unique(truth), f1_score(truth, predicted, average=None), strict=True):
        assert scores["f1, frozen", f"cell_type={label}"].value == pytest.approx(f1)
    here = rest.labels("batch") == "b1"
    assert scores["accuracy, frozen", "batch=b1"].value == pytest.approx((truth == predicted)[here].mean())
    # A perceptron of 3 latents, 16 hidden units and 3 types, with its biases.
    assert scores["fine_tune_parameters, frozen", "all"].value == 3 * 16 + 16 + 16 * 3 + 3
    assert scores["fine_tune_seconds, frozen", "all"].value > 0
    assert scores["fine_tune_peak_gb, frozen", "all"].n_cells == 100
    # What is asked zero-shot stays as it is.
    plain = run(Annotation(), Placed(z), target, seed=3)
    assert plain == {key: score for key, score in scores.items() if not key[0].endswith(", frozen")}


def test_a_model_in_a_store_is_taught_and_embeds_once(typed, tmp_path, monkeypatch):
    target, types = typed(100)
    task, placed = Annotation(fine_tune=["frozen"], training=QUICK), Placed(noisy(types))
    without, store = run(task, Placed(noisy(types)), target, seed=3), Store(tmp_path)
    placed.stored = Stored(store, "model")
    found = [run(task, placed, target, seed=3)]
    assert {folder.name for folder in tmp_path.iterdir()} >= {"embeddings", "fine_tuned"}
    monkeypatch.setattr("corpuscle.evaluation.annotators.fine_tune", lambda *_: 1 / 0)
    # Another process: what this one has in memory is gone.
    placed = Placed(noisy(types))
    placed.stored = Stored(store, "model")
    found.append(run(task, placed, target, seed=3))
    timed = ("fine_tune_seconds, frozen", "fine_tune_peak_gb, frozen")
    texts = [repr({key: score for key, score in scores.items() if key[0] not in timed}) for scores in (without, *found)]
    assert texts[0] == texts[1] == texts[2]
    assert repr(found[0]) == repr(found[1])
    assert not (tmp_path / "unfinished").exists() or not [*(tmp_path / "unfinished").iterdir()]


def test_remedies_are_compared_and_keep_their_names(typed):
    target, types = typed(120)
    remedies = ["none", "resampling", "class_weights", "focal", "ldam"]
    scores = run(Annotation(fine_tune=["frozen"], remedies=remedies, training=QUICK), Placed(noisy(types)), target)
    suffixes = [", frozen", *(f", frozen, {remedy}" for remedy in remedies[1:])]
    for metric in (*SUMMARIES, *COSTS):
        assert all(math.isfinite(scores[f"{metric}{suffix}", "all"].value) for suffix in suffixes)
    # Other losses give other probabilities.
    assert len({scores[f"calibration_error{suffix}", "all"].value for suffix in suffixes}) == len(suffixes)


def test_the_whole_network_learns_with_the_perceptron(typed):
    target, _ = typed(120)
    fitted = MaskedAutoencoder(widths=[8, 2], budget={"steps": 0}).fit(target, 0)
    scores = run(Annotation(fine_tune=["frozen", "whole"], training=QUICK), fitted, target)
    n_frozen, n_whole = (scores[f"fine_tune_parameters, {how}", "all"].value for how in ("frozen", "whole"))
    # The encoder's own numbers learn, too: genes to 8 units to 2.
    assert n_whole - n_frozen == target.n_genes * 8 + 8 + 8 * 2 + 2
    assert math.isfinite(scores["macro_f1, whole", "all"].value)
    assert scores["calibration_error, whole", "all"].value != scores["calibration_error, frozen", "all"].value


def test_a_model_without_a_network_has_no_answer_as_a_whole_and_says_why(typed):
    target, types = typed(120)
    both = run(Annotation(fine_tune=["frozen", "whole"], training=QUICK), Placed(noisy(types)), target)
    whole = {key: score for key, score in both.items() if key[0].endswith(", whole")}
    frozen = {key for key, score in both.items() if key[0].endswith(", frozen") and math.isfinite(score.value)}
    assert {(metric.replace(", whole", ", frozen"), unit) for metric, unit in whole} >= frozen
    assert all(math.isnan(score.value) for score in whole.values())
    assert all("no network that can be trained on" in score.reason for score in whole.values())


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ({"cell_type": ["B"] * 40}, "nothing to distinguish"),
        ({"cell_type": [np.nan] * 40}, "none to learn from"),
        ({}, "label training diverged"),
    ],
    ids=["one type", "no types", "diverged"],
)
def test_what_cannot_be_taught_is_nan_with_its_reason(typed, trouble, message):
    target, _ = typed(40, **trouble)
    training = {**QUICK, "learning_rate": 1e30} if not trouble else QUICK
    with np.errstate(all="ignore"):
        scores = run(
            Annotation(fine_tune=["frozen"], training=training),
            Placed(np.random.default_rng(0).normal(size=(40, 2))),
            target,
        )
    tuned = [score for (metric, unit), score in scores.items() if metric.endswith(", frozen") and unit == "all"]
    assert len(tuned) == len(SUMMARIES) + len(COSTS)
    assert all(math.isnan(score.value) and message in score.reason for score in tuned)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"remedies": ["focal"]}, "remedies are for fine-tuning"),
        ({"fine_tune": ["whole", "whole"]}, "names something twice"),
        ({"fine_tune": ["whole"], "remedies": ["none", "ldam"]}, "equal steps, which patience does not give"),
        ({"training": {"budget": {"stps": 3}}}, "did you mean 'steps'"),
    ],
    ids=["remedies alone", "twice", "unequal steps", "misspelt"],
)
def test_settings_that_make_no_sense_are_refused(table, message):
    with pytest.raises(ComponentError, match=message):
        build(Task, "annotation", table)


def test_the_worst_group_by_any_column_is_named_with_its_f1(typed):
    site = np.array(["here"] * 60 + ["there"] * 55 + ["few"] * 5)
    target, types = typed(120, disease=site)
    # Cells of one site are put where any type is.
    z = np.where((site == "there")[:, None], np.random.default_rng(0).normal(size=(120, 3)), noisy(types))
    scores = run(Annotation(split="donor", worst_by="disease"), Placed(z), target)
    worst, whole = scores["worst_macro_f1", "all"], scores["macro_f1", "all"]
    assert worst.value < whole.value
    assert worst.reason == "lowest of 2 by disease: there"
    assert worst.n_cells < 55
    lacking = run(Annotation(worst_by="tissue"), Placed(z), target)["worst_macro_f1", "all"]
    assert math.isnan(lacking.value)
    assert "no group by tissue has 10 query cells" in lacking.reason
    assert ("worst_macro_f1", "all") not in run(Annotation(), Placed(z), target)


def test_a_group_of_one_type_that_is_found_is_not_the_worst_for_one_cell_of_another_answer(typed):
    site = np.array(["mixed"] * 120)
    target, types = typed(120)
    site[types == max(set(types), key=list(types).count)] = "pure"
    target, _ = typed(120, disease=site)
    z = noisy(types)
    # One cell of the pure group lies among those of another type, a third of the mixed ones anywhere.
    z[np.flatnonzero(site == "pure")[0]] = z[np.flatnonzero(site == "mixed")[0]]
    lost = np.flatnonzero(site == "mixed")[::3]
    z[lost] = np.random.default_rng(0).normal(size=(len(lost), z.shape[1]))
    worst = run(Annotation(worst_by="disease"), Placed(z), target)["worst_macro_f1", "all"]
    assert worst.reason.endswith("lowest of 2 by disease: mixed")


def test_the_worst_type_is_the_one_with_the_lowest_f1_of_all_cells(typed):
    target, types = typed(200)
    # Cells of T lie among those of B, and none of the third type does.
    z = 5.0 * (types[:, None] == np.unique(types)) + np.random.default_rng(0).normal(size=(200, 3))
    z[types == "T", :] = z[types == "B"][np.arange((types == "T").sum()) % (types == "B").sum()] + 0.1
    scores = run(Annotation(worst_by="cell_type"), Placed(z), target)
    f1 = {kind: scores["f1", f"cell_type={kind}"] for kind in np.unique(types)}
    worst = min(f1, key=lambda kind: f1[kind].value)
    found = scores["worst_macro_f1", "all"]
    assert (found.value, found.n_cells) == (f1[worst].value, f1[worst].n_cells)
    assert found.reason == f"lowest of 3 by cell_type: {worst}"
