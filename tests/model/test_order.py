"""The order of training: each use once an epoch, a function of the seed and sizes alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from corpuscle.model.data import epoch_order
from corpuscle.model.data.epoch_order import EpochLayout, Window, hold_out

NONE = np.empty(0, np.int64)


@pytest.fixture
def _small_windows(monkeypatch):
    monkeypatch.setattr(epoch_order, "WINDOW_USES", 64)
    monkeypatch.setattr(epoch_order, "BLOCK_USES", 8)


def epoch(windows: Iterator[Window]) -> list[Window]:
    found = [next(windows)]
    while not found[-1].ends_epoch:
        found.append(next(windows))
    return found


def cells(layout: EpochLayout, windows: list[Window]) -> np.ndarray:
    return layout.cell_U[np.concatenate([window.places for window in windows])]


@pytest.mark.usefixtures("_small_windows")
@pytest.mark.parametrize("n_cells", [1, 64, 65, 300])
def test_an_epoch_has_each_use_of_the_trained_cells_once(n_cells):
    rng = np.random.default_rng(0)
    times_N = rng.integers(1, 4, n_cells)
    held = np.flatnonzero(rng.random(n_cells) < 0.2)[: n_cells // 2]
    expected_N = times_N.copy()
    expected_N[held] = 0
    layout = EpochLayout(times_N)
    windows = layout.windows(held, int(expected_N.sum()), rng)
    first, second = epoch(windows), epoch(windows)
    for found in (first, second):
        np.testing.assert_array_equal(np.bincount(cells(layout, found), minlength=n_cells), expected_N)
        assert len(found) == -(-len(layout) // 64)
    if n_cells > 2:
        assert not np.array_equal(cells(layout, first), cells(layout, second))


@pytest.mark.usefixtures("_small_windows")
def test_a_window_takes_its_uses_from_its_blocks_and_no_more_than_it_may():
    layout = EpochLayout(np.ones(1000, np.int64))
    found = epoch(layout.windows(NONE, 1000, np.random.default_rng(0)))
    for window in found:
        assert len(window.places) <= 64
        assert set(window.places // 8) == set(window.blocks)
    blocks = np.concatenate([window.blocks for window in found])
    assert sorted(blocks) == list(range(125))


@pytest.mark.usefixtures("_small_windows")
def test_the_order_hangs_on_the_seed_only():
    def found(seed: int) -> np.ndarray:
        layout = EpochLayout(np.ones(500, np.int64))
        return cells(layout, epoch(layout.windows(NONE, 500, np.random.default_rng(seed))))

    np.testing.assert_array_equal(found(1), found(1))
    assert not np.array_equal(found(1), found(2))
    # Neighbours in the corpus, as of one donor, are spread over the whole epoch.
    place_N = np.argsort(found(1))
    assert abs(np.corrcoef(np.arange(500), place_N)[0, 1]) < 0.15


@pytest.mark.usefixtures("_small_windows")
def test_what_is_left_out_of_an_epoch_changes():
    layout, rng = EpochLayout(np.ones(200, np.int64)), np.random.default_rng(0)
    windows = layout.windows(NONE, 190, rng)
    left_out = [frozenset(range(200)) - frozenset(cells(layout, epoch(windows)).tolist()) for _ in range(3)]
    assert {len(cells) for cells in left_out} == {10}
    assert len(set(left_out)) == 3


def test_a_corpus_of_one_window_is_simply_shuffled():
    times_N = np.array([1, 3, 1, 2])
    layout = EpochLayout(times_N)
    found = cells(layout, epoch(layout.windows(np.array([0]), 6, np.random.default_rng(5))))
    np.testing.assert_array_equal(found, np.random.default_rng(5).permutation([1, 1, 1, 2, 3, 3]))


def test_cells_that_are_used_too_often_are_not_held_out():
    held = hold_out(np.array([1, 9, 1, 9]), 3, np.random.default_rng(0))
    assert set(held) == {0, 2}
