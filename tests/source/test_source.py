"""A source is a cell table with the file's labels, under the names that the rest of the package knows."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.source import dataset_facts, dataset_names, dataset_path, open_source


def test_a_where_offers_only_its_cells_with_their_rows_in_the_file(write):
    source = open_source("blood", write(), where="cell_type == 'T' and donor in ['d0', 'd1']")
    assert source.cells["row"].tolist() == [1, 3, 7, 9]
    assert source.cells["barcode"].tolist() == ["cell1", "cell3", "cell7", "cell9"]
    assert source.cells.index.tolist() == [0, 1, 2, 3]


def test_a_role_is_the_column_that_is_said_to_hold_it(write):
    obs = {"individual": ["x", "y"] * 6, "donor": ["other"] * 12}
    source = open_source("blood", write(obs=obs), roles={"donor": "individual", "batch": "donor"}, where="donor == 'x'")
    assert set(source.cells["donor"]) == {"x"}
    assert set(source.cells["batch"]) == {"other"}
    assert set(source.cells["individual"]) == {"x"}
    assert source.roles == ["cell_type", "donor", "batch"]


def test_a_role_that_no_column_holds_is_answered_with_the_columns(write):
    with pytest.raises(SourceError, match="donor = 'donr', but the file has no such column; did you mean 'donor'"):
        open_source("blood", write(), roles={"donor": "donr"})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("cell_type == 'Mono'", "matches none of 12 cells; cell_type holds 'B', 'T'"),
        ("size > 100", "matches none of 12 cells; size runs from 0 to 11"),
        ("unknown == 'x'", "matches none of 12 cells; unknown holds nothing"),
        ("cel_type == 'B'", "there is no column 'cel_type'; did you mean 'cell_type'"),
        ("donor == 1", "a number and a text cannot be compared"),
        ("donor ==", "not an expression"),
    ],
)
def test_a_where_that_offers_nothing_says_what_there_is(write, where, message):
    path = write(obs={"size": range(12), "unknown": [np.nan] * 12})
    with pytest.raises(SourceError, match=message):
        open_source("blood", path, where=where)


@pytest.mark.parametrize("name", ["source", "row", "barcode", "times"])
def test_a_file_may_name_its_columns_like_ours(write, name):
    path = write(obs={name: ["mine", "yours"] * 6})
    source = open_source("blood", path, where=f"{name} == 'mine'")
    assert source.cells["row"].tolist() == list(range(0, 12, 2))
    assert set(source.cells[f"{name}_in_file"]) == {"mine"}
    assert source.cells["barcode"].iloc[0] == "cell0"


def test_a_where_can_name_barcodes(write):
    assert len(open_source("blood", write(), where="barcode in ['cell3', 'cell4']")) == 2


@pytest.mark.parametrize(
    ("index", "barcodes"),
    [
        pytest.param(pd.Index(["a", "a", "b"]), ["a", "a", "b"], id="repeated"),
        pytest.param(pd.Index(["7", "8", "9"], name="barcode"), ["7", "8", "9"], id="named barcode"),
        pytest.param(pd.Index(["7", "8", "9"], name="row"), ["7", "8", "9"], id="named row"),
    ],
)
def test_cells_may_be_named_in_any_way(annotated, counts_of, tmp_path, index, barcodes):
    data = annotated(counts_of(3))
    data.obs.index = index
    if index.is_unique:
        data.write_h5ad(tmp_path / "data.h5ad")
    else:
        with pytest.warns(UserWarning, match="not unique"):
            data.copy().write_h5ad(tmp_path / "data.h5ad")
    assert open_source("blood", tmp_path / "data.h5ad").cells["barcode"].tolist() == barcodes


def test_the_content_tells_files_apart(write):
    paths = [write("a"), write("b"), write("c", seed=1)]
    a, b, c = (open_source("blood", path).content for path in paths)
    assert a == b != c


@pytest.mark.parametrize("name", dataset_names())
def test_a_packaged_data_set_opens_with_its_facts(name):
    assert open_source(name, dataset_path(name)).roles[0] == "cell_type"
    assert dataset_facts(name)["n_cells"] == len(open_source(name, dataset_path(name)))


def test_an_unknown_data_set_is_answered_with_those_there_are():
    with pytest.raises(SourceError, match="there is no data set 'kang'; did you mean 'kang2018'"):
        dataset_path("kang")
