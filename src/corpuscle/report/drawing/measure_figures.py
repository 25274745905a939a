"""A corpus at a glance: its cell types as a stacked bar, a curve of them, and how far it reaches each target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.corpus_figures import segments_of, shown_values
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH
from corpuscle.report.drawing.svg import INK, MUTED, PANEL, SURFACE, Drawing

LEFT, BAR_TOP, BAR_H, PANEL_TOP, PANEL_H = 52.0, 26.0, 26.0, 108.0, 150.0
CURVE_WIDTH, TARGET_LEFT, TARGET_RIGHT = 400.0, 640.0, WIDTH - 60
ROW_H = 24.0
MINE, OTHERS = INK, "neutral"


class Said(NamedTuple):
    """What a measure says of a curve, or of a number: its title, its meaning, and what its x is."""

    title: str = ""
    meaning: str = ""
    across: str = ""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Said":
        """Return what the first row says."""
        return cls(*(str(next(iter(rows[name]), "")) if name in rows else "" for name in cls._fields))


@dataclass(frozen=True)
class Tables:
    """What the figures are drawn from, means over seeds: cells by type, a curve of them, and the reach by target.

    Measures say what is drawn: the curve is the first of cell types that has a title, at its finite points, and the
    reach what a metric says is its (`corpuscle.core.scores.Figure`), at equal numbers of cells.
    """

    types: pd.Series
    curve: pd.DataFrame
    curve_said: Said
    reach: pd.DataFrame
    reach_said: Said
    colours: Mapping[str, str] = field(repr=False)
    shown: Sequence[str] = field(repr=False)
    other: str

    @classmethod
    def of(cls, composition: pd.DataFrame, measures: pd.DataFrame, profiles: pd.DataFrame) -> "Tables":
        """Average the run's tables over seeds."""
        here = composition[composition["column"] == "cell_type"]
        totals = here.groupby(["corpus", "value"], sort=False)["n_cells"].sum()
        types = totals / totals.index.get_level_values("corpus").map(here.groupby("corpus")["seed"].nunique())
        of_types = profiles[(profiles["of"] == "cell_type") & (profiles["x"].abs() < math.inf)]
        titled = of_types[of_types["title"] != ""]
        points = titled[titled["profile"] == next(iter(titled["profile"]), "")]
        curve = points.pivot_table(index="x", columns="corpus", values="value", sort=False).sort_index()
        shares = measures[(measures["figure"] == "reach") & (measures["size"] == "equal")]
        shares = shares[shares["measure"] == next(iter(shares["measure"]), "")]
        reach = shares.pivot_table(index="target", columns="corpus", values="value", sort=False)
        shown, other = shown_values(types.rename("n_cells"), "type") if len(types) else ([], "")
        colours = dict(zip([*shown, *([other] if other else [])], [*svg.CATEGORIES, svg.OTHER], strict=False))
        return cls(types.rename("n_cells"), curve, Said.of(points), reach, Said.of(shares), colours, shown, other)


def glance(tables: Tables, corpus: str, stem: str) -> Figure:
    """Draw one corpus next to the others, which are grey."""
    height = max(PANEL_TOP + PANEL_H + 40, PANEL_TOP + ROW_H * len(tables.reach) + 46)
    drawing = Drawing(WIDTH, height, name=stem, title=f"{corpus} at a glance")
    types = tables.types
    here = types.loc[[corpus]].droplevel("corpus") if corpus in types.index.get_level_values(0) else types.iloc[:0]
    _draw_types(drawing, tables, [(str(name), float(n)) for name, n in segments_of(here, tables.shown, tables.other)])
    _draw_curve(drawing, tables.curve, tables.curve_said, corpus)
    _draw_reach(drawing, tables.reach, tables.reach_said, corpus)
    left, right = tables.curve_said, tables.reach_said
    caption = "Above: cells by type. "
    caption += f"Left: {left.meaning} " if left.title else ""
    caption += f"Right, of each target, at equal numbers of cells: {right.meaning} " if right.title else ""
    caption += "Dark is this corpus, grey the others; means over seeds."
    drawn = {f"{left.title} by {left.across}": tables.curve, f"{right.title} by target": tables.reach}
    data = [
        pd.DataFrame({"x": here.index, "value": here.to_numpy()}).assign(what="cells by type"),
        *(table[[corpus]].set_axis(["value"], axis=1).rename_axis("x").reset_index().assign(what=what)
          for what, table in drawn.items()
          if corpus in table),
    ]  # fmt: skip
    columns = ["what", "x", "value"]
    # pandas warns of joining tables without rows.
    filled = [part.astype({"x": str})[columns] for part in data if len(part)]
    whole = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
    return Figure(stem, corpus, caption, drawing, whole)


def _draw_types(drawing: Drawing, tables: Tables, parts: Sequence[tuple[str, float]]) -> None:
    total = sum(n for _, n in parts)
    drawing.text(LEFT, 14, f"{total:,.0f} cells by type", font_weight=600, font_size=12)
    start, spaced = LEFT, (WIDTH - LEFT - 26) / total if total else 0.0
    for name, n in parts:
        width = n * spaced
        if n > 0:
            tip = f"{name}: {n:,.0f} cells, {100 * n / total:.1f} %"
            drawing.add("rect", tip=tip, x=start, y=BAR_TOP, width=max(width, 0.5), height=BAR_H,
                        fill=tables.colours[name], stroke=SURFACE, stroke_width=1)  # fmt: skip
            if svg.text_width(name, 10.5) + 8 <= width:
                look: dict[str, Any] = {"text_anchor": "middle", "font_size": 10.5, "pointer_events": "none"}
                drawing.text(start + width / 2, BAR_TOP + 17, name, fill=svg.on_top(tables.colours[name]), **look)
        start += width
    if not total:
        drawing.text(LEFT, BAR_TOP + 17, "no cell types", fill=MUTED)


def _draw_curve(drawing: Drawing, curve: pd.DataFrame, said: Said, corpus: str) -> None:
    if not said.title:
        return
    bottom = PANEL_TOP + PANEL_H
    drawing.text(LEFT, PANEL_TOP - 10, said.title, font_weight=600, font_size=12)
    drawing.add("rect", x=LEFT, y=PANEL_TOP, width=CURVE_WIDTH, height=PANEL_H, fill=PANEL)
    top, first, last = float(curve.max().max()), float(curve.index.min()), float(curve.index.max())
    y_of, x_of = svg.scale(0, 1.05 * top, bottom, PANEL_TOP), svg.scale(first, last, LEFT, LEFT + CURVE_WIDTH)
    small = {"font_size": 10, "fill": MUTED}
    for value in svg.ticks(0, 1.05 * top, 4):
        drawing.line(LEFT, y_of(value), LEFT + CURVE_WIDTH, y_of(value))
        drawing.text(LEFT - 6, y_of(value) + 3.5, f"{value:,.10g}", text_anchor="end", **small)
    for value in svg.ticks(first, last, 4):
        drawing.text(x_of(value), bottom + 16, f"{value:g}", text_anchor="middle", **small)
    drawing.text(LEFT + CURVE_WIDTH / 2, bottom + 32, said.across, text_anchor="middle", **small)
    for name in sorted(curve.columns, key=lambda name: name == corpus):
        known, mine = curve[name].dropna(), name == corpus
        ends = " to ".join(numbers.number(float(known.iloc[at])) for at in (0, -1)) if len(known) else "n/a"
        tip = f"{name}: {ends}, {said.across} {first:g} to {last:g}"
        points = [(x_of(x), y_of(y)) for x, y in known.items()]
        drawing.path(points, stroke=MINE if mine else OTHERS, stroke_width=2.2 if mine else 1.0, tip=tip)


def _draw_reach(drawing: Drawing, reach: pd.DataFrame, said: Said, corpus: str) -> None:
    title = f"{said.title or 'Reach'} of each target"
    drawing.text(TARGET_LEFT, PANEL_TOP - 10, title, font_weight=600, font_size=12)
    if reach.empty:
        drawing.text(TARGET_LEFT, PANEL_TOP + 16, "the study has no targets that could be compared", fill=MUTED)
        return
    x_of = svg.scale(0, 1, TARGET_LEFT, TARGET_RIGHT)
    bottom = PANEL_TOP + ROW_H * len(reach)
    small = {"font_size": 10, "fill": MUTED}
    for value in svg.ticks(0, 1, 5):
        drawing.line(x_of(value), PANEL_TOP, x_of(value), bottom)
        drawing.text(x_of(value), bottom + 15, f"{value:g}", text_anchor="middle", **small)
    for at, target in enumerate(reach.index):
        y = PANEL_TOP + ROW_H * (at + 0.5)
        drawing.text(TARGET_LEFT - 12, y + 4, svg.fitted(str(target), 150, 11.5), text_anchor="end", font_size=11.5)
        drawing.line(TARGET_LEFT, y, TARGET_RIGHT, y)
        for name in sorted(reach.columns, key=lambda name: name == corpus):
            value = float(reach.loc[target, name])
            if math.isfinite(value):
                mine = name == corpus
                place: dict[str, Any] = {"cx": x_of(value), "cy": y, "r": 5.5 if mine else 3.5}
                tip = f"{name}, {target}: {said.title} {100 * value:.1f} %"
                drawing.add("circle", tip=tip, fill=MINE if mine else OTHERS, stroke=SURFACE, **place)
        mine_value = float(reach.loc[target, corpus]) if corpus in reach else math.nan
        drawing.text(TARGET_RIGHT + 12, y + 4, numbers.number(mine_value), font_size=11.5)
