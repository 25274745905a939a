"""Leaving cells out leaves the draw of the others: two corpora that differ by a filter share what they can."""

from dataclasses import replace

import numpy as np
import pytest

from corpuscle.corpus.recipe import Part, Recipe, Rung
from corpuscle.corpus.samplers.cell_type_reweighted import CellTypeReweighted
from corpuscle.corpus.samplers.importance import Importance
from corpuscle.corpus.samplers.label_balanced import LabelBalanced
from corpuscle.corpus.samplers.spike_in import SpikeIn
from corpuscle.corpus.samplers.uniform import Uniform

SAMPLERS = [
    Uniform(),
    LabelBalanced(),
    LabelBalanced(weights={"T": 3.0}),
    CellTypeReweighted(),
    SpikeIn(spike="pancreas", share=0.3),
]
WITHOUT = "cell_type == 'Mono'"


@pytest.fixture
def pools(make):
    types = ["B"] * 60 + ["T"] * 80 + ["Mono"] * 50 + ["NK"] * 10
    order = np.random.default_rng(0).permutation(200)
    blood = make(200, "blood", obs={"cell_type": [types[at] for at in order]})
    return {"blood": blood, "pancreas": make(90, "pancreas")}


def rows(corpus, source="blood"):
    return set(corpus.cells.loc[corpus.cells["source"] == source, "row"])


def drawn(pools, sampler, seed, exclude=None, rung=None):
    recipe = Recipe("A", (Part("blood", sampler, n_cells=60),), exclude=exclude, rung=rung)
    return recipe.draw({**pools, "pancreas": pools["pancreas"]}, seed)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_draw_without_some_cells_holds_the_rest_of_the_draw_with_them(pools, sampler):
    for seed in range(4):
        whole, without = drawn(pools, sampler, seed), drawn(pools, sampler, seed, WITHOUT)
        monocytes = set(pools["blood"].cells.index[pools["blood"].labels("cell_type") == "Mono"])
        assert len(whole) == len(without) == 60
        assert rows(whole) & monocytes
        assert rows(whole) - monocytes < rows(without)
        assert rows(whole, "pancreas") == rows(without, "pancreas")


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_the_small_sizes_of_nested_ladders_stay_paired(pools, sampler):
    """By chance alone 15 of 150 cells share 1.5."""
    rung = Rung(25, "%", (100,))
    shared = []
    for seed in range(8):
        whole, without = drawn(pools, sampler, seed, rung=rung), drawn(pools, sampler, seed, WITHOUT, rung)
        shared.append(len(rows(whole) & rows(without)) / len(rows(whole)))
    assert np.mean(shared) > 0.4


def test_a_weighted_draw_stays_paired_up_to_its_weights(placed, choose):
    points = np.random.default_rng(1).normal(size=(300, 2))
    pool = placed(points, blood2=points[:40] + 1)
    sampler = Importance(target="blood2", n_components=2, n_bins=5)
    kept = np.arange(300) % 5 > 0
    whole = set(pool.cells["row"].to_numpy()[choose(sampler, pool, 60, 3)])
    part = replace(pool, cells=pool.cells[kept].reset_index(drop=True))
    without = set(part.cells["row"].to_numpy()[choose(sampler, part, 60, 3)])
    assert len(whole & without) >= 0.9 * sum(row % 5 > 0 for row in whole)


def test_the_order_of_the_pool_is_no_matter(pools):
    turned = {"blood": pools["blood"].take(np.arange(200)[::-1]), "pancreas": pools["pancreas"]}
    for sampler in SAMPLERS:
        assert rows(drawn(pools, sampler, 0)) == rows(drawn(turned, sampler, 0))


def test_seeds_share_what_chance_has_them_share(pools):
    shared = [len(rows(drawn(pools, Uniform(), s)) & rows(drawn(pools, Uniform(), s + 1))) for s in range(0, 60, 2)]
    # 60 of 200 twice: 18 expected, with a standard deviation of 3.
    assert abs(np.mean(shared) - 18) < 4 * 3 / np.sqrt(len(shared))
