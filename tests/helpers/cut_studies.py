"""Small studies cut to one replicate and a few steps: whether a file's runs lead to its claims, in seconds."""

import importlib.util
import re
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import corpuscle
from repository import ROOT

STUDIES = ROOT / "studies"
# A whole number of steps, epochs, cells or pairs in a study file, and the largest that is left.
LARGEST = {
    "steps": 2, "epochs": 1, "max_cells": 40, "max_pairs": 40, "min_counts": 1, "min_genes": 1,
}  # fmt: skip
N_GENES, MOST_OF_A_TYPE = 200, 30


def cut(text: str, n_cells: int) -> str:
    """Return a study's text for one seed, with little training, few cells, and files in place of packaged data."""
    text = re.sub(r"(?m)^seeds( *)= \d+", r"seeds\1= 1", text)
    text = re.sub(r'dataset = "(\w+)"', r'path = "\1.h5ad"', text)
    for name, largest in {**LARGEST, "n_cells": n_cells}.items():
        text = re.sub(rf"\b{name}( *)= (\d+)", lambda found, most=largest: _at_most(found, most), text)
    return text


def _at_most(found: re.Match[str], largest: int) -> str:
    return found[0].removesuffix(found[2]) + str(min(int(found[2]), largest))


def write_few(folder: Path) -> None:
    """Write the packaged data with few cells of each type and batch, and the genes with the most counts."""
    cycle = pd.read_csv(str(files("corpuscle.evaluation") / "cell_cycle.tsv"), sep="\t", comment="#")["symbol"]
    genes = None
    for name in ("kang2018", "baron2016", "chen2019", "pbmc3k"):
        data = ad.read_h5ad(corpuscle.dataset_path(name))
        if genes is None:
            most = data.var_names[np.argsort(-np.asarray(data.X.sum(axis=0)).ravel())[:N_GENES]]
            genes = data.var_names[data.var_names.isin([*most, *cycle])]
        groups = data.obs.groupby(["cell_type", "batch"], observed=True)
        data[np.sort(groups.cumcount()[lambda at: at < MOST_OF_A_TYPE].index)][:, genes].copy().write_h5ad(
            folder / f"{name}.h5ad"
        )


def claims_of_cut_runs(
    study: str, n_cells: int, folder: Path, monkeypatch: pytest.MonkeyPatch, measured: Collection[str] = ()
) -> list[Any]:
    """Run the small files of a study, cut, in one store, and return the claims.

    Corpora have `n_cells` at most; those of the files in `measured` are measured.
    """
    # Measures, maps and reports take longer than all else together.
    monkeypatch.setattr("corpuscle.execution.workflow.written", lambda folder: None)
    write_few(folder)
    runs = {}
    for file in sorted((STUDIES / study).glob("small*.toml")):
        cut_study = corpuscle.Study.parse(cut(file.read_text(encoding="utf-8"), n_cells), folder)
        runs[file.stem] = corpuscle.run(
            cut_study, folder / file.stem, workers=0, store=folder / "store", page=file.stem in measured
        )
    monkeypatch.syspath_prepend(str(STUDIES))
    spec = importlib.util.spec_from_file_location(f"{study}_claims", STUDIES / study / "claims.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[Any] = module.claims(runs)
    return found
