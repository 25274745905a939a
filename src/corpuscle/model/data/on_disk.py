"""A training corpus on disk: written once in stretches, each in the order of its layout, then read window by window.

Axes in names: N cells of the corpus, U its uses of cells, R rows of a stretch, W uses of a window.
"""

import io
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.data.batches import (
    Batch,
    CellCovariates,
    CountTable,
    Feed,
    Rows,
    TrainingCounts,
    cut,
    unmeasured_in,
)
from corpuscle.model.data.epoch_order import BLOCK_USES, EpochLayout, Window
from corpuscle.model.data.memory import VARIABLE, memory_limit
from corpuscle.model.data.packed_counts import Packed, gene_type
from corpuscle.model.training.stopwatch import Stopwatch

# The fewer stretches a corpus is written in, the longer the pieces that a window is read in. One is in memory twice.
STRETCH_SHARE, SMALLEST_STRETCH = 8, 1 << 26
# Uses that are copied to the disk at once, and cells that are looked at to estimate how large a corpus is.
WRITTEN_USES, SAMPLE_CELLS = 2048, 1024


@contextmanager
def training_counts(
    corpus: Corpus, covariates: Rows | None = None, limit: int | None = None
) -> Iterator[TrainingCounts]:
    """Give a corpus' counts for training: from memory, or from disk where they would take too much of it.

    Both give the same batches. What is written to disk lies in the system's folder for temporary files (``TMPDIR``),
    without a name, so that it is gone when the block ends and also when the process is killed.

    Parameters
    ----------
    corpus
        The corpus.
    covariates
        What a model is given with its cells in addition to their counts.
    limit
        How many bytes it may take in memory; `memory_limit` by default.

    Raises
    ------
    ModelError
        When a count is negative or not finite, or the disk is full.
    """
    limit = memory_limit() if limit is None else limit
    if fits(corpus, limit):
        yield CountTable.of(corpus, covariates)
        return
    with tempfile.TemporaryFile(buffering=0) as genes_file, tempfile.TemporaryFile(buffering=0) as counts_file:
        stretch_bytes = max(SMALLEST_STRETCH, limit // STRETCH_SHARE)
        yield DiskTable(corpus, (genes_file, counts_file), stretch_bytes, covariates)


def fits(corpus: Corpus, limit: int) -> bool:
    """Return whether a corpus can be read within so many bytes, judged by a sample of its cells.

    That takes twice what the packed counts do, as blocks of them are put together into one table.
    """
    if 2 * 6 * len(corpus) * corpus.n_genes <= limit:
        return True  # even without a zero
    sample = np.unique(np.linspace(0, len(corpus) - 1, SAMPLE_CELLS).astype(np.int64))
    return 2 * Packed.of(corpus.counts(sample)).nbytes * len(corpus) <= limit * len(sample)


class _Stretch(NamedTuple):
    """Consecutive cells of the corpus: where their uses' counts lie in the files, by ascending place in the layout."""

    place_R: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts_type: np.dtype[Any]
    genes_at: int
    counts_at: int


class DiskTable:
    """Counts on disk, in an order in which blocks of the layout can be read.

    Parameters
    ----------
    corpus
        The corpus; it is read once, and the cells that are held out once more.
    files
        Empty files to write genes and counts to.
    stretch_bytes
        How many bytes of packed counts are put in order at once.
    covariates
        What batches hold of the cells in addition to their counts.

    Raises
    ------
    ModelError
        When a count is negative or not finite, or the disk is full.
    """

    def __init__(
        self,
        corpus: Corpus,
        files: tuple[io.FileIO, io.FileIO],
        stretch_bytes: int,
        covariates: Rows | None = None,
    ) -> None:
        self.times_N = corpus.cells["times"].to_numpy(np.int64)
        self.layout = EpochLayout(self.times_N)
        self.total_N, self.largest = np.empty(len(corpus)), 0.0
        self._corpus, self._phases = corpus, Stopwatch()
        self._beside = CellCovariates(unmeasured_in(corpus), covariates)
        self._genes_file, self._counts_file = files
        self._stretches = list(self._write(stretch_bytes))

    @property
    def seconds(self) -> dict[str, float]:
        """What reading the sources and writing to the disk took."""
        return self._phases.seconds

    @property
    def nbytes(self) -> int:
        """How many bytes were written."""
        return sum(file.seek(0, io.SEEK_END) for file in (self._genes_file, self._counts_file))

    def take(self, cells: NDArray[np.int64]) -> CountTable:
        """Return some cells' counts in memory."""
        return CountTable(self._corpus.counts(cells), self._beside.of(cells), self.times_N[cells])

    def batches(self, windows: Iterator[Window], batch_size: int) -> Generator[Batch]:
        """Yield the batches of some windows; see `TrainingCounts.batches`."""
        with closing(self._feeds(windows)) as feeds:
            yield from cut(feeds, self._beside, batch_size)

    def _write(self, stretch_bytes: int) -> Iterator[_Stretch]:
        place_U = np.argsort(self.layout.cell_U, kind="stable")
        start_N = np.concatenate([[0], np.cumsum(self.times_N)])
        for cells, packed in self._read_stretches(stretch_bytes):
            self.total_N[cells] = packed.total_N
            self.largest = max(self.largest, float(packed.counts.max(initial=0)))
            place_R = place_U[start_N[cells.start] : start_N[cells.stop]]
            order_R = np.argsort(place_R)
            row_R = np.repeat(np.arange(len(packed)), self.times_N[cells])[order_R]
            starts = np.concatenate([[0], np.diff(packed.starts)[row_R]]).cumsum()
            at = self._genes_file.tell(), self._counts_file.tell()
            with self._phases.timed("writing"):
                self._append(packed, row_R)
            yield _Stretch(place_R[order_R], starts, packed.counts.dtype, *at)

    def _read_stretches(self, stretch_bytes: int) -> Iterator[tuple[slice, Packed]]:
        """Read the corpus, as many blocks of cells together as may be in memory."""
        pieces: list[Packed] = []
        blocks, start = self._corpus.blocks(), 0
        while start < len(self._corpus):
            with self._phases.timed("reading"):
                rows, counts = next(blocks)
                pieces.append(Packed.of(counts))
                if rows.stop < len(self._corpus) and sum(piece.nbytes for piece in pieces) < stretch_bytes:
                    continue
                packed = Packed.joined(pieces, self._corpus.n_genes)
            pieces.clear()
            yield slice(start, rows.stop), packed
            start = rows.stop

    def _append(self, packed: Packed, rows: NDArray[np.int64]) -> None:
        try:
            for start in range(0, len(rows), WRITTEN_USES):
                _, genes, counts = packed.cut(rows[start : start + WRITTEN_USES])
                _write_all(self._genes_file, genes.astype(packed.genes.dtype))
                _write_all(self._counts_file, counts.astype(packed.counts.dtype))
        except OSError as error:
            raise ModelError(
                f"corpus {self._corpus.name!r} takes more memory than it may, and cannot be written to the folder for "
                f"temporary files, {tempfile.gettempdir()} ({error}); set TMPDIR to a folder with more space, or "
                f"{VARIABLE} to the gigabytes of memory that a corpus may take"
            ) from error

    def _feeds(self, windows: Iterator[Window]) -> Generator[Feed]:
        """Yield windows as they come from the disk; while one is trained on, a thread reads the next."""
        with ThreadPoolExecutor(1) as thread:
            coming: Future[Feed] | None = None
            for window in windows:
                ready, coming = coming, thread.submit(self._read, window)
                if ready:
                    yield ready.result()
            if coming:
                yield coming.result()

    def _read(self, window: Window) -> Feed:
        """Read a window's blocks."""
        pieces = [(stretch, rows) for stretch in self._stretches for rows in _rows_of(stretch, window.blocks)]
        place_R = np.concatenate([stretch.place_R[rows] for stretch, rows in pieces])
        lengths = [np.diff(stretch.starts[rows.start : rows.stop + 1]) for stretch, rows in pieces]
        starts = np.concatenate([[0], *lengths]).cumsum()
        genes = np.empty(starts[-1], gene_type(self._corpus.n_genes))
        counts = np.empty(starts[-1], np.result_type(*(stretch.counts_type for stretch, _ in pieces)))
        at = 0
        for stretch, rows in pieces:
            first, last = int(stretch.starts[rows.start]), int(stretch.starts[rows.stop])
            here = slice(at, at + last - first)
            genes[here] = _numbers(self._genes_file, stretch.genes_at, genes.dtype, first, last)
            counts[here] = _numbers(self._counts_file, stretch.counts_at, stretch.counts_type, first, last)
            at = here.stop
        by_place = np.argsort(place_R)
        rows_W = by_place[np.searchsorted(place_R, window.places, sorter=by_place)]
        packed = Packed(starts, genes, counts, np.empty(0), self._corpus.n_genes)
        return Feed(packed, rows_W, self.layout.cell_U[window.places], window.ends_epoch)


def _rows_of(stretch: _Stretch, blocks: NDArray[np.int64]) -> Iterator[slice]:
    """Yield where some blocks lie in a stretch, by ascending place."""
    places = np.sort(blocks) * BLOCK_USES
    for low, high in np.searchsorted(stretch.place_R, [places, places + BLOCK_USES]).T.tolist():
        if low < high:
            yield slice(low, high)


def _write_all(file: io.FileIO, numbers: NDArray[Any]) -> None:
    left = numbers.tobytes()
    while left:
        left = left[file.write(left) :]


def _numbers(file: io.FileIO, at: int, dtype: np.dtype[Any], first: int, last: int) -> NDArray[Any]:
    """Read some numbers of an array that begins somewhere in a file."""
    file.seek(at + first * dtype.itemsize)
    # A plain read, not a memory map: mapped pages would count as this process' memory.
    return np.frombuffer(file.read((last - first) * dtype.itemsize), dtype)
