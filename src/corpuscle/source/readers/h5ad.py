"""Reads AnnData's ``.h5ad``: dense, CSR or CSC counts in X, a layer, or raw.

h5py is used for the counts instead of a backed AnnData because that reads a CSC matrix by row one element at a time
and cannot open a layer without the rest.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import SourceError
from corpuscle.source.reader import Reader

# Rows further apart than this are read separately; nearer ones with what lies between them, in one go.
GAP_ROWS = 16
# How many stored numbers of a CSC matrix are looked at at once: 2^24 of them take 200 MB.
CSC_BLOCK = 1 << 24


@component
class H5ad(Reader):
    """An ``.h5ad`` file.

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
        """Open the file, turning HDF5's errors (not HDF5, truncated, broken) into one clear message."""
        try:
            with h5py.File(self.path, "r") as file:
                if "obs" not in file or "var" not in file:
                    raise SourceError(f"{self.path}: an HDF5 file, but not an .h5ad: it has no obs and var tables")
                yield file
        except (OSError, KeyError, RuntimeError) as error:
            raise SourceError(
                f"{self.path}: cannot be read as .h5ad; the file is truncated, damaged or of another kind ({error})"
            ) from error

    def read_cells(self) -> pd.DataFrame:
        """Return obs."""
        with self._open() as file:
            return read_elem(file["obs"])

    def read_genes(self) -> pd.DataFrame:
        """Return var, or raw's var where the counts are raw's."""
        with self._open() as file:
            self._matrix(file)
            return read_elem(file["raw/var" if self.counts == "raw" else "var"])

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
        in_order = len(back) == len(wanted) and bool(np.all(back == np.arange(len(back))))
        return found if in_order else found[back]

    def _matrix(self, file: h5py.File) -> Any:
        """Return the dataset (dense) or group (sparse) that holds the counts, or say where they could be."""
        legal = {"raw": "raw/X"}.get(self.counts, self.counts)
        if legal not in file or not (legal in ("X", "raw/X") or legal.startswith("layers/")):
            there = ", ".join(self.alternatives())
            raise SourceError(f"{self.path}: there are no counts at {self.counts!r}; the file has: {there or 'none'}")
        matrix = file[legal]
        sparse = matrix.attrs.get("encoding-type", "") in ("csr_matrix", "csc_matrix")
        if not (sparse or (isinstance(matrix, h5py.Dataset) and matrix.ndim == 2)):
            raise SourceError(f"{self.path}: {self.counts} is neither a dense array nor a CSR or CSC matrix")
        return matrix


def _runs(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut sorted row numbers into runs that are worth reading in one go."""
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(rows) > GAP_ROWS) + 1)


def _read_dense(matrix: h5py.Dataset, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a dense array, at most 512 rows dense at once."""
    pieces = []
    for run in _runs(rows):
        for piece in np.array_split(run, -(-len(run) // 512)):
            slab = matrix[piece[0] : piece[-1] + 1]
            pieces.append(csr_matrix(slab[piece - piece[0]]))
    return _stack(pieces, matrix.shape[1], matrix.dtype)


def _read_csr(matrix: h5py.Group, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a CSR matrix: only the stretches of the file that hold them."""
    n_genes = int(matrix.attrs["shape"][1])
    indptr = matrix["indptr"][:]
    pieces = []
    for run in _runs(rows):
        start, stop = int(indptr[run[0]]), int(indptr[run[-1] + 1])
        data, indices = matrix["data"][start:stop], matrix["indices"][start:stop]
        pointers = indptr[run[0] : run[-1] + 2] - start
        stretch = csr_matrix((data, indices, pointers), shape=(len(pointers) - 1, n_genes))
        pieces.append(stretch if len(run) == stretch.shape[0] else stretch[run - run[0]])
    return _stack(pieces, n_genes, matrix["data"].dtype)


def _read_csc(matrix: h5py.Group, rows: NDArray[np.int64]) -> csr_matrix:
    """Read sorted distinct rows of a CSC matrix: the whole file streams past once, only the rows asked for stay."""
    n_cells, n_genes = (int(size) for size in matrix.attrs["shape"])
    position = np.full(n_cells, -1, np.int64)
    position[rows] = np.arange(len(rows))
    indptr = matrix["indptr"][:]
    kept: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for start in range(0, int(indptr[-1]), CSC_BLOCK):
        stop = min(start + CSC_BLOCK, int(indptr[-1]))
        row = position[matrix["indices"][start:stop]]
        column = np.searchsorted(indptr, np.arange(start, stop), side="right") - 1
        here = row >= 0
        kept.append((matrix["data"][start:stop][here], row[here], column[here]))
    if not kept:
        return csr_matrix((len(rows), n_genes), dtype=matrix["data"].dtype)
    data, row, column = (np.concatenate(part) for part in zip(*kept, strict=True))
    return csr_matrix((data, (row, column)), shape=(len(rows), n_genes))


def _stack(pieces: list[csr_matrix], n_genes: int, dtype: np.dtype[Any]) -> csr_matrix:
    from scipy.sparse import vstack

    return vstack(pieces, format="csr") if pieces else csr_matrix((0, n_genes), dtype=dtype)
