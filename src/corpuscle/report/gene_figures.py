"""The gene scatter: observed against predicted expression, a panel per corpus, on logarithmic axes."""

import math

import numpy as np
import pandas as pd

from corpuscle.report import svg, words
from corpuscle.report.figures import WIDTH, Figure, Panels, _axes, _panel_title
from corpuscle.report.genes import Residuals
from corpuscle.report.svg import INK, MUTED, SURFACE, Drawing

FLOOR = 0.01
N_LABELS = 8


def residual_scatter(found: Residuals, stem: str) -> Figure:
    """Draw observed (across) against predicted (up) mean expression per gene, for each corpus.

    The genes whose prediction moved furthest from the baseline's are marked and named; in the baseline's own
    panel they are marked where they start from. Means below 0.01 per 10,000 are drawn at 0.01.
    """
    panels = Panels(len(found.corpora), height=230)
    title = f"Observed and predicted expression on {found.target}, {found.model}"
    drawing = Drawing(WIDTH, panels.total, name=stem, title=title)
    drawn = found.table.dropna(subset=["observed_cp10k", "predicted_cp10k"])
    ends = _ends(drawn)
    decades = [10.0**k for k in range(round(math.log10(ends[0])), round(math.log10(ends[1])) + 1)]
    drawing.text(0, 12, "up: predicted, across: observed; mean counts per 10,000 in the target", fill=MUTED)
    for i, corpus in enumerate(found.corpora):
        x, y = panels.place(i)
        x_log = svg.scale(math.log10(ends[0]), math.log10(ends[1]), x, x + panels.width)
        y_log = svg.scale(math.log10(ends[0]), math.log10(ends[1]), y + panels.height, y)
        x_of, y_of = _logged(x_log), _logged(y_log)
        _axes(drawing, (x, y), panels, (decades, x_of), (decades, y_of))
        _panel_title(drawing, corpus, (x, y), panels)
        drawing.line(x_of(ends[0]), y_of(ends[0]), x_of(ends[1]), y_of(ends[1]), stroke=MUTED, stroke_dasharray="3 3")
        here = drawn[drawn["corpus"] == corpus].set_index("gene")
        cloud = list(zip(here["observed_cp10k"].map(x_of), here["predicted_cp10k"].map(y_of), strict=True))
        drawing.dots(cloud, 1.5, stroke=MUTED, stroke_opacity=0.45)
        chosen = found.story[:N_LABELS] if corpus == found.baseline else list(found.moved(corpus, N_LABELS)["gene"])
        marked = [(g, x_of(here.at[g, "observed_cp10k"]), y_of(here.at[g, "predicted_cp10k"])) for g in chosen if g in here.index]
        _marks(drawing, marked, here, (x, y, panels.width, panels.height))
    n_genes = drawn["gene"].nunique()
    caption = (
        f"Each point is one of {n_genes:,} genes: mean over the cells of {found.target} and over seeds. On the dashed "
        f"line a gene is predicted as observed; below it, too low. Marked: the {N_LABELS} genes whose prediction "
        f"moved furthest from {found.baseline}'s, by log1p of counts per 10,000."
    )
    return Figure(stem, title, caption, drawing, found.table)


def _logged(of: "object"):  # type: ignore[no-untyped-def]
    """Scale a mean on a logarithmic axis, with a floor for zeros."""
    return lambda value: of(math.log10(max(value, FLOOR)))  # type: ignore[operator]


def _ends(drawn: pd.DataFrame) -> tuple[float, float]:
    """Whole decades that hold every mean, from `FLOOR` at the lowest."""
    values = drawn[["observed_cp10k", "predicted_cp10k"]].to_numpy(float)
    values = values[values > 0]
    low = max(FLOOR, float(values.min())) if values.size else FLOOR
    high = max(float(values.max()), 10 * low) if values.size else 1.0
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))


def _marks(
    drawing: Drawing, marked: list[tuple[str, float, float]], here: pd.DataFrame, box: tuple[float, float, float, float]
) -> None:
    """Mark genes and name them; names are moved apart up and down until none overlaps another."""
    x0, y0, width, height = box
    placed: list[tuple[float, float, float, float]] = []
    for gene, x, y in sorted(marked, key=lambda mark: (mark[2], mark[1])):
        row = here.loc[gene]
        observed, predicted = words.number(row["observed_cp10k"]), words.number(row["predicted_cp10k"])
        tip = f"{gene}: observed {observed}, predicted {predicted} per 10,000"
        drawing.add("circle", tip=tip, cx=x, cy=y, r=3.2, fill="warm", stroke=SURFACE, stroke_width=0.8)
        size = svg.text_width(gene, 10)
        left = x + 7 + size > x0 + width
        start = x - 7 - size if left else x + 7
        at = _free(start, y + 3.5, size, placed, (y0 + 9, y0 + height - 3))
        placed.append((start, at, size, 11))
        if abs(at - y - 3.5) > 5:
            drawing.line(x, y, start + (size if left else 0), at - 3.5, stroke="warm", stroke_width=0.7)
        halo = {"paint_order": "stroke", "stroke": SURFACE, "stroke_width": 2.5, "stroke_linejoin": "round"}
        drawing.text(start, at, gene, font_size=10, fill=INK, **halo)


def _free(
    x: float, y: float, width: float, placed: list[tuple[float, float, float, float]], ends: tuple[float, float]
) -> float:
    """Find the height nearest to `y` at which a name hits none of those placed."""
    for step in range(40):
        for sign in (1, -1):
            at = float(np.clip(y + sign * step * 3, *ends))
            if not any(x < px + pw and px < x + width and abs(at - py) < ph for px, py, pw, ph in placed):
                return at
    return y
