"""Without labels, states of unlike size give alike; from the top level down."""

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.samplers.hierarchical_kmeans import HierarchicalKmeans, _merge

RNG = np.random.default_rng


def test_rare_states_give_more_than_their_share(placed, choose):
    """Four states, the largest a hundred times the smallest, far from each other."""
    state_N = np.repeat(np.arange(4), [1000, 300, 100, 10])
    centres = np.array([[0, 0], [30, 0], [0, 30], [30, 30]])
    pool = placed(centres[state_N] + RNG(0).normal(size=(1410, 2)))
    chosen = choose(HierarchicalKmeans(n_clusters=[60, 8, 4], n_components=2), pool, 40)
    counts = np.bincount(state_N[chosen], minlength=4)
    assert counts.min() >= 5  # a uniform draw has 0.3 of the smallest
    assert counts.max() <= 18


def test_merging_shares_equally_from_the_top_down():
    leaf_N = np.repeat([0, 1, 2], [50, 50, 4])
    top_N = np.array([0, 0, 1])[leaf_N]
    in_turn = _merge(_merge(RNG(0).permutation(104), leaf_N, np.arange(3)), top_N, np.arange(2))
    assert np.bincount(leaf_N[in_turn[:8]], minlength=3).tolist() == [2, 2, 4]
    assert np.bincount(leaf_N[in_turn[:24]], minlength=3).tolist() == [10, 10, 4]
    assert sorted(in_turn.tolist()) == list(range(104))


@pytest.mark.parametrize("n_rounds", [0, 2])
def test_cells_that_coincide_are_drawn_all_the_same(placed, n_rounds, choose):
    pool = placed(np.zeros((30, 2)))
    sampler = HierarchicalKmeans(n_clusters=[10, 3], n_rounds=n_rounds)
    assert len(np.unique(choose(sampler, pool, 17))) == 17


def test_nan_is_told(placed, choose):
    with pytest.raises(CorpusError, match="NaN or infinite"):
        choose(HierarchicalKmeans(), placed(np.full((9, 2), np.nan)), 4)
