"""Tiny corpora on disk, read as any other."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from corpuscle.corpus.corpus import Corpus
from corpuscle.model.training.optimiser import Adam
from corpuscle.source.genes import GeneSpace
from corpuscle.source.readers.h5ad import H5ad


def _draw(n_cells: int, n_genes: int, seed: int = 0) -> np.ndarray:
    """Counts of two cell types, about half of them zero."""
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, 2, (2, n_genes))
    return rng.poisson(profiles[rng.integers(2, size=n_cells)] * rng.gamma(5, 0.2, (n_cells, 1))).astype(np.float32)


@pytest.fixture
def draw_counts():
    """A function of (n_cells, n_genes, seed)."""
    return _draw


@pytest.fixture
def make_corpus(tmp_path: Path):
    """Make a corpus of dense arrays: one per source, over the same genes; `columns` says which it measured."""

    def make(*arrays: np.ndarray, times=None, columns: dict[str, np.ndarray] | None = None) -> Corpus:
        n_genes = arrays[0].shape[1]
        tables, readers, found = [], {}, {}
        for number, array in enumerate(arrays):
            source = f"source{number}"
            kept = (columns or {}).get(source, np.arange(n_genes))
            path = tmp_path / f"{source}_{len(list(tmp_path.iterdir()))}.h5ad"
            barcodes = [f"c{cell}" for cell in range(len(array))]
            var = pd.DataFrame(index=[f"g{gene:03}" for gene in kept])
            anndata.AnnData(csr_matrix(array[:, kept]), obs=pd.DataFrame(index=barcodes), var=var).write_h5ad(path)
            readers[source] = H5ad(path=path)
            found[source] = np.asarray(kept, np.int32)
            table = {"source": source, "row": np.arange(len(array)), "barcode": barcodes, "times": 1}
            tables.append(pd.DataFrame(table))
        cells = pd.concat(tables, ignore_index=True)
        if times is not None:
            cells["times"] = np.asarray(times)
        ids = tuple(f"g{gene:03}" for gene in range(n_genes))
        return Corpus("toy", cells, readers, GeneSpace(ids, ids, found))

    return make


@pytest.fixture
def corpus(make_corpus, draw_counts):
    """60 cells, 20 genes."""
    return make_corpus(draw_counts(60, 20))


@pytest.fixture
def steps_taken(monkeypatch):
    """A list that grows by one with each step of the optimiser."""
    taken, step = [], Adam.step
    monkeypatch.setattr(Adam, "step", lambda adam: (taken.append(1), step(adam))[1])
    return taken
