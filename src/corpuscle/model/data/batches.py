"""A training corpus in memory, and minibatches of it that stay sparse: what every torch model is fed.

Axes in names: N cells of the corpus, B cells of a batch, G genes, S sources; "nz" runs over a batch's nonzero counts.
"""

from collections.abc import Generator, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.epoch_order import EpochLayout, Window
from corpuscle.model.data.packed_counts import Packed
from corpuscle.model.training.stopwatch import Stopwatch


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
    covariates
        What a model is given with each cell in addition to its counts, shape (B, C); None: nothing.
    """

    starts: torch.Tensor
    genes: torch.Tensor
    counts: torch.Tensor
    n_genes: int
    unmeasured: torch.Tensor | None = None
    covariates: torch.Tensor | None = None

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.starts) - 1

    def dense(self, device: torch.device | str = "cpu") -> DenseBatch:
        """Write out the zeros, on a device.

        Examples
        --------
        >>> CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32))).batch(slice(None)).dense().counts
        tensor([[0., 2., 0.],
                [1., 0., 3.]])
        """
        starts, genes, counts = (part.to(device, non_blocking=True) for part in (self.starts, self.genes, self.counts))
        covariates = (part if part is None else part.to(device, non_blocking=True) for part in self[4:])
        cells = torch.repeat_interleave(starts.diff(), output_size=len(genes))
        dense = counts.new_zeros((len(self), self.n_genes))
        dense[cells, genes] = counts
        return DenseBatch(dense, *covariates)

    def part(self, cells: slice) -> "Batch":
        """Return some neighbouring cells.

        Examples
        --------
        >>> batch = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32))).batch(slice(None))
        >>> part = batch.part(slice(1, 2))
        >>> part.starts.tolist(), part.genes.tolist(), part.counts.tolist()
        ([0, 2], [0, 2], [1.0, 3.0])
        """
        starts = self.starts[cells.start : cells.stop + 1]
        here = slice(int(starts[0]), int(starts[-1]))
        others = (each if each is None else each[cells] for each in self[4:])
        return Batch(starts - starts[0], self.genes[here], self.counts[here], self.n_genes, *others)

    @property
    def totals(self) -> torch.Tensor:
        """Each cell's total count, shape (B,)."""
        return torch.segment_reduce(self.counts, "sum", offsets=self.starts, initial=0)


class Rows(NamedTuple):
    """A row of a table for each cell: few rows, many cells."""

    table_RX: NDArray[Any]
    row_N: NDArray[np.int64]

    def of(self, cells: NDArray[np.int64] | slice) -> "Rows":
        """Return those of some of the cells."""
        return Rows(self.table_RX, self.row_N[cells])

    def tensor(self, cells: NDArray[np.int64]) -> torch.Tensor:
        """Write out the rows of some cells."""
        return torch.from_numpy(self.table_RX[self.row_N[cells]])


class CellCovariates(NamedTuple):
    """What batches hold of cells in addition to their counts: see `Batch.unmeasured` and `Batch.covariates`."""

    unmeasured: Rows | None = None
    covariates: Rows | None = None

    def of(self, cells: NDArray[np.int64] | slice) -> "CellCovariates":
        """Return what there is of some of the cells."""
        return CellCovariates(*(rows.of(cells) if rows else None for rows in self))

    def tensors(self, cells: NDArray[np.int64]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return it as a batch of some cells has it."""
        unmeasured, covariates = (rows.tensor(cells) if rows else None for rows in self)
        return unmeasured, covariates


def unmeasured_in(corpus: Corpus) -> Rows | None:
    """Return which genes the cells' sources did not measure; None where all is measured.

    Raises
    ------
    ModelError
        When a source measured no gene.
    """
    if not len(corpus) or corpus.measured_SG.all():
        return None
    if not corpus.measured_SG.any(axis=1).all():
        raise ModelError("a source of this corpus has none of the study's genes: its cells cannot be modelled")
    return Rows(~corpus.measured_SG, corpus.source_codes)


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
    def times_N(self) -> NDArray[np.int64]: ...  # noqa: D102  # described above, as those below
    @property
    def total_N(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def largest(self) -> float: ...  # noqa: D102
    @property
    def layout(self) -> EpochLayout: ...  # noqa: D102
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
    covariates
        What else batches hold of the cells.
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
        covariates: CellCovariates = CellCovariates(),  # noqa: B008  # a tuple
        times_N: NDArray[np.int64] | None = None,
        *,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.packed = counts_NG if isinstance(counts_NG, Packed) else Packed.of(counts_NG)
        self.covariates = covariates
        self.times_N = np.ones(len(self), np.int64) if times_N is None else times_N
        self.seconds = seconds or {}

    @classmethod
    def of(cls, corpus: Corpus, covariates: Rows | None = None) -> "CountTable":
        """Read a whole corpus into memory."""
        phases = Stopwatch()
        with phases.timed("reading"):
            packed = Packed.joined([Packed.of(counts) for _, counts in corpus.blocks()], corpus.n_genes)
        times_N = corpus.cells["times"].to_numpy(np.int64)
        return cls(packed, CellCovariates(unmeasured_in(corpus), covariates), times_N, seconds=phases.seconds)

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
    def layout(self) -> EpochLayout:
        """The places of the uses of cells."""
        return EpochLayout(self.times_N)

    def take(self, cells: NDArray[np.int64]) -> "CountTable":
        """Return the counts of some cells."""
        batch = self.batch(cells)
        shape = len(batch), self.n_genes
        counts_BG = csr_matrix((batch.counts.numpy(), batch.genes.numpy(), batch.starts.numpy()), shape=shape)
        return CountTable(counts_BG, self.covariates.of(cells), self.times_N[cells])

    def batch(self, cells: NDArray[np.int64] | slice) -> Batch:
        """Cut out some cells, in the order given; repeats are allowed."""
        rows = np.arange(len(self))[cells] if isinstance(cells, slice) else cells
        return batch_of(self.packed, rows, *self.covariates.tensors(rows))

    def batches(self, windows: Iterator[Window], batch_size: int) -> Generator[Batch]:
        """Yield the batches of some windows; see `TrainingCounts.batches`."""
        chosen = ((self.layout.cell_U[window.places], window.ends_epoch) for window in windows)
        return cut((Feed(self.packed, cells, cells, ends) for cells, ends in chosen), self.covariates, batch_size)


class Feed(NamedTuple):
    """What a window comes to: its uses' rows in some packed counts, their cells, and whether its epoch ends."""

    packed: Packed
    rows: NDArray[np.int64]
    cells: NDArray[np.int64]
    ends_epoch: bool


def cut(feeds: Iterator[Feed], covariates: CellCovariates, batch_size: int) -> Generator[Batch]:
    """Cut windows into batches; one that begins in a window and ends in the next is joined of two."""
    begun: Batch | None = None
    for feed in feeds:
        start = 0
        while start < len(feed.rows):
            here = slice(start, start + batch_size - (len(begun) if begun else 0))
            batch = batch_of(feed.packed, feed.rows[here], *covariates.tensors(feed.cells[here]))
            batch, begun, start = joined(begun, batch) if begun else batch, None, here.stop
            if len(batch) < batch_size and not feed.ends_epoch:
                begun = batch
            else:
                yield batch


def batch_of(
    packed: Packed, rows: NDArray[np.int64], unmeasured: torch.Tensor | None, covariates: torch.Tensor | None
) -> Batch:
    """Make a batch of some rows of packed counts."""
    starts, genes, counts = map(torch.from_numpy, packed.cut(rows))
    return Batch(starts, genes, counts, packed.n_genes, unmeasured, covariates)


def joined(first: Batch, second: Batch) -> Batch:
    """Make one batch of two from the same corpus.

    Examples
    --------
    >>> table = CountTable(csr_matrix(np.array([[0, 2, 0], [1, 0, 3]], np.float32)))
    >>> joined(table.batch(np.array([1])), table.batch(np.array([0]))).starts
    tensor([0, 2, 3])
    """
    starts = torch.cat([first.starts, second.starts[1:] + first.starts[-1]])
    genes, counts = torch.cat([first.genes, second.genes]), torch.cat([first.counts, second.counts])
    covariates = [
        torch.cat([one, other]) if one is not None and other is not None else None
        for one, other in zip(first[4:], second[4:], strict=True)
    ]
    return Batch(starts, genes, counts, first.n_genes, *covariates)


def stream(corpus: Corpus, n_cells: int, covariates: Rows | None = None) -> Iterator[tuple[slice, Batch]]:
    """Read a corpus a block at a time: yields the rows of its table and their counts, as `Corpus.blocks` does."""
    of_cells = CellCovariates(unmeasured_in(corpus), covariates)
    for rows, counts_BG in corpus.blocks(n_cells):
        yield rows, CountTable(counts_BG, of_cells.of(rows)).batch(slice(None))
