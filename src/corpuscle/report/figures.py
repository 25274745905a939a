"""The figures: each a drawing, the words under it, and the table behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from corpuscle.report import svg, words
from corpuscle.report.svg import INK, MUTED, PANEL, RULE, SURFACE, THEME, TRAIN, VALID, Drawing
from corpuscle.report.tables import Heat

WIDTH = 1120.0
MAX_CATEGORIES = len(svg.CATEGORIES)
MAX_POINTS = 300


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
        return Markup(self.drawing.render(inline=True))  # noqa: S704


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
            note = f" [{cell.note}]" if cell.note else ""
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
    other = f"other ({words.plural(n_other, label if n_other == 1 else 'value')})" if n_other else ""
    bars = [_bar(cells.loc[[name]].droplevel("corpus"), shown, other) for name in names]
    drawing = _draw_bars(stem, label, names, bars, {**colours, other: svg.OTHER}, as_share=as_share)
    data = cells.reset_index()
    data["share"] = data["n_cells"] / data["corpus"].map(sizes)
    many = int(seeds.max()) > 1 if len(seeds) else False
    caption = (
        f"{'Share of cells' if as_share else 'Cells'} per corpus by {label}{', mean over seeds' if many else ''}."
        + (" Sizes differ more than eightfold, so bars show shares; sizes stand beside them." if as_share else "")
        + (f" The {plural_types(len(shown))} are drawn; the rest is in the CSV." if n_other else "")
    )
    return Figure(stem, label.capitalize(), caption, drawing, data)


def plural_types(count: int) -> str:
    """Say how many of the most frequent values are drawn."""
    return f"{count} most frequent"


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
    legend, legend_h = _legend_places([name for name in colours if name], WIDTH - 20)
    chart_h = top + (bar_h + 8) * len(bars)
    drawing = Drawing(WIDTH, chart_h + 28 + legend_h, name=stem, title=f"Composition by {label}")
    sums = [sum(n for _, n in bar) for bar in bars]
    high = 1.0 if as_share else max(sums, default=1.0)
    x_of = svg.scale(0, high, left, WIDTH - right)
    for tick in svg.ticks(0, high, 6):
        drawing.line(x_of(tick), top - 4, x_of(tick), chart_h)
        text = f"{100 * tick:.0f} %" if as_share else f"{tick:,.0f}"
        drawing.text(x_of(tick), chart_h + 14, text, text_anchor="middle", fill=MUTED, font_size=10)
    for i, (name, bar, total) in enumerate(zip(names, bars, sums, strict=True)):
        y = top + (bar_h + 8) * i
        drawing.text(left - 10, y + 16, svg.fitted(name, left - 16, 12), text_anchor="end", font_size=12)
        start = 0.0
        for value, n in bar:
            if n > 0:
                width = n / total if as_share else n
                _segment(drawing, (x_of(start), x_of(start + width)), (y, bar_h), (value, n / total, n), colours)
                start += width
        drawing.text(x_of(start) + 8, y + 16, f"{total:,.0f} cells", fill=MUTED)
    for name, (x, y) in legend.items():
        drawing.add("rect", x=x, y=chart_h + 28 + y, width=10, height=10, rx=2, fill=colours[name])
        drawing.text(x + 15, chart_h + 37 + y, svg.fitted(name, 240, 11))
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
        style = {"text_anchor": "middle", "font_size": 10.5, "fill": svg.on_top(fill), "pointer_events": "none"}
        drawing.text(middle, ys[0] + 15.5, name, **style)


def _legend_places(names: Sequence[str], width: float) -> tuple[dict[str, tuple[float, float]], float]:
    """Place legend entries in rows; returns their places and the height they take."""
    places: dict[str, tuple[float, float]] = {}
    x = y = 0.0
    for name in names:
        size = 34 + svg.text_width(svg.fitted(name, 240, 11), 11)
        if x and x + size > width:
            x, y = 0.0, y + 18
        places[name] = (10 + x, y)
        x += size
    return places, y + 22


def curves(table: pd.DataFrame, quantity: str, corpora: Sequence[str], stem: str) -> Figure:
    """Draw training curves of one model and quantity: a panel per corpus, a thin line per seed.

    Quantities that end in ``_train`` and ``_validation`` share a panel. The height is set by what comes after
    the first tenth of the training, so that the initial drop does not flatten the rest.
    """
    here = table.dropna(subset=["value"])
    names = [name for name in corpora if name in set(here["corpus"])]
    panels = Panels(len(names), height=150)
    drawing = Drawing(WIDTH, panels.total, name=stem, title=f"Training curves, {quantity}")
    last = float(here["step"].max())
    late = here.loc[here["step"] >= 0.1 * last, "value"]
    low, high = float(late.min()), float(late.max())
    pad = 0.06 * (high - low) or 1.0
    y_ends, cut = (low - pad, high + pad), bool((here["value"] > high + pad).any())
    _line_key(drawing)
    for i, name in enumerate(names):
        x, y = panels.place(i)
        x_of, y_of = svg.scale(0, last, x, x + panels.width), svg.scale(*y_ends, y + panels.height, y)
        _axes(drawing, (x, y), panels, (svg.ticks(0, last, 4), x_of), (svg.ticks(*y_ends, 4), y_of))
        _panel_title(drawing, name, (x, y), panels)
        clip = drawing.clip(x, y, panels.width, panels.height)
        corpus = here[here["corpus"] == name]
        for (kind, seed), line in corpus.groupby(["quantity", "seed"]):
            role = VALID if str(kind).endswith("validation") else TRAIN
            line = line.sort_values("step", kind="stable")
            thin = line.iloc[:: -(-len(line) // MAX_POINTS)]
            points = [(x_of(step), y_of(value)) for step, value in zip(thin["step"], thin["value"], strict=True)]
            tip = f"{name}, {kind}, seed {seed}: {words.number(line['value'].iloc[-1], 4)} at the end"
            drawing.path(points, stroke=role, stroke_width=1.3, clip_path=clip, tip=tip, stroke_linejoin="round")
    drawing.text(WIDTH / 2, panels.total - 4, "optimiser step", text_anchor="middle", fill=MUTED)
    unit = "negative ELBO per cell, nats; lower is better" if quantity == "elbo" else quantity.replace("_", " ")
    caption = f"{unit[0].upper()}{unit[1:]}. One thin line per seed; all panels share their axes."
    caption += " Values in the first steps lie above the panels and are cut; the CSV has all." if cut else ""
    return Figure(stem, words.metric_name(quantity), caption, drawing, here)


def _line_key(drawing: Drawing) -> None:
    for x, role, label in ((4.0, TRAIN, "training"), (94.0, VALID, "validation")):
        drawing.line(x, 10, x + 20, 10, stroke=role, stroke_width=2.5)
        drawing.text(x + 26, 14, label)


class Panels:
    """Places small multiples on a grid, up to four in a row, with room for axes and titles.

    Examples
    --------
    >>> Panels(6, height=100).place(0)
    (52.0, 44.0)
    """

    def __init__(self, count: int, *, height: float) -> None:
        self.columns = min(max(count, 1), 4) if count != 6 else 3
        self.gap, self.top, self.left, self.height = 62.0, 44.0, 52.0, height
        self.width = min(420.0, (WIDTH - self.left - 8 - self.gap * (self.columns - 1)) / self.columns)
        self.rows = -(-count // self.columns)
        self.total = self.top + self.rows * (height + 58)

    def place(self, i: int) -> tuple[float, float]:
        """Top left corner of the i-th panel's plotting area."""
        row, column = divmod(i, self.columns)
        return self.left + column * (self.width + self.gap), self.top + row * (self.height + 58)


def _panel_title(drawing: Drawing, name: str, at: tuple[float, float], panels: Panels) -> None:
    drawing.text(at[0], at[1] - 7, svg.fitted(name, panels.width, 12.5), font_size=12, font_weight=600)


def _axes(drawing: Drawing, at: tuple[float, float], panels: Panels, across: tuple, up: tuple) -> None:  # type: ignore[type-arg]
    """Draw a panel's ground, grid lines and tick labels; `across` and `up` are (tick values, scale)."""
    x, y = at
    drawing.add("rect", x=x, y=y, width=panels.width, height=panels.height, fill=PANEL)
    for value in up[0]:
        drawing.line(x, up[1](value), x + panels.width, up[1](value))
        style = {"text_anchor": "end", "fill": MUTED, "font_size": 10}
        drawing.text(x - 6, up[1](value) + 3.5, f"{value:,.10g}", **style)
    for value in across[0]:
        bottom = y + panels.height
        drawing.line(across[1](value), bottom, across[1](value), bottom + 4, stroke=RULE)
        style = {"text_anchor": "middle", "fill": MUTED, "font_size": 10}
        drawing.text(across[1](value), bottom + 16, f"{value:,.10g}", **style)
