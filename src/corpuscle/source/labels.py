"""Labels: the text of a label, decided by its value alone, whatever stands next to it.

The same cluster is 1 in one file, 1.0 in another where some cells have none, "1" in a third. As labels they are one.
"""

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.text import is_missing

# Texts that are labels, and likely say that there is none, or that the cell is none; without regard to case.
DOUBTFUL = frozenset({
    "unknown", "unassigned", "unannotated", "unclassified", "unidentified", "undefined", "undetermined", "unlabeled",
    "unlabelled", "not available", "not applicable", "missing", "none", "na", "nan", "null", "n.a.", "<na>", "-", "--",
    "?", ".", "doublet", "doublets", "multiplet", "low quality", "low-quality",
})  # fmt: skip
# Kinds of objects, as pandas calls them, of which equal ones have one text. Of others, True and 1 are equal.
_ONE_KIND = ("string", "bytes", "integer", "floating", "boolean", "empty")


def text_of(value: Any) -> str | None:
    """Return the text of a value; None where it is missing.

    Whole numbers have no decimals, whatever their type; other numbers have as few digits as distinguish them from
    others of single precision, if they are of such, or else of double precision. Bytes are UTF-8.

    Examples
    --------
    >>> [text_of(value) for value in (1, 1.0, True, "1", b"B", np.float32(0.1), float(np.float32(0.1)), float("nan"))]
    ['1', '1', 'True', '1', 'B', '0.1', '0.1', None]
    """
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float | np.floating):
        return _number(float(value))
    return str(value).removesuffix(" 00:00:00") if isinstance(value, date) else str(value)


def _number(value: float) -> str | None:
    if math.isnan(value):
        return None
    if value.is_integer():
        return str(int(value))
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    # A column of single precision becomes one of double precision next to another such.
    return str(single) if float(single) == value else str(value)


def label_of(value: Any) -> str | None:
    """Return the text of a label; None where there is none, also where a text stands for none.

    Examples
    --------
    >>> [label_of(value) for value in (0.0, "NA", " ", "na", "NaN-like")]
    ['0', None, None, 'na', 'NaN-like']
    """
    text = text_of(value)
    return None if text is None or is_missing(text) else text


def as_labels(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column as a category of labels; see `label_of`. Its index and name stay.

    Examples
    --------
    >>> as_labels(pd.Series([1.0, None, 0.0])).tolist()
    ['1', nan, '0']
    """
    return as_texts(column, label_of)


def as_texts(column: "pd.Series[Any]", text: Callable[[Any], str | None] = text_of) -> "pd.Series[Any]":
    """Return a column as a category of texts, what is missing as missing; its index and name stay.

    Parameters
    ----------
    column
        Values of any of pandas' types, or of several.
    text
        Returns the text of a value; None where it is missing.
    """
    code_N, values = _factorized(column, text)
    text_of_code = [text(value) for value in values]
    if isinstance(column.dtype, pd.CategoricalDtype) and text_of_code == list(values):
        return column
    names = list(dict.fromkeys(found for found in text_of_code if found is not None))
    place = {name: at for at, name in enumerate(names)}
    # What has no code is the last of these.
    new_code = np.array([*(place.get(found, -1) for found in text_of_code), -1])  # type: ignore[arg-type]  # None is -1
    categories = pd.Index(names, dtype=object)
    return pd.Series(pd.Categorical.from_codes(new_code[code_N], categories), column.index, name=column.name)


def _factorized(column: "pd.Series[Any]", text: Callable[[Any], str | None]) -> tuple[NDArray[Any], Any]:
    """Return a code for each value, -1 where it is missing, and what the codes stand for."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _ONE_KIND:
        code_N, values = pd.factorize(np.array([text(value) for value in column], dtype=object))
    else:
        code_N, values = pd.factorize(column)
    return code_N, values


def label_texts(column: "pd.Series[Any]") -> NDArray[np.str_]:
    """Return a column's labels as strings, shape (N,); a missing one reads ``""``.

    Examples
    --------
    >>> label_texts(pd.Series([3, None, 4])).tolist()
    ['3', '', '4']
    """
    labels = as_labels(column)
    used, code_N = np.unique(labels.cat.codes.to_numpy(), return_inverse=True)
    # As wide as the longest that is there: a hash of them does not depend on categories that no cell has.
    names = np.array(["" if code < 0 else labels.cat.categories[code] for code in used.tolist()], dtype=str)
    found: NDArray[np.str_] = names[code_N]
    return found
