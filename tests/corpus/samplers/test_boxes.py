"""The covering is geosketch's, box by box."""

import inspect

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.samplers.geometric_sketch import plaid_covering
from corpuscle.corpus.samplers.geometric_sketch.plaid_covering import PlaidCover, plaid_cover


@pytest.fixture
def geosketch_boxes(monkeypatch):
    """Return what geosketch covers points with: its grid is taken from it as it is about to draw."""
    geosketch = pytest.importorskip("geosketch")

    class Seen(Exception):  # noqa: N818  # it is no error
        pass

    def covered(points, k):
        found = {}

        def draw(*_):
            found.update(inspect.currentframe().f_back.f_locals["grid"])
            raise Seen

        with monkeypatch.context() as patch:
            patch.setattr(geosketch.sketch.np.random, "choice", draw)
            with pytest.raises(Seen):
                geosketch.gs(points, 1, k=k)
        box_N = np.empty(len(points), int)
        for at, members in enumerate(found.values()):
            box_N[members] = at
        return box_N

    return covered


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "n_dims", "k"),
    [(2000, 2, 100), (1000, 1, 300), (1500, 20, 150), (1500, 50, 15), (1500, 50, 1490), (300, 5, 1), (200, 3, 200)],
)
def test_the_partition_is_geosketchs(geosketch_boxes, dtype, *, n, n_dims, k):
    rng = np.random.default_rng(n + n_dims)
    centres = rng.normal(size=(6, n_dims)) * np.linspace(8, 1, n_dims)
    points = (centres[rng.integers(0, 6, n)] + rng.normal(size=(n, n_dims))).astype(dtype)
    boxes, theirs = plaid_cover(points, k), geosketch_boxes(points, k)
    assert boxes.n_boxes == theirs.max() + 1
    # As many pairs as boxes on either side: each of ours is one of theirs.
    assert len(set(zip(boxes.box_N.tolist(), theirs.tolist(), strict=True))) == boxes.n_boxes


def test_points_that_coincide_are_geosketchs(geosketch_boxes):
    points = np.random.default_rng(0).integers(0, 4, (400, 2)).astype(np.float32)
    boxes, theirs = plaid_cover(points, 300), geosketch_boxes(points, 300)
    assert boxes.n_boxes == theirs.max() + 1 == 16
    assert len(set(zip(boxes.box_N.tolist(), theirs.tolist(), strict=True))) == 16


@pytest.mark.parametrize(("n", "n_dims", "n_boxes"), [(5, 3, 1), (1, 3, 1), (5, 0, 1), (0, 3, 0)])
def test_points_without_extent_are_one_box(n, n_dims, n_boxes):
    found = plaid_cover(np.full((n, n_dims), 7.0), 3)
    assert isinstance(found, PlaidCover)
    assert found.n_boxes == n_boxes
    assert found.box_N.tolist() == [0] * n


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_with_its_place(bad):
    points = np.zeros((10, 3))
    points[4, 1] = bad
    with pytest.raises(CorpusError, match=rf"cell 4 has {bad} on component 2; fix the embedding"):
        plaid_cover(points, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "n_dims", "k"), [(1500, 2, 400), (1500, 20, 150), (1, 3, 1)])
def test_passes_and_sorted_values_find_the_same_boxes(monkeypatch, dtype, *, n, n_dims, k):
    points = np.random.default_rng(0).normal(size=(n, n_dims)).astype(dtype)
    points[: n // 3, 0] = 0
    found = []
    for few in (0, 10**9):
        monkeypatch.setattr(plaid_covering, "FEW_INTERVALS", few)
        found.append(plaid_cover(points, k))
    np.testing.assert_array_equal(found[0].box_N, found[1].box_N)
