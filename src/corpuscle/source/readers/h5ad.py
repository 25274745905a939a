"""Reads AnnData's ``.h5ad``: dense, CSR or CSC counts in X, a layer, or raw.

h5py is used for the counts instead of a backed AnnData because that reads a CSC matrix by row one element at a time
and cannot open a layer without the rest.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import OldFormatWarning
from anndata.io import read_elem
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpuscleError, SourceError
from corpuscle.source.reader import Reader

# Rows further apart than this are read separately; nearer ones with what lies between them, in one go.
GAP_ROWS = 16
# How many rows of a dense array are dense in memory at once: 512 × 20,000 genes in float64 are 80 MB.
DENSE_ROWS = 512
# How many stored numbers of a CSC matrix are looked at at once: 2^24 of them take 200 MB.
CSC_BLOCK = 1 << 24


@component
class H5ad(Reader):
    """An ``.h5ad`` file.

    Of CSR and dense counts only the stretches that hold the cells are read. CSC counts are read through from end to end
    for each block of cells: in bounded memory, but slow where there are many; write large files as CSR.

    Parameters
    ----------
    path
        The file.
    counts
        Where the raw counts are: ``"X"``, ``"raw"`` (``raw/X``, with its own genes) or ``"layers/NAME"``.
    """

    suffixes = (".h5ad",)

    path: Path
    counts: str = "X"

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        """Open the file, turning what a truncated, damaged or other file leads to into one clear message."""
        if self.path.is_dir():
            raise SourceError(f"{self.path}: this is a folder; give the path of the .h5ad file")
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except (CorpuscleError, MemoryError):
            raise
        # h5py and anndata raise errors of a dozen kinds for a damaged file.
        except Exception as error:
            raise SourceError(
                f"{self.path}: cannot be read as .h5ad; the file is truncated, damaged or of another kind "
                f"({_gist(error)})"
            ) from error

    def read_cells(self) -> pd.DataFrame:
        """Return obs."""
        with self._open() as file:
            return self._table(file, "obs", axis=0)

    def read_genes(self) -> pd.DataFrame:
        """Return var, or raw's var where the counts are raw's."""
        with self._open() as file:
            return self._table(file, "raw/var" if self.counts == "raw" else "var", axis=1)

    def _table(self, file: h5py.File, key: str, *, axis: int) -> pd.DataFrame:
        """Read obs or var, and see that it is as long as the counts."""
        if key not in file:
            raise SourceError(f"{self.path}: an HDF5 file, but not an .h5ad: it has no {key} table")
        if not isinstance(file[key], h5py.Group):
            raise SourceError(
                f"{self.path}: written by anndata before 0.7; open it with anndata.read_h5ad and write it again"
            )
        with warnings.catch_warnings():
            # What anndata wrote before 0.8 is read all the same.
            warnings.simplefilter("ignore", OldFormatWarning)
            table = read_elem(file[key])
        if not isinstance(table, pd.DataFrame):
            raise SourceError(f"{self.path}: damaged: {key} is not a table")
        size = _shape(self._matrix(file))[axis]
        if len(table) != size:
            raise SourceError(f"{self.path}: damaged: {key} has {len(table):,} rows, {self.counts} is for {size:,}")
        return table

    def alternatives(self) -> Sequence[str]:
        """List X, raw and the layers, as far as they are there."""
        with self._open() as file:
            layers = [f"layers/{name}" for name in file.get("layers", ())]
            return [*(["X"] if "X" in file else []), *(["raw"] if "raw/X" in file else []), *layers]

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`."""
        wanted, back = np.unique(rows, return_inverse=True)
        with self._open() as file:
            matrix = self._matrix(file)
            if isinstance(matrix, h5py.Dataset):
                found = _read_dense(matrix, wanted)
            elif matrix.attrs["encoding-type"] == "csr_matrix":
                found = _read_csr(matrix, wanted)
            else:
                found = _read_csc(matrix, wanted)
            if found.nnz and not 0 <= found.indices.min() <= found.indices.max() < found.shape[1]:
                raise SourceError(f"{self.path}: damaged: {self.counts} has counts of genes that do not exist")
        in_order = len(back) == len(wanted) and bool(np.all(back == np.arange(len(back))))
        return found if in_order else found[back]

    def _matrix(self, file: h5py.File) -> Any:
        """Return the dataset (dense) or group (sparse) that holds the counts, or say where they could be."""
        there = self.alternatives()
        if self.counts not in there:
            has = ", ".join(there) or "none"
            raise SourceError(f"{self.path}: there are no counts at {self.counts!r}; the file has: {has}")
        matrix = file["raw/X" if self.counts == "raw" else self.counts]
        sparse = matrix.attrs.get("encoding-type", "") in ("csr_matrix", "csc_matrix")
        if not (sparse or (isinstance(matrix, h5py.Dataset) and matrix.ndim == 2)):
            raise SourceError(f"{self.path}: {self.counts} is neither a dense array nor a CSR or CSC matrix")
        return matrix


def _gist(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shape(matrix: Any) -> tuple[int, int]:
    n_cells, n_genes = matrix.shape if isinstance(matrix, h5py.Dataset) else matrix.attrs["shape"]
    return int(n_cells), int(n_genes)


def _runs(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut sorted row numbers into runs that are worth reading in one go."""
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(rows) > GAP_ROWS) + 1)


def _read_dense(matrix: h5py.Dataset, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a dense array, at most `DENSE_ROWS` of the file at once."""
    pieces = []
    for run in _runs(rows):
        for piece in np.split(run, np.flatnonzero(np.diff((run - run[0]) // DENSE_ROWS)) + 1):
            slab = matrix[piece[0] : piece[-1] + 1]
            pieces.append(csr_matrix(slab[piece - piece[0]]))
    return _stack(pieces, matrix.shape[1], matrix.dtype)


def _read_csr(matrix: h5py.Group, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a CSR matrix: only the stretches of the file that hold them."""
    n_genes = _shape(matrix)[1]
    if not len(rows):
        return csr_matrix((0, n_genes), dtype=matrix["data"].dtype)
    first = rows[0]
    indptr = matrix["indptr"][first : rows[-1] + 2].astype(np.int64)
    pieces = []
    for run in _runs(rows):
        pointers = indptr[run[0] - first : run[-1] - first + 2]
        start, stop = pointers[0], pointers[-1]
        data, indices = matrix["data"][start:stop], matrix["indices"][start:stop]
        pointers = pointers - start
        stretch = csr_matrix((data, indices, pointers), shape=(len(pointers) - 1, n_genes))
        pieces.append(stretch if len(run) == stretch.shape[0] else stretch[run - run[0]])
    return _stack(pieces, n_genes, matrix["data"].dtype)


def _read_csc(matrix: h5py.Group, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a CSC matrix: the whole file streams past once, only the rows asked for stay."""
    n_cells, n_genes = _shape(matrix)
    position = np.full(n_cells, -1, np.int64)
    position[rows] = np.arange(len(rows))
    indptr = matrix["indptr"][:]
    kept: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for start in range(0, int(indptr[-1]), CSC_BLOCK):
        stop = min(start + CSC_BLOCK, int(indptr[-1]))
        row = position[matrix["indices"][start:stop]]
        here = np.flatnonzero(row >= 0)
        column = np.searchsorted(indptr, start + here, side="right") - 1
        kept.append((matrix["data"][start:stop][here], row[here], column))
    if not kept:
        return csr_matrix((len(rows), n_genes), dtype=matrix["data"].dtype)
    data, row, column = (np.concatenate(part) for part in zip(*kept, strict=True))
    return csr_matrix((data, (row, column)), shape=(len(rows), n_genes))


def _stack(pieces: list[csr_matrix], n_genes: int, dtype: np.dtype[Any]) -> csr_matrix:
    from scipy.sparse import vstack

    return vstack(pieces, format="csr") if pieces else csr_matrix((0, n_genes), dtype=dtype)
