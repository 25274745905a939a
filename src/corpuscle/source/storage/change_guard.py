"""Watched: what a source reads its counts through. It refuses to go on when the file changed; it can round.

A corpus holds row numbers. In a file that was written anew between planning and reading, they may be other cells.
"""

import ast
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.reader import AboutGenes, Cells, Reader

# A folder of many files takes a while to look at: it is looked at again after this many times that long.
REST = 20


class ChangeGuard(Reader):
    """A reader and what its file looked like when it was opened.

    Parameters
    ----------
    name
        The source's name, for messages.
    reader
        What reads.
    opened
        The reader's stamp when the file was opened.
    rounds
        Whether counts are rounded to the nearest whole number (halves to the even one), as estimated counts are.
    """

    def __init__(self, name: str, reader: Reader, opened: str, *, rounds: bool = False) -> None:
        self.source, self.reader, self.opened, self.rounds = name, reader, opened, rounds
        self.counts = reader.counts
        self._next_look = 0.0

    def spec(self) -> dict[str, Any]:
        """Return the reader's settings; rounded counts are other counts."""
        spec = self.reader.spec()
        return {**spec, "counts": f"{self.counts}, rounded"} if self.rounds else spec

    @property
    def code_version(self) -> str:
        """What differs where the reader's code does."""
        return self.reader.code_version

    def n_cells(self) -> int:
        """Count the cells in the file."""
        return self.reader.n_cells()

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Read obs."""
        return self.reader.read_cells(where)

    def read_genes(self) -> pd.DataFrame:
        """Return var."""
        return self.reader.read_genes()

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
        if not self.rounds or stored.dtype.kind != "f":
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
        """Refuse a file that changed."""
        started = time.monotonic()
        if started < self._next_look:
            return
        try:
            same = self.reader.stamp() == self.opened
        except SourceError:
            same = False
        if not same:
            raise SourceError(
                f"source {self.source!r} has changed, or is gone, since it was opened, so its rows may be other cells "
                "than planned; run the same command again when the file is complete: what depends on it is done anew"
            )
        now = time.monotonic()
        self._next_look = now + REST * (now - started)

    def about_genes(self) -> AboutGenes:
        """Return what there is to say of the genes."""
        return self.reader.about_genes()

    def members(self) -> Sequence[tuple[str, int]]:
        """Name the files that are read as one."""
        return self.reader.members()

    def alternatives(self) -> Sequence[str]:
        """List the places that could hold counts."""
        return self.reader.alternatives()

    def stamp(self) -> str:
        """Return the file's stamp as it is now."""
        return self.reader.stamp()

    def content(self) -> str:
        """Hash the file's content."""
        return self.reader.content()
