"""Change guard: what a source reads its counts through. It refuses to go on when the file changed; it can round.

A corpus holds row numbers. In a file that was written anew between planning and reading, they may be other cells.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.reader import Reader, Wrapper, reader_for

# A folder of many files takes a while to look at: it is looked at again after this many times that long.
REST = 20


class OpenedFile(NamedTuple):
    """How a source was opened, and what its file was then: enough to open it again in another process.

    Attributes
    ----------
    name
        The source's name, for messages.
    paths
        The file or folder; a list of files where several are read as one.
    counts, genes
        Where in the file the counts are, and which column names its genes; see `reader_for`.
    rounds
        Whether counts are rounded to the nearest whole number (halves to the even one), as estimated counts are.
    stamp, content
        The file's stamp, and the hash of its content.
    """

    name: str
    paths: str | list[str]
    counts: str
    genes: str | None
    rounds: bool
    stamp: str
    content: str

    def reader(self) -> Reader:
        """Return a new reader of the file."""
        paths = Path(self.paths) if isinstance(self.paths, str) else [*map(Path, self.paths)]
        return reader_for(paths, self.counts, self.genes)


class ChangeGuard(Wrapper):
    """A reader, and what its file was when it was opened.

    Parameters
    ----------
    opened
        How the source was opened.
    reader
        What reads; None: a new one.
    """

    def __init__(self, opened: OpenedFile, reader: Reader | None = None) -> None:
        super().__init__(reader or opened.reader())
        self.opened = opened
        self._stamp, self._next_look = opened.stamp, 0.0

    def spec(self) -> dict[str, Any]:
        """Return the reader's settings; rounded counts are other counts."""
        spec = super().spec()
        return {**spec, "counts": f"{self.counts}, rounded"} if self.opened.rounds else spec

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`. Rounded, where the source rounds.

        Raises
        ------
        SourceError
            When the file is not what it was when it was opened.
        """
        return self.counted(self.read_stored(rows))

    def counted(self, stored: csr_matrix) -> csr_matrix:
        """Return counts of numbers as they are stored: the same, or rounded."""
        if not self.opened.rounds or stored.dtype.kind != "f":
            return stored
        counts = csr_matrix((np.rint(stored.data), stored.indices, stored.indptr), shape=stored.shape)
        counts.eliminate_zeros()
        return counts

    def read_stored(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells as they are stored; otherwise as `read_counts`."""
        self.check()
        found = self.reader.read_counts(rows)
        self.check()
        return found

    def check(self) -> None:
        """Refuse a file whose content changed: it is read again where its stamp did."""
        started = time.monotonic()
        if started < self._next_look:
            return
        try:
            stamp = self.reader.stamp()
            looked = time.monotonic()
            # Only its name, its permissions or its times may have changed.
            same = stamp == self._stamp or self.reader.content() == self.opened.content
        except SourceError:
            same = False
        if not same:
            raise SourceError(
                f"source {self.opened.name!r} has changed, or is gone, since it was opened, so its rows may be other "
                "cells than planned; run the same command again when the file is complete: what depends on it is done "
                "anew"
            )
        self._stamp = stamp
        # A hash of all content takes minutes: the file is not left unwatched for many times that long.
        self._next_look = time.monotonic() + REST * (looked - started)

    def content(self) -> str:
        """Return the hash of the file's content when it was opened."""
        return self.opened.content
