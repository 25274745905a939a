"""Coverage, density, precision and recall by hand, and against their definitions written out."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from corpuscle.core.errors import MeasureError
from corpuscle.measures.built_ins.coverage import cover


def test_a_case_by_hand() -> None:
    # Target at 0, 1, 3, 7 with k = 1: radii 1, 1, 2, 4. Corpus at 1.5, 2.5, 20: radii 1, 1, 17.5.
    found = cover(np.array([[1.5], [2.5], [20.0]]), np.array([[0.0], [1.0], [3.0], [7.0]]), k=1)
    # 1.5 is within 1 of 1 and within 2 of 3; 2.5 within 2 of 3; nothing within 1 of 0; 2.5 is 4.5 from 7.
    assert found.covered_T.tolist() == [False, True, True, False]
    assert (found.covered_T.mean(), found.precise_S.mean()) == (0.5, 2 / 3)
    assert found.density_S.tolist() == [2, 1, 0]
    assert found.density_S.mean() == 1
    # 0 is 1.5 away from 1.5; 7 is within 17.5 of 20.
    assert found.recalled_T.tolist() == [False, True, True, True]
    assert found.recalled_T.mean() == 0.75
    assert found.distance_T.tolist() == [1.5, 0.5, 0.5, 4.5]
    assert found.distance_T.mean() == 1.75


def test_the_edge_of_a_ball_is_within() -> None:
    # Strictly nearer than the radius, nothing would be covered here: all cells coincide.
    same = np.ones((6, 3))
    found = cover(same, same, k=2)
    assert (found.covered_T.mean(), found.precise_S.mean(), found.recalled_T.mean(), found.density_S.mean()) == (
        1,
        1,
        1,
        3,
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_definitions_written_out(k: int) -> None:
    rng = np.random.default_rng(k)
    target, corpus = rng.normal(size=(80, 4)), rng.normal(size=(120, 4)) * 1.5 + 0.5
    within = np.sort(cdist(target, target), axis=1)[:, k]
    reach = np.sort(cdist(corpus, corpus), axis=1)[:, k]
    apart = cdist(target, corpus)
    found = cover(corpus, target, k)
    assert found.covered_T.mean() == (apart.min(axis=1) <= within).mean()
    assert found.density_S.mean() == pytest.approx((apart <= within[:, None]).sum() / (k * 120))
    assert found.precise_S.mean() == (apart <= within[:, None]).any(axis=0).mean()
    assert found.recalled_T.mean() == (apart <= reach).any(axis=1).mean()
    assert found.distance_T.mean() == pytest.approx(np.sort(apart, axis=1)[:, :k].mean(), rel=1e-5)


def test_two_draws_of_one_distribution_have_the_known_coverage() -> None:
    rng = np.random.default_rng(0)
    found = cover(rng.normal(size=(2000, 3)), rng.normal(size=(2000, 3)), k=5)
    # 1 - Π (N - i) / (2N - i), i = 1 … k (Naeem et al. 2020, lemma 3): 1 - 2^-5 for large N.
    assert found.covered_T.mean() == pytest.approx(1 - 2**-5, abs=0.015)
    assert found.density_S.mean() == pytest.approx(1, abs=0.1)


def test_fewer_cells_than_neighbours_are_refused() -> None:
    many, few = np.random.default_rng(0).normal(size=(9, 2)), np.zeros((5, 2))
    with pytest.raises(MeasureError, match="5 nearest other cells were asked for, but there are only 5 cells"):
        cover(few, many)
    with pytest.raises(MeasureError, match="only 5 cells"):
        cover(many, few)
