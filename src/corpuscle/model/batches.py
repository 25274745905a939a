"""A training corpus in memory, and minibatches of it that stay sparse: what every torch model is fed.

Axes in names: N cells of the corpus, B cells of a batch, G genes, S sources; "nz" runs over a batch's nonzero counts.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus


class Batch(NamedTuple):
    """The counts of a few cells, sparse.

    Attributes
    ----------
    starts
        Where each cell's nonzeros start and end, int64, shape (B + 1,).
    genes
        The gene of each nonzero, int64, shape (nz,); ascending and distinct within a cell.
    counts
        Its count, float, shape (nz,).
    n_genes
        How many genes there are.
    unmeasured
        True where the cell's source did not measure the gene, shape (B, G); None where all is measured.
    """

    starts: torch.Tensor
    genes: torch.Tensor
    counts: torch.Tensor
    n_genes: int
    unmeasured: torch.Tensor | None = None

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.starts) - 1


class CountTable:
    """Counts in memory, from which batches are cut.

    Parameters
    ----------
    counts_NG
        Counts, CSR, shape (N, G).
    unmeasured_SG
        Which genes each source did not measure, shape (S, G), or None where every source measured all.
    source_N
        The source of each cell, shape (N,); needed with `unmeasured_SG` only.
    times_N
        How often an epoch uses each cell, shape (N,); once by default.

    Raises
    ------
    ModelError
        When a count is negative or not finite, or a source measured no gene.

    Examples
    --------
    >>> table = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> batch = table.batch(np.array([1, 0]))
    >>> len(batch), batch.genes.tolist(), batch.counts.tolist()
    (2, [0, 2, 1], [1.0, 3.0, 2.0])
    """

    def __init__(
        self,
        counts_NG: csr_matrix,
        unmeasured_SG: NDArray[np.bool_] | None = None,
        source_N: NDArray[np.int64] | None = None,
        times_N: NDArray[np.int64] | None = None,
    ) -> None:
        if counts_NG.nnz and not (np.isfinite(counts_NG.data).all() and counts_NG.data.min() >= 0):
            raise ModelError("counts must be finite and not negative; are these log or scaled values?")
        if unmeasured_SG is not None and unmeasured_SG.all(axis=1).any():
            raise ModelError("a source of this corpus has none of the study's genes: its cells cannot be modelled")
        self.counts_NG = counts_NG
        self._unmeasured_SG = None if unmeasured_SG is None else torch.from_numpy(unmeasured_SG)
        self._source_N = source_N
        self.times_N = np.ones(counts_NG.shape[0], np.int64) if times_N is None else times_N

    @classmethod
    def of(cls, corpus: Corpus) -> "CountTable":
        """Read a whole corpus into memory."""
        times_N = corpus.cells["times"].to_numpy(np.int64)
        return cls(corpus.counts(), *_measured(corpus), times_N)

    def __len__(self) -> int:
        """Count the cells."""
        return int(self.counts_NG.shape[0])

    @property
    def n_genes(self) -> int:
        """Count the genes."""
        return int(self.counts_NG.shape[1])

    def batch(self, cells: NDArray[np.int64] | slice) -> Batch:
        """Cut out some cells, in the order given; repeats are allowed."""
        counts_BG = self.counts_NG[cells]
        unmeasured_BG = None
        if self._unmeasured_SG is not None and self._source_N is not None:
            unmeasured_BG = self._unmeasured_SG[torch.from_numpy(self._source_N[cells])]
        return Batch(
            torch.from_numpy(counts_BG.indptr.astype(np.int64)),
            torch.from_numpy(counts_BG.indices.astype(np.int64)),
            torch.from_numpy(counts_BG.data),
            self.n_genes,
            unmeasured_BG,
        )


def stream(corpus: Corpus, n_cells: int) -> Iterator[tuple[slice, Batch]]:
    """Read a corpus a block at a time: yields the rows of its table and their counts, as `Corpus.blocks` does."""
    unmeasured_SG, source_N = _measured(corpus)
    for rows, counts_BG in corpus.blocks(n_cells):
        table = CountTable(counts_BG, unmeasured_SG, None if source_N is None else source_N[rows])
        yield rows, table.batch(slice(None))


def _measured(corpus: Corpus) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64] | None]:
    """Return which genes the sources did not measure, and the cells' sources; None where all is measured."""
    if not len(corpus) or corpus.measured_SG.all():
        return None, None
    return ~corpus.measured_SG, corpus.source_codes
