"""Reader: lazy access to one file of cells; what a source reads through.

A reader is small (a path and a few settings): worker processes open the file for themselves, see `OpenedFile`.
"""

import ast
import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.core.components import Component
from corpuscle.core.errors import CorpuscleError, SourceError
from corpuscle.core.paths import SPECIAL, first_special, is_special, is_there
from corpuscle.core.text import shortened

# As Python shows an object: <socket at 0x7f3a2c1b4d90>.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


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


class AboutGenes(NamedTuple):
    """What there is to say of a file's genes.

    Attributes
    ----------
    left_out
        How many features are left out since they are no genes, by kind.
    remark
        How genes are named, where that is not plain; for people.
    matched_by_place
        Whether their names may merely count them.
    """

    left_out: Mapping[str, int] = {}
    remark: str = ""
    matched_by_place: bool = False


class Unstored(NamedTuple):
    """What reads as zeros since a file does not store it, and may be lost.

    Attributes
    ----------
    counts
        Which counts, in words; empty where all are stored.
    columns
        The columns of the cell table of which a part is not stored, and the rows of that part.
    """

    counts: str = ""
    columns: Mapping[str, range] = {}


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
            A filter on the file's columns (see `corpuscle.source.cell_filter.parse`) that the caller will apply. A
            reader that can leave cells out without reading them may do so, where it is sure that they do not match.
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

    def about_genes(self) -> AboutGenes:
        """Return what there is to say of the genes: nothing, for a format; see `corpuscle.source.genes_only`."""
        return AboutGenes()

    def unstored(self) -> Unstored:
        """Return what reads as zeros since it is not stored: nothing, unless a format leaves out zeros."""
        return Unstored()

    def members(self) -> Sequence[tuple[str, int]]:
        """Name the files that are read as one, with their numbers of cells, in the order of rows; none for one file."""
        return ()

    def place(self, counts: str, *, rounded: bool = False) -> str:
        """Return what to write to read counts from another of its `alternatives`, or to round them; for messages."""
        return f'counts = {{ layer = "{counts}", round = true }}' if rounded else f"counts = {counts!r}"

    def elsewhere(self, counts: str) -> "Reader":
        """Return a reader of the same file that takes its counts from another of its `alternatives`."""
        return dataclasses.replace(self, counts=counts)  # type: ignore[type-var]  # a dataclass by @component

    @abstractmethod
    def alternatives(self) -> Sequence[str]:
        """List the places in the file that could hold counts: the legal values of `counts`."""

    @abstractmethod
    def stamp(self) -> str:
        """Return a text that changes when the file does; cheap, so sizes and times rather than content."""

    @abstractmethod
    def content(self) -> str:
        """Hash the file's content: equal for equal copies."""

    def identity(self) -> list[Any]:
        """Return plain data that differ where what is read of its counts does; for fingerprints."""
        return [self.content(), self.spec()["counts"], self.code_version]


class Wrapper(Reader):
    """A reader that reads through another one: it answers as that does, but for what it has a method of its own for.

    Parameters
    ----------
    reader
        The other.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader, self.counts = reader, reader.counts

    def spec(self) -> dict[str, Any]:
        """Return the reader's settings."""
        return self.reader.spec()

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

    def about_genes(self) -> AboutGenes:
        """Return what there is to say of the genes."""
        return self.reader.about_genes()

    def unstored(self) -> Unstored:
        """Return what reads as zeros since it is not stored."""
        return self.reader.unstored()

    def members(self) -> Sequence[tuple[str, int]]:
        """Name the files that are read as one."""
        return self.reader.members()

    def alternatives(self) -> Sequence[str]:
        """List the places that could hold counts."""
        return self.reader.alternatives()

    def place(self, counts: str, *, rounded: bool = False) -> str:
        """Return what to write to read counts elsewhere."""
        return self.reader.place(counts, rounded=rounded)

    def stamp(self) -> str:
        """Return the file's stamp."""
        return self.reader.stamp()

    def content(self) -> str:
        """Hash the file's content."""
        return self.reader.content()


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
    except CorpuscleError:
        raise
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read ({gist(error)})") from error
    except MemoryError as error:
        raise SourceError(f"{path}: reading it takes more memory than there is ({gist(error)})") from error
    # h5py, zarr, anndata and tiledbsoma raise errors of a dozen kinds for a damaged file.
    except Exception as error:
        raise SourceError(
            f"{path}: cannot be read as {kind}; the file is truncated, damaged or of another kind ({gist(error)})"
        ) from error


def gist(error: Exception) -> str:
    """Return the first line of an error's message, without the addresses of objects, which are others each time."""
    return shortened(_ADDRESS.sub("", str(error).strip() or type(error).__name__).splitlines()[0], 300)


def all_rows(table: pd.DataFrame) -> Cells:
    """Return all cells of a file."""
    return Cells(np.arange(len(table), dtype=np.int64), table)


def refuse_misfit(what: str, table: pd.DataFrame, counts: str, size: int) -> None:
    """Refuse a file whose table is not as long as its counts."""
    if len(table) != size:
        raise SourceError(f"damaged: {what} has {len(table):,} rows, {counts} is for {size:,}")


def reader_for(path: Path | Sequence[Path], counts: str, genes: str | None = None) -> Reader:
    """Return the reader for a file or folder, or for many of them as one; it reads genes only.

    Parameters
    ----------
    path
        A file; a folder that is one source (zarr, 10x, SOMA); or what is read as one collection: several paths, a
        pattern with ``*``, a folder of files.
    counts
        Where in the file the counts are.
    genes
        The column of its gene table that names the genes; None: it is found.

    Raises
    ------
    SourceError
        When there is no such file, or no reader reads such files.
    """
    try:
        return _reader_for(path, counts, genes)
    # A folder that may not be read, a disk that is gone, and names that no file can have.
    except (OSError, ValueError) as error:
        named = shortened(str(path))
        raise SourceError(f"{named}: cannot be read: {gist(error) if isinstance(path, Path) else error}") from error


def _reader_for(path: Path | Sequence[Path], counts: str, genes: str | None) -> Reader:
    if isinstance(path, Path) and (kind := _kind_of(path)) is not None:
        from corpuscle.source.genes_only import GenesOnly

        reader = kind(path=_existing(path), counts=counts)  # type: ignore[call-arg]  # the fields are the subclass's
        return GenesOnly(path, reader, genes)
    paths = _members(path) if isinstance(path, Path) else [_existing(member) for member in path]
    collection = components.find(Reader, "collection")
    return collection(paths=tuple(paths), counts=counts, genes=genes)  # type: ignore[call-arg]  # the fields are the subclass's


def located(path: str, folder: Path) -> Path:
    """Return the path that a text names, relative to a folder; what is no file of this machine is left as it is."""
    try:
        named = Path(path).expanduser()
    # A user that this machine does not know: perhaps a file of such a name.
    except RuntimeError:
        named = Path(path)
    return named if _is_elsewhere(named) else folder / named


def _is_elsewhere(path: Path) -> bool:
    return any(_is_of(kind, path) for kind in _kinds())


def _is_of(kind: type[Reader], path: Path) -> bool:
    """Return whether a path begins with a reader's prefix."""
    return bool(kind.prefix) and path.parts[:1] != () and path.parts[0].startswith(kind.prefix)


def _kinds() -> list[type[Reader]]:
    return [components.find(Reader, name) for name in components.names(Reader)]


def _kind_of(path: Path) -> type[Reader] | None:
    """Return the reader of one file or folder; None for what may be many, or cannot be read."""
    if _is_pattern(path):
        return None
    for kind in _kinds():
        named = _is_of(kind, path) or path.name.lower().endswith(kind.suffixes)
        if named or _has_any(path, kind.markers):
            return kind
    return None


def _has_any(folder: Path, names: Sequence[str]) -> bool:
    """Return whether a folder has a file of one of these names, in small letters or capitals."""
    return bool(names) and _is_folder(folder) and any(entry.name.lower() in names for entry in folder.iterdir())


def _is_pattern(path: Path) -> bool:
    return not is_there(path) and any("*" in part for part in _cut(path)[1])


def _cut(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Cut a path after the part of it that is there, letter by letter: what may be a pattern comes after that."""
    there = next((folder for folder in path.parents if is_there(folder)), Path(path.anchor))
    return there, path.parts[len(there.parts) :]


def _is_folder(path: Path) -> bool:
    return is_there(path) and path.is_dir()


def _existing(path: Path) -> Path:
    if _is_elsewhere(path):
        return path
    if not is_there(path):
        raise SourceError(f"no such file: {shortened(str(path), 300)}")
    refuse_special(path)
    return path


def refuse_special(path: Path) -> None:
    """Refuse what is neither a file nor a folder, and a folder that has such: to read from a pipe would wait for ever.

    Raises
    ------
    SourceError
        When it, or something in it, is a pipe, a socket or a device.
    """
    if is_special(path):
        raise SourceError(f"{path}: cannot be read; {SPECIAL}")
    if path.is_dir() and (inside := first_special(path)):
        raise SourceError(f"{path}: cannot be read; of {inside.name} in it, {SPECIAL}")


def _members(path: Path) -> list[Path]:
    """List the files that a folder or a pattern stands for."""
    legal = ", ".join(suffix for kind in _kinds() for suffix in kind.suffixes)
    if _is_pattern(path):
        folder, parts = _cut(path)
        if sum(part == "**" for part in parts) > 1:
            raise SourceError(f"{shortened(str(path), 300)}: a pattern may have ** (any folders) once")
        # To glob, [ and ? have a meaning, too.
        pattern = Path(*("*".join(escape(piece) for piece in part.split("*")) for part in parts))
        found = sorted(entry for entry in folder.glob(str(pattern)) if entry.is_file() or entry.is_dir())
        none = f"{shortened(str(path), 300)}: no file matches this pattern"
    elif _is_folder(path):
        found = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".") and _kind_of(entry)]
        none = f"{path}: this folder is no zarr, 10x or SOMA, and nothing in it can be read ({legal})"
    else:
        # A folder that is not there looks like a file without a suffix: only what is there can be of a wrong kind.
        _existing(path)
        found, none = [], f"{shortened(path.name)}: no reader reads such files; these can be read: {legal}"
    if not found:
        raise SourceError(none)
    return found
