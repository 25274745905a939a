"""Kept counts: a matrix of counts written once, a block of cells at a time, and read by rows like any file of cells."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.source.reader import Reader

CHUNK = 1 << 16


def write_counts(path: Path, blocks: Iterator[csr_matrix], n_genes: int) -> None:
    """Write blocks of cells, one below the other, as the X of an ``.h5ad``; float32."""
    with h5py.File(path, "w") as file:
        matrix = file.create_group("X")
        data, genes = (
            matrix.create_dataset(name, (0,), dtype, chunks=(CHUNK,), maxshape=(None,), compression="gzip")
            for name, dtype in (("data", np.float32), ("indices", np.int32))
        )
        ends = [np.zeros(1, np.int64)]
        for block in blocks:
            start, stop = len(data), len(data) + block.nnz
            for stored, values in ((data, block.data), (genes, block.indices)):
                stored.resize((stop,))
                stored[start:] = values
            ends.append(start + block.indptr[1:].astype(np.int64))
        indptr = np.concatenate(ends)
        matrix["indptr"] = indptr
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        matrix.attrs["shape"] = [len(indptr) - 1, n_genes]


def read_counts(path: Path, rows: NDArray[np.int64]) -> csr_matrix:
    """Read the counts of some cells, shape (n, G), in the order of `rows`; indices sorted."""
    # The format's own reader: such a file has counts alone, and no table that names genes.
    counts_NG: csr_matrix = components.build(Reader, "h5ad", {"path": path, "counts": "X"}).read_counts(rows)
    counts_NG.sort_indices()
    return counts_NG
