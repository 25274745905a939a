"""Neighbours by one pass are those of the full table of distances, ties included."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.expression.neighbours import neighbours, square_radii


@pytest.mark.parametrize("n_others", [5, 255, 256, 700])
def test_they_are_scikit_learns(n_others: int) -> None:
    rng = np.random.default_rng(n_others)
    points, others = rng.normal(size=(90, 7)).astype(np.float32), rng.normal(size=(n_others, 7)).astype(np.float32)
    theirs, _ = NearestNeighbors(n_neighbors=4).fit(others).kneighbors(points)
    radius = square_radii(points, 3)
    found = neighbours(points, others, 4, radius)
    np.testing.assert_allclose(np.sqrt(found.square_Tk), theirs, rtol=1e-5)
    inside = cdist(points, others, "sqeuclidean") <= radius[:, None].astype(np.float64)
    assert abs(found.balls_S - inside.sum(axis=0)).max() <= 1
    assert (found.balls_S == inside.sum(axis=0)).mean() > 0.98


def test_small_distances_far_from_the_origin_are_kept() -> None:
    far = np.float32(4096)
    points = np.array([[far, far], [far + 0.5, far]], np.float32)
    assert neighbours(points, points, 2).square_Tk.tolist() == [[0, 0.25], [0, 0.25]]


def test_equal_cells_are_within_a_radius_of_nothing() -> None:
    cells = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    twice = np.concatenate([cells, cells])
    radius = square_radii(twice, 1)
    assert (radius == 0).all()
    assert (neighbours(twice, cells, 1, radius).balls_S == 2).all()


def test_memory_is_that_of_the_points() -> None:
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(2000, 8)).astype(np.float32), rng.normal(size=(3000, 8)).astype(np.float32)
    neighbours(points[:5], others[:5], 1)
    tracemalloc.start()
    neighbours(points, others, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The table of distances would take 24 MB.
    assert peak < 1e6


@pytest.mark.parametrize(
    ("points", "others", "why"),
    [
        (np.zeros((2, 2)), np.zeros((1, 2)), "2 nearest cells were asked for, but there are 1"),
        (np.zeros((2, 2)), np.zeros((5, 3)), "give them equal dimensions"),
        (np.full((2, 2), np.nan), np.zeros((5, 2)), "NaN"),
        (np.zeros((2, 2)), np.full((5, 2), np.inf), "NaN or infinite"),
    ],
)
def test_bad_points_are_refused(points: np.ndarray, others: np.ndarray, why: str) -> None:
    with pytest.raises(MeasureError, match=why):
        neighbours(points, others, 2)
    with pytest.raises(MeasureError, match="3 nearest other cells"):
        square_radii(np.zeros((3, 1)), 3)
