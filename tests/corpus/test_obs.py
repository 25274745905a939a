"""A cell table has names and types that files can hold, or nothing is written."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus import export
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.obs import changes, holdable
from corpuscle.source.source import open_source

ODD = {
    "T/NK score": [1.0, 2.0] * 3,
    "T_NK score": [2] * 6,
    "_index": list("abcdef"),
    "zarr.json": [1] * 6,
    "..": [1] * 6,
    "": [1] * 6,
    "x" * 300: [1] * 6,
    "date": pd.to_datetime(["2020-01-01", None] * 3),
    "delta": pd.to_timedelta([1] * 6, "D"),
    "mixed": [1, "a", None, True, 1.0, b"x"],
    "nested": [[1], {}, (), None, {"a": 1}, "a"],
    "complex": np.array([1 + 2j] * 6),
    "half": np.array([1] * 6, np.float16),
    "fractions": pd.array([1.5, None] * 3, "Float64"),
    "whole": pd.array([1, None] * 3, "Int8"),
    "objects": pd.Series([True, None] * 3, dtype=object),
    "category": pd.Series(pd.Categorical([1, 2] * 3)).cat.rename_categories(pd.Index([1, 2], dtype=object)),
    "mixed category": pd.Categorical(pd.Index([1, "a"] * 3, dtype=object)),
    "interval": pd.cut(range(6), 2),
    "nul": ["a\0b", "c"] * 3,
    "nothing": [None] * 6,
}


@pytest.fixture
def odd(make):
    corpus = make(6)
    return replace(corpus, cells=corpus.cells.assign(**ODD))


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_any_column_is_written_under_a_legal_name_and_type(odd, tmp_path, form):
    path = tmp_path / f"corpus.{form}"
    export.write_corpus(odd, path, "1d", {})
    cells = open_source("again", path).cells
    renamed, as_text = changes(odd.cells)
    assert renamed["T/NK score"] == "T_NK score_2"
    assert set(renamed) == {"T/NK score", "_index", "zarr.json", "..", "", "x" * 300}
    assert as_text == ["date", "delta", "mixed", "nested", "complex", "mixed category", "interval"]
    for name, values in ODD.items():
        assert renamed.get(name, name) in cells, name
        if name in as_text:
            assert cells[name].isna().tolist() == pd.Series(values).isna().tolist()
    assert cells["T_NK score_2"].tolist() == ODD["T/NK score"]
    assert cells["date"].dropna().unique().tolist() == ["2020-01-01"]
    assert cells["mixed"].tolist() == ["1", "a", np.nan, "True", "1", "x"]
    assert cells["whole"].dtype == "Int8"
    assert cells["fractions"].dtype == np.float64


def test_what_still_cannot_be_written_is_found_before_any_count_is_read(odd, tmp_path, monkeypatch):
    monkeypatch.setattr("corpuscle.corpus.corpus.holdable", lambda cells: holdable(cells).assign(odd=cells["complex"]))
    monkeypatch.setattr(Corpus, "counts", None)
    monkeypatch.setattr(export, "_write_error", lambda obs, _suffix: "no such type" if "odd" in obs else None)
    with pytest.raises(CorpusError, match=r"a \.h5ad cannot hold the column 'odd' \(no such type\)"):
        export.write_corpus(odd, tmp_path / "corpus.h5ad", "1d", {})
    assert not list(tmp_path.glob("*composing*"))


def test_columns_of_one_name_are_kept_apart(write):
    import h5py

    path = write()
    with h5py.File(path, "a") as file:
        file["obs"].attrs["column-order"] = ["cell_type", "donor", "donor"]
    assert open_source("blood", path).cells.columns.tolist() == ["row", "barcode", "cell_type", "donor", "donor_2"]
    assert ad.read_h5ad(path).obs.columns.duplicated().any()
