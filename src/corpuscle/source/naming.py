"""How a file names its genes, where the index of its gene table does not: numbers that merely count are no names.

Some converters leave an index 0, 1, 2, … and the names in a column. Matched by such numbers, counts of different genes
would be put into one column. Barcodes and peaks are no names of genes, either.
"""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import legal_names
from corpuscle.core.errors import SourceError
from corpuscle.source.gene_names import (
    are_ids,
    are_numbers,
    are_places,
    counts_genes,
    gene_texts,
    names_column,
    no_genes,
    symbol_column,
)

INDEX = "index"
# What spreadsheets write for MARCH1, SEPTIN2, DEC1 and OCT4: 1-Mar, 2-Sep-24, 2001-03-01, 01/03/2001.
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(rf"^(?:\d{{1,2}}-(?:{_MONTHS})(?:-\d+)?|\d{{4}}-\d\d-\d\d|\d\d?/\d\d?/\d+)$", re.I)


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
    index = gene_texts(pd.Series(table.index))
    shown = f"{', '.join(index[:3])}{', …' if len(index) > 3 else ''}"
    if are_places(index):
        return _of_places(table, shown)
    what = _in_place_of_names(index, shown)
    if not what:
        return Named(table, _dates(index))
    found = names_column(table)
    if found is not None:
        remark = f"its genes are named by the column {found!r} of var, as the index holds {what}"
        return Named(_indexed(table, found), f'{remark}; if that is wrong, name another one: genes = "COLUMN"')
    if counts_genes(index) or no_genes(index):
        raise SourceError(
            f"the genes have no names: the index of var holds {what}, and none of its columns looks "
            f"like symbols or Ensembl ids; {_columns(table)}. If one of them names the genes, write "
            'genes = "COLUMN" on the source, or genes = "index" if the index does all the same'
        )
    taken = ", which are taken for Entrez ids" if are_numbers(index) else ""
    return Named(table, f"the index of its var holds {what}{taken}")


def _in_place_of_names(index: NDArray[np.str_], shown: str) -> str:
    """Return what an index holds that does not name genes; empty where it names most of them."""
    if are_numbers(index):
        return f"numbers that merely count them ({shown})" if counts_genes(index) else f"numbers ({shown})"
    if others := no_genes(index):
        return f"{others} ({shown})"
    n_named = int(np.sum(index != ""))
    return f"names for {n_named:,} of {len(index):,} genes only" if n_named < len(index) / 2 else ""


def _dates(index: NDArray[np.str_]) -> str:
    """Return that a spreadsheet made dates of names, if it did."""
    dates = [name for name in index.tolist() if ("-" in name or "/" in name) and _DATE.match(name)]
    if not dates:
        return ""
    dated = f"{len(dates):,} of its genes {'is' if len(dates) == 1 else 'are'} called by dates"
    return (
        f"{dated} ({', '.join(dates[:3])}{', …' if len(dates) > 3 else ''}), which a spreadsheet makes of MARCH1, "
        "SEPTIN2 and the like: genes of one date are summed, and match no other source's. Take the names from a file "
        "that no spreadsheet wrote"
    )


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
    return table.set_axis(pd.Index(gene_texts(table[column]).astype(object), name=None))


def _columns(table: pd.DataFrame) -> str:
    columns = [repr(str(name)) for name in table.columns]
    return f"var has the columns {', '.join(columns)}" if columns else "var has no column"


def refuse_transposed(cells: pd.Index, genes: pd.DataFrame) -> None:
    """Refuse a file of genes × cells: its rows have the ids of genes.

    Parameters
    ----------
    cells
        What the file calls its cells.
    genes
        Its var.

    Raises
    ------
    SourceError
        When its cells are called by Ensembl ids, and its genes are not.
    """
    if are_ids(pd.Series(cells)) and not are_ids(pd.Series(genes.index)):
        raise SourceError(
            f"its cells (obs) are called by the ids of genes ({', '.join(map(str, cells[:3]))}, …): the matrix looks "
            "transposed; write the file anew with cells as rows and genes as columns"
        )
