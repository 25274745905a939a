"""Stacking: cell tables below each other; a column's values stay what they are, whatever stands next to them.

Pandas makes fractions of whole numbers, and objects of truth values, where another table lacks the column.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from corpuscle.source.labels import as_texts

Kind = Literal["number", "truth value", "date", "text", "mixed"]
_KINDS: dict[str, Kind] = {"b": "truth value", "i": "number", "u": "number", "f": "number", "M": "date"}
_OBJECTS: dict[str, Kind] = {
    "string": "text",
    "empty": "text",
    "boolean": "truth value",
    "integer": "number",
    "floating": "number",
}


def column_kind(column: "pd.Series[Any] | pd.Index") -> Kind:
    """Return what a column's values are; of a category, those that it can have.

    Examples
    --------
    >>> [column_kind(pd.Series(values)) for values in ([1, None], ["a", None], [True, 1])]
    ['number', 'text', 'mixed']
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column_kind(column.dtype.categories)
    if isinstance(column.dtype, pd.StringDtype):
        return "text"
    if column.dtype == object:
        return _OBJECTS.get(pd.api.types.infer_dtype(column, skipna=True), "mixed")
    return _KINDS.get(column.dtype.kind, "mixed")


def distinct(names: Sequence[Any]) -> list[str]:
    """Return names as texts, each once: a further column of a name gets a number.

    Examples
    --------
    >>> distinct(["a", "b", "a", "a_2"])
    ['a', 'b', 'a_3', 'a_2']
    """
    wanted = [str(name) for name in names]
    taken, found = set(wanted), []
    for at, name in enumerate(wanted):
        found.append(free_name(name, taken) if name in wanted[:at] else name)
        taken.add(found[-1])
    return found


def free_name(name: str, taken: "set[str]") -> str:
    """Return a name that is not taken: itself, or the first of NAME_2, NAME_3, … that is free.

    Examples
    --------
    >>> free_name("a", {"a", "a_2"})
    'a_3'
    """
    found, n = name, 2
    while found in taken:
        found, n = f"{name}_{n}", n + 1
    return found


def stack_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other; the rows keep their index.

    A column that a table lacks, or has no value of, is missing there, and has no influence on the type of the whole.
    Numbers stay numbers, whole ones whole, and truth values stay such (in pandas' nullable types, where some are
    missing); texts and categories become one category. Where tables differ in kind, all become texts; see
    `corpuscle.source.labels.text_of`.

    Parameters
    ----------
    tables
        At least one; names of columns are distinct.

    Returns
    -------
    The columns of all tables in the order that they appear in, without those in which nothing has a value.

    Examples
    --------
    >>> whole = stack_tables([pd.DataFrame({"n": [1], "kind": [0]}), pd.DataFrame({"kind": ["b"]})])
    >>> whole["n"].tolist(), whole["kind"].tolist()
    ([1, <NA>], ['0', 'b'])
    """
    filled = [table.dropna(axis="columns", how="all") for table in tables if len(table)]
    if len(filled) < 2:
        return filled[0] if filled else tables[0]
    names = list(dict.fromkeys(name for table in filled for name in table))
    index = filled[0].index.append([table.index for table in filled[1:]])
    columns = {name: _column([table.get(name) for table in filled], filled).set_axis(index) for name in names}
    return pd.DataFrame(columns, index=index)


def _column(pieces: "list[pd.Series[Any] | None]", tables: Sequence[pd.DataFrame]) -> "pd.Series[Any]":
    """Put a column's pieces below each other; None for a table without it."""
    there = [piece for piece in pieces if piece is not None]
    kinds = {column_kind(piece) for piece in there}
    lengths = [len(table) for table in tables]
    dtype = _shared_type(there, kinds, some_missing=len(there) < len(pieces)) if len(kinds) == 1 else None
    if dtype is None:
        return _category([None if piece is None else as_texts(piece) for piece in pieces], lengths)
    parts = [
        pd.Series(np.nan, range(length), dtype=dtype) if piece is None else plain_type(piece).astype(dtype)
        for piece, length in zip(pieces, lengths, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _shared_type(pieces: "list[pd.Series[Any]]", kinds: set[Kind], *, some_missing: bool) -> Any:
    """Return the type that holds all pieces of one kind; None where they are to be a category of texts."""
    if kinds == {"mixed"}:
        return None
    if kinds == {"text"}:
        return None if any(isinstance(piece.dtype, pd.CategoricalDtype) for piece in pieces) else np.dtype(object)
    if kinds == {"date"}:
        return pieces[0].dtype if len({piece.dtype for piece in pieces}) == 1 else None
    pieces = [plain_type(piece) for piece in pieces]
    some_missing = some_missing or any(bool(piece.isna().any()) for piece in pieces)
    dtype = np.result_type(*(getattr(piece.dtype, "numpy_dtype", piece.dtype) for piece in pieces))
    if kinds == {"truth value"}:
        return "boolean" if some_missing else dtype
    if dtype.kind == "f" or not some_missing:
        return dtype
    return f"{'UInt' if dtype.kind == 'u' else 'Int'}{8 * dtype.itemsize}"


def plain_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return numbers or truth values in a type of NumPy's, or of pandas' nullable ones, where they are in another."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = pd.Series(column.cat.categories).convert_dtypes(convert_floating=False).array
        return pd.Series(values.take(column.cat.codes.to_numpy(), allow_fill=True), column.index)
    nullable = pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray
    if column.dtype != object and isinstance(column.array, (pd.arrays.NumpyExtensionArray, *nullable)):
        return column
    return column.astype(object).convert_dtypes(convert_floating=False)


def _category(pieces: "list[pd.Series[Any] | None]", lengths: list[int]) -> "pd.Series[Any]":
    """Put categories of texts below each other, as one with all their texts."""
    categories = pd.Index([], dtype=object)
    for piece in pieces:
        if piece is not None:
            categories = categories.append(piece.cat.categories.astype(object)).unique()
    codes = []
    for piece, length in zip(pieces, lengths, strict=True):
        if piece is None:
            codes.append(np.full(length, -1))
            continue
        # What has no code is the last of these.
        position = np.append(categories.get_indexer(piece.cat.categories), -1)
        codes.append(position[piece.cat.codes.to_numpy()])
    return pd.Series(pd.Categorical.from_codes(np.concatenate(codes), categories))
