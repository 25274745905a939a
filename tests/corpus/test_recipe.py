"""A recipe draws exactly what it says, from the seed alone, and nests so that differences are what was added."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.recipe import Part, Recipe, Rung
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.samplers.cell_type_reweighted import CellTypeReweighted
from corpuscle.corpus.samplers.geometric_sketch import GeometricSketch
from corpuscle.corpus.samplers.hierarchical_kmeans import HierarchicalKmeans
from corpuscle.corpus.samplers.importance import Importance
from corpuscle.corpus.samplers.label_balanced import LabelBalanced
from corpuscle.corpus.samplers.spike_in import SpikeIn
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

    def choose(self, pool, n_cells, rng, context):
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


@component
class Halving(Sampler):
    """Chooses half of what it is asked for, and says that it does."""

    @property
    def exact(self):
        return False

    def choose(self, pool, n_cells, rng, context):
        return rng.permutation(len(pool))[: n_cells // 2]

    def notes(self, chosen):
        return {"halved": len(chosen)}


def test_a_sampler_that_says_so_may_choose_fewer_and_the_account_tells(pools):
    drawn = recipe(("blood", 10, Halving())).draw(pools, 0)
    assert len(drawn) == 5
    assert drawn.account[0]["n_cells"] == drawn.account[0]["halved"] == 5


def test_a_spike_in_replaces_cells_of_the_uniform_draw(pools):
    plain = cells(recipe(("blood", 20)).draw(pools, 0))
    drawn = recipe(("blood", 20, SpikeIn(spike="pancreas", share=0.3))).draw(pools, 0)
    kept = {cell for cell in cells(drawn) if cell[0] == "blood"}
    assert len(drawn) == 20
    assert len(kept) == 14
    assert kept < plain
    assert drawn.account[0]["spiked"] == 6
    assert drawn.account[0]["from"] == 40


def test_a_corpus_without_a_cell_is_refused(pools):
    with pytest.raises(CorpusError, match="drew no cell at all"):
        recipe(("blood", 1, Halving())).draw(pools, 0)


def test_spiked_cells_are_not_drawn_again(pools):
    drawn = recipe(("blood", 10, SpikeIn(spike="pancreas", share=0.5)), ("pancreas", 25)).draw(pools, 0)
    assert len(cells(drawn)) == drawn.n_cells == 35


@pytest.mark.parametrize(
    "sampler",
    [
        Uniform(),
        LabelBalanced(),
        CellTypeReweighted(),
        CellTypeReweighted(published=True),
        GeometricSketch(n_components=3),
        HierarchicalKmeans(n_clusters=[5, 2]),
        Importance(target="pancreas"),
        SpikeIn(spike="pancreas", share=0.3),
        Halving(),
    ],
    ids=str,
)
@pytest.mark.parametrize("unit", ["%", "cells"])
def test_the_sizes_of_a_nested_ladder_hold_one_another(pools, sampler, unit):
    sizes = {"%": (100.0, 60.0, 20.0, 1.0), "cells": (28, 21, 9, 2)}[unit][: 4 if sampler.exact else 2]
    parts = ("blood", 20, sampler), ("blood", 8, sampler)
    draws = [recipe(*parts, rung=Rung(size, unit, sizes[:at])).draw(pools, 0) for at, size in enumerate(sizes)]
    assert draws[0].fingerprint == recipe(*parts).draw(pools, 0).fingerprint
    assert all(cells(smaller) < cells(larger) for larger, smaller in pairwise(draws))
    if sampler.exact:
        assert [len(draw) for draw in draws] == {"%": [28, 16, 5, 2], "cells": [28, 21, 9, 2]}[unit]


def test_the_sizes_of_an_independent_ladder_are_drawn_apart(pools):
    small, large = (recipe(("blood", 40), rung=Rung(size, "%")).draw(pools, 0) for size in (50, 75))
    assert (len(small), len(large)) == (20, 30)
    assert 5 < len(cells(small) & cells(large)) < 20
    assert small.fingerprint != recipe(("blood", 20)).draw(pools, 0).fingerprint
    assert small.account[-1] == {"ladder": "50 %", "nested": False}


def test_no_part_shrinks_as_a_corpus_grows():
    scaled = [Rung(size, "cells").scale([6, 6, 2])[0] for size in range(1, 15)]
    assert [sum(sizes) for sizes in scaled] == list(range(1, 15))
    assert all(now <= then for smaller, larger in pairwise(scaled) for now, then in zip(smaller, larger, strict=True))
    assert scaled[-1] == [6, 6, 2]


def test_a_ladder_that_asks_for_more_than_its_parts_is_refused(pools):
    with pytest.raises(CorpusError, match="ladder asks for 41 cells, but its parts have only 40"):
        recipe(("blood", 40), rung=Rung(7, "cells", (41,))).draw(pools, 0)


def test_a_recipe_tells_its_size():
    assert str(recipe(("blood", 40), rung=Rung(2.5, "%", (100,)))) == "2.5 % (nested) of 40 of blood (uniform)"
    assert str(recipe(("blood", 4000), rung=Rung(1000, "cells"))).startswith("1,000 cells (independent) of 4,000")
