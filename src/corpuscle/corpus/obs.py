"""Obs: a corpus' cell table as a file can hold it: names and types that are legal in HDF5 and zarr alike."""

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpuscle.source.labels import as_texts
from corpuscle.source.stacking import column_kind, free_name, plain_type

# A slash parts groups in HDF5 and zarr, a backslash in zarr, too; neither holds control characters in a name.
_ILLEGAL = re.compile(r"[/\\\x00-\x1f\x7f]")
# Names that AnnData or zarr use themselves, or that mean a place.
_TAKEN = re.compile(r"_index|zarr\.json|\..*|__.*|")
# Bytes of a name: a folder of zarr has one, and file systems hold 255.
LONGEST = 200


class Changes(NamedTuple):
    """How a cell table differs in a file.

    Attributes
    ----------
    renamed
        The columns that have another name there, and which.
    as_text
        The columns, by their own names, whose values are of a kind that a file cannot hold, and are texts there.
    """

    renamed: dict[str, str]
    as_text: list[str]


def changes(cells: pd.DataFrame) -> Changes:
    """Return how a cell table would differ in a file, from names and types alone.

    Examples
    --------
    >>> changes(pd.DataFrame({"T/NK": [1.0, 2.0], "day": pd.to_datetime(["2020-01-01", "2020-01-02"])}))
    Changes(renamed={'T/NK': 'T_NK'}, as_text=['day'])
    """
    as_text = [str(name) for name, column in cells.items() if column_kind(column) in ("mixed", "date")]
    return Changes(_legal_names([str(name) for name in cells]), as_text)


def holdable(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a cell table as a file can hold it.

    Numbers and truth values stay; texts are categories; all else becomes texts (see `source.labels.text_of`).

    Examples
    --------
    >>> holdable(pd.DataFrame({"day": pd.to_datetime(["2020-01-01", None])}))["day"].tolist()
    ['2020-01-01', nan]
    """
    renamed = _legal_names([str(name) for name in cells])
    columns = {renamed.get(str(name), str(name)): _holdable(column) for name, column in cells.items()}
    return pd.DataFrame(columns, index=cells.index)


def _legal_names(names: list[str]) -> dict[str, str]:
    """Return a legal name for each that is not: its own without what is illegal, and a number where that is taken."""
    legal: dict[str, str] = {}
    taken = set(names)
    for name in names:
        found = _ILLEGAL.sub("_", name).encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
        found = f"column{found}" if _TAKEN.fullmatch(found) else found
        if found != name:
            legal[name] = free_name(found, taken)
            taken.add(legal[name])
    return legal


def _holdable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    kind = column_kind(column)
    if kind == "text":
        return _without_nul(column)
    if kind not in ("number", "truth value"):
        return as_texts(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        # Whole numbers or truth values may be there as objects.
        categories = column.cat.categories
        return column if categories.dtype != object else column.cat.rename_categories(categories.infer_objects())
    column = plain_type(column)
    if column.dtype.kind == "f":
        # AnnData has no nullable fractions: they have NaN.
        return column.astype(np.float32 if column.dtype.itemsize <= np.dtype(np.float32).itemsize else np.float64)
    numpy_type = getattr(column.dtype, "numpy_dtype", column.dtype)
    return column if column.isna().any() else column.astype(numpy_type)


def _without_nul(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return texts as a category; HDF5 ends a text at a NUL."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("string").astype("category")
    categories = column.cat.categories
    if not any("\0" in text for text in categories):
        return column
    return as_texts(column, lambda text: str(text).replace("\0", "\N{REPLACEMENT CHARACTER}"))
