"""The packaged data sets are what their TOML files say, hold real counts, and fit together."""

import hashlib
import importlib.resources
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from corpuscle.corpus.cell_ontology import CellOntology
from repository import ROOT

FOLDER = Path(str(importlib.resources.files("corpuscle"))) / "source" / "datasets"
NAMES = sorted(path.stem for path in FOLDER.glob("*.h5ad"))
FULL = ROOT.parent / "shared" / "data"
FULL_NAMES = {
    "baron2016": "baron2016_human_pancreas",
    "chen2019": "4celllines_K562_GM12878_H1_BJ",
    "kang2018": "kang2018_pbmc_ifnb",
    "pbmc3k": "pbmc3k_labelled",
}
OBS_COLUMNS = {"cell_type", "batch", "study", "tissue", "disease", "assay", "organism"}
DEPTH_COLUMNS = {"n_counts_all_genes", "n_genes_all_genes"}
EXTRA_COLUMNS = {
    "baron2016": {"donor"},
    "chen2019": {"mito_fraction_all_genes"},
    "kang2018": {"condition"},
    "pbmc3k": {"donor", "mito_fraction_all_genes"},
}


@cache
def load(name: str) -> ad.AnnData:
    return ad.read_h5ad(FOLDER / f"{name}.h5ad")


def facts(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def counts_per_cell(data: ad.AnnData) -> np.ndarray:
    return np.asarray(data.X.sum(axis=1)).ravel()


each = pytest.mark.parametrize("name", NAMES)


def test_the_four_data_sets_are_there_and_small():
    assert sorted(FULL_NAMES) == NAMES
    assert sum(path.stat().st_size for path in FOLDER.glob("*.h5ad")) <= 8_000_000


@each
def test_the_file_agrees_with_its_toml(name):
    data, told = load(name), facts(name)
    assert hashlib.sha256((FOLDER / f"{name}.h5ad").read_bytes()).hexdigest() == told["sha256"]
    assert data.shape == (told["n_cells"], told["n_genes"])
    assert set(data.obs["tissue"]) == set(told["tissue"])
    assert set(data.obs["disease"]) == set(told["disease"])
    assert set(data.obs["assay"]) == {told["assay"]}
    assert set(data.obs["organism"]) == {told["organism"]}
    assert all(told[key] for key in ("title", "licence", "citation", "notes"))
    assert all("==" in wheel["requirement"] and len(wheel["sha256"]) == 64 for wheel in told["wheels"])


@each
def test_counts_are_non_negative_integers_in_sorted_csr(name):
    x = load(name).X
    assert x.format == "csr"
    assert x.dtype in (np.uint16, np.uint32)
    assert x.indices.dtype == np.int32
    assert x.has_canonical_format
    assert x.data.min() > 0


@each
def test_labels_are_complete_and_nothing_unknown_is_claimed(name):
    obs = load(name).obs
    assert set(obs.columns) == OBS_COLUMNS | DEPTH_COLUMNS | EXTRA_COLUMNS[name]
    assert not obs.isna().any().any()
    assert obs.index.is_unique


@each
def test_the_full_depth_is_at_least_what_is_left(name):
    data = load(name)
    assert (data.obs["n_counts_all_genes"] >= counts_per_cell(data)).all()
    assert (data.obs["n_genes_all_genes"] >= data.X.getnnz(axis=1)).all()
    if "mito_fraction_all_genes" in data.obs:
        assert data.obs["mito_fraction_all_genes"].between(0, 1).all()


def test_all_share_one_gene_list():
    var = load(NAMES[0]).var
    assert var.index.is_unique
    assert (var.index == var["symbol"]).all()
    assert var["ensembl_id"].str.fullmatch(r"(ENSG\d{11})?").all()
    assert all(load(name).var.equals(var) for name in NAMES)
    assert {"LYZ", "CD14", "MS4A1", "CD3D", "PPBP", "ISG15"} <= set(var.index)


def test_no_cell_is_empty_or_occurs_twice():
    cells = []
    for name in NAMES:
        x = load(name).X
        assert (np.diff(x.indptr) > 0).all()
        for start, stop in zip(x.indptr[:-1], x.indptr[1:], strict=True):
            cells.append((tuple(x.indices[start:stop]), tuple(x.data[start:stop])))
    assert len(set(cells)) == len(cells)


def test_cells_of_every_condition_and_donor_are_there():
    assert load("kang2018").obs["condition"].value_counts().to_dict() == {"control": 2400, "IFN-beta": 1000}
    assert {"CD14 Mono", "CD16 Mono", "CD4 Naive T"} <= set(load("kang2018").obs["cell_type"])
    assert load("baron2016").obs["donor"].value_counts().min() >= 300
    assert load("baron2016").obs["cell_type"].nunique() == 14


@pytest.mark.skipif(not FULL.is_dir(), reason="the full data sets are not beside the repository")
@each
def test_counts_and_labels_are_those_of_the_full_data_set(name):
    data, full = load(name), ad.read_h5ad(FULL / f"{FULL_NAMES[name]}.h5ad")
    assert data.obs_names.isin(full.obs_names).all()
    for column in {"cell_type", "donor", "batch", "condition", "tissue", "disease", "assay"} & set(data.obs):
        assert (data.obs[column].astype(str) == full.obs.loc[data.obs_names, column].astype(str)).all()

    cells = np.random.default_rng(0).choice(data.obs_names, 200, replace=False)
    here, there = data[cells], full[cells]
    np.testing.assert_array_equal(here.X.toarray(), there[:, data.var_names].X.toarray())
    np.testing.assert_array_equal(here.obs["n_counts_all_genes"], counts_per_cell(there))
    np.testing.assert_array_equal(here.obs["n_genes_all_genes"], there.X.getnnz(axis=1))


def test_the_names_of_labels_are_of_these_data_sets_and_of_the_cell_ontology():
    path = FOLDER / "labels.csv"
    names = pd.read_csv(path, dtype=str, keep_default_na=False)
    there = {label for name in NAMES for label in load(name).obs["cell_type"].astype(str)}
    assert set(names["from"]) <= there
    # Cell lines are no types, and the two kinds of stellate cells have no terms of their own.
    lines = set(load("chen2019").obs["cell_type"].astype(str))
    assert there - set(names["from"]) == {*lines, "activated_stellate", "quiescent_stellate"}
    ontology = CellOntology()
    assert [ontology.name_of(term) for term in names["term"]] == names["to"].tolist()
