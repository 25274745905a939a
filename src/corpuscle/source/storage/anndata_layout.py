"""AnnData's layout of tables and counts in a hierarchy of arrays: the same in HDF5 and zarr, which readers open.

Arrays and groups are h5py's or zarr's. Rows are cells; a matrix is a dense array, or a group with ``data``,
``indices`` and ``indptr`` by cell (CSR) or by gene (CSC).
"""

import ast
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.source.reader import Cells, Reader, all_rows, refuse_misfit
from corpuscle.source.storage import file_hash, soundness
from corpuscle.source.storage.ranges import read_ranges, spans
from corpuscle.source.storage.row_cache import Counts, Triples, by_cell
from corpuscle.source.storage.soundness import is_array, native, native_type, text_attribute

# Rows of a dense array that are read with what lies between them, and the most to read in one go: 512 × 20,000 genes in
# float64 are 80 MB.
GAP_ROWS, SPAN_ROWS = 16, 512
# A CSC matrix with more stored numbers than this is laid out by cell first; one with fewer is read through each time.
CSC_BLOCK = 1 << 23


class AnnDataReader(Reader):
    """A reader of AnnData in some hierarchy of arrays, which a subclass opens."""

    path: Path

    @abstractmethod
    def _open(self) -> AbstractContextManager[Any]:
        """Open the hierarchy; its errors name the file."""

    def n_cells(self) -> int:
        """Count the cells."""
        with self._open() as root:
            return shape_of(find_matrix(root, self.counts))[0]

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Read obs."""
        with self._open() as root:
            return all_rows(self._table(root, "obs", axis=0))

    def read_genes(self) -> pd.DataFrame:
        """Return var, or raw's var where the counts are raw's."""
        with self._open() as root:
            return self._table(root, _raw(root, "var") if self.counts == "raw" else "var", axis=1)

    def _table(self, root: Any, key: str, *, axis: int) -> pd.DataFrame:
        table = read_table(root, key)
        matrix = find_matrix(root, self.counts)
        refuse_misfit(key, table, self.counts, shape_of(matrix)[axis])
        if axis == 0:
            soundness.check_stored(matrix, self.counts, n_minor=shape_of(matrix)[form_of(matrix) != "csc"])
        return table

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`."""
        with self._open() as root:
            return read_rows(find_matrix(root, self.counts), rows, self._copy_key)

    def _copy_key(self) -> str:
        return fingerprint("csc", str(self.path.resolve()), self.counts, self.stamp())

    def alternatives(self) -> Sequence[str]:
        """List X, raw and the layers, as far as they are there."""
        with self._open() as root:
            return stored_places(root)

    def stamp(self) -> str:
        """Return a hash of sizes and times."""
        return file_hash.stamp([self.path])

    def content(self) -> str:
        """Hash what is in the file or folder."""
        return file_hash.content([self.path])


def read_table(root: Any, key: str) -> pd.DataFrame:
    """Read obs or var.

    Raises
    ------
    SourceError
        When it is not there, not a table, or damaged.
    """
    from anndata import OldFormatWarning
    from anndata.io import read_elem

    if key not in root:
        raise SourceError(f"not AnnData: it has no {key} table")
    soundness.check_table(root[key], key)
    if is_array(root[key]):
        return _read_records(root, key)
    with warnings.catch_warnings():
        # What anndata wrote before 0.8 is read all the same.
        warnings.simplefilter("ignore", OldFormatWarning)
        table = read_elem(root[key])
    if not isinstance(table, pd.DataFrame):
        raise SourceError(f"damaged: {key} is not a table")
    return table


def _read_records(root: Any, key: str) -> pd.DataFrame:
    """Read a table as anndata wrote it before 0.7: records, the first field the index, categories in uns."""
    records = root[key][()]
    names = getattr(records.dtype, "names", None)
    if not names or records.ndim != 1:
        raise SourceError(f"damaged: {key} is not a table")
    columns = {name: _plain(records[name]) for name in names}
    table = pd.DataFrame(columns).set_index(names[0])
    for name in names[1:]:
        place = f"uns/{name}_categories"
        if place in root and is_array(root[place]) and table[name].dtype.kind in "iu":
            categories = _plain(np.atleast_1d(root[place][()]))
            # Of a name that obs and var share there is one list of categories.
            if table[name].max() < len(categories):
                table[name] = pd.Categorical.from_codes(table[name], categories)
    return table


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts as texts, not bytes, and numbers in this machine's byte order."""
    if values.dtype.kind not in "SO":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.array([text.decode() if isinstance(text, bytes) else text for text in values.tolist()], object)


def stored_places(root: Any) -> list[str]:
    """List X, raw and the layers, as far as they are there."""
    layers = [f"layers/{name}" for name in sorted(root["layers"])] if "layers" in root else []
    return [*(["X"] if "X" in root else []), *(["raw"] if _raw(root, "X") in root else []), *layers]


def _raw(root: Any, part: str) -> str:
    """Return where raw's counts or genes are; before 0.7, anndata wrote them next to X."""
    return f"raw.{part}" if f"raw.{part}" in root else f"raw/{part}"


def find_matrix(root: Any, counts: str) -> Any:
    """Return the array (dense) or group (sparse) that holds the counts, or say where they could be.

    Raises
    ------
    SourceError
        When there is no such place, or it holds no matrix, or a damaged one.
    """
    there = stored_places(root)
    if counts not in there:
        raise SourceError(f"there are no counts at {counts!r}; the file has: {', '.join(there) or 'none'}")
    matrix = root[_raw(root, "X") if counts == "raw" else counts]
    form = form_of(matrix)
    if not form:
        raise SourceError(f"{counts} is neither a dense array nor a CSR or CSC matrix")
    if form == "dense":
        soundness.check_dense(matrix, counts)
    else:
        soundness.check_sparse(matrix, counts, n_major=shape_of(matrix)[form == "csc"])
    return matrix


def form_of(matrix: Any) -> str:
    """Return ``"dense"``, ``"csr"`` or ``"csc"``; empty where this is no matrix."""
    if is_array(matrix):
        return "dense" if matrix.ndim == 2 else ""
    # Before 0.7, anndata wrote h5sparse_format, without the _matrix.
    written = text_attribute(matrix, "encoding-type") or text_attribute(matrix, "h5sparse_format")
    form = written.removesuffix("_matrix")
    return form if form in ("csr", "csc") else ""


def shape_of(matrix: Any) -> tuple[int, int]:
    """Return cells × genes of a dense or sparse matrix.

    Raises
    ------
    SourceError
        When a sparse matrix does not say how large it is.
    """
    shape = matrix.shape if is_array(matrix) else matrix.attrs.get("shape", matrix.attrs.get("h5sparse_shape", ()))
    if len(shape) != 2 or not all(length == int(length) >= 0 for length in shape):
        raise SourceError("damaged: the matrix of counts does not say how many cells and genes it is for")
    return int(shape[0]), int(shape[1])


def read_rows(matrix: Any, rows: NDArray[np.int64], key: Callable[[], str]) -> csr_matrix:
    """Read some rows of a matrix: each chunk that holds any of them once, in the order of storage.

    Parameters
    ----------
    matrix
        What `find_matrix` returns.
    rows
        Which rows, in any order, repeats allowed, shape (n,).
    key
        Names the matrix and its content, for the copy that a large CSC matrix needs; asked for only then.

    Returns
    -------
    Shape (n, n genes), in the order of `rows`.
    """
    if is_array(matrix):
        return in_order(rows, lambda wanted: _read_dense(matrix, wanted))
    if form_of(matrix) == "csr":
        return read_csr(matrix, rows, shape_of(matrix)[1])
    return in_order(rows, lambda wanted: _read_csc(matrix, wanted, key))


def read_csr(matrix: Any, rows: NDArray[np.int64], n_genes: int) -> csr_matrix:
    """Read some rows of a CSR matrix, as `read_rows` does; `matrix` has ``data``, ``indices`` and ``indptr``."""
    found = in_order(rows, lambda wanted: _read_csr(matrix, wanted, n_genes))
    if found.nnz and not 0 <= found.indices.min() <= found.indices.max() < n_genes:
        raise SourceError("damaged: it has counts of genes that do not exist")
    return found


def in_order(rows: NDArray[np.int64], read: Callable[[NDArray[np.int64]], csr_matrix]) -> csr_matrix:
    """Read rows in the order of storage, each once, and return them in the order asked for.

    Parameters
    ----------
    rows
        Which rows, in any order, repeats allowed.
    read
        Reads ascending distinct rows.
    """
    wanted, back = np.unique(rows, return_inverse=True)
    found = read(wanted)
    same = len(back) == len(wanted) and bool(np.all(back == np.arange(len(back))))
    return found if same else found[back]


def _read_csr(matrix: Any, rows: NDArray[np.int64], n_genes: int) -> csr_matrix:
    """Read ascending distinct rows of a CSR matrix."""
    if not len(rows):
        return csr_matrix((0, n_genes), dtype=native_type(matrix["data"].dtype))
    data, indices = matrix["data"], matrix["indices"]
    first = rows[0]
    indptr = matrix["indptr"][first : rows[-1] + 2].astype(np.int64, copy=False)
    if len(indptr) != rows[-1] - first + 2 or indptr[0] < 0 or indptr[-1] > data.shape[0]:
        raise SourceError("damaged: its pointers to the cells' counts point nowhere")
    if not 0 <= np.diff(indptr).min() <= np.diff(indptr).max() <= n_genes:
        raise SourceError("damaged: its pointers to the cells' counts point nowhere")
    starts, stops = indptr[rows - first], indptr[rows - first + 1]
    ends = np.concatenate([[0], np.cumsum(stops - starts)])
    values = (native(read_ranges(data, starts, stops)), native(read_ranges(indices, starts, stops)), ends)
    return csr_matrix(values, shape=(len(rows), n_genes))


def _read_dense(matrix: Any, rows: NDArray[np.int64]) -> csr_matrix:
    """Read ascending distinct rows of a dense array."""
    if not len(rows):
        return csr_matrix((0, matrix.shape[1]), dtype=native_type(matrix.dtype))
    pieces = []
    for first, last in spans(rows, rows + 1, int(matrix.chunks[0]) if matrix.chunks else 1, (GAP_ROWS, SPAN_ROWS)):
        run = rows[first:last]
        slab = matrix[run[0] : run[-1] + 1]
        pieces.append(csr_matrix(native(slab[run - run[0]])))
    return stack_rows(pieces)


def _read_csc(matrix: Any, rows: NDArray[np.int64], key: Callable[[], str]) -> csr_matrix:
    """Read ascending distinct rows of a CSC matrix, from a copy by cell where reading it through takes long."""
    n_cells, n_genes = shape_of(matrix)
    n_stored = int(matrix["indptr"][-1])
    if n_stored > CSC_BLOCK:
        whole = Counts((n_cells, n_genes), n_stored, native_type(matrix["data"].dtype), lambda: _csc_blocks(matrix))
        return read_copy(key(), rows, whole)
    position = np.full(n_cells, -1, np.int64)
    position[rows] = np.arange(len(rows))
    (found,) = _csc_blocks(matrix)
    here = np.flatnonzero(position[found.row] >= 0)
    row = position[found.row[here]]
    return csr_matrix((found.value[here], (row, found.gene[here])), shape=(len(rows), n_genes))


def read_copy(key: str, rows: NDArray[np.int64], whole: Counts) -> csr_matrix:
    """Read rows, as `read_rows` does, from the copy by cell that a key names; it is made if it is not there.

    Parameters
    ----------
    key
        Names the counts and their content.
    rows
        Which rows.
    whole
        The counts to make the copy of.
    """
    with by_cell(key, whole) as copy:
        return read_csr(copy, rows, whole.shape[1])


def _csc_blocks(matrix: Any) -> Iterator[Triples]:
    """Stream through a CSC matrix, in at least one block."""
    indptr, n_cells = matrix["indptr"][:].astype(np.int64, copy=False), shape_of(matrix)[0]
    if np.any(np.diff(indptr, prepend=0) < 0) or indptr[-1] > matrix["data"].shape[0]:
        raise SourceError("damaged: its pointers to the cells' counts point nowhere")
    for start in range(0, max(1, int(indptr[-1])), CSC_BLOCK):
        stop = min(start + CSC_BLOCK, int(indptr[-1]))
        gene = np.searchsorted(indptr, np.arange(start, stop), side="right") - 1
        row = native(matrix["indices"][start:stop])
        if len(row) and not 0 <= row.min() <= row.max() < n_cells:
            raise SourceError("damaged: it has counts of cells that do not exist")
        yield Triples(row, gene, native(matrix["data"][start:stop]))


def stack_rows(pieces: list[csr_matrix]) -> csr_matrix:
    """Put matrices, at least one, below each other."""
    return pieces[0] if len(pieces) == 1 else vstack(pieces, format="csr")
