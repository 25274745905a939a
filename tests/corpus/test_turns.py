"""Groups that take turns share a budget as equally as their sizes allow, whatever the budget."""

import numpy as np
import pytest

from corpuscle.corpus.balanced_order import rank_within, smallest, take_turns

RNG = np.random.default_rng


def turns(group_N, n_cells, seed=0, weight_K=None):
    rng = RNG(seed)
    number_N = rng.integers(2**64, size=len(group_N), dtype=np.uint64)
    return take_turns(group_N, n_cells, number_N, rng.permutation(int(group_N.max()) + 1), weight_K)


@pytest.mark.parametrize(
    ("sizes", "budget", "shares"),
    [
        ([5, 5, 5], 9, [3, 3, 3]),
        ([1, 100, 2], 12, [1, 9, 2]),
        ([4], 4, [4]),
        ([3, 0, 7], 10, [3, 0, 7]),
        ([3, 3], 0, [0, 0]),
    ],
)
def test_shares_are_as_equal_as_sizes_allow(sizes, budget, shares):
    group_N = RNG(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = turns(group_N, budget)
    assert np.bincount(group_N[chosen], minlength=len(sizes)).tolist() == shares


def test_a_smaller_choice_is_the_beginning_of_a_larger():
    group_N = RNG(1).integers(0, 7, 200)
    for weights in (None, np.arange(1.0, 8.0)):
        whole = turns(group_N, 200, 0, weights)
        assert sorted(whole.tolist()) == list(range(200))
        for n in (1, 50, 199):
            np.testing.assert_array_equal(turns(group_N, n, 0, weights), whole[:n])


def test_weights_are_proportions_until_a_group_runs_out():
    group_N = np.repeat([0, 1, 2], [1000, 1000, 5])
    chosen = turns(group_N, 405, 0, np.array([3.0, 1.0, 100.0]))
    assert np.bincount(group_N[chosen]).tolist() == [300, 100, 5]


def test_each_cell_of_a_group_is_as_likely():
    group_N = np.repeat([0, 1], [3, 30])
    times = sum(np.bincount(turns(group_N, 12, seed), minlength=33) for seed in range(600))
    assert (times[:3] == 600).all()
    # 9 of 30, 600 times: 180 expected, with a standard deviation of 11.
    assert times[3:].min() > 130
    assert times[3:].max() < 230


def test_large_groups_do_not_come_first_in_a_round():
    group_N = np.repeat([0, 1], [1000, 5])
    first = [group_N[turns(group_N, 1, seed)[0]] for seed in range(400)]
    assert 150 < sum(first) < 250


@pytest.mark.parametrize("n_groups", [3, 100_000])
def test_ranks_count_up_within_groups(n_groups):
    group_N = RNG(0).integers(0, n_groups, 5000)
    seen: dict[int, int] = {}
    expected = [seen.update({group: seen.get(group, -1) + 1}) or seen[group] for group in group_N.tolist()]
    assert rank_within(group_N).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 30, 99, 100])
def test_the_smallest_are_those_of_a_stable_sort(n):
    key_N = RNG(0).integers(0, 10, 100)
    assert smallest(key_N, n).tolist() == np.argsort(key_N, kind="stable")[:n].tolist()
