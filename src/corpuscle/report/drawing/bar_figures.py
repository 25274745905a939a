"""A table of bars as a figure, for slides and papers; the page has it as a table."""

import math

import pandas as pd

from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.svg import INK, MUTED, PANEL, Drawing
from corpuscle.report.sections.bar_table import Bar, BarTable

LEFT, COLUMN, GAP, TEXT, NUMBER = 170.0, 126.0, 12.0, 84.0, 52.0
TOP, LANE, DENSE_LANE, SPACE = 74.0, 16.0, 7.0, 8.0


def bar_figure(table: BarTable, title: str, caption: str, stem: str, data: pd.DataFrame) -> Figure:
    """Draw a table of bars: a row a corpus, a column what was measured, in each cell a bar per model."""
    lanes = max(1, len(table.models))
    lane = DENSE_LANE if table.is_dense else LANE
    row_h = lanes * lane + SPACE
    x_of = [LEFT + TEXT * len(table.before) + (COLUMN + GAP) * at for at in range(len(table.columns))]
    end = LEFT + TEXT * len(table.before) + (COLUMN + GAP) * len(table.columns)
    bottom = TOP + row_h * len(table.rows)
    legend = [f"Bars of a cell, from the top: {', '.join(table.models)}."] if table.models else []
    height = bottom + 18 + 14 * len(legend)
    drawing = Drawing(end + TEXT * len(table.behind) + 10, height, name=stem, title=title)
    _head(drawing, table, x_of, end)
    for at, row in enumerate(table.rows):
        y = TOP + row_h * at
        middle = y + (row_h - SPACE) / 2 + 4
        weight = 600 if row.name == table.baseline else 400
        drawing.text(10, middle, svg.fitted(row.name, LEFT - 16, 12), font_size=12, font_weight=weight)
        for i, (text, _) in enumerate(row.before):
            drawing.text(LEFT + TEXT * i, middle, text, fill=MUTED)
        for x, cell in zip(x_of, row.cells, strict=True):
            for k, one in enumerate(cell.bars):
                _bar(drawing, one, (x, y + lane * k, lane), shows_number=not table.is_dense)
        for i, (text, _) in enumerate(row.behind):
            drawing.text(end + TEXT * i, middle, text, fill=MUTED)
    for k, line in enumerate(legend):
        drawing.text(10, bottom + 18 + 14 * k, line, fill=MUTED)
    return Figure(stem, title, caption, drawing, data)


def _head(drawing: Drawing, table: BarTable, x_of: list[float], end: float) -> None:
    at = 0
    for group, count in table.groups:
        width = (COLUMN + GAP) * count - GAP
        drawing.text(x_of[at], 18, svg.fitted(group, width, 11.5), font_size=11.5, font_weight=600)
        drawing.line(x_of[at], 25, x_of[at] + width, 25)
        at += count
    for x, column in zip(x_of, table.columns, strict=True):
        drawing.text(x, 42, svg.fitted(column.name, COLUMN, 11))
        drawing.text(x, 56, column.axis.text, font_size=9.5, fill=MUTED)
    for names, x in ((table.before, LEFT), (table.behind, end)):
        for i, name in enumerate(names):
            drawing.text(x + TEXT * i, 42, svg.fitted(name, TEXT - 4, 11), fill=MUTED)


def _bar(drawing: Drawing, one: Bar, at: tuple[float, float, float], *, shows_number: bool) -> None:
    """Draw one bar in its lane: where it is, and how high."""
    x, y, lane = at
    left, width = (x + NUMBER, COLUMN - NUMBER) if shows_number else (x + 10, COLUMN - 10)
    if shows_number:
        bold = 600 if one.mark else 400
        drawing.text(x, y + 12, f"{one.value} {one.sign}".strip(), font_size=10.5, font_weight=bold)
    elif one.mark:
        drawing.add(
            "circle", cx=x + 4, cy=y + lane / 2, r=2.2, fill=INK if one.mark == "best" else "surface", stroke=INK
        )
    drawing.add("rect", x=left, y=y + 0.5, width=width, height=lane - 1, fill=PANEL)
    if not one.is_known:
        return
    start = one.at if math.isnan(one.start) else one.start
    low, high = sorted((start, one.at))
    span = max(width * (high - low), 1.5)
    drawing.add("rect", tip=one.words, x=left + width * low, y=y + 1.5, width=span, height=lane - 3, fill=one.tone)
    if one.has_interval:
        middle = y + lane / 2
        drawing.line(left + width * one.low, middle, left + width * one.high, middle, stroke=INK, stroke_width=1.4)
