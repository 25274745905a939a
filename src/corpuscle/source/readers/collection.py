"""Reads many files as one source: a folder of them, a pattern, or a list. Rows run on from file to file."""

import ast
import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.source.gene_names import gene_names
from corpuscle.source.reader import AboutGenes, Cells, Reader, Unstored, reader_for
from corpuscle.source.stacking import distinct, stack_tables
from corpuscle.source.storage import anndata_layout

# The column that says which file a cell is from.
FILE = "file"


@component
class Collection(Reader):
    """Many files with the same genes, in any order of genes.

    Their cell tables are put below each other: a column that a file lacks is missing there. Column ``file`` says
    which file a cell is from (its path below the folder that all are in), unless the files have such a column.

    Parameters
    ----------
    paths
        The files, in the order of their rows.
    counts
        Where in each file the raw counts are.
    genes
        The column of each file's gene table that names the genes; None: it is found.
    """

    paths: tuple[Path, ...]
    counts: str = "X"
    genes: str | None = None

    @cached_property
    def _readers(self) -> list[Reader]:
        if len({path.resolve() for path in self.paths}) < len(self.paths):
            raise SourceError("a file stands twice in the list; its cells would be counted twice")
        return [reader_for(path, self.counts, self.genes) for path in self.paths]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first row of each file, and one past the last row."""
        return np.concatenate([[0], np.cumsum([reader.n_cells() for reader in self._readers])]).astype(np.int64)

    @cached_property
    def _orders(self) -> list[NDArray[np.int64] | None]:
        """For each file, the positions of the first file's genes in it; None where they are the same."""
        first, *_ = others = self._matched_by
        return [self._order(first, path, genes) for path, genes in zip(self.paths, others, strict=True)]

    @property
    def _matched_by(self) -> list[pd.Index]:
        """What each file's genes are matched by: the index of its gene table, or ids where that may merely count."""
        tables = [reader.read_genes() for reader in self._readers]
        if any(reader.about_genes().matched_by_place for reader in self._readers):
            ids = [pd.Index(gene_names(table).ensembl) for table in tables]
            if all(each.is_unique for each in ids):
                return ids
        return [table.index for table in tables]

    @property
    def _names(self) -> list[str]:
        """Return of each file how it differs from the others: its path below the folder that all are in."""
        shared = Path(os.path.commonpath([path.parent for path in self.paths]))
        return [path.relative_to(shared).as_posix() for path in self.paths]

    def _order(self, first: pd.Index, path: Path, genes: pd.Index) -> NDArray[np.int64] | None:
        if genes.equals(first):
            return None
        lacking, further = first.difference(genes), genes.difference(first)
        if len(lacking) or len(further) or not (first.is_unique and genes.is_unique):
            raise SourceError(
                f"the files of one source must have the same genes, but {path.name} lacks {_some(lacking)} of "
                f"{self.paths[0].name}'s and has {_some(further)} of its own; make a source of each, and choose their "
                'genes with space = "intersection" or "union" under [genes]'
            )
        order: NDArray[np.int64] = genes.get_indexer(first).astype(np.int64)
        return order

    @property
    def code_version(self) -> str:
        """What differs where its code, or that of a reader of its files, does."""
        return ", ".join((super().code_version, *(one.code_version for one in self._readers)))

    def n_cells(self) -> int:
        """Count the cells of all files."""
        return int(self._starts[-1])

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Read the cell tables of all files."""
        found = [reader.read_cells(where) for reader in self._readers]
        tables = [cells.table.set_axis(distinct(cells.table.columns), axis=1) for cells in found]
        if not any(FILE in table for table in tables):
            for table, name in zip(tables, self._names, strict=True):
                table[FILE] = pd.Categorical([name] * len(table))
        rows = [cells.rows + start for cells, start in zip(found, self._starts, strict=False)]
        return Cells(np.concatenate(rows), _concatenated(tables))

    def read_genes(self) -> pd.DataFrame:
        """Return the first file's genes; all files have them."""
        _ = self._orders
        return self._readers[0].read_genes()

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`."""
        return anndata_layout.in_order(rows, self._read)

    def _read(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read ascending rows, file by file."""
        pieces = []
        ends = np.searchsorted(rows, self._starts)
        for at in np.flatnonzero(np.diff(ends)):
            found = self._readers[at].read_counts(rows[ends[at] : ends[at + 1]] - self._starts[at])
            order = self._orders[at]
            pieces.append(found if order is None else found[:, order])
        return anndata_layout.stack_rows(pieces) if pieces else self._readers[0].read_counts(rows)

    def about_genes(self) -> AboutGenes:
        """Return what there is to say of the genes: of a kind that is left out, how many the file with most has."""
        found = [reader.about_genes() for reader in self._readers]
        most: Counter[str] = Counter()
        for about in found:
            most |= Counter(about.left_out)
        first = next((about for about in found if about.remark), AboutGenes())
        return first._replace(left_out=most)

    def unstored(self) -> Unstored:
        """Return what reads as zeros since it is not stored, in the first file where that is so."""
        counts, columns = "", dict[str, range]()
        for name, reader, start in zip(self._names, self._readers, self._starts.tolist(), strict=False):
            found = reader.unstored()
            counts = counts or (found.counts and f"{name}: {found.counts}")
            for column, rows in found.columns.items():
                columns.setdefault(column, range(rows.start + start, rows.stop + start))
        return Unstored(counts, columns)

    def members(self) -> Sequence[tuple[str, int]]:
        """Name the files, each with its number of cells."""
        return list(zip(self._names, np.diff(self._starts).tolist(), strict=True))

    def alternatives(self) -> Sequence[str]:
        """List the places that all files have."""
        found = [reader.alternatives() for reader in self._readers]
        return [place for place in found[0] if all(place in others for others in found)]

    def stamp(self) -> str:
        """Return a hash of the files' stamps."""
        return fingerprint([reader.stamp() for reader in self._readers])

    def content(self) -> str:
        """Hash the files, in their order."""
        return fingerprint([reader.content() for reader in self._readers])


def _some(genes: pd.Index) -> str:
    return (
        f"{len(genes):,} ({', '.join(map(str, genes[:3]))}{', …' if len(genes) > 3 else ''})" if len(genes) else "none"
    )


def _concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other; columns in which nothing has a value stay."""
    columns = list(dict.fromkeys(column for table in tables for column in table))
    # Of cells that were all left out unread, it is still known which values there were.
    return stack_tables(tables).reindex(columns=columns)
