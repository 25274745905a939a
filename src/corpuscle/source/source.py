"""Source: a cell table and lazily read counts. Opening one reads tables, never counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import hash_file
from corpuscle.source import where as where_expression
from corpuscle.source.reader import Reader, reader_for

# Labels that the rest of Corpuscle knows by name; a source may say which of its columns holds each.
ROLES = ("cell_type", "donor", "batch", "study", "tissue", "disease", "assay", "organism")
GROUPS = ("donor", "batch", "study")


@dataclass(frozen=True, eq=False)
class Source:
    """Cells from one file.

    Attributes
    ----------
    name
        What the study calls it.
    cells
        One row per cell that the source offers, index 0 … n-1: ``row`` (row number in the file), ``barcode``, then
        the file's columns, with the roles of `ROLES` under their own names where the file has them.
    genes
        The file's gene table.
    reader
        Reads its counts.
    content
        SHA-256 of the file.
    """

    name: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    reader: Reader
    content: str

    def __len__(self) -> int:
        """Count the cells that the source offers."""
        return len(self.cells)

    def keep(self, mask: NDArray[np.bool_]) -> "Source":
        """Return the source with only some of its cells, by a mask of shape (n,)."""
        return replace(self, cells=self.cells[mask].reset_index(drop=True))

    @property
    def roles(self) -> list[str]:
        """The labels that this source has."""
        return [role for role in ROLES if role in self.cells]


def open_source(
    name: str,
    path: Path,
    *,
    counts: str = "X",
    where: str | None = None,
    roles: Mapping[str, str] | None = None,
) -> Source:
    """Open a file as a source.

    Parameters
    ----------
    name
        What to call it.
    path
        The file; its suffix says how it is read.
    counts
        Where in the file the raw counts are, such as ``"X"``, ``"raw"`` or ``"layers/counts"``.
    where
        Which cells to offer, a filter on the file's columns and the roles; see `corpuscle.source.where`.
    roles
        For a label of `ROLES`, the file's column that holds it, where that has another name.

    Raises
    ------
    SourceError
        When the file cannot be read, a column is not there, or `where` matches no cell.

    Examples
    --------
    >>> source = open_source("blood", dataset_path("kang2018"), where="condition == 'control'")
    >>> len(source), source.roles[0]
    (2400, 'cell_type')
    """
    reader = reader_for(path, counts)
    cells = _cell_table(name, reader.read_cells(), roles or {})
    source = Source(name, cells, reader.read_genes(), reader, hash_file(path))
    return source if where is None else source.keep(_matching(source, where))


def _matching(source: Source, where: str) -> NDArray[np.bool_]:
    mask = where_expression.matches(where, source.cells)
    if not mask.any():
        values = [_some_values(source.cells, column) for column in sorted(where_expression.columns(where))]
        raise SourceError(f'where "{where}" matches none of {len(source):,} cells; {"; ".join(values)}')
    return mask


def _some_values(cells: pd.DataFrame, column: str) -> str:
    """Say what a column holds, so that a filter that matches nothing can be mended."""
    values = cells[column].dropna()
    if values.dtype.kind in "iuf" and len(values):
        return f"{column} runs from {values.min()} to {values.max()}"
    common = [repr(str(value)) for value in values.value_counts().index[:12]]
    return f"{column} holds {', '.join(common) or 'nothing'}{' …' if values.nunique() > 12 else ''}"


def _cell_table(name: str, obs: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """Lay out the cell table: row and barcode first, then obs, with each role under its own name."""
    cells = obs.reset_index(drop=True)
    cells.columns = cells.columns.map(str)
    for role, column in roles.items():
        if column not in obs:
            hint = legal_names(column, map(str, obs.columns))
            raise SourceError(f"source {name!r}: {role} = {column!r}, but the file has no such column; {hint}")
        cells[role] = obs[column].to_numpy(copy=True) if column != role else cells[role]
    cells = cells.drop(columns=["row", "barcode"], errors="ignore")
    cells.insert(0, "row", np.arange(len(obs), dtype=np.int64))
    cells.insert(1, "barcode", obs.index.astype(str).to_numpy())
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
    """Return what stands beside a data set: title, citation, licence, accession, provenance."""
    import tomllib

    dataset_path(name)
    return tomllib.loads((_datasets() / f"{name}.toml").read_text(encoding="utf-8"))


def _datasets() -> Path:
    return Path(str(files("corpuscle.source"))) / "datasets"
