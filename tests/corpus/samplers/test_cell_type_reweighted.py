"""Re-weighting meets its budget; its published variant loses the cells that the published code loses."""

import numpy as np
import pytest

from corpuscle.corpus.context import Context
from corpuscle.corpus.samplers.cell_type_reweighted import CellTypeReweighted

RNG = np.random.default_rng


def pool_of(make, sizes):
    return make(sum(sizes.values()), obs={"cell_type": [name or None for name, n in sizes.items() for _ in range(n)]})


def counted(pool, chosen):
    values, counts = np.unique(pool.labels("cell_type")[chosen], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def published(sizes, budget):
    """Draw as the paper's script does, type by type."""
    sizes, drawn = {name: n for name, n in sizes.items() if name}, {}
    while sizes:
        share = int(budget / len(sizes))
        small = {name: n for name, n in sizes.items() if n < share}
        if not small:
            drawn |= dict.fromkeys(sizes, share)
            break
        drawn |= small
        budget -= sum(small.values())
        sizes = {name: n for name, n in sizes.items() if n > share}
    return {name: n for name, n in drawn.items() if n}


CASES = {
    "nothing lost": ({"a": 10, "b": 40, "c": 50}, 60),
    "a type of exactly its share": ({"a": 5, "b": 20, "c": 50}, 60),
    "odd cells": ({"a": 5, "b": 20, "c": 50}, 32),
    "types of one cell": ({"a": 1, "b": 1, "c": 1, "d": 60}, 20),
    "cells without a type": ({"a": 10, "": 30, "b": 30}, 30),
    "a type larger than the budget": ({"a": 3, "b": 100}, 20),
    "fewer cells than types": ({"a": 3, "b": 4, "c": 5}, 2),
    "each gives its share": ({"a": 5, "b": 5}, 10),
}


@pytest.mark.parametrize(("sizes", "budget"), CASES.values(), ids=CASES)
def test_the_budget_is_met_and_types_are_as_equal_as_can_be(make, sizes, budget):
    pool = pool_of(make, sizes)
    sampler = CellTypeReweighted()
    chosen = sampler.choose(pool, budget, RNG(0), Context())
    found = counted(pool, chosen)
    assert len(np.unique(chosen)) == budget
    assert sampler.notes(pool.take(chosen)) == {"without_label": found.get("", 0)}
    level = max(found.values())
    assert all(found.get(name, 0) >= min(n, level - 1) for name, n in sizes.items())


@pytest.mark.parametrize(("sizes", "budget"), CASES.values(), ids=CASES)
def test_the_published_variant_draws_what_the_published_code_draws(make, sizes, budget):
    pool = pool_of(make, sizes)
    chosen = CellTypeReweighted(published=True).choose(pool, budget, RNG(0), Context())
    assert len(np.unique(chosen)) == len(chosen)
    assert counted(pool, chosen) == published(sizes, budget)


def test_the_published_fault_is_there_and_mended(make):
    """An equal share of 60 is 20: b is dropped whole, and its share goes to c, which has not so many."""
    pool = pool_of(make, {"a": 5, "b": 20, "c": 80})
    assert counted(pool, CellTypeReweighted(published=True).choose(pool, 60, RNG(0), Context())) == {"a": 5, "c": 55}
    assert counted(pool, CellTypeReweighted().choose(pool, 60, RNG(0), Context())) == {"a": 5, "b": 20, "c": 35}
