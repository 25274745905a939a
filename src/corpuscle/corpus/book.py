"""Book: measures as rows of a long table; what is not defined is NaN with its reason."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from corpuscle.core.errors import MeasureError

T = TypeVar("T")

NO_INTERVAL = "interval: not estimated"
# Which way is better for a corpus that is to cover a target; all else describes, and neither way is better.
DIRECTIONS = {
    "coverage": "higher",
    "knn_distance": "lower",
    "recall": "higher",
    "density": "higher",
    "squared_mmd": "lower",
    "classifier_auc": "lower",
    "gene_coverage": "higher",
    "moment_proxy": "higher",
}


class Book:
    """Collects rows, and the points of curves.

    Examples
    --------
    >>> book = Book()
    >>> with book.row("coverage", "components", 3) as row:
    ...     raise MeasureError("there are too few cells")
    >>> measures, curves = book.tables()
    >>> measures[["measure", "value", "reason"]].to_dict("records")
    [{'measure': 'coverage', 'value': nan, 'reason': 'there are too few cells'}]
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._points: list[dict[str, Any]] = []

    @contextmanager
    def row(
        self, measure: str, of: str, n_cells: int, *, target: str = "", size: str = "own"
    ) -> Iterator[dict[str, Any]]:
        """Give a row to write ``value``, ``low`` and ``high`` into; a `MeasureError` leaves NaN and is the reason."""
        row: dict[str, Any] = {"measure": measure, "of": of, "target": target, "size": size, "n_cells": n_cells,
                               "value": np.nan, "low": np.nan, "high": np.nan, "reason": "",
                               "better": DIRECTIONS.get(measure, "none")}  # fmt: skip
        self._rows.append(row)
        try:
            yield row
        except MeasureError as error:
            row["reason"] = str(error)
        if np.isnan(row["low"]) and not row["reason"]:
            row["reason"] = NO_INTERVAL

    def curve(self, profile: str, of: str, x: Sequence[float], value: Sequence[float]) -> None:
        """Add the points of a curve."""
        points = zip(x, value, strict=True)
        self._points += [{"profile": profile, "of": of, "x": float(at), "value": float(found)} for at, found in points]

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the measures and the curves."""
        floats = dict.fromkeys(("value", "low", "high"), float)
        return pd.DataFrame(self._rows).astype(floats), pd.DataFrame(self._points)


def attempt(make: Callable[[], T]) -> T | MeasureError:
    """Return what is made, or why it cannot be: for what several rows need.

    Examples
    --------
    >>> attempt(lambda: 1)
    1
    """
    try:
        return make()
    except MeasureError as error:
        # The error is kept, so it must not hold on to the frames that it came from, and all the cells in them.
        return MeasureError(str(error))


def demand(found: T | MeasureError) -> T:
    """Return what was made, or raise why it could not be; the error that is kept stays free of tracebacks."""
    if isinstance(found, MeasureError):
        raise MeasureError(str(found))
    return found
