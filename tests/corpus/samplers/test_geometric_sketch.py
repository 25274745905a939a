"""A sketch is even over space: rare states are kept, as geosketch keeps them."""

import subprocess
import sys

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.samplers.geometric_sketch import GeometricSketch
from corpuscle.corpus.samplers.geometric_sketch.plaid_covering import plaid_cover

RNG = np.random.default_rng


@pytest.fixture
def points():
    """A dense cloud of 380 cells and a sparse one of 20, as wide."""
    return np.concatenate([RNG(0).uniform(0, 1, (380, 2)), RNG(1).uniform((4, 0), (5, 1), (20, 2))])


def test_every_box_gives_a_cell_before_any_gives_two(placed, points, choose):
    pool = placed(points)
    box_N, n_boxes = plaid_cover(np.float32(points), 40)
    chosen = choose(GeometricSketch(), pool, 40)
    counts = np.bincount(box_N[chosen], minlength=n_boxes)
    assert counts.max() <= (1 if n_boxes >= 40 else 2)
    rare = np.mean([np.mean(choose(GeometricSketch(), pool, 40, seed) >= 380) for seed in range(20)])
    assert rare > 0.2  # of 5 % of the cells


def test_its_law_is_geosketchs(placed, points, choose):
    """How often each cell is drawn, over many draws: as often as geosketch draws it."""
    geosketch = pytest.importorskip("geosketch")
    pool, n_draws = placed(points), 300
    ours = sum(np.bincount(choose(GeometricSketch(), pool, 40, seed), minlength=400) for seed in range(n_draws))
    theirs = sum(np.bincount(geosketch.gs(np.float32(points), 40, seed=seed), minlength=400) for seed in range(n_draws))
    box_N, _ = plaid_cover(np.float32(points), 40)
    # Cells of one box are alike; the chance of a box is known to a few hundredths.
    assert np.abs(np.bincount(box_N, ours) - np.bincount(box_N, theirs)).max() < 0.08 * n_draws
    assert np.abs(ours - theirs).max() < 0.2 * n_draws


def test_the_number_of_boxes_can_hang_on_the_pool(placed, points, choose):
    pool = placed(points)
    sampler = GeometricSketch(box_share=0.05)
    box_N, n_boxes = plaid_cover(np.float32(points), 20)
    chosen = choose(sampler, pool, 3 * n_boxes)
    sizes, counts = np.bincount(box_N), np.bincount(box_N[chosen], minlength=n_boxes)
    assert (counts >= np.minimum(sizes, 3)).all()


def test_whitening_lets_a_narrow_component_count(placed, choose):
    points = RNG(0).normal(size=(300, 2)) * [100, 1]
    pool = placed(points)
    spread = {}
    for whiten in (False, True):
        sampler = GeometricSketch(whiten=whiten, n_components=2)
        draws = [points[choose(sampler, pool, 20, seed), 1].std() for seed in range(20)]
        spread[whiten] = np.mean(draws)
    assert spread[True] > 1.15 * spread[False]


def test_components_beyond_those_asked_for_have_no_say(placed, points, choose):
    noisy = np.concatenate([points, RNG(2).normal(size=(400, 3)) * 100], axis=1)
    plain = choose(GeometricSketch(n_components=2), placed(points), 40)
    np.testing.assert_array_equal(choose(GeometricSketch(n_components=2), placed(noisy), 40), plain)


def test_nan_is_told(placed, points, choose):
    points[7, 0] = np.nan
    with pytest.raises(CorpusError, match="cell 7 has nan on component 1"):
        choose(GeometricSketch(), placed(points), 40)


def test_numba_is_imported_only_by_those_who_sketch():
    code = (
        # Where Dask is installed, anndata imports it, and it numba.
        "import sys; sys.modules['dask'] = None;"
        "from corpuscle.core import components; from corpuscle.corpus.sampler import Sampler;"
        "[components.find(Sampler, name) for name in components.names(Sampler)]; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
