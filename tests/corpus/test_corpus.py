"""A corpus is a table of cells; its counts are read when asked for, in the study's genes, in the table's order."""

import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from corpuscle.source.source import open_source


@pytest.fixture
def two(write, counts_of, corpus_of):
    """Two sources that share genes G10 … G29, under other column numbers, and their dense counts side by side."""
    one, other = counts_of(7), counts_of(5, seed=1)
    names = [f"G{at}" for at in range(10, 40)]
    sources = (open_source("one", write("one", one)), open_source("two", write("two", other, form="csc", genes=names)))
    corpus = corpus_of(*sources)
    order = [int(gene[1:]) for gene in corpus.space.ids]
    dense = np.vstack([one[:, order], other[:, [gene - 10 for gene in order]]])
    return corpus, dense


def test_counts_come_in_the_tables_order(two):
    corpus, dense = two
    shuffled = np.random.default_rng(0).permutation(len(corpus))
    found = corpus.take(shuffled)
    np.testing.assert_array_equal(found.counts().toarray(), dense[shuffled])
    np.testing.assert_array_equal(found.counts(np.array([3, 3, 0])).toarray(), dense[shuffled[[3, 3, 0]]])
    np.testing.assert_array_equal(found.counts(slice(2, 9)).toarray(), dense[shuffled[2:9]])
    assert found.counts(np.array([], np.int64)).shape == (0, corpus.n_genes)
    assert found.counts().dtype == np.float32


@pytest.mark.parametrize("n_cells", [1, 5, 12, 100])
def test_blocks_are_the_whole_in_order(two, n_cells):
    corpus, dense = two
    rows, counts = zip(*corpus.blocks(n_cells), strict=True)
    assert [row for piece in rows for row in range(12)[piece]] == list(range(12))
    np.testing.assert_array_equal(np.vstack([piece.toarray() for piece in counts]), dense)


def test_take_leaves_the_corpus_as_it_was(two):
    corpus, _ = two
    before = corpus.cells.copy()
    taken = corpus.take(corpus.labels("cell_type") == "B", "bees")
    taken.cells["donor"] = "changed"
    pd.testing.assert_frame_equal(corpus.cells, before)
    assert taken.name == "bees"
    assert taken.cells.index.tolist() == list(range(len(taken)))
    assert len(corpus.take(np.zeros(12, bool))) == 0


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        pytest.param(pd.Categorical(["x", None, "y"]), ["x", "", "y"], id="categories"),
        pytest.param(pd.Categorical([3, None, 4]), ["3", "", "4"], id="number categories"),
        pytest.param([True, False, True], ["True", "False", "True"], id="truth values"),
        pytest.param([1, 2, 3], ["1", "2", "3"], id="whole numbers"),
        pytest.param(pd.array([1, None, 3], dtype="Int64"), ["1", "", "3"], id="whole numbers with gaps"),
        pytest.param([np.nan] * 3, ["", "", ""], id="nothing"),
    ],
)
def test_labels_are_texts_whatever_the_file_holds(make, column, labels):
    corpus = make(3, obs={"batch": column})
    assert corpus.labels("batch").tolist() == labels
    assert corpus.labels("no such column").tolist() == ["", "", ""]


def test_the_fingerprint_hangs_on_cells_use_roles_and_genes_but_not_the_name(make, write, corpus_of):
    corpus = make(6)
    twice = corpus.take(np.arange(6))
    twice.cells.loc[0, "times"] = 2
    relabelled = corpus.take(np.arange(6))
    relabelled.cells["donor"] = "d0"
    other = make(6, name="pancreas")
    listed = [corpus, corpus.take(np.arange(5)), corpus.take(np.arange(6)[::-1]), twice, relabelled, other]
    assert len({found.fingerprint for found in listed}) == len(listed)
    assert corpus.take(np.arange(6), "another name").fingerprint == corpus.fingerprint


def test_genes_that_a_source_did_not_measure_are_known(write, corpus_of):
    names = [f"G{at}" for at in range(20, 50)]
    sources = open_source("one", write("one", 3)), open_source("two", write("two", 2, genes=names))
    corpus = corpus_of(*sources, genes="union").take(np.array([4, 0, 1]))
    assert corpus.n_genes == 50
    assert corpus.sources == ["one", "two"]
    assert corpus.source_codes.tolist() == [1, 0, 0]
    assert corpus.measured_SG.sum(axis=1).tolist() == [30, 30]
    counts = corpus.counts().toarray()
    assert (counts[~corpus.measured_SG[corpus.source_codes]] == 0).all()


def test_a_corpus_can_be_sent_to_another_process(two):
    corpus, dense = two
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(corpus)).counts().toarray(), dense)


def test_a_corpus_round_trips_through_anndata(write, corpus_of, tmp_path):
    odd = {"times": [1] * 3, "mixed": [1, 2, 3], "good": pd.array([True, None, False], dtype="boolean")}
    text = {"mixed": pd.array(["x", None, "y"], dtype="string")}
    sources = open_source("one", write("one", 3, obs=odd)), open_source("two", write("two", 3, obs=text))
    corpus = corpus_of(*sources)
    corpus.to_anndata().write_h5ad(tmp_path / "corpus.h5ad")
    data = ad.read_h5ad(tmp_path / "corpus.h5ad")
    np.testing.assert_array_equal(data.X.toarray(), corpus.counts().toarray())
    assert data.obs_names[:2].tolist() == ["one:cell0", "one:cell1"]
    assert tuple(data.var_names) == corpus.space.ids
    assert open_source("again", tmp_path / "corpus.h5ad").cells["source_in_file"].tolist() == ["one"] * 3 + ["two"] * 3


def test_cells_of_one_barcode_get_names_of_their_own(make):
    corpus = make(4)
    corpus.cells["barcode"] = ["a", "b", "a", "a"]
    assert corpus.to_anndata().obs_names.tolist() == ["blood:a-0", "blood:b", "blood:a-2", "blood:a-3"]
