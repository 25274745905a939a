"""Scratch: counts that a file stores so that a cell cannot be found (by gene, or as text), laid out by cell once.

The copy is a file in the temporary folder (``TMPDIR`` moves it), named after what it was made from and made whole or
not at all. It serves all processes, and is removed when the one that made it ends; see `corpuscle.core.scratch`.
"""

import atexit
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import scratch
from corpuscle.core.disk import new_hdf5
from corpuscle.core.errors import SourceError
from corpuscle.store import atomic

# Counts sorted in memory at once; each takes about 30 bytes while it is sorted.
BUCKET = 1 << 23
CHUNK = 1 << 16


class Triples(NamedTuple):
    """Some counts, each with its cell and gene; all of shape (n,)."""

    row: NDArray[Any]
    gene: NDArray[Any]
    value: NDArray[Any]


class Counts(NamedTuple):
    """All counts of a source, as they can be read through.

    Attributes
    ----------
    shape
        Cells × genes.
    n_stored
        How many counts there are.
    dtype
        Their number type.
    blocks
        Gives them, in any order; of a cell's counts in one gene, the sum is meant.
    """

    shape: tuple[int, int]
    n_stored: int
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterable[Triples]]


@contextmanager
def by_cell(key: str, counts: Counts) -> Iterator[h5py.File]:
    """Open the copy that a key names, made now if it is not there: CSR as ``data``, ``indices`` and ``indptr``.

    Raises
    ------
    SourceError
        When the disk is full.
    """
    path = scratch_path(key)
    while (copy := _opened(path.parent, key)) is None:
        write_by_cell(path, counts)
    with copy:
        yield copy


def _opened(folder: Path, key: str) -> h5py.File | None:
    """Open a copy, if it is there: whichever process made it may end, and remove it, at any moment."""
    for path in folder.glob(f"{key}.*.h5"):
        with suppress(FileNotFoundError):
            return h5py.File(path, "r")
    return None


def scratch_path(key: str) -> Path:
    """Return where this process would put the copy that a key names: in a folder that only this user can write to.

    Raises
    ------
    SourceError
        When it cannot be made, or somebody else made it.
    """
    return scratch.scratch_folder() / f"{key}{scratch.suffix()}.h5"


def write_by_cell(path: Path, counts: Counts) -> None:
    """Sort counts by cell, in bounded memory, and write them.

    Raises
    ------
    SourceError
        When the disk is full.
    """
    scratch.sweep()
    with atomic(path) as partial, tempfile.TemporaryDirectory(dir=path.parent, suffix=scratch.suffix()) as folder:
        n_buckets = max(1, -(-counts.n_stored // BUCKET))
        bounds = np.linspace(0, counts.shape[0], n_buckets + 1).astype(np.int64)
        record = np.dtype([("row", np.int64), ("gene", np.int32), ("value", counts.dtype)])
        buckets = _fill_buckets(Path(folder), bounds, record, counts.blocks())
        with _reporting(path.parent):
            _write_sorted(partial, counts, record, bounds, buckets)
    atexit.register(path.unlink, missing_ok=True)


@contextmanager
def _reporting(folder: Path) -> Iterator[None]:
    """Report what to do about a full disk."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot hold a copy of the counts laid out by cell ({error}); set TMPDIR to a folder with more "
            "space, or write the file anew by cell (CSR)"
        ) from error


def _fill_buckets(
    folder: Path, bounds: NDArray[np.int64], record: np.dtype[Any], blocks: Iterable[Triples]
) -> list[Path]:
    """Append counts to a file for each stretch of cells."""
    paths = [folder / str(at) for at in range(len(bounds) - 1)]
    for block in blocks:
        records = np.empty(len(block.row), record)
        records["row"], records["gene"], records["value"] = block
        bucket = np.searchsorted(bounds, records["row"], side="right") - 1
        records = records[np.argsort(bucket, kind="stable")]
        ends = np.cumsum(np.bincount(bucket, minlength=len(paths)))
        for path, piece in zip(paths, np.split(records, ends[:-1]), strict=True):
            if len(piece):
                with _reporting(folder.parent), path.open("ab") as file:
                    piece.tofile(file)
    return paths


def _write_sorted(
    path: Path, counts: Counts, record: np.dtype[Any], bounds: NDArray[np.int64], buckets: Sequence[Path]
) -> None:
    n_cells, n_genes = counts.shape
    with new_hdf5(path) as file:
        growing = {"chunks": (CHUNK,), "maxshape": (None,)}
        data = file.create_dataset("data", (0,), counts.dtype, **growing)
        indices = file.create_dataset("indices", (0,), np.int32, **growing)
        indptr = np.zeros(n_cells + 1, np.int64)
        for at, bucket in enumerate(buckets):
            first, last = bounds[at], bounds[at + 1]
            # A stretch of cells without any counts has no file.
            records = np.fromfile(bucket, record) if bucket.exists() else np.empty(0, record)
            bucket.unlink(missing_ok=True)
            found = csr_matrix(
                (records["value"], (records["row"] - first, records["gene"])), shape=(last - first, n_genes)
            )
            start = data.shape[0]
            for dataset, values in ((data, found.data), (indices, found.indices)):
                dataset.resize((start + found.nnz,))
                dataset[start:] = values
            indptr[first + 1 : last + 1] = start + found.indptr[1:]
        file["indptr"] = indptr
