"""The gene scatter: observed against predicted expression, a panel per corpus, on logarithmic axes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import INK, MUTED, SURFACE, Drawing
from corpuscle.report.sections.gene_residuals import GeneResiduals

FLOOR = 0.01
N_LABELS = 8


def residual_scatter(found: GeneResiduals, stem: str) -> Figure:
    """Draw observed (across) against predicted (up) mean expression per gene, for each corpus.

    The same genes are named in every panel: those whose prediction moved furthest from the baseline's in any
    corpus. Means below 0.01 per 10,000 are drawn at 0.01.
    """
    panels = Panels(len(found.corpora), height=230)
    title = f"Observed and predicted expression on {found.target}, {found.model}"
    drawing = Drawing(WIDTH, panels.total, name=stem, title=title)
    drawn = found.table.dropna(subset=["observed", "expected"])
    ends = _ends(drawn)
    decades = [10.0**k for k in range(math.ceil(ends[0]), math.floor(ends[1]) + 1)]
    drawing.text(0, 14, "up: predicted, across: observed; mean counts per 10,000 in the target", fill=MUTED)
    for i, corpus in enumerate(found.corpora):
        x, y = panels.place(i)
        x_of = _logged(svg.scale(*ends, x, x + panels.width))
        y_of = _logged(svg.scale(*ends, y + panels.height, y))
        panels.frame(drawing, i, corpus, Axis(decades, x_of), Axis(decades, y_of))
        drawing.line(x, y + panels.height, x + panels.width, y, stroke=MUTED, stroke_dasharray="3 3")
        here = drawn[drawn["corpus"] == corpus].set_index("gene")
        across, up = here["observed"].map(x_of), here["expected"].map(y_of)
        drawing.dots(list(zip(across, up, strict=True)), 1.5, stroke=MUTED, stroke_opacity=0.4)
        named = [gene for gene in found.story[:N_LABELS] if gene in here.index]
        marked = [Mark(gene, across[gene], up[gene], _tip(here.loc[gene])) for gene in named]
        _draw_marks(drawing, marked, (x, y, panels.width, panels.height))
    caption = (
        f"Each point is one of {numbers.plural(drawn['gene'].nunique(), 'gene')}: mean over the cells of "
        f"{found.target} and over seeds. On the dashed line a gene is predicted as observed; below it, too low."
    )
    if found.story:
        caption += f" Named in every panel: the genes whose prediction moved furthest from {found.baseline}'s."
    return Figure(stem, title, caption, drawing, found.table.rename(columns=found.metrics))


class Mark(NamedTuple):
    """A named gene and where it is drawn."""

    gene: str
    x: float
    y: float
    tip: str


def _tip(row: pd.Series) -> str:
    observed, predicted = numbers.number(row["observed"]), numbers.number(row["expected"])
    return f"{row.name}: observed {observed}, predicted {predicted} per 10,000"


def _logged(of: Callable[[float], float]) -> Callable[[float], float]:
    """Scale a mean on a logarithmic axis, with a floor for zeros."""
    return lambda value: of(math.log10(max(value, FLOOR)))


def _ends(drawn: pd.DataFrame) -> tuple[float, float]:
    """Find the ends of both axes, log10 in half decades: from `FLOOR` at the lowest to the largest mean."""
    values = drawn[["observed", "expected"]].to_numpy(float)
    low = max(FLOOR, float(values.min())) if values.size else FLOOR
    high = max(float(values.max()), 10 * low) if values.size else 1.0
    return math.floor(2 * math.log10(low)) / 2, math.ceil(2 * math.log10(high)) / 2


def _draw_marks(drawing: Drawing, marks: list[Mark], box: tuple[float, float, float, float]) -> None:
    """Mark genes and name them; names are moved up and down until none hits another or a mark."""
    x0, y0, width, height = box
    placed = [(mark.x - 4, mark.y + 3.5, 8.0, 8.0) for mark in marks]
    for mark in sorted(marks, key=lambda mark: (mark.y, mark.x)):
        size = svg.text_width(mark.gene, 10)
        on_left = mark.x + 9 + size > x0 + width
        start = mark.x - 9 - size if on_left else mark.x + 9
        at = _free((start, mark.y + 3.5, size), placed, (y0 + 10, y0 + height - 3))
        placed.append((start, at, size, 11))
        if abs(at - mark.y - 3.5) > 5:
            drawing.line(mark.x, mark.y, start + (size if on_left else 0), at - 3.5, stroke=INK, stroke_width=0.7)
        halo = {"paint_order": "stroke", "stroke": SURFACE, "stroke_width": 2.5, "stroke_linejoin": "round"}
        anchor = "end" if on_left else "start"
        drawing.text(start + (size if on_left else 0), at, mark.gene, font_size=10, text_anchor=anchor, **halo)
        place: dict[str, Any] = {"cx": mark.x, "cy": mark.y, "r": 3.2}
        drawing.add("circle", tip=mark.tip, fill=INK, stroke=SURFACE, stroke_width=0.8, **place)


def _free(
    name: tuple[float, float, float],
    placed: list[tuple[float, float, float, float]],
    ends: tuple[float, float],
) -> float:
    """Find the height nearest to the wanted one at which a name (x, y, width) hits nothing placed."""
    x, y, width = name
    for step in range(60):
        for sign in (1, -1):
            at = float(np.clip(y + sign * step * 3, *ends))
            if not any(x < px + pw and px < x + width and abs(at - py) < ph for px, py, pw, ph in placed):
                return at
    return y
