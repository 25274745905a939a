"""Small files and corpora that many tests need. Fixtures return functions, so that a test says what it wants."""

import functools
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix
from threadpoolctl import ThreadpoolController

from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import Source, open_source

# They are components of a package that they are not in: see `test_extending`.
collect_ignore = ["templates"]

FORMATS: dict[str, Callable[[Any], Any]] = {"dense": np.asarray, "csr": csr_matrix, "csc": csc_matrix}


def _draw(n_cells: int, n_genes: int = 30, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(1.0, 2.0, n_genes), (n_cells, n_genes))
    counts[:, 0] += 1 + rng.permutation(n_cells)
    return counts.astype(np.int32)


def _annotated(counts: Any, obs: dict[str, Any] | None = None, genes: Any = None, **parts: Any) -> ad.AnnData:
    n_cells, n_genes = counts.shape
    labels = {
        "cell_type": [("B", "T")[at % 2] for at in range(n_cells)],
        "donor": [f"d{at % 3}" for at in range(n_cells)],
    }
    table = pd.DataFrame({**labels, **(obs or {})}, index=[f"cell{at}" for at in range(n_cells)])
    names = [f"G{at}" for at in range(n_genes)] if genes is None else genes
    var = names if isinstance(names, pd.DataFrame) else pd.DataFrame(index=names)
    return ad.AnnData(counts, obs=table, var=var, **parts)


@functools.lru_cache(256)
def _stored(asked: bytes) -> bytes:
    """Write an .h5ad of pickled (form, counts, parts), and return its bytes: many tests ask for the same file."""
    form, counts, parts = pickle.loads(asked)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5ad"
        _annotated(FORMATS[form](counts), **parts).write_h5ad(path)
        return path.read_bytes()


def _write(path: Path, cells: Any, form: str, seed: int, parts: dict[str, Any]) -> Path:
    counts = _draw(cells, seed=seed) if isinstance(cells, int) else cells
    path.write_bytes(_stored(pickle.dumps((form, counts, parts))))
    return path


@functools.lru_cache(1)
def _threads(n_modules: int) -> ThreadpoolController:
    """Find the libraries that start threads; anew only after imports, as it takes as long as a test."""
    return ThreadpoolController()


def _corpus_of(*sources: Source, genes: str = "intersection") -> Corpus:
    space = gene_space({source.name: gene_names(source.genes) for source in sources}, genes)
    tables = [source.cells.assign(source=source.name, times=1).dropna(axis="columns", how="all") for source in sources]
    cells = pd.concat(tables, ignore_index=True)
    cells = cells[[*KEYS, *(column for column in cells if column not in KEYS)]]
    return Corpus("all", cells, {source.name: source.reader for source in sources}, space)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Keep BLAS, OpenMP and torch to one thread: where two tests run on two busy cores, threads wait for each other.

    Before each test, as numba's threads, when first used, set OpenMP's number anew.
    """
    _threads(len(sys.modules)).limit(limits=1)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.fsync` look at its handle only: it keeps what is written through a power cut, which no test makes.

    A study flushes 180 files, a second of waiting. Processes that a test starts flush as ever, and `test_store` holds
    that what is to be flushed is.
    """
    monkeypatch.setattr("os.fsync", os.fstat)


@pytest.fixture(autouse=True)
def _few_variable_genes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in 200 variable genes: most tests are not about measures, and 2,000 would take them a second each."""
    monkeypatch.setattr("corpuscle.measures.common_space.N_GENES", 200)


@pytest.fixture
def counts_of() -> Callable[..., Any]:
    """Draw counts (n_cells, n_genes, seed) in which no two cells are equal and none is empty."""
    return _draw


@pytest.fixture
def annotated() -> Callable[..., ad.AnnData]:
    """Make an AnnData of counts, with two cell types, three donors and genes G0, G1, …, unless told otherwise."""
    return _annotated


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a small .h5ad of counts, or of a number of cells."""

    def written(name: str = "data", cells: Any = 12, *, form: str = "csr", seed: int = 0, **parts: Any) -> Path:
        return _write(tmp_path / f"{name}.h5ad", cells, form, seed, parts)

    return written


@pytest.fixture(scope="session")
def corpus_of() -> Callable[..., Corpus]:
    """Make a corpus of all cells of some sources."""
    return _corpus_of


@pytest.fixture
def make(write: Callable[..., Path]) -> Callable[..., Corpus]:
    """Make a corpus of one small file; as `write`."""

    def made(cells: Any = 12, name: str = "blood", **parts: Any) -> Corpus:
        return _corpus_of(open_source(name, write(name, cells, **parts)))

    return made


@pytest.fixture(scope="module")
def source_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Source]:
    """Write and open a small file, as `write`, once for all tests of a module, which only read it."""
    folder = tmp_path_factory.mktemp("once")

    def opened(name: str, cells: Any = 12, *, form: str = "csr", seed: int = 0, **parts: Any) -> Source:
        return open_source(name, _write(folder / f"{name}.h5ad", cells, form, seed, parts))

    return opened
