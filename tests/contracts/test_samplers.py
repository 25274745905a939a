"""What every sampler keeps to: the number asked for, no cell twice, no randomness but the generator's."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.core.randomness import generator
from corpuscle.corpus.sampler import Sampler

NAMES = components.names(Sampler)
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def pool(make):
    """A pool with rare, missing and single labels."""
    labels = ["B"] * 20 + ["T"] * 15 + ["NK"] * 3 + ["Mono"] + [None]
    return make(40, obs={"cell_type": labels})


def choose(name, pool, n_cells, seed=0):
    return components.build(Sampler, name, {}).choose(pool, n_cells, generator(seed, "test"))


@each
@pytest.mark.parametrize("n_cells", [0, 1, 7, 39, 40])
def test_chooses_exactly_what_is_asked_and_none_twice(name, pool, n_cells):
    chosen = choose(name, pool, n_cells)
    assert len(chosen) == n_cells
    assert len(np.unique(chosen)) == n_cells
    assert chosen.dtype.kind == "i"
    assert all(0 <= position < len(pool) for position in chosen)


@each
def test_hangs_on_the_generator_alone(name, pool):
    np.random.seed(0)  # noqa: NPY002  # to see that the global state has no say
    first = choose(name, pool, 10)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(choose(name, pool, 10), first)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@each
def test_other_seeds_choose_other_cells(name, pool):
    assert len({tuple(np.sort(choose(name, pool, 10, seed))) for seed in range(5)}) > 1


@each
def test_leaves_the_pool_as_it_was(name, pool):
    before = pool.cells.copy()
    choose(name, pool, 10)
    assert pool.cells.equals(before)


@each
def test_a_larger_choice_holds_a_smaller_one(name, pool):
    chosen = [set(choose(name, pool, n_cells).tolist()) for n_cells in range(0, 41, 4)]
    assert all(smaller < larger for smaller, larger in pairwise(chosen))


@each
def test_looks_at_no_cell_by_itself(name, make):
    """The number of Python lines that run must not grow with the pool: loops over cells would."""

    def lines(n_cells):
        pool, count = make(n_cells, name=f"of{n_cells}"), 0

        def trace(frame, event, _):
            nonlocal count
            if "corpuscle" not in frame.f_code.co_filename:
                return None
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            choose(name, pool, n_cells // 2)
        finally:
            sys.settrace(None)
        return count

    assert lines(400) <= lines(40) + 20


@each
def test_spec_rebuilds_an_equal_sampler(name):
    sampler = components.build(Sampler, name, {})
    spec = sampler.spec()
    assert components.build(Sampler, spec.pop("name"), spec) == sampler
