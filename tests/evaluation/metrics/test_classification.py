"""Metrics of classification are scikit-learn's, or what is computed by hand."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.neighbors import KNeighborsClassifier

from corpuscle.evaluation.metrics import classification as ours
from corpuscle.evaluation.metrics.neighbours import nearest_in

LABELS = np.array(["B", "NK", "T"])


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1.0, 1, 1], 200)
    truth = LABELS[[rng.choice(3, p=row) for row in probability]]
    return truth, LABELS[probability.argmax(axis=1)], probability


def test_they_agree_with_scikit_learn(answers):
    truth, predicted, _ = answers
    assert ours.accuracy(truth, predicted) == metrics.accuracy_score(truth, predicted)
    assert ours.accuracy(truth, predicted) == pytest.approx(metrics.f1_score(truth, predicted, average="micro"))
    assert ours.macro_f1(truth, predicted) == metrics.f1_score(truth, predicted, average="macro")
    assert ours.balanced_accuracy(truth, predicted) == metrics.balanced_accuracy_score(truth, predicted)


def test_a_type_is_scored_by_hand():
    truth = np.array(["B", "B", "B", "T", "NK"])
    found = ours.per_type(truth, np.array(["B", "B", "T", "T", "T"]), LABELS)
    np.testing.assert_allclose(found.precision, [1, np.nan, 1 / 3])
    np.testing.assert_allclose(found.recall, [2 / 3, 0, 1])
    np.testing.assert_allclose(found.f1, [0.8, 0, 0.5])
    assert found.support.tolist() == [3, 1, 1]


@pytest.mark.parametrize("k", [1, 4, 5, 15])
def test_the_vote_of_neighbours_is_scikit_learns_classifier(k):
    rng = np.random.default_rng(1)
    z, label = rng.normal(size=(120, 3)), rng.integers(0, 4, 120)
    theirs = KNeighborsClassifier(k, algorithm="brute").fit(z[:80], label[:80])
    share = ours.vote(label[:80][nearest_in(z[:80], z[80:], k)], 4)
    np.testing.assert_allclose(share, theirs.predict_proba(z[80:]))
    assert share.argmax(axis=1).tolist() == theirs.predict(z[80:]).tolist()


def test_calibration_error_by_hand():
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    truth = np.array(["B", "T", "B", "B"])
    # Confidence 0.9: one of two is right. Confidence 0.6: one of two is right.
    assert ours.calibration_error(truth, sure, LABELS[[0, 2]]) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_calibration_error_agrees_with_torchmetrics(answers):
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.functional.classification")
    truth, _, probability = answers
    expected = theirs.multiclass_calibration_error(
        torch.from_numpy(probability), torch.from_numpy(np.searchsorted(LABELS, truth)), 3, n_bins=15, norm="l1"
    )
    assert ours.calibration_error(truth, probability, LABELS) == pytest.approx(float(expected), abs=1e-6)


def test_a_perfectly_calibrated_answer_has_no_error():
    truth = np.array(["B"] * 8 + ["T"] * 2)
    assert ours.calibration_error(truth, np.tile([0.8, 0.2], (10, 1)), LABELS[[0, 2]]) == pytest.approx(0)
