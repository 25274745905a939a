"""Mixtures as figures: the recommended set by source, differences with intervals, predictions and scores."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import INK, MUTED, PANEL, RULE, SURFACE, Drawing

# Of a row, and of the names left of them.
ROW, LEFT, TOP = 24.0, 210.0, 34.0
# Panels of predictions, in the order of the outputs.
MOST_PANELS = 12
# Sources, or rivals, that are drawn.
MOST_ROWS = 60


def recommended_set(ranges: pd.DataFrame, marks: pd.DataFrame, stem: str) -> Figure:
    """Draw the weight of each source: its range in the credible set, and what single mixtures give it.

    Parameters
    ----------
    ranges
        ``source``, ``best``, ``least`` and ``most``.
    marks
        Mixtures × sources that are shown as marks: natural, uniform.
    """
    shown = ranges.sort_values("best", ascending=False, kind="stable").head(MOST_ROWS)
    drawing = Drawing(WIDTH, TOP + ROW * len(shown) + 34, name=stem, title="The recommended set")
    x_of = _axis(drawing, 0.0, max(0.1, float(ranges["most"].max()), float(marks.to_numpy().max(initial=0))),
                 len(shown), "share of the corpus")  # fmt: skip
    shapes = ("natural", "uniform")
    _keys(drawing, [("bar", "range in the credible set"), ("dot", "recommended"), *((name, name) for name in shapes)])
    for at, row in enumerate(shown.itertuples()):
        y = TOP + ROW * (at + 0.5)
        _name(drawing, str(row.source), y)
        tip = f"{row.source}: {row.best:.1%} recommended, {row.least:.1%} to {row.most:.1%} among mixtures that tie"
        left, right = x_of(float(row.least)), x_of(float(row.most))
        drawing.add("rect", tip=tip, x=left, y=y - 5, width=max(1.5, right - left), height=10, rx=2, fill="neutral")
        for name in shapes:
            if name in marks.index and row.source in marks.columns:
                _mark(drawing, name, x_of(float(marks.loc[name, row.source])), y)
        drawing.add("circle", tip=tip, cx=x_of(float(row.best)), cy=y, r=5, fill=INK)
    caption = (
        "Bars: the least and most that any mixture of the credible set has of a source, none of which is shown to be "
        "worse than the best; dots: the recommended mixture. A long bar says that the source's share hardly matters."
    )
    return Figure(stem, drawing.title, caption, drawing, ranges)


class Forest(NamedTuple):
    """What a forest plot is of: rows with a name, a value, and the ends of its interval; and whether it is resolved."""

    title: str
    across: str
    caption: str


def forest(rows: pd.DataFrame, about: Forest, stem: str) -> Figure:
    """Draw values with their intervals around 0, a row each: ``name``, ``value``, ``low``, ``high``, ``resolved``."""
    shown = rows.head(MOST_ROWS)
    drawing = Drawing(WIDTH, TOP + ROW * len(shown) + 34, name=stem, title=about.title)
    known = [value for value in shown[["value", "low", "high"]].to_numpy(float).ravel() if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    pad = 0.06 * (high - low) or 0.1
    x_of = _axis(drawing, low - pad, high + pad, len(shown), about.across)
    drawing.line(x_of(0), TOP, x_of(0), TOP + ROW * len(shown), stroke=MUTED)
    for at, row in enumerate(shown.itertuples()):
        y = TOP + ROW * (at + 0.5)
        _name(drawing, str(row.name), y)
        value, least, most = float(row.value), float(row.low), float(row.high)
        if not math.isfinite(value):
            drawing.text(x_of(0) + 6, y + 4, "n/a", fill=MUTED)
            continue
        tone = ("cool" if value > 0 else "warm") if row.resolved else MUTED
        if math.isfinite(least) and math.isfinite(most):
            drawing.line(x_of(least), y, x_of(most), y, stroke=tone, stroke_width=2.4)
        tip = f"{row.name}: {numbers.signed(value)} ({numbers.signed(least)} to {numbers.signed(most)})"
        fill = tone if row.resolved else SURFACE
        drawing.add("circle", tip=tip, cx=x_of(value), cy=y, r=4.2, fill=fill, stroke=tone, stroke_width=1.8)
    return Figure(stem, about.title, about.caption, drawing, rows)


def predictions(table: pd.DataFrame, outputs: Sequence[str], stem: str) -> Figure:
    """Draw observed against predicted scores: ``mixture``, ``output``, ``observed``, ``predicted``, ``held_out``."""
    names = [name for name in outputs if name in set(table["output"])][:MOST_PANELS]
    panels = Panels(len(names), height=170.0)
    drawing = Drawing(WIDTH, panels.total + 22, name=stem, title="Predicted and observed scores")
    for at, name in enumerate(names):
        here = table[table["output"] == name].dropna(subset=["observed", "predicted"])
        values = here[["observed", "predicted"]].to_numpy(float)
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        pad = 0.06 * (high - low) or 0.05
        x, y, width, height = panels.box(at)
        x_of = svg.scale(low - pad, high + pad, x + 6, x + width - 6)
        y_of = svg.scale(low - pad, high + pad, y + height - 6, y + 6)
        ticks = svg.ticks(low - pad, high + pad, 4)
        panels.frame(drawing, at, name, Axis(ticks, x_of), Axis(ticks, y_of))
        drawing.line(x_of(low - pad), y_of(low - pad), x_of(high + pad), y_of(high + pad), stroke=MUTED)
        for row in here.sort_values("held_out").itertuples():
            tip = f"{row.mixture}: predicted {numbers.number(row.predicted)}, observed {numbers.number(row.observed)}"
            at_x, at_y, fill = x_of(row.predicted), y_of(row.observed), INK if row.held_out else SURFACE
            drawing.add("circle", tip=tip, cx=at_x, cy=at_y, r=3.6, fill=fill, stroke=INK, stroke_width=1.4)
    drawing.text(WIDTH / 2, panels.total + 16, "across: predicted; up: observed", text_anchor="middle", fill=MUTED)
    caption = (
        "A dot per mixture: the mean of its trainings, and what was predicted by surrogates that had not seen it. "
        "Filled: held-out mixtures, drawn on their own, that no surrogate learnt from."
    )
    return Figure(stem, drawing.title, caption, drawing, table)


def _axis(drawing: Drawing, low: float, high: float, n_rows: int, label: str) -> Callable[[float], float]:
    """Draw the ground and the horizontal axis of rows; return how to place a value."""
    x_of, bottom = svg.scale(low, high, LEFT, WIDTH - 30), TOP + ROW * n_rows
    drawing.add("rect", x=LEFT, y=TOP, width=WIDTH - 30 - LEFT, height=ROW * n_rows, fill=PANEL)
    for value in svg.ticks(low, high, 8):
        drawing.line(x_of(value), TOP, x_of(value), bottom, stroke=RULE)
        shown = f"{value:g}".replace("-", "−")
        drawing.text(x_of(value), bottom + 15, shown, text_anchor="middle", fill=MUTED, font_size=10)
    drawing.text((LEFT + WIDTH - 30) / 2, bottom + 30, label, text_anchor="middle", fill=MUTED)
    return x_of


def _name(drawing: Drawing, name: str, y: float) -> None:
    drawing.text(LEFT - 10, y + 4, svg.fitted(name, LEFT - 14, 11.5), text_anchor="end", font_size=11.5)


def _mark(drawing: Drawing, name: str, x: float, y: float) -> None:
    """Draw natural as a tick, uniform as a cross."""
    if name == "natural":
        drawing.line(x, y - 8, x, y + 8, stroke=INK, stroke_width=1.6)
    else:
        for sign in (-1, 1):
            drawing.line(x - 4, y - 4 * sign, x + 4, y + 4 * sign, stroke=INK, stroke_width=1.4)


def _keys(drawing: Drawing, keys: Sequence[tuple[str, str]]) -> None:
    x = LEFT
    for shape, label in keys:
        if shape == "bar":
            drawing.add("rect", x=x, y=11, width=18, height=9, rx=2, fill="neutral")
        elif shape == "dot":
            drawing.add("circle", cx=x + 9, cy=15.5, r=5, fill=INK)
        else:
            _mark(drawing, shape, x + 9, 15.5)
        drawing.text(x + 24, 19.5, label, fill=MUTED)
        x += 42 + svg.text_width(label)
