"""Reader: lazy access to one file of cells; what a source reads through.

A reader is small and picklable (a path and a few settings): worker processes reopen the file for themselves.
"""

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.core.components import Component
from corpuscle.core.errors import CorpuscleError, SourceError


class Cells(NamedTuple):
    """Cells of a file.

    Attributes
    ----------
    rows
        Their row numbers, ascending, shape (n,).
    table
        Their labels (obs), one row each; index = barcodes.
    """

    rows: NDArray[np.int64]
    table: pd.DataFrame


class Reader(Component, ABC):
    """Lazy access to one file (or folder) of cells × genes. A format is one module in ``source/readers``.

    Building a reader opens nothing. A reader is chosen by how a path ends (`suffixes`), for a folder by a file that is
    in it (`markers`), or by how the path begins, where it is no file of this machine (`prefix`).
    """

    home: ClassVar[str] = "corpuscle.source.readers"
    kind: ClassVar[str] = "reader"
    suffixes: ClassVar[tuple[str, ...]] = ()
    markers: ClassVar[tuple[str, ...]] = ()
    prefix: ClassVar[str] = ""

    counts: str

    @abstractmethod
    def n_cells(self) -> int:
        """Count the cells in the file: row numbers are below this."""

    @abstractmethod
    def read_cells(self, where: ast.expr | None = None) -> Cells:
        """Read the cell table (obs), in the file's order.

        Parameters
        ----------
        where
            A filter on the file's columns (from `corpuscle.source.where.parse`) that the caller will apply. A reader
            that can leave cells out without reading them may do so, where it is sure that they do not match.
        """

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

    def members(self) -> Sequence[tuple[str, int]]:
        """Name the files that are read as one, with their numbers of cells, in the order of rows; none for one file."""
        return ()

    @abstractmethod
    def alternatives(self) -> Sequence[str]:
        """List the places in the file that could hold counts: the legal values of `counts`."""

    @abstractmethod
    def stamp(self) -> str:
        """Return a text that changes when the file does; cheap, so sizes and times rather than content."""

    @abstractmethod
    def content(self) -> str:
        """Hash the file's content: equal for equal copies."""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn what a truncated, damaged or other file leads to into one clear message that names the file.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, such as ``".h5ad"``.
    """
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    except (CorpuscleError, MemoryError):
        raise
    # h5py, zarr, anndata and tiledbsoma raise errors of a dozen kinds for a damaged file.
    except Exception as error:
        raise SourceError(
            f"{path}: cannot be read as {kind}; the file is truncated, damaged or of another kind ({gist(error)})"
        ) from error


def gist(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def all_rows(table: pd.DataFrame) -> Cells:
    """Return all cells of a file."""
    return Cells(np.arange(len(table), dtype=np.int64), table)


def refuse_misfit(what: str, table: pd.DataFrame, counts: str, size: int) -> None:
    """Refuse a file whose table is not as long as its counts."""
    if len(table) != size:
        raise SourceError(f"damaged: {what} has {len(table):,} rows, {counts} is for {size:,}")


def reader_for(path: Path | Sequence[Path], counts: str) -> Reader:
    """Return the reader for a file or folder, or for many of them as one.

    Parameters
    ----------
    path
        A file; a folder that is one source (zarr, 10x, SOMA); or what is read as one collection: several paths, a
        pattern with ``*``, a folder of files.
    counts
        Where in the file the counts are.

    Raises
    ------
    SourceError
        When there is no such file, or no reader reads such files.
    """
    if isinstance(path, Path) and (kind := _kind_of(path)) is not None:
        return kind(path=_existing(path), counts=counts)  # type: ignore[call-arg]  # the fields are the subclass's
    paths = _members(path) if isinstance(path, Path) else [_existing(member) for member in path]
    collection = components.find(Reader, "collection")
    return collection(paths=tuple(paths), counts=counts)  # type: ignore[call-arg]  # the fields are the subclass's


def located(path: str, folder: Path) -> Path:
    """Return the path that a text names, relative to a folder; what is no file of this machine is left as it is."""
    named = Path(path).expanduser()
    return named if _is_elsewhere(named) else folder / named


def _is_elsewhere(path: Path) -> bool:
    return any(_is_of(kind, path) for kind in _kinds())


def _is_of(kind: type[Reader], path: Path) -> bool:
    """Say whether a path begins with a reader's prefix."""
    return bool(kind.prefix) and path.parts[:1] != () and path.parts[0].startswith(kind.prefix)


def _kinds() -> list[type[Reader]]:
    return [components.find(Reader, name) for name in components.names(Reader)]


def _kind_of(path: Path) -> type[Reader] | None:
    """Return the reader of one file or folder; None for what may be many, or cannot be read."""
    if _is_pattern(path):
        return None
    for kind in _kinds():
        named = _is_of(kind, path) or path.name.lower().endswith(kind.suffixes)
        if named or any((path / marker).exists() for marker in kind.markers):
            return kind
    return None


def _is_pattern(path: Path) -> bool:
    return "*" in str(path) and not path.exists()


def _existing(path: Path) -> Path:
    if not path.exists() and not _is_elsewhere(path):
        raise SourceError(f"no such file: {path}")
    return path


def _members(path: Path) -> list[Path]:
    """List the files that a folder or a pattern stands for."""
    legal = ", ".join(suffix for kind in _kinds() for suffix in kind.suffixes)
    if _is_pattern(path):
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        none = f"{path}: no file matches this pattern"
    elif path.is_dir():
        found = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".") and _kind_of(entry)]
        none = f"{path}: this folder is no zarr, 10x or SOMA, and nothing in it can be read ({legal})"
    else:
        found, none = [], f"{path.name}: no reader reads such files; these can be read: {legal}"
    if not found:
        raise SourceError(none)
    return found
