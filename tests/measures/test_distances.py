"""The discrepancy and the classifier: exact small cases, no bias, and scikit-learn's area."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from corpuscle.core.errors import MeasureError
from corpuscle.measures.built_ins.mmd import median_distance, squared_mmd
from corpuscle.measures.built_ins.two_sample import two_sample_auc


def test_the_discrepancy_of_two_and_three_cells_by_hand() -> None:
    # Kernel exp(-d²/2) at distances 1, 2: within {0, 1} it is a; within {0, 1, 2} the mean of a, a, b.
    a, b = np.exp(-0.5), np.exp(-2.0)
    between = (1 + a + b + a + 1 + a) / 6
    found = squared_mmd(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [2.0]]), 1.0)
    assert found == pytest.approx(a + (2 * a + b) / 3 - 2 * between, rel=1e-12)


def test_the_discrepancy_has_no_bias_and_sees_a_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    null = [squared_mmd(rng.normal(size=(40, 2)), rng.normal(size=(60, 2)), 1.5) for _ in range(300)]
    assert abs(np.mean(null)) < 3 * np.std(null) / np.sqrt(300)
    assert min(null) < 0
    one, other = rng.normal(size=(40, 2)), rng.normal(size=(60, 2)) + 1
    found = squared_mmd(one, other, 1.5)
    assert found > 5 * np.std(null)
    monkeypatch.setattr("corpuscle.measures.built_ins.mmd.BLOCK_CELLS", 7)
    assert squared_mmd(one, other, 1.5) == pytest.approx(found, rel=1e-12)


def test_the_kernels_width_is_the_median_distance() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1500, 2))
    # The distance of two standard normal points in the plane: 2 sqrt(ln 2) is its median.
    assert median_distance(points, rng) == pytest.approx(2 * np.sqrt(np.log(2)), rel=0.03)
    with pytest.raises(MeasureError, match="coincide"):
        median_distance(np.zeros((9, 2)), rng)


def test_the_area_is_the_held_out_one_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    corpus, target = rng.normal(size=(400, 5)), rng.normal(size=(300, 5)) + 0.4
    fresh = np.concatenate([rng.normal(size=(4000, 5)), rng.normal(size=(4000, 5)) + 0.4])
    model = LinearDiscriminantAnalysis().fit(np.concatenate([corpus, target]), np.repeat([0, 1], [400, 300]))
    expected = roc_auc_score(np.repeat([0, 1], 4000), model.decision_function(fresh))
    assert two_sample_auc(corpus, target, rng) == pytest.approx(expected, abs=0.03)


def test_cells_of_one_distribution_cannot_be_told_apart_by_cross_fitting() -> None:
    rng = np.random.default_rng(1)
    # As many coordinates as cells: a classifier that is scored on what it saw would tell all apart.
    areas = [two_sample_auc(rng.normal(size=(60, 50)), rng.normal(size=(60, 50)), rng) for _ in range(12)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("corpus", "why"),
    [(np.zeros((4, 2)), "5 folds"), (np.full((9, 2), np.nan), "NaN"), (np.ones((9, 2)), "no coordinate varies")],
)
def test_undefined_areas_say_why(corpus: np.ndarray, why: str) -> None:
    with pytest.raises(MeasureError, match=why):
        two_sample_auc(corpus, np.ones((9, 2)), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("points", "width", "why"),
    [(np.zeros((1, 2)), 1.0, "two cells"), (np.full((3, 2), np.nan), 1.0, "NaN"), (np.zeros((3, 2)), 0.0, "width")],
)
def test_undefined_discrepancies_say_why(points: np.ndarray, width: float, why: str) -> None:
    with pytest.raises(MeasureError, match=why):
        squared_mmd(points, np.zeros((3, 2)), width)
