"""Counts packed for training: rows of nonzeros in the smallest types that hold them, 4 bytes each for most data.

Axes in names: N cells, G genes; "nz" runs over nonzero counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.model import kernels

LARGEST_UINT16 = 2**16 - 1


@dataclass(frozen=True, eq=False, slots=True)
class Packed:
    """Counts of some cells, as compressed sparse rows.

    Attributes
    ----------
    starts
        Where each cell's nonzeros start and end, shape (N + 1,).
    genes
        The gene of each nonzero, uint16 where that holds all genes, else int32, shape (nz,).
    counts
        Its count, uint16 where all are small and whole, else float32, shape (nz,).
    total_N
        Each cell's total count, shape (N,).
    n_genes
        How many genes there are.

    Examples
    --------
    >>> packed = Packed.of(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> packed.counts, packed.total_N
    (array([2, 1, 3], dtype=uint16), array([2., 4.]))
    """

    starts: NDArray[np.int64]
    genes: NDArray[Any]
    counts: NDArray[Any]
    total_N: NDArray[np.float64]
    n_genes: int

    @classmethod
    def of(cls, counts_NG: csr_matrix) -> "Packed":
        """Pack a matrix of counts.

        Raises
        ------
        ModelError
            When a count is negative or not finite.
        """
        data, n_genes = counts_NG.data, int(counts_NG.shape[1])
        if len(data) and not 0 <= data.min() <= data.max() < np.inf:
            raise ModelError("counts must be finite and not negative; are these log or scaled values?")
        genes = counts_NG.indices.astype(gene_type(n_genes))
        total_N = counts_NG @ np.ones(n_genes)
        return cls(counts_NG.indptr.astype(np.int64), genes, _smallest(data), total_N, n_genes)

    @classmethod
    def joined(cls, pieces: Sequence["Packed"], n_genes: int) -> "Packed":
        """Put pieces one below the other."""
        lengths = [np.diff(piece.starts) for piece in pieces]
        starts = np.concatenate([[0], *lengths]).cumsum()
        genes = np.concatenate([np.empty(0, gene_type(n_genes)), *(piece.genes for piece in pieces)])
        # Together, small whole numbers and others are float32.
        counts = np.concatenate([np.empty(0, np.uint16), *(piece.counts for piece in pieces)])
        total_N = np.concatenate([np.empty(0), *(piece.total_N for piece in pieces)])
        return cls(starts, genes, counts, total_N, n_genes)

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """How many bytes of memory they take."""
        return self.starts.nbytes + self.genes.nbytes + self.counts.nbytes + self.total_N.nbytes

    def cut(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return starts, genes and counts of some rows, in the order given; repeats are allowed."""
        if not kernels.available():
            whole = csr_matrix((self.counts, self.genes, self.starts), shape=(len(self), self.n_genes))[rows]
            return whole.indptr.astype(np.int64), whole.indices.astype(np.int64), whole.data.astype(np.float32)
        from corpuscle.model.kernels.rows import gather  # numba takes a while to import

        starts, genes, counts = gather(self.starts, self.genes, self.counts, rows)
        return starts, genes, counts


def gene_type(n_genes: int) -> type[np.uint16] | type[np.int32]:
    """Return the type that holds the position of every gene."""
    return np.uint16 if n_genes <= LARGEST_UINT16 + 1 else np.int32


def _smallest(counts: NDArray[Any]) -> NDArray[Any]:
    if len(counts) and counts.max() > LARGEST_UINT16:
        return counts.astype(np.float32)
    whole: NDArray[np.uint16] = counts.astype(np.uint16)
    return whole if np.array_equal(whole, counts) else counts.astype(np.float32)
