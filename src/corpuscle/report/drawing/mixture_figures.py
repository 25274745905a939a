"""Mixtures as figures: the recommended set by source, differences with intervals, predictions and scores."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
# Of the panel of a front.
FRONT, FRONT_WIDE = 340.0, 600.0
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


def front(
    table: pd.DataFrame, pair: tuple[str, str], marks: pd.DataFrame, better: tuple[str, str], stem: str
) -> Figure:
    """Draw a front: expected scores of two outputs, better to the right and up, with intervals.

    Parameters
    ----------
    table
        ``mixture``, ``best_for``, ``on_front``, and of each output its score, ``… low`` and ``… high``.
    pair
        The outputs across and up.
    marks
        Mixtures × outputs that are shown as marks: natural, uniform.
    better
        ``"higher"`` or ``"lower"``, of each output; where lower is better, the axis runs the other way.
    """
    is_point = table["best_for"].notna() | table["mixture"].astype(str).str.startswith("between ")
    table = table.assign(point=is_point)
    drawing = Drawing(WIDTH, TOP + FRONT + 40, name=stem, title=f"{pair[0]} against {pair[1]}")
    left, right, top, bottom = LEFT, LEFT + FRONT_WIDE, TOP, TOP + FRONT
    drawing.add("rect", x=left, y=top, width=right - left, height=bottom - top, fill=PANEL)
    x_of = _span(table, pair[0], marks, (left + 14, right - 14), better[0])
    y_of = _span(table, pair[1], marks, (bottom - 14, top + 14), better[1])
    for value in x_of.ticks:
        drawing.line(x_of.of(value), top, x_of.of(value), bottom, stroke=RULE)
        drawing.text(x_of.of(value), bottom + 15, _said(value), text_anchor="middle", fill=MUTED, font_size=10)
    for value in y_of.ticks:
        drawing.line(left, y_of.of(value), right, y_of.of(value), stroke=RULE)
        drawing.text(left - 6, y_of.of(value) + 3.5, _said(value), text_anchor="end", fill=MUTED, font_size=10)
    arrows = [f"{name} ({way} is better)" for name, way in zip(pair, better, strict=True)]
    drawing.text((left + right) / 2, bottom + 32, f"→ {arrows[0]}", text_anchor="middle", fill=MUTED)
    drawing.text(left, top - 8, f"↑ {arrows[1]}", fill=MUTED)
    points = table[table["point"]].sort_values(pair[0], kind="stable")
    drawing.path([(x_of.of(x), y_of.of(y)) for x, y in points[[*pair]].to_numpy(float)], stroke=MUTED, fill="none")
    _front_names(drawing, points, pair, (x_of, y_of))
    for row in table.sort_values("point", kind="stable").to_dict("records"):
        _point(drawing, row, pair, (x_of, y_of))
    for name in ("natural", "uniform"):
        if name in marks.index:
            _mark(drawing, name, x_of.of(float(marks.loc[name, pair[0]])), y_of.of(float(marks.loc[name, pair[1]])))
    caption = (
        "Expected scores. Filled: points of the front, joined by a line, with bars that hold 90 % of draws of each "
        "score; hollow: other mixtures that are not shown to be dominated. Better is to the right and up. A tick marks "
        "natural proportions, a cross uniform ones."
    )
    return Figure(stem, drawing.title, caption, drawing, table.drop(columns="point"))


def _span(table: pd.DataFrame, name: str, marks: pd.DataFrame, ends: tuple[float, float], better: str) -> Axis:
    """Return the axis of an output: of all that is drawn, the better end last."""
    shown = table.loc[table["point"], [f"{name} low", f"{name} high"]].to_numpy(float).ravel()
    values = [*shown, *table[name].astype(float), *marks[name].astype(float)]
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    pad = 0.04 * (high - low) or 0.05
    low, high = low - pad, high + pad
    start, end = ends if better == "higher" else (ends[1], ends[0])
    return Axis(svg.ticks(low, high, 6), svg.scale(low, high, start, end))


def _said(value: float) -> str:
    return f"{value:,.10g}".replace("-", "−")


def _point(drawing: Drawing, row: dict[str, Any], pair: tuple[str, str], axes: tuple[Axis, Axis]) -> None:
    """Draw a mixture of a front, or near it."""
    x, y = (axis.of(float(row[name])) for axis, name in zip(axes, pair, strict=True))
    if row["point"]:
        x_ends, y_ends = (
            [axis.of(float(row[f"{name} {end}"])) for end in ("low", "high")]
            for axis, name in zip(axes, pair, strict=True)
        )
        drawing.line(x_ends[0], y, x_ends[1], y, stroke=MUTED, stroke_width=1.2)
        drawing.line(x, y_ends[0], x, y_ends[1], stroke=MUTED, stroke_width=1.2)
    scores = ", ".join(f"{name} {numbers.number(float(row[name]))}" for name in pair)
    tip = f"{row['mixture']}: {scores}; on the front in {float(row['on_front']):.0%} of draws"
    fill = INK if row["point"] else SURFACE
    drawing.add("circle", tip=tip, cx=x, cy=y, r=4.6 if row["point"] else 3.4, fill=fill, stroke=INK, stroke_width=1.2)


def _front_names(drawing: Drawing, points: pd.DataFrame, pair: tuple[str, str], axes: tuple[Axis, Axis]) -> None:
    """Name the ends and the balanced mixture right of the panel, each at its height, with a line to its point."""
    named = points[points["best_for"].notna()]
    places = sorted((axes[1].of(float(row[pair[1]])), row) for row in named.to_dict("records"))
    x, last = LEFT + FRONT_WIDE + 24, -math.inf
    for y, row in places:
        last = max(y, last + 16)
        drawing.line(axes[0].of(float(row[pair[0]])) + 6, y, x - 4, last - 4, stroke=RULE)
        said = "balanced" if row["best_for"] == "balanced" else f"best for {row['best_for']}"
        drawing.text(x, last, svg.fitted(said, WIDTH - x - 6, 11.5), font_size=11.5)


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
