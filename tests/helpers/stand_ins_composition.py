"""Small files that look like the sources of the full studies of composition: their columns, genes and names."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import corpuscle
from stores import write_census

# Sizes of the full studies are divided by so much, but for the smallest.
SMALLER = 5_000
# Genes of the cell cycle, which are asked about, and a mitochondrial one, by which cells are filtered.
CYCLE = pd.read_csv(str(files("corpuscle.evaluation") / "cell_cycle.tsv"), sep="\t", comment="#")
NAMES = pd.DataFrame({"ensembl_id": ["ENSG00000198804", *CYCLE["ensembl"]], "symbol": ["MT-CO1", *CYCLE["symbol"]]})


def file_of(n_cells: int, obs: dict[str, list[Any]], var: pd.DataFrame, seed: int) -> ad.AnnData:
    """Return cells of about 2,000 counts; `obs` has for each column the values that its cells have in turn."""
    rng = np.random.default_rng(seed)
    counts_NG = csr_matrix(rng.poisson(rng.gamma(2.0, 13.0, (n_cells, len(NAMES)))).astype(np.int32))
    table = {name: [values[at % len(values)] for at in range(n_cells)] for name, values in obs.items()}
    return ad.AnnData(counts_NG, obs=pd.DataFrame(table, index=[f"{seed}_{at}" for at in range(n_cells)]), var=var)


def by_id(column: str) -> pd.DataFrame:
    """Return a var whose index is the Ensembl id, with symbols in `column`."""
    return NAMES.set_index("ensembl_id").rename(columns={"symbol": column}).rename_axis(None)


def by_symbol() -> pd.DataFrame:
    """Return a var whose index is the symbol, with Ensembl ids in ``ensembl_id``."""
    return NAMES.set_index("symbol").rename_axis(None)


def write(path: Path, n_cells: int, obs: dict[str, list[Any]], var: pd.DataFrame, seed: int) -> None:
    """Write a file of such cells as ``.h5ad``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file_of(n_cells, obs, var, seed).write_h5ad(path)


def write_hosted_census(folder: Path, obs: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a small Census, and let it stand for the hosted one: opened once, by the one context of the process."""
    soma = pytest.importorskip("tiledbsoma")
    from corpuscle.source.readers.census import _context

    data = file_of(600, {"is_primary_data": [True], **obs}, by_id("feature_name"), 0)
    data.var = data.var[[]]
    place = write_census(folder / "census", data)
    hosted = cache(lambda date, process: soma.open(str(place), context=_context(process)))
    monkeypatch.setattr("corpuscle.source.readers.census._hosted_census", hosted)


def smaller(file: Path) -> str:
    """Return the text of a full study for one seed, its corpora's sizes divided by `SMALLER`, percents larger."""
    text = file.read_text(encoding="utf-8").replace("\nseeds    = 5", "\nseeds    = 1")
    text = text.replace("percent = [1, 10", "percent = [15, 20")
    return re.sub(r"n_cells = ([\d_]+)", lambda size: f"n_cells = {max(5, int(size[1]) // SMALLER)}", text)


def planned(file: Path, folder: Path) -> "corpuscle.Plan":
    """Do what ``corpuscle check --plan`` does with a full study, at a small size, next to the stand-ins in `folder`."""
    return corpuscle.prepare(corpuscle.Study.parse(smaller(file), folder))
