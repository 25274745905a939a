"""A training corpus in memory, and minibatches of it that stay sparse: what every torch model is fed.

Axes in names: N cells of the corpus, B cells of a batch, G genes, S sources; "nz" runs over a batch's nonzero counts.
"""

from collections.abc import Generator, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.order import Layout, Window
from corpuscle.model.packed import Packed
from corpuscle.model.phases import Phases


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


class Measured(NamedTuple):
    """Which genes were measured in which cell: by source, or None and None where all were in all."""

    unmeasured_SG: NDArray[np.bool_] | None
    source_N: NDArray[np.int64] | None

    def of(self, cells: NDArray[np.int64] | slice) -> "Measured":
        """Say it of some of the cells."""
        return Measured(self.unmeasured_SG, None if self.source_N is None else self.source_N[cells])

    def mask(self, cells: NDArray[np.int64]) -> torch.Tensor | None:
        """Return the `Batch.unmeasured` of some cells."""
        if self.unmeasured_SG is None or self.source_N is None:
            return None
        return torch.from_numpy(self.unmeasured_SG[self.source_N[cells]])


def measured_by(corpus: Corpus) -> Measured:
    """Return which genes the sources did not measure, and the cells' sources; None where all is measured.

    Raises
    ------
    ModelError
        When a source measured no gene.
    """
    if not len(corpus) or corpus.measured_SG.all():
        return Measured(None, None)
    if not corpus.measured_SG.any(axis=1).all():
        raise ModelError("a source of this corpus has none of the study's genes: its cells cannot be modelled")
    return Measured(~corpus.measured_SG, corpus.source_codes)


class TrainingCounts(Protocol):
    """The counts that a fit is fed from, in memory (`CountTable`) or on disk (`DiskTable`): the same batches.

    Attributes
    ----------
    times_N
        How often an epoch uses each cell.
    total_N
        Each cell's total count.
    largest
        The largest count; 0 where there is none.
    layout
        The places of the uses of cells.
    seconds
        What reading the counts took, by phase.
    """

    @property
    def times_N(self) -> NDArray[np.int64]: ...  # noqa: D102  # told above, as those below
    @property
    def total_N(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def largest(self) -> float: ...  # noqa: D102
    @property
    def layout(self) -> Layout: ...  # noqa: D102
    @property
    def seconds(self) -> Mapping[str, float]: ...  # noqa: D102

    def take(self, cells: NDArray[np.int64]) -> "CountTable":
        """Return some cells' counts in memory."""
        ...

    def batches(self, windows: Iterator[Window], batch_size: int) -> Generator[Batch]:
        """Yield the batches of some windows of `layout`; an epoch's last has what is left."""
        ...


class CountTable:
    """Counts in memory, from which batches are cut.

    Parameters
    ----------
    counts_NG
        Counts, shape (N, G), packed or CSR.
    unmeasured_SG
        Which genes each source did not measure, shape (S, G), or None where every source measured all.
    source_N
        The source of each cell, shape (N,); needed with `unmeasured_SG` only.
    times_N
        How often an epoch uses each cell, shape (N,); once by default.
    seconds
        What reading them took, by phase.

    Raises
    ------
    ModelError
        When a count is negative or not finite.

    Examples
    --------
    >>> table = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> batch = table.batch(np.array([1, 0]))
    >>> len(batch), batch.genes.tolist(), batch.counts.tolist()
    (2, [0, 2, 1], [1.0, 3.0, 2.0])
    """

    def __init__(
        self,
        counts_NG: csr_matrix | Packed,
        unmeasured_SG: NDArray[np.bool_] | None = None,
        source_N: NDArray[np.int64] | None = None,
        times_N: NDArray[np.int64] | None = None,
        *,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.packed = counts_NG if isinstance(counts_NG, Packed) else Packed.of(counts_NG)
        self.measured = Measured(unmeasured_SG, source_N)
        self.times_N = np.ones(len(self), np.int64) if times_N is None else times_N
        self.seconds = seconds or {}

    @classmethod
    def of(cls, corpus: Corpus) -> "CountTable":
        """Read a whole corpus into memory."""
        phases = Phases()
        with phases.timed("reading"):
            packed = Packed.joined([Packed.of(counts) for _, counts in corpus.blocks()], corpus.n_genes)
        times_N = corpus.cells["times"].to_numpy(np.int64)
        return cls(packed, *measured_by(corpus), times_N, seconds=phases.seconds)

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.packed)

    @property
    def n_genes(self) -> int:
        """Count the genes."""
        return self.packed.n_genes

    @property
    def total_N(self) -> NDArray[np.float64]:
        """Each cell's total count."""
        return self.packed.total_N

    @property
    def largest(self) -> float:
        """The largest count; 0 where there is none."""
        return float(self.packed.counts.max(initial=0))

    @cached_property
    def layout(self) -> Layout:
        """The places of the uses of cells."""
        return Layout(self.times_N)

    def take(self, cells: NDArray[np.int64]) -> "CountTable":
        """Return the counts of some cells."""
        batch = self.batch(cells)
        shape = len(batch), self.n_genes
        counts_BG = csr_matrix((batch.counts.numpy(), batch.genes.numpy(), batch.starts.numpy()), shape=shape)
        return CountTable(counts_BG, *self.measured.of(cells), self.times_N[cells])

    def batch(self, cells: NDArray[np.int64] | slice) -> Batch:
        """Cut out some cells, in the order given; repeats are allowed."""
        rows = np.arange(len(self))[cells] if isinstance(cells, slice) else cells
        return batch_of(self.packed, rows, self.measured.mask(rows))

    def batches(self, windows: Iterator[Window], batch_size: int) -> Generator[Batch]:
        """Yield the batches of some windows; see `TrainingCounts.batches`."""
        chosen = ((self.layout.cell_U[window.places], window.ends_epoch) for window in windows)
        return cut((Feed(self.packed, cells, cells, ends) for cells, ends in chosen), self.measured, batch_size)


class Feed(NamedTuple):
    """What a window comes to: its uses' rows in some packed counts, their cells, and whether its epoch ends."""

    packed: Packed
    rows: NDArray[np.int64]
    cells: NDArray[np.int64]
    ends_epoch: bool


def cut(feeds: Iterator[Feed], measured: Measured, batch_size: int) -> Generator[Batch]:
    """Cut windows into batches; one that begins in a window and ends in the next is joined of two."""
    begun: Batch | None = None
    for feed in feeds:
        start = 0
        while start < len(feed.rows):
            here = slice(start, start + batch_size - (len(begun) if begun else 0))
            batch = batch_of(feed.packed, feed.rows[here], measured.mask(feed.cells[here]))
            batch, begun, start = joined(begun, batch) if begun else batch, None, here.stop
            if len(batch) < batch_size and not feed.ends_epoch:
                begun = batch
            else:
                yield batch


def batch_of(packed: Packed, rows: NDArray[np.int64], unmeasured: torch.Tensor | None) -> Batch:
    """Make a batch of some rows of packed counts."""
    starts, genes, counts = map(torch.from_numpy, packed.cut(rows))
    return Batch(starts, genes, counts, packed.n_genes, unmeasured)


def joined(first: Batch, second: Batch) -> Batch:
    """Make one batch of two from the same corpus.

    Examples
    --------
    >>> table = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> joined(table.batch(np.array([1])), table.batch(np.array([0]))).starts
    tensor([0, 2, 3])
    """
    unmeasured = None
    if first.unmeasured is not None and second.unmeasured is not None:
        unmeasured = torch.cat([first.unmeasured, second.unmeasured])
    starts = torch.cat([first.starts, second.starts[1:] + first.starts[-1]])
    genes, counts = torch.cat([first.genes, second.genes]), torch.cat([first.counts, second.counts])
    return Batch(starts, genes, counts, first.n_genes, unmeasured)


def stream(corpus: Corpus, n_cells: int) -> Iterator[tuple[slice, Batch]]:
    """Read a corpus a block at a time: yields the rows of its table and their counts, as `Corpus.blocks` does."""
    measured = measured_by(corpus)
    for rows, counts_BG in corpus.blocks(n_cells):
        yield rows, CountTable(counts_BG, *measured.of(rows)).batch(slice(None))
