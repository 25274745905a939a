"""How a file names its genes, where the index of its gene table does not: numbers that merely count are no names.

Some converters leave an index 0, 1, 2, … and the names in a column. Matched by such numbers, counts of different genes
would be put into one column.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError
from corpuscle.source.identifiers import are_numbers, are_places, counts_genes, names_column, symbol_column, texts

INDEX = "index"


class Named(NamedTuple):
    """A gene table whose index names the genes.

    Attributes
    ----------
    table
        The table.
    remark
        What to say of its names, for people; empty where there is nothing to say.
    matched_by_place
        Whether the names may merely count the genes: in two files, they may be of different genes.
    """

    table: pd.DataFrame
    remark: str = ""
    matched_by_place: bool = False


def named(table: pd.DataFrame, column: str | None = None) -> Named:
    """Give a gene table an index that names its genes.

    Parameters
    ----------
    table
        A file's var.
    column
        The column that names the genes, or ``"index"``; None: the index, and where that holds numbers or nothing, the
        column that looks like names.

    Raises
    ------
    SourceError
        When the table has no such column, or nothing in it names genes.

    Examples
    --------
    >>> found = named(pd.DataFrame({"features": ["LYZ", "CD14"]}, index=["0", "1"]))
    >>> found.table.index.tolist()
    ['LYZ', 'CD14']
    """
    if column == INDEX or not len(table):
        return Named(table)
    if column is not None:
        if column not in table:
            hint = legal_names(column, [*map(str, table.columns), INDEX])
            raise SourceError(f"genes = {column!r}, but the gene table (var) has no such column; {hint}")
        return Named(_indexed(table, column))
    index = texts(pd.Series(table.index))
    shown = f"{', '.join(index[:3])}{', …' if len(index) > 3 else ''}"
    if are_places(index) and not are_numbers(index):
        return _of_places(table, shown)
    if not are_numbers(index) and np.mean(index != "") >= 0.5:
        return Named(table)
    found = names_column(table)
    if found is not None:
        remark = f"its genes are named by the column {found!r} of var, as the index holds numbers ({shown})"
        return Named(_indexed(table, found), f'{remark}; if that is wrong, name another one: genes = "COLUMN"')
    if counts_genes(index):
        raise SourceError(
            f"the genes have no names: the index of var merely counts them ({shown}), and none of its columns looks "
            f"like symbols or Ensembl ids; {_columns(table)}. If one of them names the genes, write "
            'genes = "COLUMN" on the source, or genes = "index" if the numbers are names'
        )
    return Named(table, f"its genes are named by numbers ({shown}), which are taken for Entrez ids")


def _of_places(table: pd.DataFrame, shown: str) -> Named:
    """Name genes that are called V1, V2, … by a column of symbols, or leave them so."""
    found = symbol_column(table)
    if found is not None:
        return Named(
            _indexed(table, found),
            f"its genes are named by the column {found!r} of var, as the index merely counts ({shown}); if that is "
            'wrong, write genes = "index", or name another column',
        )
    remark = f"its genes are called {shown}, which may merely count them: across files, these may be different genes"
    return Named(table, remark, matched_by_place=True)


def _indexed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.set_axis(pd.Index(texts(table[column]).astype(object), name=None))


def _columns(table: pd.DataFrame) -> str:
    columns = [repr(str(name)) for name in table.columns]
    return f"var has the columns {', '.join(columns)}" if columns else "var has no column"
