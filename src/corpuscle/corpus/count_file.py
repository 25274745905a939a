"""Kept counts: a matrix of counts written once, a block of cells at a time, and read by rows like any file of cells."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.disk import new_hdf5
from corpuscle.source.reader import reading
from corpuscle.source.storage import hdf5
from corpuscle.source.storage.anndata_layout import find_matrix, read_csr

CHUNK = 1 << 16


def write_counts(path: Path, blocks: Iterator[csr_matrix], n_genes: int) -> None:
    """Write blocks of cells, one below the other, as the X of an ``.h5ad``; float32."""
    with new_hdf5(path) as file:
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
    with reading(path, "stored counts"), hdf5.open_hdf5(path) as file:
        counts_NG = read_csr(find_matrix(file, "X"), rows, int(file["X"].attrs["shape"][1]))
    counts_NG.sort_indices()
    return counts_NG
