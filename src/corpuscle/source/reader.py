"""Reader: lazy access to one file of cells; what a source reads through.

A reader is small and picklable (a path and a few settings): worker processes reopen the file for themselves.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.core.components import Component
from corpuscle.core.errors import SourceError


class Reader(Component, ABC):
    """Lazy access to one file of cells × genes. A format is one file in ``source/readers``.

    Subclasses are built with `path` and `counts`; building one opens nothing.
    """

    home: ClassVar[str] = "corpuscle.source.readers"
    kind: ClassVar[str] = "reader"
    suffixes: ClassVar[tuple[str, ...]] = ()

    path: Path
    counts: str

    @abstractmethod
    def read_cells(self) -> pd.DataFrame:
        """Return the cell table (obs): one row per cell in file order, index = barcodes."""

    @abstractmethod
    def read_genes(self) -> pd.DataFrame:
        """Return the gene table (var) that belongs to the counts: index = the file's own gene names."""

    @abstractmethod
    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells, as they are in the file.

        Parameters
        ----------
        rows
            Row numbers in the file, in any order, repeats allowed, shape (n,).

        Returns
        -------
        Matrix of shape (n, n genes in the file), in the order of `rows`, in the file's own number type.
        """

    @abstractmethod
    def alternatives(self) -> Sequence[str]:
        """List the places in the file that could hold counts: the legal values of `counts`."""


def reader_for(path: Path, counts: str) -> Reader:
    """Return the reader for a file, chosen by its suffix.

    Raises
    ------
    SourceError
        When the file does not exist or no reader reads such files.
    """
    kinds = [components.find(Reader, name) for name in components.names(Reader)]
    for kind in kinds:
        if path.name.lower().endswith(kind.suffixes):
            if not path.exists():
                raise SourceError(f"no such file: {path}")
            return kind(path=path, counts=counts)  # type: ignore[call-arg]  # the fields are the subclass's
    legal = ", ".join(suffix for kind in kinds for suffix in kind.suffixes)
    raise SourceError(f"{path.name}: no reader reads such files; these can be read: {legal}")
