"""Tables of bars: a row a corpus, a column what was measured, in each cell a bar per model on the metric's range."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg

# Ranges that a metric's scale has by itself: see `corpuscle.core.scores.Scale`.
RANGES = {"share": (0.0, 1.0), "correlation": (-1.0, 1.0)}
# Of more bars than these, numbers would not fit on a screen: they stand in the tables below, and in the CSV.
MOST_NUMBERS = 40


class Axis(NamedTuple):
    """Where a column's bars begin and end, in the metric's unit."""

    low: float
    high: float

    @classmethod
    def of(cls, scale: str, values: Sequence[float]) -> "Axis":
        """Return the range of a scale, where it has one; else round numbers about all values.

        Examples
        --------
        >>> Axis.of("share", [0.4, 0.5]), Axis.of("positive", [3.0, 17.0]), Axis.of("real", [-812.0, -640.0])
        (Axis(low=0.0, high=1.0), Axis(low=0.0, high=20.0), Axis(low=-850.0, high=-600.0))
        """
        if scale in RANGES:
            return cls(*RANGES[scale])
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        low = min(low, 0.0) if scale == "positive" or low >= 0 else low
        step = _step((high - low) or abs(high) or 1.0)
        ends = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(ends[0] + 0.0, ends[1] if ends[1] > ends[0] else ends[0] + step)

    def place(self, value: float) -> float:
        """Return where a value is, as a share of the range; what lies outside is at its end, NaN stays."""
        share = (value - self.low) / (self.high - self.low)
        return share if math.isnan(share) else min(1.0, max(0.0, share))

    @property
    def start(self) -> float:
        """Where bars begin: at 0, or nowhere (NaN) where the range leaves 0 out."""
        return self.place(0.0) if self.low <= 0 <= self.high else math.nan

    @property
    def text(self) -> str:
        """The range in words."""
        return f"{_plain(self.low)} to {_plain(self.high)}"


def _step(span: float) -> float:
    """Return a round number, of which between three and eight make the span."""
    ticks = svg.ticks(0.0, span, 4)
    return ticks[1] - ticks[0]


def _plain(value: float) -> str:
    return f"{value:,.10g}".replace("-", "−")


class Bar(NamedTuple):
    """One value on its axis.

    Attributes
    ----------
    value
        The number in words.
    start, at, low, high
        Where the bar begins, the mean, and the ends of its interval, as shares of the axis; NaN: there is none.
    tone
        ``"cool"`` (better than the baseline), ``"warm"`` (worse) or ``"neutral"``.
    mark
        ``"best"``, ``"tied"`` (with the best) or empty.
    words
        All of it in words.
    """

    value: str
    start: float
    at: float
    low: float
    high: float
    tone: str
    mark: str
    words: str

    @property
    def style(self) -> str:
        """Where it is drawn, as properties of a style sheet."""
        left = self.at if math.isnan(self.start) else min(self.start, self.at)
        right = self.at if math.isnan(self.start) else max(self.start, self.at)
        parts = {"s": left, "w": right - left, "m": self.at}
        if self.has_interval:
            parts |= {"l": self.low, "i": self.high - self.low}
        return ";".join(f"--{name}:{100 * share:.1f}%" for name, share in parts.items())

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.at)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def sign(self) -> str:
        """The mark as a sign."""
        return {"best": "★", "tied": "☆"}.get(self.mark, "")


class BarCell(NamedTuple):
    """The bars of one cell, and what it is sorted by: the mean over them; NaN sorts last."""

    bars: list[Bar]
    sort: float


class BarColumn(NamedTuple):
    """What a column has: the group it stands in, its name, which way is better, and its range."""

    group: str
    name: str
    better: str
    axis: Axis
    meaning: str = ""


class BarRow(NamedTuple):
    """What a row is of, its cells, and what stands before and behind them, in words with what they are sorted by."""

    name: str
    before: list[tuple[str, float]]
    cells: list[BarCell]
    behind: list[tuple[str, float]]


class BarTable(NamedTuple):
    """A table of bars.

    Attributes
    ----------
    columns, rows
        What it has.
    before, behind
        Names of the columns before and behind the bars.
    models
        What the bars of a cell are of, from top to bottom; empty where each cell has one.
    baseline
        The corpus that the others are compared with.
    of
        What the rows are: ``"Corpus"``, or ``"Model"`` where there is one corpus.
    """

    columns: list[BarColumn]
    rows: list[BarRow]
    before: list[str]
    behind: list[str]
    models: list[str]
    baseline: str
    of: str = "Corpus"

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups of columns, and how many columns each has."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found

    @property
    def is_dense(self) -> bool:
        """Whether there are too many bars for a number next to each."""
        return len(self.rows) * max(1, len(self.models)) > MOST_NUMBERS


def bar(row: pd.Series, axis: Axis, of: str, *, tone: str = "neutral", mark: str = "") -> Bar:
    """Lay a value out: `row` has ``mean``, ``low`` and ``high``; `of` says what it is of."""
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    interval = f" ({numbers.ranged(low, high, value=mean)})" if math.isfinite(low) else ""
    against = {"cool": "better than the baseline", "warm": "worse than the baseline"}.get(tone, "")
    standing = {"best": "best", "tied": "cannot be distinguished from the best"}.get(mark, "")
    words = ", ".join(part for part in (f"{of}: {numbers.number(mean)}{interval}", against, standing) if part)
    return Bar(numbers.number(mean), axis.start, axis.place(mean), axis.place(low), axis.place(high), tone, mark, words)
