"""What every sampler keeps to: the number asked for, no cell twice, no randomness but the generator's."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.core.randomness import generator
from corpuscle.corpus.context import Context
from corpuscle.corpus.sampler import Sampler
from corpuscle.source.source import open_source
from examples import example

NAMES = components.names(Sampler)
each = pytest.mark.parametrize("name", NAMES)
# Sources of the test; and a number of boxes that depends on the pool, so that sketches nest.
SETTINGS = {
    "geometric_sketch": {"box_share": 0.2},
    "importance": {"target": "blood", "where": "cell_type == 'T'"},
    "spike_in": {"spike": "other", "share": 0.25},
}


@pytest.fixture
def pool(write, corpus_of):
    """A pool with rare, missing and single labels, a quarter of it of another source."""
    labels = ["B"] * 10 + ["T"] * 15 + ["NK"] * 3 + ["Mono"] + [None]
    one = open_source("blood", write("blood", 30, obs={"cell_type": labels}))
    return corpus_of(one, open_source("other", write("other", 10, seed=1)))


def built(name):
    return components.build(Sampler, name, SETTINGS.get(name) or example(Sampler, name))


def choose(name, pool, n_cells, seed=0, rng=None):
    pools = {source: pool.take(pool.source_codes == at) for at, source in enumerate(pool.sources)}
    sampler = built(name)
    # A source that an example names is one of the test's.
    others = {source: pools["other"] for source in (*sampler.sources, *sampler.looks_at) if source not in pools}
    return sampler.choose(pool, n_cells, rng or generator(seed, "test"), Context(pools=pools | others))


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
def test_other_seeds_choose_other_cells_where_it_draws(name, pool):
    rng = generator(0, "test")
    choose(name, pool, 10, rng=rng)
    draws = rng.bit_generator.state != generator(0, "test").bit_generator.state
    assert (len({tuple(np.sort(choose(name, pool, 10, seed))) for seed in range(5)}) > 1) == draws


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
def test_looks_at_no_cell_by_itself(name, write, corpus_of):
    """Fewer Python lines must run than there are cells: a loop over cells would run one for each.

    Reading is not counted: a file read range by range takes a system call for each, whatever the language.
    """
    n_cells, count = 3000, 0
    sources = [
        open_source(label, write(label, n_cells // 2, seed=seed)) for seed, label in enumerate(("blood", "other"))
    ]
    pool = corpus_of(*sources)

    def trace(frame, event, _):
        nonlocal count
        if "corpus" not in Path(frame.f_code.co_filename).parts:
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        choose(name, pool, n_cells // 3)
    finally:
        sys.settrace(None)
    assert count < n_cells


@each
def test_spec_rebuilds_an_equal_sampler(name):
    sampler = built(name)
    spec = sampler.spec()
    assert components.build(Sampler, spec.pop("name"), spec) == sampler


@each
def test_what_it_tells_is_plain_data(name, pool):
    json.dumps(built(name).notes(pool.take(choose(name, pool, 10))), allow_nan=False)
