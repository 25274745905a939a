"""The Vendi score against vendi-score, of any order, and of mixtures without their cells."""

import numpy as np
import pytest

from corpuscle.core.errors import MeasureError
from corpuscle.measures.built_ins.vendi import gram, scores_of, vendi


def points(n: int = 400, k: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, k)) * np.geomspace(5, 0.1, k) + rng.normal(size=k)).astype(np.float32)


@pytest.mark.parametrize("order", [0.5, 1, 2, np.inf])
def test_it_is_vendi_scores(order: float) -> None:
    reference = pytest.importorskip("vendi_score.vendi")
    cells = points().astype(np.float64)
    theirs = reference.score_dual(cells, q="inf" if np.isinf(order) else order)
    assert vendi(gram(cells), order) == pytest.approx(theirs, rel=1e-6)


def test_the_dual_form_is_that_of_the_similarity_matrix() -> None:
    cells = points(60, 8).astype(np.float64)
    way = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    share = np.linalg.eigvalsh(way @ way.T / len(way))
    share = share[share > 1e-12]
    assert vendi(gram(cells)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_bounds_and_orders() -> None:
    found = gram(points())
    scores = [vendi(found, order) for order in (0, 0.5, 1, 2, np.inf)]
    assert (np.diff(scores) < 0).all()
    assert scores[0] == pytest.approx(12)
    assert vendi(gram(np.tile(points(1), (9, 1)))) == pytest.approx(1)
    # Order 0 counts dimensions, not what rounding leaves of those that are not there.
    assert vendi(gram(points(300, 4) @ np.ones((4, 9))), 0) == pytest.approx(1)


def test_blocks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vendi(gram(points()))
    monkeypatch.setattr("corpuscle.measures.built_ins.vendi.BLOCK_CELLS", 7)
    assert vendi(gram(points())) == pytest.approx(whole, rel=1e-12)


def test_a_stack_is_measured_one_by_one() -> None:
    stack = np.stack([gram(points(seed=seed)).gram_KK for seed in range(3)])
    np.testing.assert_allclose(scores_of(stack, 2), [scores_of(each, 2) for each in stack])


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([[1.0, np.inf]]), "NaN or infinite"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), "all features 0"),
        (np.zeros((3, 2)), "all features 0"),
        (np.zeros((0, 2)), "no cells"),
    ],
)
def test_undefined_scores_say_why(cells: np.ndarray, why: str) -> None:
    with pytest.raises(MeasureError, match=why):
        gram(cells)


def test_an_order_that_is_none_is_refused() -> None:
    with pytest.raises(MeasureError, match="order"):
        vendi(gram(points(9)), np.nan)
