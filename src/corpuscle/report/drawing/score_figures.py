"""The scores as figures: the heatmap, for slides, and the fold changes with their intervals."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import MUTED, PANEL, SURFACE, THEME, Drawing
from corpuscle.report.sections.heatmaps import SHOWN, Cell, Heat, toned
from corpuscle.statistics.comparisons import RATIO

CELL_W, CELL_H = 96.0, 56.0


def heatmap(heat: Heat, stem: str) -> Figure:
    """Draw a heatmap for slides; the page shows the same as a table.

    Each cell has the mean, its interval, and the comparison, from top to bottom.
    """
    left, top = 190.0, 74.0
    width = left + CELL_W * max(len(heat.corpora), 4) + 20
    height = top + CELL_H * len(heat.rows) + 58 + 14 * len(heat.notes)
    title = f"{heat.title}: {heat.model or 'all models'}"
    drawing = Drawing(width, height, name=stem, title=title)
    drawing.text(10, 22, svg.fitted(title, width - 20, 14), font_size=14, font_weight=600)
    for j, corpus in enumerate(heat.corpora):
        x = left + CELL_W * (j + 0.5)
        for k, line in enumerate(_two_lines(corpus, CELL_W - 6)):
            drawing.text(x, top - 22 + 13 * k, line, text_anchor="middle", font_weight=600)
    for i, row in enumerate(heat.rows):
        y = top + CELL_H * i
        indent = 14 if row.indented else 0
        drawing.text(10 + indent, y + 25, svg.fitted(row.label, left - 20 - indent, 12), font_size=12)
        drawing.text(10 + indent, y + 39, row.detail, font_size=10, fill=MUTED)
        for j, cell in enumerate(row.cells):
            _heat_cell(drawing, cell, left + CELL_W * j, y)
    bottom = top + CELL_H * len(heat.rows)
    _colour_key(drawing, left, bottom + 18, heat)
    for i, note in enumerate(heat.notes):
        text = svg.fitted(f"({numbers.letter(i + 1)}) {note}", width - 20, 10)
        drawing.text(10, bottom + 62 + 14 * i, text, font_size=10, fill=MUTED)
    return Figure(stem, title, "", drawing, heat.data)


def _heat_cell(drawing: Drawing, cell: Cell, x: float, y: float) -> None:
    """Draw one cell; the strongest colour stays light enough for dark text."""
    fill = svg.mix(THEME[cell.tone], THEME[PANEL], 0.62 * cell.weight)
    drawing.add("rect", tip=cell.tip, x=x + 1, y=y + 1, width=CELL_W - 2, height=CELL_H - 2, rx=2, fill=fill)
    note = f" ({numbers.letter(cell.note)})" if cell.note else ""
    middle, weight = x + CELL_W / 2, 700 if cell.resolved else 400
    drawing.text(middle, y + 20, cell.value + note, font_size=13, text_anchor="middle", font_weight=weight)
    for k, small in enumerate(part for part in (cell.spread, cell.change) if part):
        drawing.text(middle, y + 34 + 13 * k, small, font_size=10, text_anchor="middle")


def _colour_key(drawing: Drawing, x: float, y: float, heat: Heat) -> None:
    """Draw the colour scale with its ends named."""
    low, high = ("worse", "better") if heat.directed else ("changed", "changed")
    steps = [i / 5 for i in range(-5, 6)]
    for i, step in enumerate(steps):
        tone = toned(step, "higher" if heat.directed else "none")
        fill = svg.mix(THEME[tone], THEME[PANEL], 0.62 * abs(step))
        drawing.add("rect", x=x + 70 + 16.0 * i, y=y, width=16, height=10, fill=fill)
    drawing.text(x + 64, y + 9, low, text_anchor="end", font_size=10, fill=MUTED)
    drawing.text(x + 76 + 16.0 * len(steps), y + 9, high, font_size=10, fill=MUTED)
    label = f"{heat.compared_by} against {heat.baseline}, full from ±{heat.limit:g}; bold: stands after correction"
    drawing.text(x, y + 27, svg.fitted(label, drawing.width - x - 10, 10), font_size=10, fill=MUTED)


def _two_lines(text: str, width: float) -> list[str]:
    """Break a name over two lines at a separator near its middle, where it does not fit on one."""
    if svg.text_width(text) * 1.05 <= width:
        return ["", text]
    breaks = [i for i, c in enumerate(text) if c in " +-_/," and 0 < i < len(text) - 1]
    if not breaks:
        return ["", svg.fitted(text, width)]
    at = min(breaks, key=lambda i: abs(i - len(text) / 2)) + 1
    return [svg.fitted(text[:at].strip(), width), svg.fitted(text[at:].strip(), width)]


def effects(heat: Heat, stem: str) -> Figure:
    """Draw the comparisons of one heatmap with their intervals: a panel per target, a row per corpus."""
    data = heat.data[(heat.data["unit"] == "all") & (heat.data["corpus"] != heat.baseline)]
    names = [name for name in heat.corpora if name != heat.baseline]
    targets = [row.label for row in heat.rows if not row.indented]
    panels = Panels(len(targets), height=22.0 * len(names) + 8, left=176, gap=26)
    drawing = Drawing(WIDTH, panels.total, name=stem, title=f"{_plural(heat)}, {heat.title}: {heat.model}")
    low, high = _reach(data, heat)
    drawing.text(0, 14, f"{heat.compared_by} against {heat.baseline}, with its 95 % interval", fill=MUTED)
    for i, target in enumerate(targets):
        x, y = panels.place(i)
        x_of = svg.scale(low, high, x + 8, x + panels.width - 8)
        panels.frame(drawing, i, target, Axis(svg.ticks(low, high, 4), x_of))
        drawing.line(x_of(0), y, x_of(0), y + panels.height, stroke=MUTED)
        rows = data[data["target"] == target].set_index("corpus")
        for j, name in enumerate(names):
            at = y + 4 + 22 * (j + 0.5)
            if i % panels.columns == 0:
                drawing.text(x - 10, at + 4, svg.fitted(name, 160, 11.5), text_anchor="end", font_size=11.5)
            if name in rows.index:
                clip = drawing.clip(x, y, panels.width, panels.height)
                _effect(drawing, rows.loc[name], Place(x_of, at, clip), heat)
    sides = {"higher": "Right of the line is better", "lower": "Left of the line is better"}
    caption = (
        f"{sides.get(heat.better, 'Right of the line is higher')} than {heat.baseline}. Points: means over seeds of "
        f"the {heat.compared_by}; bars: their 95\N{NO-BREAK SPACE}% intervals. Filled, and blue or orange, where the "
        "difference stands after Holm's correction for all comparisons of the metric. "
        "Without a bar, no interval could be estimated; without a point, no comparison."
    )
    return Figure(stem, drawing.title, caption, drawing, data)


class Place(NamedTuple):
    """Where a point goes: the horizontal scale, its height, and what the panel cuts off."""

    x_of: Callable[[float], float]
    y: float
    clip: str


def _plural(heat: Heat) -> str:
    return "Fold changes" if heat.scale == RATIO else "Differences"


def _reach(data: pd.DataFrame, heat: Heat) -> tuple[float, float]:
    """Find the ends of the axis: every point and 0, and intervals as far as twice beyond the points."""
    points, least = [0.0, *data[heat.scale.value].dropna()], 0.4 * heat.limit
    reach = max(least, *(abs(point) for point in points))
    low = max(min([*points, *data[heat.scale.low].dropna()]), min(points) - reach)
    high = min(max([*points, *data[heat.scale.high].dropna()]), max(points) + reach)
    pad = 0.05 * max(high - low, least)
    return low - pad, high + pad


def _effect(drawing: Drawing, row: pd.Series, at: Place, heat: Heat) -> None:
    """Draw one point with its interval."""
    change, low, high = (float(row[name]) for name in heat.scale[:3])
    if not math.isfinite(change):
        return
    resolved = str(row["verdict"]) in SHOWN
    tone = toned(change, heat.better) if resolved else "neutral"
    colour = MUTED if resolved and tone == "neutral" else tone
    if math.isfinite(low):
        look = {"stroke": colour, "stroke_width": 2.4, "clip_path": at.clip}
        drawing.line(at.x_of(low), at.y, at.x_of(high), at.y, **look)
    shown, *ends = (numbers.signed(x) if heat.scale == RATIO else numbers.difference(x) for x in (change, low, high))
    tip = f"{row.name} on {row['target']}: {shown}, interval {ends[0]} to {ends[1]}"
    fill = colour if resolved else SURFACE
    x = at.x_of(change)
    drawing.add("circle", tip=tip, cx=x, cy=at.y, r=4.2, fill=fill, stroke=colour, stroke_width=1.8)
