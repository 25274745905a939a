"""A label has one text: alone, next to a source without it, in a collection, written and read again."""

import warnings
from itertools import pairwise

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from corpuscle.corpus.export import write_corpus
from corpuscle.corpus.recipe import Part, Recipe
from corpuscle.corpus.samplers.uniform import Uniform
from corpuscle.source.source import open_source

N = 6
# Each with the labels that it means.
COLUMNS = {
    "texts": (["B", "T", "B", "NK", "T", "B"], "B T B NK T B"),
    "whole numbers": (np.arange(N) % 3, "0 1 2 0 1 2"),
    "small whole numbers": ((np.arange(N) % 3).astype(np.uint8), "0 1 2 0 1 2"),
    "fractions that are whole": (np.arange(N) % 3 * 1.0, "0 1 2 0 1 2"),
    "whole numbers, some missing": ([0.0, 1, np.nan, 2, 1, 0], "0 1 - 2 1 0"),
    "nullable whole numbers": (pd.array([0, 1, None, 2, 1, 0], "Int64"), "0 1 - 2 1 0"),
    "single precision": (np.array([0.1, 1, 2.5, 0.1, 1, 2.5], np.float32), "0.1 1 2.5 0.1 1 2.5"),
    "truth values": ([True, False] * 3, "True False True False True False"),
    "nullable truth values": (pd.array([True, None, False] * 2, "boolean"), "True - False True - False"),
    "a category of whole numbers": (pd.Categorical([0, None, 2, 0, 1, 2]), "0 - 2 0 1 2"),
    "a category of fractions": (pd.Categorical([0.0, 0.5, 2.0] * 2), "0 0.5 2 0 0.5 2"),
    "a category of truth values": (pd.Categorical([True, False, None] * 2), "True False - True False -"),
    "a category of texts": (pd.Categorical(["1", None, "B"] * 2), "1 - B 1 - B"),
    "texts for what is missing": (["NA", "nan", "<NA>", " None ", "", "NaN-like"], "- - - - - NaN-like"),
}
each_column = pytest.mark.parametrize(("values", "expected"), COLUMNS.values(), ids=COLUMNS.keys())


def _labels(cells):
    return " ".join(label or "-" for label in cells.labels("cell_type").tolist())


@pytest.fixture
def stored(annotated, counts_of, tmp_path):
    """Write cells with a column of cell types, or without one."""

    def write(name, values, seed=0, others=None):
        data = annotated(counts_of(N, seed=seed))
        del data.obs["cell_type"]
        if values is not None:
            data.obs["cell_type"] = values
        data.obs = data.obs.assign(**(others or {}))
        data.obs_names = [f"{name}{at}" for at in range(N)]
        path = tmp_path / f"{name}.h5ad"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.write_h5ad(path)
        return path

    return write


def _drawn(corpus_of, *sources):
    pools = {source.name: corpus_of(source) for source in sources}
    space = corpus_of(*sources).space
    pools = {name: type(pool)(name, pool.cells, corpus_of(*sources).readers, space) for name, pool in pools.items()}
    return Recipe("A", tuple(Part(name, Uniform(), fraction=1.0) for name in pools)).draw(pools, 0)


@each_column
def test_a_label_has_one_text_whatever_stands_next_to_it(stored, corpus_of, values, expected):
    one, other = stored("a", values), stored("b", None, seed=1)
    alone = corpus_of(open_source("a", one))
    assert _labels(alone) == expected
    beside = _drawn(corpus_of, open_source("a", one), open_source("b", other))
    assert _labels(beside) == f"{expected} - - - - - -"
    collection = corpus_of(open_source("c", [one, other]))
    assert _labels(collection) == f"{expected} - - - - - -"


@each_column
def test_in_a_collection_of_two_kinds_both_keep_their_labels(stored, corpus_of, values, expected):
    others = ["1", "B", "1.5", "True", "T", "0"], np.arange(N), [True, False] * 3
    paths = [stored("a", values), *(stored(f"b{at}", other, seed=1 + at) for at, other in enumerate(others))]
    for path, other in zip(paths[1:], others, strict=True):
        assert _labels(corpus_of(open_source("c", [paths[0], path]))) == f"{expected} {' '.join(map(str, other))}"


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_what_is_written_reads_alike(stored, corpus_of, tmp_path, form):
    one, path = stored("a", None, others={name: values for name, (values, _) in COLUMNS.items()}), f"corpus.{form}"
    for sources in ([one], [one, stored("b", None, seed=1)]):
        corpus = _drawn(corpus_of, *(open_source(str(at), source) for at, source in enumerate(sources)))
        write_corpus(corpus, tmp_path / path, "1d", {})
        again = corpus_of(open_source("a", tmp_path / path, roles={"cell_type": "whole numbers, some missing"}))
        assert _labels(again).startswith(COLUMNS["whole numbers, some missing"][1])
        for name, (_, expected) in COLUMNS.items():
            assert " ".join(label or "-" for label in again.labels(name)[:N]) == expected
            assert set(again.labels(name)[N:]) <= {""}


def test_a_fingerprint_of_texts_is_what_it_was(write, corpus_of):
    """Stored results stay valid."""
    assert corpus_of(open_source("blood", write(obs={"batch": ["1", None, ""] * 4}))).fingerprint == "3c91690531038f4c"


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("cell_type == 1", [1, 4]),
        ("cell_type == '1'", [1, 4]),
        ("cell_type in [0, 2]", [0, 3, 5]),
        ("cell_type in ['0', '2']", [0, 3, 5]),
        ("cell_type > 0", [1, 3, 4]),
        ("cell_type != 1", [0, 2, 3, 5]),
        ("cell_type == cell_type", [0, 1, 3, 4, 5]),
        ("cell_type != ''", [0, 1, 3, 4, 5]),
        ("cell_type != 'nan'", [0, 1, 3, 4, 5]),
        ("cell_type == 'NA'", [2]),
        ("cell_type not in ['NA', '1']", [0, 3, 5]),
    ],
)
@pytest.mark.parametrize("name", ["whole numbers, some missing", "nullable whole numbers", "texts"])
def test_labels_that_are_numbers_can_be_compared_with_numbers(stored, where, rows, name):
    values = ["0", "1", "NA", "2", "1", "0"] if name == "texts" else COLUMNS[name][0]
    assert open_source("a", stored("a", values), where=where).cells["row"].tolist() == rows


def test_labels_that_are_truth_values_can_be_compared_with_them(stored):
    path = stored("a", [True, False] * 3)
    for where in ("cell_type", "cell_type == True", "cell_type == 1", "cell_type == 'True'", "not cell_type == False"):
        assert open_source("a", path, where=where).cells["row"].tolist() == [0, 2, 4]


def test_texts_that_were_taken_for_no_label_are_remarked(stored):
    source = open_source("a", stored("a", COLUMNS["texts for what is missing"][0]))
    (remark,) = source.remarks
    assert remark.startswith("cell_type reads ' None ' or '<NA>' or 'NA' or 'nan' in 4 of 6 cells")
    assert open_source("b", stored("b", COLUMNS["texts"][0])).remarks == ()


def _with(path, **columns):
    with h5py.File(path, "a") as file:
        obs = ad.io.read_elem(file["obs"]).assign(**columns)
        del file["obs"]
        ad.io.write_elem(file, "obs", obs)
    return path


def test_other_columns_stay_what_they_are(stored, corpus_of):
    here = _with(stored("a", None), n=range(N), good=[True, False] * 3, share=np.arange(N) / 4, mixed=range(N))
    there = _with(stored("b", None, seed=1), mixed=list("abcdef"))
    for cells in (
        _drawn(corpus_of, open_source("a", here), open_source("b", there)).cells,
        open_source("c", [here, there]).cells,
    ):
        assert cells["n"].dtype == "Int64"
        assert cells["good"].dtype == "boolean"
        assert cells["share"].dtype == np.float64
        assert cells["n"].tolist()[:N] == list(range(N))
        assert cells["mixed"].tolist() == [*"012345", *"abcdef"]


def test_what_was_written_can_be_written_and_read_as_often_as_one_likes(stored, corpus_of, tmp_path):
    paths = [stored("a", COLUMNS["texts"][0]), *(tmp_path / f"{at}.h5ad" for at in range(3))]
    for before, after in pairwise(paths):
        sources = open_source("a", before), open_source("b", stored("b", None, seed=1))
        write_corpus(_drawn(corpus_of, *sources), after, "1d", {})
    obs = ad.read_h5ad(paths[-1]).obs
    assert {"source", "source_in_file", "source_in_file_2", "barcode_in_file_2"} <= set(obs)
    assert obs["barcode_in_file_2"].dropna().iloc[0] == "a:a0" or obs["barcode_in_file"].dropna().iloc[0] == "a0"
    assert _labels(corpus_of(open_source("a", paths[-1]))).startswith(COLUMNS["texts"][1])


def test_texts_that_may_stand_for_no_label_are_remarked_on_among_the_cells_that_are_offered(stored):
    path = stored("a", ["B", "Unknown", "na", "T", "na", "unknown T"])
    (remark,) = open_source("a", path).remarks
    assert remark.startswith(
        "cell_type reads 'Unknown' or 'na' in 3 of 6 cells, which counts as a cell_type of its own"
    )
    where = remark.partition('where = "')[2][:-1]
    offered = open_source("a", path, where=where)
    assert offered.cells["row"].tolist() == [0, 3, 5]
    assert offered.remarks == ()
