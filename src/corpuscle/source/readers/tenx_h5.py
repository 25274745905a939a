"""Reads 10x Genomics' ``.h5`` of Cell Ranger 2 (a group per genome) and 3 and later (a group ``matrix``).

The matrix is genes × cells by column, which is cells × genes by row.
"""

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import SourceError
from corpuscle.source.reader import Cells, Reader, all_rows, reading, refuse_misfit
from corpuscle.source.storage import anndata_layout, file_hash, hdf5, soundness


@component
class TenxH5(Reader):
    """A 10x Genomics ``.h5``.

    Parameters
    ----------
    path
        The file.
    counts
        ``"X"``: the matrix. In a Cell Ranger 2 file of several genomes: which genome.
    """

    suffixes = (".h5",)

    path: Path
    counts: str = "X"

    @contextmanager
    def _open(self) -> Iterator[h5py.Group]:
        """Open the group that holds the matrix."""
        with reading(self.path, "10x .h5"), hdf5.open_hdf5(self.path) as file:
            there = _genomes(file)
            if not there:
                raise SourceError("an HDF5 file, but not 10x's: no group in it holds a matrix with barcodes")
            if self.counts not in there and not (self.counts == "X" and len(there) == 1):
                raise SourceError(
                    f"there are no counts at {self.counts!r}; the file has: {', '.join(there)}; say which with counts"
                )
            group = file[there[0] if self.counts == "X" else self.counts]
            soundness.check_sparse(group, "the matrix", n_major=_shape(group)[1])
            yield group

    def n_cells(self) -> int:
        """Count the barcodes."""
        with self._open() as group:
            return _shape(group)[1]

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Return a table without columns: such a file names cells and says nothing else of them."""
        with self._open() as group:
            table = pd.DataFrame(index=pd.Index(_texts(group["barcodes"]), dtype=object))
            n_genes, n_cells = _shape(group)
            refuse_misfit("barcodes", table, "the matrix", n_cells)
            soundness.check_stored(group, "the matrix", n_minor=n_genes)
            return all_rows(table)

    def read_genes(self) -> pd.DataFrame:
        """Return the features: index = ids; ``symbol``, and in newer files ``feature_type`` and ``genome``."""
        with self._open() as group:
            return _features(group)

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`."""
        with self._open() as group:
            return anndata_layout.read_csr(group, rows, len(_features(group)))

    def alternatives(self) -> Sequence[str]:
        """List the groups that hold a matrix."""
        with reading(self.path, "10x .h5"), hdf5.open_hdf5(self.path) as file:
            found = _genomes(file)
            return ["X"] if len(found) == 1 else found

    def stamp(self) -> str:
        """Return a hash of size and time."""
        return file_hash.stamp([self.path])

    def content(self) -> str:
        """Hash the file."""
        return file_hash.content([self.path])


def _genomes(file: h5py.File) -> list[str]:
    needed = {"barcodes", "data", "indices", "indptr", "shape"}
    return [name for name, group in file.items() if isinstance(group, h5py.Group) and needed <= set(group)]


def _features(group: h5py.Group) -> pd.DataFrame:
    """Read the feature table, genes and others."""
    new = "features" in group
    features = group["features"] if new else group
    ids, symbols = ("id", "name") if new else ("genes", "gene_names")
    columns = {"symbol": symbols, "feature_type": "feature_type", "genome": "genome"}
    found: dict[str, Any] = {name: _texts(features[key]) for name, key in columns.items() if key in features}
    table = pd.DataFrame(found, index=pd.Index(_texts(features[ids]), dtype=object))
    refuse_misfit("the feature table", table, "the matrix", _shape(group)[0])
    return table


def _shape(group: h5py.Group) -> tuple[int, int]:
    """Return genes × cells."""
    shape = group["shape"][()]
    if np.shape(shape) != (2,) or shape.dtype.kind not in "iu" or shape.min() < 0:
        raise SourceError("damaged: the matrix does not say how many genes and cells it is for")
    return int(shape[0]), int(shape[1])


def _texts(dataset: h5py.Dataset) -> NDArray[np.str_]:
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
        raise SourceError(f"damaged: {dataset.name} should be a list of texts")
    soundness.check_size([dataset], dataset, dataset.name)
    soundness.refuse_lost(dataset, dataset.name)
    found: NDArray[np.str_] = dataset.asstr()[:].astype(str)
    return found
