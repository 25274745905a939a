"""Whole groups are held out, and no evaluation cell is in a training corpus, whatever file or order it comes in."""

import itertools

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from corpuscle.core.errors import CorpusError, LeakageError
from corpuscle.corpus.overlap import find_copies
from corpuscle.corpus.split import Holdout, Watch
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import open_source

RNG = np.random.default_rng


@pytest.mark.parametrize(
    ("donors", "n_held"),
    [
        pytest.param(["a", "a", "b", "c", "d"], 1, id="texts"),
        pytest.param([1, 1, 2, 3, 4], 1, id="whole numbers"),
        pytest.param([True, True, False, False, False], 1, id="truth values"),
        pytest.param(pd.Categorical(["a", "a", "b", "c", "d"], categories=list("zabcd")), 1, id="categories"),
        pytest.param([1.0, 1.0, 2.0, 3.0, 4.5], 1, id="numbers"),
    ],
)
def test_whole_donors_are_held_out(donors, n_held):
    cells = pd.DataFrame({"donor": donors})
    mask = Holdout(by="donor", share=0.3).mask(cells, RNG(0))
    held, trained = set(cells["donor"][mask]), set(cells["donor"][~mask])
    assert len(held) == n_held
    assert trained
    assert not held & trained


@pytest.mark.parametrize(("share", "n_held"), [(0.01, 1), (0.3, 3), (0.99, 9)])
@pytest.mark.parametrize("by", ["cell", "batch"])
def test_a_share_is_at_least_one_and_never_all(by, share, n_held):
    cells = pd.DataFrame({"batch": [f"b{at}" for at in range(10)]})
    assert Holdout(by=by, share=share).mask(cells, RNG(0)).sum() == n_held


def test_values_name_the_groups():
    cells = pd.DataFrame({"study": ["x", "y", "y", "z"]})
    assert Holdout(by="study", values=["y", "z"]).mask(cells, RNG(0)).tolist() == [False, True, True, True]


def test_the_generator_decides_which():
    cells = pd.DataFrame({"donor": [f"d{at}" for at in range(20)]})
    masks = [tuple(Holdout(by="donor", share=0.5).mask(cells, RNG(seed))) for seed in (0, 0, 1)]
    assert masks[0] == masks[1] != masks[2]


@pytest.mark.parametrize(
    ("settings", "cells", "message"),
    [
        ({"by": "donor", "share": 0.5}, {"batch": ["x"]}, 'has no donor column; by = "cell" would do'),
        ({"by": "donor", "share": 0.5}, {"donor": ["x", "x"]}, "there is only 'x'; use by = \"cell\""),
        ({"by": "donor", "values": ["human3"]}, {"donor": ["human1", "human2"]}, "no donor 'human3'; did you mean"),
        ({"by": "donor", "values": ["a", "b"]}, {"donor": ["a", "b"]}, "every donor is held out"),
        ({"by": "donor", "share": 0.5}, {"donor": ["a", None, "b"]}, "1 of 3 cells have no donor"),
        ({"by": "donor", "values": ["a"]}, {"donor": [1, np.nan, 2]}, "1 of 3 cells have no donor"),
        ({"by": "cell", "share": 0.5}, {"donor": ["a"]}, "there is only 1 cell"),
    ],
)
def test_what_cannot_be_held_out_is_told(settings, cells, message):
    with pytest.raises(CorpusError, match=message):
        Holdout(**settings).mask(pd.DataFrame(cells), RNG(0))


@pytest.mark.parametrize(
    "settings",
    [
        {"by": "donor"},
        {"by": "donor", "share": 0.5, "values": ["a"]},
        {"by": "cell", "values": ["a"]},
        {"by": "donor", "values": []},
        {"by": "donor", "values": [1]},
        {"by": "donor", "share": 0.0},
        {"by": "donor", "share": 1.0},
        {"by": "donor", "share": float("nan")},
        {"by": "cells", "share": 0.5},
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        Holdout(**settings)


def copies(*sources):
    named = {source.name: source for source in sources}
    space = gene_space({name: gene_names(source.genes) for name, source in named.items()}, "union")
    return find_copies(named, space, itertools.combinations_with_replacement(named, 2))


def test_disjoint_cells_pass(write, corpus_of):
    source = open_source("blood", write("blood", 20))
    whole = corpus_of(source)
    Watch([whole.take(np.arange(10, 20))], copies(source)).check([whole.take(np.arange(10))])


def test_a_cell_in_both_is_named(write, corpus_of):
    source = open_source("blood", write("blood", 20))
    whole = corpus_of(source)
    corpus, target = whole.take(np.arange(12), "Blood"), whole.take(np.arange(11, 20), "held")
    message = "1 cells of target 'held' are also in training corpus 'Blood' .1 are the very same cells.*row 11 .cell11"
    with pytest.raises(LeakageError, match=message):
        Watch([target], copies(source)).check([corpus])


def test_every_target_that_leaks_is_named(write, corpus_of):
    source = open_source("blood", write("blood", 20))
    whole = corpus_of(source)
    targets = [whole.take(np.array([at]), f"target{at}") for at in (0, 5, 15)]
    with pytest.raises(LeakageError, match=r"'target0'.*'target5'") as caught:
        Watch(targets, copies(source)).check([whole.take(np.arange(10), "Blood")])
    assert "target15" not in str(caught.value)


def test_a_copy_within_one_file_is_named(write, counts_of, corpus_of):
    counts = counts_of(20)
    counts[15] = counts[3]
    source = open_source("blood", write("blood", counts))
    whole = corpus_of(source)
    with pytest.raises(
        LeakageError, match=r"0 are the very same cells, 1 have identical counts.*row 15 .*drop_duplicates"
    ):
        Watch([whole.take(np.arange(10, 20))], copies(source)).check([whole.take(np.arange(10))])


@pytest.mark.parametrize("named_by", ["symbol", "ensembl"])
def test_a_copy_in_another_file_is_named_whatever_the_order_and_names_of_genes(write, counts_of, corpus_of, named_by):
    counts = counts_of(10, 12)
    symbols, ids = [f"G{at}" for at in range(12)], [f"ENSG0000000{at:03}" for at in range(12)]
    one = open_source("one", write("one", counts, genes=pd.DataFrame({"symbol": symbols}, index=ids)))
    order = np.random.default_rng(0).permutation(12)
    table = pd.DataFrame(index=[symbols[at] for at in order])
    if named_by == "ensembl":
        table = pd.DataFrame(index=[f"{ids[at]}.3" for at in order])
    copy = np.vstack([counts_of(6, 12, seed=1), counts[[4]]])[:, order].astype(np.float32)
    two = open_source("two", write("two", copy, form="csc", genes=table))
    whole = corpus_of(one, two)
    with pytest.raises(LeakageError, match=r"1 have identical counts\): two row 6"):
        Watch([whole.take(np.arange(10, 17))], copies(one, two)).check([whole.take(np.arange(10))])
