"""The corpora as figures: what each is made of, and how training on it went."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import MUTED, SURFACE, TRAIN, VALID, Drawing

MAX_CATEGORIES = len(svg.CATEGORIES)
MAX_POINTS = 300
# Of more corpora than these, bars are thinner.
MOST_WIDE = 8
NOUNS = {"cell_type": "type", "tissue": "tissue", "disease": "disease", "source": "source", "donor": "donor"}


class Bars(NamedTuple):
    """Stacked bars: per corpus its segments (value, cells) in the order of the legend, and their colours."""

    label: str
    segments: dict[str, list[tuple[str, float]]]
    colours: dict[str, str]
    as_share: bool


def composition_figure(table: pd.DataFrame, column: str, corpora: Sequence[str], stem: str) -> Figure:
    """Draw what each corpus is made of by one column, as stacked bars of cells (mean over seeds).

    The most frequent values over all corpora are drawn; the rest is summed as "other". Bars show shares where
    the sizes of the corpora differ more than eightfold.
    """
    here = table[table["column"] == column]
    seeds = here.groupby("corpus")["seed"].nunique()
    totals = here.groupby(["corpus", "value"], sort=False)["n_cells"].sum()
    cells = (totals / seeds).rename("n_cells")
    sizes = cells.groupby("corpus").sum()
    label = column.replace("_", " ")
    shown, other = shown_values(cells, NOUNS.get(column, "value"))
    colours = dict(zip([*shown, *([other] if other else [])], [*svg.CATEGORIES, svg.OTHER], strict=False))
    segments = {
        name: segments_of(cells.loc[[name]].droplevel("corpus"), shown, other)
        for name in corpora
        if name in seeds.index
    }
    bars = Bars(label, segments, colours, as_share=bool(sizes.max() > 8 * sizes.min()))
    data = cells.reset_index()
    data["share"] = data["n_cells"] / data["corpus"].map(sizes)
    parts = [f"{'Share of cells' if bars.as_share else 'Cells'} per corpus by {label}"]
    parts[0] += ", mean over seeds." if seeds.max() > 1 else "."
    if bars.as_share:
        parts.append("Sizes differ more than eightfold, so bars show shares; sizes stand next to them.")
    if other:
        parts.append(f"The {len(shown)} most frequent are drawn; the rest is in the CSV.")
    return Figure(stem, label.capitalize(), " ".join(parts), _draw_bars(bars, stem), data)


def shown_values(cells: pd.Series, noun: str) -> tuple[list[str], str]:
    """Values worth a colour, most frequent first, and the name of what is left; empty where nothing is."""
    order = cells.groupby("value").sum().sort_values(ascending=False, kind="stable")
    names = [str(value) for value in order.index]
    if len(names) <= MAX_CATEGORIES + 1:
        return names, ""
    rest = len(names) - MAX_CATEGORIES
    return names[:MAX_CATEGORIES], f"other ({numbers.plural(rest, noun)})"


def segments_of(cells: pd.Series, shown: Sequence[str], other: str) -> list[tuple[str, float]]:
    """List the segments of one bar in the order of the legend, with the small ones summed."""
    parts = [(value, float(cells.get(value, 0.0))) for value in shown]
    rest = float(cells.drop(labels=[value for value in shown if value in cells.index]).sum())
    return [*parts, (other, rest)] if other else parts


def _draw_bars(bars: Bars, stem: str) -> Drawing:
    """Draw the bars, their axis and sizes, and the legend."""
    left, right, top = 170.0, 100.0, 8.0
    pitch = 32.0 if len(bars.segments) <= MOST_WIDE else 20.0
    legend, legend_h = _legend_places(list(bars.colours), WIDTH - left - 10)
    bottom = top + pitch * len(bars.segments)
    drawing = Drawing(WIDTH, bottom + 28 + legend_h, name=stem, title=f"Composition by {bars.label}")
    sums = {name: sum(n for _, n in parts) for name, parts in bars.segments.items()}
    high = 1.0 if bars.as_share else max(sums.values(), default=1.0)
    x_of = svg.scale(0, high, left, WIDTH - right)
    small = {"font_size": 10, "fill": MUTED}
    for tick in svg.ticks(0, high, 6):
        drawing.line(x_of(tick), top - 4, x_of(tick), bottom)
        text = f"{100 * tick:.0f} %" if bars.as_share else f"{tick:,.0f}"
        drawing.text(x_of(tick), bottom + 14, text, text_anchor="middle", **small)
    unit = "share" if bars.as_share else "cells"
    drawing.text(WIDTH - 10, bottom + 14, unit, text_anchor="end", **small)
    for i, (name, parts) in enumerate(bars.segments.items()):
        y = top + pitch * i
        low = y + (pitch - 8) / 2 + 4
        drawing.text(left - 10, low, svg.fitted(name, left - 16, 12), text_anchor="end", font_size=12)
        start = 0.0
        for value, n in parts:
            end = start + (n / sums[name] if bars.as_share and n else n)
            if n > 0:
                tip = f"{value}: {n:,.0f} cells, {100 * n / sums[name]:.1f} %"
                _segment(drawing, (x_of(start), x_of(end)), (y, pitch), value, bars.colours[value], tip)
            start = end
        drawing.text(x_of(start) + 8, low, f"{sums[name]:,.0f} cells", fill=MUTED)
    for name, (x, y) in legend.items():
        drawing.add("rect", x=left + x, y=bottom + 28 + y, width=10, height=10, rx=2, fill=bars.colours[name])
        drawing.text(left + x + 15, bottom + 37 + y, svg.fitted(name, 240, 11))
    return drawing


def _segment(  # noqa: PLR0917
    drawing: Drawing, ends: tuple[float, float], row: tuple[float, float], name: str, colour: str, tip: str
) -> None:
    """Draw one segment in its row (from where, how high), labelled where its name fits."""
    width, (y, pitch) = ends[1] - ends[0], row
    look: dict[str, Any] = {"x": ends[0], "y": y, "width": max(width, 0.5), "height": min(24.0, pitch - 4)}
    drawing.add("rect", tip=tip, fill=colour, stroke=SURFACE, stroke_width=1, **look)
    if svg.text_width(name, 10.5) + 8 <= width:
        style = {"text_anchor": "middle", "font_size": 10.5, "pointer_events": "none"}
        drawing.text(sum(ends) / 2, y + (pitch - 8) / 2 + 3.5, name, fill=svg.on_top(colour), **style)


def _legend_places(names: Sequence[str], width: float) -> tuple[dict[str, tuple[float, float]], float]:
    """Place legend entries in rows; return their places and the height they take."""
    places: dict[str, tuple[float, float]] = {}
    x = y = 0.0
    for name in names:
        size = 34 + svg.text_width(svg.fitted(name, 240, 11), 11)
        if x and x + size > width:
            x, y = 0.0, y + 18
        places[name] = (x, y)
        x += size
    return places, y + 22


def curves(table: pd.DataFrame, quantity: str, corpora: Sequence[str], stem: str) -> Figure:
    """Draw training curves of one model and quantity: a panel per corpus, a thin line per seed.

    Quantities that end in ``_train`` and ``_validation`` share a panel. The height is set by what comes after
    the first fifth of the training, so that the initial drop does not flatten the rest.
    """
    here = table.dropna(subset=["value"])
    names = [name for name in corpora if name in set(here["corpus"])]
    panels = Panels(len(names), height=150)
    drawing = Drawing(WIDTH, panels.total + 18, name=stem, title=f"Training curves, {quantity}")
    last = float(here["step"].max())
    late = here.loc[here["step"] >= 0.2 * last, "value"]
    low, high = float(late.min()), float(late.max())
    pad = 0.06 * (high - low) or 1.0
    y_ends, cut = (low - pad, high + pad), bool((here["value"] > high + pad).any())
    _line_key(drawing)
    for i, name in enumerate(names):
        x, y = panels.place(i)
        x_of, y_of = svg.scale(0, last, x, x + panels.width), svg.scale(*y_ends, y + panels.height, y)
        panels.frame(drawing, i, name, Axis(svg.ticks(0, last, 4), x_of), Axis(svg.ticks(*y_ends, 4), y_of))
        clip = drawing.clip(x, y, panels.width, panels.height)
        corpus = here[here["corpus"] == name]
        for (kind, seed), line in corpus.groupby(["quantity", "seed"]):
            role = VALID if str(kind).endswith("validation") else TRAIN
            ordered = line.sort_values("step", kind="stable")
            thin = ordered.iloc[:: -(-len(ordered) // MAX_POINTS)]
            points = [(x_of(step), y_of(value)) for step, value in zip(thin["step"], thin["value"], strict=True)]
            tip = f"{name}, {kind}, seed {seed}: {numbers.number(ordered['value'].iloc[-1], 4)} at the end"
            drawing.path(points, stroke=role, stroke_width=1.3, clip_path=clip, tip=tip, stroke_linejoin="round")
    drawing.text(WIDTH / 2, panels.total + 12, "optimiser step", text_anchor="middle", fill=MUTED)
    title, meaning = (str(here[name].iloc[0]) for name in ("title", "meaning"))
    title = title or quantity.replace("_", " ")
    caption = f"{meaning or title.capitalize() + '.'} One thin line per seed; all panels share their axes."
    caption += " Values in the first steps lie above the panels and are cut; the CSV has all." if cut else ""
    return Figure(stem, title, caption, drawing, here)


def _line_key(drawing: Drawing) -> None:
    for x, role, label in ((4.0, TRAIN, "training"), (94.0, VALID, "validation")):
        drawing.line(x, 10, x + 20, 10, stroke=role, stroke_width=2.5)
        drawing.text(x + 26, 14, label)
