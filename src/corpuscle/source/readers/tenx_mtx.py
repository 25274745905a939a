"""Reads 10x Genomics' folders of ``matrix.mtx``, ``features.tsv`` or ``genes.tsv``, and ``barcodes.tsv``, plain or .gz.

In such a text no cell can be found: it is read through once, into a copy laid out by cell (see `source.scratch`).
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.source.reader import Cells, Reader, all_rows, reading, refuse_misfit, refuse_special
from corpuscle.source.storage import anndata_layout, file_hash, tenx_text
from corpuscle.source.storage.row_cache import Counts, Triples

# Lines of the matrix that are parsed at once.
LINES = 1 << 21
# MatrixMarket's kinds of numbers; "unsigned-integer" is scipy's, and some write double.
NUMBERS = {"integer": "int64", "unsigned-integer": "int64", "real": "float64", "double": "float64"}


@component
class TenxMtx(Reader):
    """A 10x Genomics folder with ``matrix.mtx``.

    Parameters
    ----------
    path
        The folder, or the ``….mtx`` or ``….mtx.gz`` in it; where names begin with a sample's, as in GEO, the latter.
    counts
        ``"X"``: the matrix.
    """

    suffixes = (".mtx", ".mtx.gz")
    markers = ("matrix.mtx", "matrix.mtx.gz")

    path: Path
    counts: str = "X"

    def _file(self, *stems: str) -> Path:
        """Find one of the three files, by what its name may be without .gz, in small letters or capitals."""
        folder, prefix = self.path, ""
        if not self.path.is_dir():
            folder, at = self.path.parent, self.path.name.lower().find("matrix.mtx")
            if at < 0:
                raise SourceError("10x files are called …matrix.mtx, …features.tsv and …barcodes.tsv; rename these")
            prefix = self.path.name[:at]
        found = tenx_text.find_file(folder, [f"{prefix}{stem}{zipped}" for stem in stems for zipped in ("", ".gz")])
        if found is None:
            raise SourceError(f"there is no {prefix}{stems[0]} (or .gz) in {folder}; a 10x folder has three files")
        refuse_special(found)
        return found

    @property
    def _files(self) -> list[Path]:
        if self.counts != "X":
            raise SourceError(f"there are no counts at {self.counts!r}; the folder has: X")
        return [self._file("matrix.mtx"), self._file("features.tsv", "genes.tsv"), self._file("barcodes.tsv")]

    def n_cells(self) -> int:
        """Count the barcodes."""
        with reading(self.path, "10x .mtx"):
            return _header(self._files[0]).n_cells

    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Return a table without columns: such a folder names cells and says nothing else of them."""
        with reading(self.path, "10x .mtx"):
            matrix, _, barcodes = self._files
            n_cells = _header(matrix).n_cells
            table = tenx_text.read_barcodes(barcodes, n_cells)
            refuse_misfit("barcodes.tsv", table, "matrix.mtx", n_cells)
            return all_rows(table)

    def read_genes(self) -> pd.DataFrame:
        """Return the features: index = ids; ``symbol`` and, in newer folders, ``feature_type``."""
        with reading(self.path, "10x .mtx"):
            return self._features()

    def _features(self) -> pd.DataFrame:
        matrix, path, _ = self._files
        n_genes = _header(matrix).n_genes
        table = tenx_text.read_features(path, n_genes)
        refuse_misfit(path.name, table, "matrix.mtx", n_genes)
        return table

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells; see `Reader.read_counts`."""
        with reading(self.path, "10x .mtx"):
            matrix = self._files[0]
            key = fingerprint("mtx", str(matrix.resolve()), self.stamp())
            head = _header(matrix)
            shape = (head.n_cells, head.n_genes)
            whole = Counts(shape, head.n_stored, np.dtype(head.dtype), lambda: _blocks(matrix, head))
            return anndata_layout.read_copy(key, rows, whole)

    def alternatives(self) -> Sequence[str]:
        """List the one place there is."""
        return ["X"]

    def stamp(self) -> str:
        """Return a hash of the files' sizes and times."""
        with reading(self.path, "10x .mtx"):
            return file_hash.stamp(self._files)

    def content(self) -> str:
        """Hash the files."""
        with reading(self.path, "10x .mtx"):
            return file_hash.content(self._files)


class _Header(NamedTuple):
    """A MatrixMarket file's head: what it holds, and how many lines come before the counts."""

    n_genes: int
    n_cells: int
    n_stored: int
    dtype: str
    n_lines: int


def _header(path: Path) -> _Header:
    with tenx_text.open_text(path) as file:
        words = file.readline().lower().split()
        if words[:2] != ["%%matrixmarket", "matrix"] or words[3:4] not in ([number] for number in NUMBERS):
            raise SourceError(
                f"{path.name} is no sparse MatrixMarket file of numbers; it should begin with "
                "'%%MatrixMarket matrix coordinate integer'"
            )
        if words[2] != "coordinate":
            raise SourceError(f"{path.name} is a dense MatrixMarket file ({words[2]}); 10x's is sparse: coordinate")
        if words[4:] not in ([], ["general"]):
            raise SourceError(f"{path.name} is a {words[4]} matrix; counts are general")
        for n_lines, line in enumerate(file, start=2):
            if not line.startswith("%") and line.strip():
                sizes = line.split()
                if len(sizes) != 3 or not all(size.isdecimal() and len(size) < 19 for size in sizes):
                    raise SourceError(
                        f"{path.name} should say how many genes, cells and counts it has, not {line[:80]!r}"
                    )
                n_genes, n_cells, n_stored = map(int, sizes)
                # What is declared is laid out before it is read. A line has 4 bytes at least, and gzip packs a
                # thousandfold at most.
                if n_stored > min(n_genes * n_cells, path.stat().st_size * 1032 // 4):
                    raise SourceError(
                        f"damaged: {path.name} says it has {n_stored:,} counts of {n_genes:,} genes in {n_cells:,} "
                        "cells, more than there can be in such a file"
                    )
                return _Header(n_genes, n_cells, n_stored, NUMBERS[words[3]], n_lines)
    raise SourceError(f"{path.name} ends before it says how large it is")


def _blocks(path: Path, head: _Header) -> Iterator[Triples]:
    """Stream through the matrix' lines: gene, cell, count; both numbered from 1."""
    n_read = 0
    types = {"gene": np.int32, "cell": np.int64, "count": head.dtype}
    settings = {"sep": r"\s+", "header": None, "names": list(types), "dtype": types, "chunksize": LINES}
    with tenx_text.open_text(path) as file:
        for _ in range(head.n_lines):
            file.readline()
        for block in pd.read_csv(file, **settings) if head.n_stored else ():
            gene, cell, count = (block[name].to_numpy() for name in types)
            n_read += len(block)
            if n_read > head.n_stored:
                break
            inside = (gene >= 1) & (gene <= head.n_genes) & (cell >= 1) & (cell <= head.n_cells)
            if not inside.all():
                raise SourceError(f"damaged: {path.name} counts a gene or a cell that does not exist")
            yield Triples(cell - 1, gene - 1, count)
    if n_read > head.n_stored:
        raise SourceError(f"damaged: {path.name} should have {head.n_stored:,} counts, and has more")
    if n_read < head.n_stored:
        raise SourceError(f"truncated: {path.name} should have {head.n_stored:,} counts, and has {n_read:,}")
