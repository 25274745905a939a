"""The figures: each a drawing, the words under it, and the table behind it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from corpuscle.report import svg, words
from corpuscle.report.panels import WIDTH, Axis, Panels
from corpuscle.report.svg import INK, MUTED, PANEL, SURFACE, THEME, TRAIN, VALID, Drawing
from corpuscle.report.tables import Heat

MAX_CATEGORIES = len(svg.CATEGORIES)
MAX_POINTS = 300
NOUNS = {"cell_type": "type", "tissue": "tissue", "disease": "disease", "source": "source", "donor": "donor"}


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes
    ----------
    stem
        File name without its ending; the SVG and the CSV share it.
    title, caption
        What is shown, and how to read it.
    drawing
        The figure itself.
    data
        Everything that is drawn, before anything was left out for legibility.
    """

    stem: str
    title: str
    caption: str
    drawing: Drawing
    data: pd.DataFrame = field(repr=False)

    @property
    def inline(self) -> Markup:
        """The drawing for a page; all text inside was escaped when it was drawn."""
        return Markup(self.drawing.render(inline=True))


def heatmap(heat: Heat, stem: str) -> Figure:
    """Draw a heatmap for slides; the page shows the same as a table."""
    cell_w, cell_h, left, top = 96.0, 46.0, 190.0, 74.0
    width = left + cell_w * len(heat.corpora) + 20
    height = top + cell_h * len(heat.rows) + 58
    title = f"{heat.title}: {heat.model}"
    drawing = Drawing(width, height, name=stem, title=title)
    drawing.text(10, 22, svg.fitted(title, width - 20, 14), font_size=14, font_weight=600)
    for j, corpus in enumerate(heat.corpora):
        for k, line in enumerate(_two_lines(corpus, cell_w - 6)):
            x = left + cell_w * (j + 0.5)
            drawing.text(x, top - 22 + 13 * k, line, text_anchor="middle", font_weight=600)
    for i, row in enumerate(heat.rows):
        y = top + cell_h * i
        indent = 14 if row.indented else 0
        drawing.text(10 + indent, y + 20, svg.fitted(row.label, left - 20 - indent, 12), font_size=12)
        drawing.text(10 + indent, y + 34, row.detail, font_size=10, fill=MUTED)
        for j, cell in enumerate(row.cells):
            _heat_cell(drawing, left + cell_w * j, y, (cell_w, cell_h), cell.tone, cell.weight, cell.tip)
            x = left + cell_w * (j + 0.5)
            weight = 700 if cell.resolved else 400
            note = f" ({words.letter(cell.note)})" if cell.note else ""
            drawing.text(x, y + 20, cell.value + note, font_size=13, text_anchor="middle", font_weight=weight)
            small = "  ".join(part for part in (cell.spread, cell.change) if part)
            drawing.text(x, y + 35, small, font_size=10, text_anchor="middle", fill=INK)
    _colour_key(drawing, left, height - 40, heat)
    return Figure(stem, title, "", drawing, heat.data)


def _heat_cell(
    drawing: Drawing, x: float, y: float, size: tuple[float, float], tone: str, weight: float, tip: str
) -> None:
    """Fill one cell; the strongest colour stays light enough for dark text."""
    fill = svg.mix(THEME.get(tone, THEME[SURFACE]), THEME[PANEL], 0.62 * weight)
    drawing.add("rect", tip=tip, x=x + 1, y=y + 1, width=size[0] - 2, height=size[1] - 2, rx=2, fill=fill)


def _colour_key(drawing: Drawing, x: float, y: float, heat: Heat) -> None:
    """Draw the colour scale with its ends named."""
    low, high = ("worse", "better") if heat.directed else ("lower", "higher")
    steps = [i / 5 for i in range(-5, 6)]
    for i, step in enumerate(steps):
        tone = "cool" if step > 0 else "warm"
        fill = svg.mix(THEME[tone], THEME[PANEL], 0.62 * abs(step))
        drawing.add("rect", x=x + 70 + 16.0 * i, y=y, width=16, height=10, fill=fill)
    drawing.text(x + 64, y + 9, low, text_anchor="end", font_size=10, fill=MUTED)
    drawing.text(x + 76 + 16.0 * len(steps), y + 9, high, font_size=10, fill=MUTED)
    label = f"log2 fold change against {heat.baseline}, full colour at ±{heat.limit:g}; bold: interval leaves out 0"
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


def composition(table: pd.DataFrame, column: str, corpora: Sequence[str], stem: str) -> Figure:
    """Draw what each corpus is made of by one column, as stacked bars of cells (mean over seeds)."""
    here = table[table["column"] == column]
    seeds = here.groupby("corpus")["seed"].nunique()
    totals = here.groupby(["corpus", "value"], sort=False)["n_cells"].sum()
    cells = (totals / seeds).rename("n_cells")
    names = [name for name in corpora if name in seeds.index]
    order = cells.groupby("value").sum().sort_values(ascending=False, kind="stable")
    shown = list(order.index[: MAX_CATEGORIES if len(order) > MAX_CATEGORIES + 1 else MAX_CATEGORIES + 1])
    n_other = len(order) - len(shown)
    colours = {str(value): colour for value, colour in zip(shown, [*svg.CATEGORIES, svg.OTHER], strict=False)}
    sizes = cells.groupby("corpus").sum()
    as_share = bool(len(sizes)) and sizes.max() > 8 * sizes.min()
    label = column.replace("_", " ")
    other = f"other ({words.plural(n_other, NOUNS.get(column, 'value'))})" if n_other else ""
    bars = [_bar(cells.loc[[name]].droplevel("corpus"), shown, other) for name in names]
    drawing = _draw_bars(stem, label, names, bars, {**colours, other: svg.OTHER}, as_share=as_share)
    data = cells.reset_index()
    data["share"] = data["n_cells"] / data["corpus"].map(sizes)
    many = int(seeds.max()) > 1 if len(seeds) else False
    caption = (
        f"{'Share of cells' if as_share else 'Cells'} per corpus by {label}{', mean over seeds' if many else ''}."
        + (
            " Sizes differ more than eightfold, so bars show shares; sizes stand beside them."
            if as_share
            else ""
        )
        + (f" The {len(shown)} most frequent are drawn; the rest is in the CSV." if n_other else "")
    )
    return Figure(stem, label.capitalize(), caption, drawing, data)


def _bar(cells: pd.Series, shown: Sequence[str], other: str) -> list[tuple[str, float]]:
    """Segments of one bar in the order of the legend, with the small ones summed."""
    parts = [(str(value), float(cells.get(value, 0.0))) for value in shown]
    rest = float(cells.drop(labels=[v for v in shown if v in cells.index]).sum())
    return [*parts, (other, rest)] if other else parts


def _draw_bars(
    stem: str, label: str, names: list[str], bars: list[list[tuple[str, float]]], colours: dict[str, str],
    *, as_share: bool,
) -> Drawing:  # fmt: skip
    """Draw the bars, their sizes and the legend."""
    left, right, bar_h, top = 170.0, 100.0, 24.0, 8.0
    legend, legend_h = _legend_places([name for name in colours if name], WIDTH - left - 10)
    chart_h = top + (bar_h + 8) * len(bars)
    drawing = Drawing(WIDTH, chart_h + 28 + legend_h, name=stem, title=f"Composition by {label}")
    sums = [sum(n for _, n in bar) for bar in bars]
    high = 1.0 if as_share else max(sums, default=1.0)
    x_of = svg.scale(0, high, left, WIDTH - right)
    for tick in svg.ticks(0, high, 6):
        drawing.line(x_of(tick), top - 4, x_of(tick), chart_h)
        text = f"{100 * tick:.0f} %" if as_share else f"{tick:,.0f}"
        drawing.text(x_of(tick), chart_h + 14, text, text_anchor="middle", fill=MUTED, font_size=10)
    drawing.text(
        WIDTH - 10,
        chart_h + 14,
        "share" if as_share else "cells",
        text_anchor="end",
        fill=MUTED,
        font_size=10,
    )
    for i, (name, bar, total) in enumerate(zip(names, bars, sums, strict=True)):
        y = top + (bar_h + 8) * i
        drawing.text(left - 10, y + 16, svg.fitted(name, left - 16, 12), text_anchor="end", font_size=12)
        start = 0.0
        for value, n in bar:
            if n > 0:
                width = n / total if as_share else n
                _segment(
                    drawing, (x_of(start), x_of(start + width)), (y, bar_h), (value, n / total, n), colours
                )
                start += width
        drawing.text(x_of(start) + 8, y + 16, f"{total:,.0f} cells", fill=MUTED)
    for name, (x, y) in legend.items():
        drawing.add("rect", x=left + x, y=chart_h + 28 + y, width=10, height=10, rx=2, fill=colours[name])
        drawing.text(left + x + 15, chart_h + 37 + y, svg.fitted(name, 240, 11))
    return drawing


def _segment(
    drawing: Drawing, xs: tuple[float, float], ys: tuple[float, float], what: tuple[str, float, float],
    colours: dict[str, str],
) -> None:  # fmt: skip
    """Draw one segment, labelled where its name fits."""
    name, share, n = what
    width, fill = xs[1] - xs[0], colours[name]
    tip = f"{name}: {n:,.0f} cells, {100 * share:.1f} %"
    look = {"stroke": SURFACE, "stroke_width": 1, "fill": fill}
    drawing.add("rect", tip=tip, x=xs[0], y=ys[0], width=max(width, 0.5), height=ys[1], **look)
    if svg.text_width(name, 10.5) + 8 <= width:
        middle = (xs[0] + xs[1]) / 2
        style = {
            "text_anchor": "middle",
            "font_size": 10.5,
            "fill": svg.on_top(fill),
            "pointer_events": "none",
        }
        drawing.text(middle, ys[0] + 15.5, name, **style)


def _legend_places(names: Sequence[str], width: float) -> tuple[dict[str, tuple[float, float]], float]:
    """Place legend entries in rows; returns their places and the height they take."""
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
            line = line.sort_values("step", kind="stable")
            thin = line.iloc[:: -(-len(line) // MAX_POINTS)]
            points = [
                (x_of(step), y_of(value)) for step, value in zip(thin["step"], thin["value"], strict=True)
            ]
            tip = f"{name}, {kind}, seed {seed}: {words.number(line['value'].iloc[-1], 4)} at the end"
            drawing.path(
                points, stroke=role, stroke_width=1.3, clip_path=clip, tip=tip, stroke_linejoin="round"
            )
    drawing.text(WIDTH / 2, panels.total + 12, "optimiser step", text_anchor="middle", fill=MUTED)
    unit = (
        "negative ELBO per cell, nats; lower is better" if quantity == "elbo" else quantity.replace("_", " ")
    )
    caption = f"{unit[0].upper()}{unit[1:]}. One thin line per seed; all panels share their axes."
    caption += " Values in the first steps lie above the panels and are cut; the CSV has all." if cut else ""
    return Figure(stem, words.metric_name(quantity), caption, drawing, here)


def _line_key(drawing: Drawing) -> None:
    for x, role, label in ((4.0, TRAIN, "training"), (94.0, VALID, "validation")):
        drawing.line(x, 10, x + 20, 10, stroke=role, stroke_width=2.5)
        drawing.text(x + 26, 14, label)


def effects(heat: Heat, stem: str) -> Figure:
    """Draw the fold changes of one heatmap with their intervals: a panel per target, a row per corpus."""
    data = heat.data[(heat.data["unit"] == "all") & (heat.data["corpus"] != heat.baseline)]
    names = [name for name in heat.corpora if name != heat.baseline]
    targets = [row.label for row in heat.rows if not row.indented]
    panels = Panels(len(targets), height=22.0 * len(names) + 8, left=176, gap=26)
    drawing = Drawing(WIDTH, panels.total, name=stem, title=f"Fold changes, {heat.title}: {heat.model}")
    low, high = _reach(data)
    drawing.text(
        0, 14, f"log2 fold change against {heat.baseline}, with its 95 % interval over seeds", fill=MUTED
    )
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
                _effect(drawing, rows.loc[name], (x_of, at), clip, lower_is_better=heat.better == "lower")
    sides = {"higher": "Right of the line is better", "lower": "Left of the line is better"}
    caption = (
        f"{sides.get(heat.better, 'Right of the line is higher')} than {heat.baseline}. Points: means of the per-seed "
        "log2 ratios; bars: Student's t intervals over seeds. Filled where the interval leaves out 0. Without a bar, "
        "no interval could be estimated; without a point, no fold change."
    )
    return Figure(stem, drawing.title, caption, drawing, data)


def _reach(data: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: every point and 0, and intervals as far as twice beyond the points."""
    points = [0.0, *data["log2_fold_change"].dropna()]
    reach = max(0.1, *(abs(point) for point in points))
    low = max(min([*points, *data["fc_low"].dropna()]), min(points) - reach)
    high = min(max([*points, *data["fc_high"].dropna()]), max(points) + reach)
    pad = 0.05 * max(high - low, 0.1)
    return low - pad, high + pad


def _effect(
    drawing: Drawing,
    row: pd.Series,
    place: tuple[Callable[[float], float], float],
    clip: str,
    *,
    lower_is_better: bool,
) -> None:
    """Draw one point with its interval."""
    x_of, y = place
    change, low, high = (float(row[name]) for name in ("log2_fold_change", "fc_low", "fc_high"))
    if not math.isfinite(change):
        return
    resolved = low > 0 or high < 0
    colour = "neutral" if not resolved else "cool" if (change < 0) == lower_is_better else "warm"
    if math.isfinite(low):
        drawing.line(x_of(low), y, x_of(high), y, stroke=colour, stroke_width=2.4, clip_path=clip)
    tip = f"{row.name} on {row['target']}: {words.signed(change)}, interval {words.signed(low)} to {words.signed(high)}"
    fill = colour if resolved else SURFACE
    drawing.add("circle", tip=tip, cx=x_of(change), cy=y, r=4.2, fill=fill, stroke=colour, stroke_width=1.8)
