"""GenesOnly: a reader that gives genes under their names, and nothing else that a file counts, whatever its format."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.features import features_of
from corpuscle.source.naming import named
from corpuscle.source.reader import AboutGenes, Reader, Wrapper


class GenesOnly(Wrapper):
    """A reader of one file, without its antibodies, peaks and guides; its gene table's index names the genes.

    Parameters
    ----------
    path
        The file, for messages.
    reader
        Reads all of its features, under whatever name.
    column
        The column of var that names the genes; None: it is found (see `corpuscle.source.naming`).
    """

    def __init__(self, path: Path, reader: Reader, column: str | None = None) -> None:
        super().__init__(reader)
        self.path, self.column = path, column

    def _genes(self) -> tuple[pd.DataFrame, NDArray[np.bool_], AboutGenes]:
        """Return the genes' table, which of the features they are, and what to say of them."""
        table = self.reader.read_genes()
        try:
            is_gene, others = features_of(table)
            found = named(table if is_gene.all() else table[is_gene], self.column)
        except SourceError as error:
            raise SourceError(f"{self.path}: {error}") from error
        return found.table, is_gene, AboutGenes(others, found.remark, found.matched_by_place)

    @cached_property
    def _known(self) -> tuple[NDArray[np.bool_], AboutGenes]:
        _, is_gene, about = self._genes()
        return is_gene, about

    def read_genes(self) -> pd.DataFrame:
        """Return the genes' rows of var, index = their names."""
        return self._genes()[0]

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the genes' counts in some cells; see `Reader.read_counts`."""
        found, (is_gene, _) = self.reader.read_counts(rows), self._known
        return found if is_gene.all() else found[:, np.flatnonzero(is_gene)]

    def about_genes(self) -> AboutGenes:
        """Return what was left out, and how the genes are named."""
        return self._known[1]

    def elsewhere(self, counts: str) -> "GenesOnly":
        """Return a reader of the same file's genes that takes their counts from another place."""
        return GenesOnly(self.path, self.reader.elsewhere(counts), self.column)
