"""Source: a cell table and lazily read counts. Opening one reads tables, never counts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError
from corpuscle.core.text import shortened
from corpuscle.source import cell_filter as where_expression
from corpuscle.source.gene_names import GeneNames, gene_names
from corpuscle.source.genes_only import GenesOnly
from corpuscle.source.in_memory import InMemory
from corpuscle.source.labels import DOUBTFUL, as_labels, as_texts, label_of
from corpuscle.source.naming import refuse_transposed
from corpuscle.source.reader import Reader, Unstored, reader_for
from corpuscle.source.stacking import distinct, free_name
from corpuscle.source.storage.change_guard import ChangeGuard, OpenedFile

# Labels that the rest of Corpuscle knows by name; a source may say which of its columns holds each.
ROLES = ("cell_type", "donor", "batch", "study", "tissue", "disease", "assay", "organism")
# Those by which cells are grouped in training and evaluation.
GROUPING = ("cell_type", "donor", "batch")
# Columns of a corpus' cell table that are ours; a file's column of such a name is kept as ``NAME_in_file``.
RESERVED = ("source", "row", "barcode", "times", "made", *(f"{role}_before_noise" for role in ROLES))


@dataclass(frozen=True, eq=False)
class Source:
    """Cells from one file, or from many that are read as one.

    Attributes
    ----------
    name
        What the study calls it.
    cells
        One row per cell that the source offers, index 0 … n-1: ``row`` (row number in the file), ``barcode`` (its
        name in the file), then the file's columns, with the roles of `ROLES` under their own names where the file
        has them: as categories of texts, see `corpuscle.source.labels.label_of`. A column that the file names like one
        of `RESERVED` is here as ``NAME_in_file``, or ``NAME_in_file_2`` and so on where the file has that, too.
    genes
        The file's gene table.
    reader
        Reads its counts; rounds them, where the source is to.
    remarks
        What is odd about its labels, each a sentence for people.
    relabelled
        The columns, other than roles, whose labels a study calls otherwise than the file.
    """

    name: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    reader: ChangeGuard
    remarks: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the cells that the source offers."""
        return len(self.cells)

    @property
    def content(self) -> str:
        """Hash of what the file holds: its SHA-256, where it is a single one."""
        return self.reader.content()

    def keep(self, mask: NDArray[np.bool_]) -> "Source":
        """Return the source with only some of its cells, by a mask of shape (n,)."""
        return replace(self, cells=self.cells[mask].reset_index(drop=True))

    def renamed(self, column: str, names: Mapping[str, str]) -> "Source":
        """Return the source with other names for some labels of a column; a label without one stays."""
        labels = as_texts(self.cells[column], lambda value: _called(label_of(value), names))
        also = () if column in ROLES else (column,)
        return replace(
            self, cells=self.cells.assign(**{column: labels}), relabelled=tuple(sorted({*self.relabelled, *also}))
        )

    @cached_property
    def gene_names(self) -> GeneNames:
        """The Ensembl ids and symbols of its genes."""
        return gene_names(self.genes)

    @property
    def roles(self) -> list[str]:
        """The labels that this source has."""
        return [role for role in ROLES if role in self.cells]


def open_source(  # noqa: PLR0913  # each is a key of a source in the study file
    name: str,
    path: Path | Sequence[Path] | AnnData,
    *,
    counts: str = "X",
    rounds: bool = False,
    where: str | None = None,
    roles: Mapping[str, str] | None = None,
    genes: str | None = None,
) -> Source:
    """Open a file as a source.

    Parameters
    ----------
    name
        What to call it.
    path
        The file or folder; its name says how it is read. Several, a pattern with ``*`` or a folder of files are one
        source; see `corpuscle.source.reader.reader_for`. Or an AnnData object.
    counts
        Where in the file the raw counts are, such as ``"X"``, ``"raw"`` or ``"layers/counts"``.
    rounds
        Whether to round counts to whole numbers, as estimated counts need.
    where
        Which cells to offer, a filter on the file's columns, the roles and ``barcode``; see
        `corpuscle.source.cell_filter`.
    roles
        For a label of `ROLES`, the file's column that holds it, where that has another name.
    genes
        The column of the file's gene table (var) that names the genes, or ``"index"``. None: the index, or, where that
        merely counts, the column that looks like names; see `corpuscle.source.naming`.

    Raises
    ------
    SourceError
        When the file cannot be read or has no cells, a column is not there, or `where` matches no cell.

    Examples
    --------
    >>> source = open_source("blood", dataset_path("kang2018"), where="condition == 'control'")
    >>> len(source), source.roles[0]
    (2400, 'cell_type')
    """
    roles = roles or {}
    if isinstance(path, AnnData):
        reader: Reader = GenesOnly(Path("AnnData"), InMemory(path, counts), genes)
        path = Path("AnnData")
    else:
        reader = reader_for(path, counts, genes)
    stamp = reader.stamp()
    cells, var = reader.read_cells(where_expression.parse(where, roles) if where else None), reader.read_genes()
    if not len(var) or not (len(cells.rows) or reader.n_cells()):
        raise SourceError(f"{path}: has {reader.n_cells():,} cells and {len(var):,} genes; there is nothing to read")
    refuse_transposed(cells.table.index, var)
    obs = cells.table.set_axis(distinct(cells.table.columns), axis=1)
    labels = _labels(obs, roles)
    mask = None if where is None else _matching(labels, where, reader.n_cells())
    table, offered = _cell_table(cells.rows, labels), slice(None) if mask is None else mask
    remarks = _remarks(obs[offered], labels[offered], roles)
    used = {roles.get(role, role) for role in ROLES} | (where_expression.columns(where) if where else set())
    remarks += tuple(_not_stored(reader.unstored(), obs, used))
    # Of a pattern or a folder, the files that it stands for now.
    several = getattr(reader, "paths", None)
    paths = _absolute(path) if isinstance(path, Path) and several is None else [*map(_absolute, several or ())]
    opened = OpenedFile(name, paths, counts, genes, rounds, stamp, reader.content())
    source = Source(name, table, var, ChangeGuard(opened, reader), remarks)
    return source if mask is None else source.keep(mask)


def _called(label: str | None, names: Mapping[str, str]) -> str | None:
    return label if label is None else names.get(label, label)


def _absolute(path: Path) -> str:
    """Return a path that means the same in another folder; what is no file of this machine is left as it is."""
    return str(path.absolute() if path.exists() else path)


def _matching(labels: pd.DataFrame, where: str, n_cells: int) -> NDArray[np.bool_]:
    table = labels if "barcode" in labels else labels.assign(barcode=labels.index.astype(str))
    mask = where_expression.matches(where, table)
    if not mask.any():
        values = [_some_values(table, column) for column in sorted(where_expression.columns(where))]
        raise SourceError(f'where "{shortened(where)}" matches none of {n_cells:,} cells; {"; ".join(values)}')
    return mask


def _some_values(cells: pd.DataFrame, column: str) -> str:
    """Return what a column holds, so that a filter that matches nothing can be fixed."""
    values = cells[column].dropna()
    if not len(values) and isinstance(values.dtype, pd.CategoricalDtype):
        # A reader may have left all cells out, but it knows which values there are.
        values = pd.Series(values.cat.categories)
    if values.dtype.kind in "iuf" and len(values):
        return f"{column} runs from {values.min()} to {values.max()}"
    common = [repr(shortened(value, 80)) for value in values.astype(str).value_counts().index[:12]]
    return f"{column} holds {', '.join(common) or 'nothing'}{' …' if values.nunique() > 12 else ''}"


def _labels(obs: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """Return the file's columns, with each role under its own name, as labels; index = the names of the cells."""
    labels = obs.copy(deep=False)
    for role in dict.fromkeys((*ROLES, *roles)):
        column = roles.get(role, role)
        if column in obs:
            labels[role] = as_labels(obs[column])
        elif role in roles:
            hint = legal_names(column, map(str, obs.columns))
            raise SourceError(f"{role} = {column!r}, but the file has no such column; {hint}")
    return labels


def _remarks(obs: pd.DataFrame, labels: pd.DataFrame, roles: Mapping[str, str]) -> tuple[str, ...]:
    """Note the texts that were taken for no label, and those that may stand for none and were not."""
    found = []
    for role in ROLES:
        if role not in labels:
            continue
        before = obs[roles.get(role, role)]
        taken = before[(labels[role].isna() & before.notna()).to_numpy()].astype(str)
        texts = [repr(text) for text in sorted(taken.unique()) if text.strip()]
        if texts:
            n = int((taken.str.strip() != "").sum())
            found.append(f"{role} reads {' or '.join(texts)} in {n:,} of {len(obs):,} cells, which stands for no label")
        names = labels[role].cat.categories
        doubtful = labels[role].isin([name for name in names if name.strip().casefold() in DOUBTFUL])
        if role in GROUPING and doubtful.any():
            there = sorted(set(labels[role][doubtful]))
            shown = " or ".join(map(repr, there))
            found.append(
                f"{role} reads {shown} in {int(doubtful.sum()):,} of {len(obs):,} cells, which counts as a {role} of "
                f'its own; if it stands for none, leave these cells out: where = "{role} not in {there}"'
            )
    return tuple(found)


def _not_stored(unstored: Unstored, obs: pd.DataFrame, used: Collection[str]) -> Iterator[str]:
    """Note the counts and the labels in use that read as they do since a part of the file is not there."""
    if unstored.counts:
        yield f"{unstored.counts}. If these cells have counts there, get the file anew"
    for column, rows in unstored.columns.items():
        if column in used:
            cells, value = f"cells {rows.start:,} to {rows.stop - 1:,}", str(obs[column].iloc[rows.start])
            yield (
                f"a part of its column {column!r} ({cells}) is not stored and reads {value!r}: "
                "zarr leaves out parts of nothing but zeros or the first category, and a part that was lost looks the "
                "same. If these cells have another value, get the file anew"
            )


def _cell_table(rows: NDArray[np.int64], labels: pd.DataFrame) -> pd.DataFrame:
    """Lay out the cell table: row and barcode first, then the labels."""
    barcodes = labels.index.astype(str).to_numpy()
    taken, names = {str(name) for name in labels}, {}
    for name in RESERVED:
        if name in labels:
            names[name] = free_name(f"{name}_in_file", taken)
            taken.add(names[name])
    cells = labels.reset_index(drop=True).rename(columns=names)
    cells.insert(0, "row", rows)
    cells.insert(1, "barcode", barcodes)
    return cells


def dataset_names() -> list[str]:
    """List the data sets that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _datasets().iterdir() if entry.name.endswith(".toml"))


def dataset_path(name: str) -> Path:
    """Return the file of a data set that comes with the package.

    Raises
    ------
    SourceError
        When there is none of this name; the message has the names there are.
    """
    if name not in dataset_names():
        raise SourceError(f"there is no data set {name!r}; {legal_names(name, dataset_names())}")
    return _datasets() / f"{name}.h5ad"


def dataset_facts(name: str) -> dict[str, Any]:
    """Return what stands next to a data set: title, citation, licence, accession, provenance."""
    import tomllib

    dataset_path(name)
    return tomllib.loads((_datasets() / f"{name}.toml").read_text(encoding="utf-8"))


def _datasets() -> Path:
    return Path(str(files("corpuscle.source"))) / "datasets"
