"""Book: measures as rows of a long table; what is not defined is NaN with its reason."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import pandas as pd

from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric

T = TypeVar("T")

NO_INTERVAL = "interval: not estimated"


class Drawn(NamedTuple):
    """What reports say of a curve that they draw: its title, its meaning in a sentence, and what its `x` is."""

    title: str = ""
    meaning: str = ""
    across: str = ""


@dataclass
class Row:
    """One number of a corpus. A measure sets `value` and, where it knows an interval over donors, `low` and `high`."""

    metric: Metric
    of: str
    target: str
    size: str
    n_cells: int
    headline: bool
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    def flat(self) -> dict[str, Any]:
        """Return its fields and those of its metric, whose name is that of the measure."""
        said, place = asdict(self.metric), vars(self).copy()
        del place["metric"]
        return {"measure": said.pop("name"), **said, **place}


class Book:
    """Collects the rows of one measure, and the points of its curves.

    Parameters
    ----------
    of
        What rows are of, where they do not say it themselves.

    Examples
    --------
    >>> book = Book("components")
    >>> with book.row(Metric("spread", "Spread", "Mean distance to the mean."), 3) as row:
    ...     raise MeasureError("there are too few cells")
    >>> measures, curves = tables([book])
    >>> measures[["measure", "title", "value", "reason"]].to_dict("records")
    [{'measure': 'spread', 'title': 'Spread', 'value': nan, 'reason': 'there are too few cells'}]
    """

    def __init__(self, of: str) -> None:
        self.of = of
        self.rows: list[Row] = []
        self.points: list[dict[str, Any]] = []

    @contextmanager
    def row(
        self,
        metric: Metric,
        n_cells: int,
        *,
        of: str = "",
        target: str = "",
        size: str = "own",
        headline: bool = True,
    ) -> Iterator[Row]:
        """Give a row to write ``value``, ``low`` and ``high`` into; a `MeasureError` leaves NaN and is the reason.

        Parameters
        ----------
        metric
            What the number is.
        n_cells
            How many cells of the corpus it rests on.
        of
            What it is of: a label, ``"components"``, ``"genes"``, or a name of the measure's own.
        target
            The target that the corpus is compared with; empty: none.
        size
            ``"own"``, or ``"equal"``: of as many cells as the smallest corpus has.
        headline
            Whether reports show it; the others are in the tables alone.
        """
        row = Row(metric, of or self.of, target, size, n_cells, headline)
        self.rows.append(row)
        try:
            yield row
        except MeasureError as error:
            row.reason = str(error)
        if math.isnan(row.low) and not row.reason:
            row.reason = NO_INTERVAL

    def curve(
        self,
        profile: str,
        x: Sequence[float],
        value: Sequence[float],
        *,
        of: str = "",
        drawn: Drawn | None = None,
    ) -> None:
        """Add the points of a curve.

        Parameters
        ----------
        profile
            Its name in tables.
        x, value
            The points.
        of
            What it is of, as in `row`.
        drawn
            What reports say of it where they draw it: the first such curve of cell types. None: it is in the tables
            alone.
        """
        said = {"profile": profile, "of": of or self.of, **(drawn or Drawn())._asdict()}
        self.points += [{**said, "x": float(at), "value": float(y)} for at, y in zip(x, value, strict=True)]


def tables(books: Sequence[Book]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the measures and the curves of several books."""
    measures = pd.DataFrame([row.flat() for book in books for row in book.rows])
    curves = pd.DataFrame([point for book in books for point in book.points])
    return measures.astype(dict.fromkeys(("value", "low", "high"), float)), curves


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


class Once(Generic[T]):
    """A property that is found when it is first asked for, and once; a `MeasureError` is kept and raised each time.

    Examples
    --------
    >>> class Cells:
    ...     @Once
    ...     def spread(self) -> float:
    ...         print("searching")
    ...         return 2.0
    >>> cells = Cells()
    >>> cells.spread, cells.spread
    searching
    (2.0, 2.0)
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        if instance is None:
            return self  # type: ignore[return-value]  # asked of the class, by tools that document it
        kept = vars(instance)
        key = f"once {self._make.__name__}"
        if key not in kept:
            kept[key] = attempt(lambda: self._make(instance))
        return demand(kept[key])  # type: ignore[no-any-return]
