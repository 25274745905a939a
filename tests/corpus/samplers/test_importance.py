"""What is drawn is distributed like the target, as far as the pool has such cells."""

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.samplers.importance import Importance, log_ratio

RNG = np.random.default_rng


def test_the_draw_is_distributed_like_the_target(placed, choose):
    points = RNG(0).uniform(-4, 4, (6000, 2))
    target = RNG(1).normal(size=(2000, 2)) * [0.5, 1.0] + [1.5, -1.0]
    chosen = choose(Importance(target="tumour", n_bins=30), placed(points, tumour=target), 100)
    low, middle, high = np.percentile(points[chosen], [25, 50, 75], axis=0)
    np.testing.assert_allclose(middle, [1.5, -1.0], atol=0.25)
    np.testing.assert_allclose((high - low) / 1.349, [0.5, 1.0], atol=0.25)


def test_the_ratio_is_that_of_the_densities():
    """Uniform on (0, 1) against the density 2x: the ratio is 2x."""
    points, target = RNG(0).uniform(size=(50_000, 1)), np.sqrt(RNG(1).uniform(size=(50_000, 1)))
    ratio = np.exp(log_ratio(points, target, 10))
    error = np.abs(ratio - 2 * (np.floor(points[:, 0] * 10) + 0.5) / 10)
    assert np.mean(error < 0.06) > 0.97  # the others lie at the edge of a bin


def test_a_filter_says_which_cells_are_the_target(placed, choose):
    labels = ["B"] * 100 + ["T"] * 300
    points = np.concatenate([RNG(0).normal(size=(100, 2)) + 9, RNG(1).normal(size=(300, 2))])
    sampler = Importance(target="blood", where="cell_type == 'B'")
    assert np.mean(choose(sampler, placed(points, {"cell_type": labels}), 80) < 100) > 0.95


def test_a_component_of_one_value_has_no_say():
    assert np.ptp(log_ratio(np.ones((5, 1)), np.ones((3, 1)), 4)) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "tumor"}, "importance: there is no source 'tumor'; did you mean 'tumour'"),
        ({"target": "tumour", "where": "cell_type == 'X'"}, "matches none of the 10 cells for training of 'tumour'"),
        ({"target": "bad"}, "NaN or infinite"),
    ],
)
def test_a_target_that_cannot_be_is_told(placed, settings, message, choose):
    pool = placed(np.zeros((10, 2)), tumour=np.zeros((10, 2)), bad=np.full((10, 2), np.nan))
    with pytest.raises(CorpusError, match=message):
        choose(Importance(**settings), pool, 3)
