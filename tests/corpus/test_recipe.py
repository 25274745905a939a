"""A recipe draws exactly what it says, from the seed alone, and nests so that differences are what was added."""

from typing import Any

import numpy as np
import pytest

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.recipe import Part, Recipe
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.samplers.label_balanced import LabelBalanced, water_fill
from corpuscle.corpus.samplers.uniform import Uniform
from corpuscle.source.source import open_source


@pytest.fixture
def pools(write, corpus_of):
    sources = [
        open_source("blood", write("blood", 40, obs={"empty": [np.nan] * 40, "donor": range(40)})),
        open_source("pancreas", write("pancreas", 30, seed=1, obs={"empty": ["x"] * 30})),
    ]
    whole = corpus_of(*sources)
    return {name: whole.take(whole.cells["source"].to_numpy() == name, name) for name in ("blood", "pancreas")}


def recipe(*parts: Any, **settings: Any) -> Recipe:
    made = []
    for source, amount, *sampler in parts:
        size = {"n_cells": amount} if isinstance(amount, int) else {"fraction": amount}
        made.append(Part(source, sampler[0] if sampler else Uniform(), **size))
    return Recipe(settings.pop("name", "A"), tuple(made), **settings)


def cells(corpus) -> set[tuple[str, int]]:
    return set(zip(corpus.cells["source"], corpus.cells["row"], strict=True))


def test_adding_a_source_leaves_the_cells_of_the_other(pools):
    for seed in range(3):
        blood = recipe(("blood", 15)).draw(pools, seed)
        both = recipe(("blood", 15), ("pancreas", 10), name="B").draw(pools, seed)
        turned = recipe(("pancreas", 10), ("blood", 15)).draw(pools, seed)
        assert cells(blood) == {cell for cell in cells(both) if cell[0] == "blood"}
        assert cells(turned) == cells(both)
        assert both.n_cells == 25


def test_a_larger_draw_holds_a_smaller_one(pools):
    draws = [cells(recipe(("blood", n)).draw(pools, 0)) for n in (5, 10, 40)]
    assert draws[0] < draws[1] < draws[2]


def test_seeds_draw_other_cells_and_the_same_seed_the_same(pools):
    draws = [recipe(("blood", 15)).draw(pools, seed).fingerprint for seed in (0, 1, 2, 0)]
    assert len(set(draws)) == 3
    assert draws[0] == draws[3]


def test_parts_of_one_source_share_no_cell(pools):
    drawn = recipe(("blood", 15), ("blood", 20), ("blood", 5, LabelBalanced())).draw(pools, 0)
    assert len(cells(drawn)) == drawn.n_cells == len(drawn) == 40
    assert cells(recipe(("blood", 15)).draw(pools, 0)) < cells(recipe(("blood", 15), ("blood", 15)).draw(pools, 0))


@pytest.mark.parametrize(
    ("fractions", "n_cells"),
    [((1.0,), 40), ((0.5, 0.5), 40), ((0.33, 0.33, 0.34), 39), ((0.001,), 1), ((0.7,), 28), ((0.0875, 0.0125), 4)],
)
def test_fractions_are_of_what_the_source_offers_and_never_a_cell_too_many(pools, fractions, n_cells):
    assert len(recipe(*(("blood", fraction) for fraction in fractions)).draw(pools, 0)) == n_cells


@pytest.mark.parametrize("n_pool", range(1, 12))
def test_two_halves_fit_any_pool(pools, n_pool):
    pool = {"blood": pools["blood"].take(np.arange(n_pool))}
    if n_pool > 1:
        assert len(recipe(("blood", 0.5), ("blood", 0.5)).draw(pool, 0)) == n_pool // 2 * 2


def test_excluded_cells_are_never_in_it(pools):
    drawn = recipe(("blood", 20), ("pancreas", 1.0), exclude="cell_type == 'B'").draw(pools, 0)
    assert set(drawn.labels("cell_type")) == {"T"}
    assert len(drawn) == 35
    assert drawn.account[-1] == {"exclude": "cell_type == 'B'"}


def test_the_account_says_how_each_part_was_chosen(pools):
    drawn = recipe(("blood", 5), ("pancreas", 0.1, LabelBalanced(by="donor"))).draw(pools, 0)
    assert [entry["part"] for entry in drawn.account] == [
        "5 of blood (uniform)",
        "10% of pancreas (label_balanced, by = donor)",
    ]
    assert [(entry["n_cells"], entry["from"]) for entry in drawn.account] == [(5, 40), (3, 30)]


def test_pools_stay_as_they_were(pools):
    before = {name: pool.cells.copy() for name, pool in pools.items()}
    recipe(("blood", 15), ("pancreas", 3), exclude="cell_type == 'B'").draw(pools, 0)
    assert all(pool.cells.equals(before[name]) for name, pool in pools.items())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (recipe(("blood", 41)), "asks for 41 cells of blood, which has 40 .*ask for at most 40"),
        (recipe(("blood", 30), ("blood", 11)), "10 after the corpus' earlier parts; ask for at most 10"),
        (recipe(("blood", 21), exclude="cell_type == 'B'"), "20 after exclude; ask for at most 20"),
        (recipe(("blood", 2), exclude="cell_type == 'Mono'"), "excludes none of the cells"),
        (recipe(("blood", 2), ("pancreas", 2), exclude="empty == 'q'"), "excludes none of the cells"),
        (recipe(("blood", 2), exclude="tissue == 'q'"), "exclude uses tissue, which source 'blood' does not have"),
        (recipe(("blood", 2, LabelBalanced(by="tissue"))), "no column 'tissue' in blood"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_a_corpus_that_cannot_be_drawn_says_why(pools, made, message):
    with pytest.raises(CorpusError, match=message):
        made.draw(pools, 0)


@component
class Faulty(Sampler):
    """Chooses wrongly."""

    what: str

    def choose(self, pool, n_cells, rng):
        chosen = {
            "too few": range(n_cells - 1),
            "twice": [0] * n_cells,
            "outside": range(len(pool), len(pool) + n_cells),
        }
        return np.array(chosen[self.what])


@pytest.mark.parametrize("what", ["too few", "twice", "outside"])
def test_what_a_faulty_sampler_returns_is_not_taken(pools, what):
    with pytest.raises(CorpusError, match="was to choose 5 distinct cells of 40, but returned"):
        recipe(("blood", 5, Faulty(what=what))).draw(pools, 0)


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
    assert water_fill(np.array(sizes), budget, np.random.default_rng(0)).tolist() == shares


def test_label_balanced_gives_odd_cells_by_chance(pools):
    pool = pools["pancreas"]
    counts = []
    for seed in range(20):
        chosen = LabelBalanced(by="donor").choose(pool, 10, np.random.default_rng(seed))
        counts.append(tuple(np.unique(pool.labels("donor")[chosen], return_counts=True)[1].tolist()))
    assert {tuple(sorted(count)) for count in counts} == {(3, 3, 4)}
    assert len(set(counts)) == 3
