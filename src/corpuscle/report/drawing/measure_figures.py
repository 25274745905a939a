"""A corpus at a glance: its cell types as a stacked bar, its Hill profile, and how it covers each target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.corpus_figures import segments_of, shown_values
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH
from corpuscle.report.drawing.svg import MUTED, PANEL, SURFACE, Drawing

LEFT, BAR_TOP, BAR_H, PANEL_TOP, PANEL_H = 52.0, 26.0, 26.0, 108.0, 150.0
HILL_WIDTH, TARGET_LEFT, TARGET_RIGHT = 400.0, 640.0, WIDTH - 60
ROW_H = 24.0
MAX_ORDER = 4.0
MINE, OTHERS = "cool", "neutral"


@dataclass(frozen=True)
class Tables:
    """What the figures are drawn from, means over seeds: cells by type, Hill numbers by order, coverage by target."""

    types: pd.Series
    hill: pd.DataFrame
    coverage: pd.DataFrame
    colours: Mapping[str, str] = field(repr=False)
    shown: Sequence[str] = field(repr=False)
    other: str

    @classmethod
    def of(cls, composition: pd.DataFrame, measures: pd.DataFrame, profiles: pd.DataFrame) -> "Tables":
        """Average the run's tables over seeds."""
        here = composition[composition["column"] == "cell_type"]
        totals = here.groupby(["corpus", "value"], sort=False)["n_cells"].sum()
        types = totals / totals.index.get_level_values("corpus").map(here.groupby("corpus")["seed"].nunique())
        curves = profiles[(profiles["profile"] == "hill") & (profiles["of"] == "cell_type")]
        curves = curves[curves["x"] <= MAX_ORDER]
        hill = curves.pivot_table(index="x", columns="corpus", values="value", sort=False).sort_index()
        covered = measures[(measures["measure"] == "coverage") & (measures["size"] == "equal")]
        coverage = covered.pivot_table(index="target", columns="corpus", values="value", sort=False)
        shown, other = shown_values(types.rename("n_cells"), "type") if len(types) else ([], "")
        colours = dict(zip([*shown, *([other] if other else [])], [*svg.CATEGORIES, svg.OTHER], strict=False))
        return cls(types.rename("n_cells"), hill, coverage, colours, shown, other)


def glance(tables: Tables, corpus: str, stem: str) -> Figure:
    """Draw one corpus next to the others, which are grey."""
    height = max(PANEL_TOP + PANEL_H + 40, PANEL_TOP + ROW_H * len(tables.coverage) + 46)
    drawing = Drawing(WIDTH, height, name=stem, title=f"{corpus} at a glance")
    types = tables.types
    here = types.loc[[corpus]].droplevel("corpus") if corpus in types.index.get_level_values(0) else types.iloc[:0]
    _draw_types(drawing, tables, [(str(name), float(n)) for name, n in segments_of(here, tables.shown, tables.other)])
    _draw_hill(drawing, tables.hill, corpus)
    _draw_coverage(drawing, tables.coverage, corpus)
    caption = (
        "Above: cells by type. Left: Hill numbers of cell types, the effective number of types: of order 0 every type "
        "counts, the higher the order the more only frequent ones do. Right: coverage of each target, the share of its "
        "cells with a cell of the corpus nearby, at equal numbers of cells. Blue is this corpus, grey the others; "
        "means over seeds."
    )
    data = [
        pd.DataFrame({"x": here.index, "value": here.to_numpy()}).assign(what="cells by type"),
        *(table[[corpus]].set_axis(["value"], axis=1).rename_axis("x").reset_index().assign(what=what)
          for what, table in (("Hill number by order", tables.hill), ("coverage by target", tables.coverage))
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


def _draw_hill(drawing: Drawing, hill: pd.DataFrame, corpus: str) -> None:
    bottom = PANEL_TOP + PANEL_H
    drawing.text(LEFT, PANEL_TOP - 10, "Hill profile of cell types", font_weight=600, font_size=12)
    drawing.add("rect", x=LEFT, y=PANEL_TOP, width=HILL_WIDTH, height=PANEL_H, fill=PANEL)
    top = float(hill.max().max()) if hill.size else 1.0
    y_of, x_of = svg.scale(0, 1.05 * top, bottom, PANEL_TOP), svg.scale(0, MAX_ORDER, LEFT, LEFT + HILL_WIDTH)
    small = {"font_size": 10, "fill": MUTED}
    for value in svg.ticks(0, 1.05 * top, 4):
        drawing.line(LEFT, y_of(value), LEFT + HILL_WIDTH, y_of(value))
        drawing.text(LEFT - 6, y_of(value) + 3.5, f"{value:,.10g}", text_anchor="end", **small)
    for value in svg.ticks(0, MAX_ORDER, 4):
        drawing.text(x_of(value), bottom + 16, f"{value:g}", text_anchor="middle", **small)
    drawing.text(LEFT + HILL_WIDTH / 2, bottom + 32, "order", text_anchor="middle", **small)
    for name in sorted(hill.columns, key=lambda name: name == corpus):
        points = [(x_of(x), y_of(y)) for x, y in hill[name].dropna().items()]
        mine = name == corpus
        tip = f"{name}: {numbers.number(float(hill[name].iloc[0]))} types, order 1 {_at_one(hill[name])}"
        drawing.path(points, stroke=MINE if mine else OTHERS, stroke_width=2.2 if mine else 1.0, tip=tip)


def _at_one(curve: "pd.Series[float]") -> str:
    return numbers.number(float(curve[1.0])) if 1.0 in curve.index else "n/a"


def _draw_coverage(drawing: Drawing, coverage: pd.DataFrame, corpus: str) -> None:
    drawing.text(TARGET_LEFT, PANEL_TOP - 10, "Coverage of each target", font_weight=600, font_size=12)
    if coverage.empty:
        drawing.text(TARGET_LEFT, PANEL_TOP + 16, "the study has no targets that could be compared", fill=MUTED)
        return
    x_of = svg.scale(0, 1, TARGET_LEFT, TARGET_RIGHT)
    bottom = PANEL_TOP + ROW_H * len(coverage)
    small = {"font_size": 10, "fill": MUTED}
    for value in svg.ticks(0, 1, 5):
        drawing.line(x_of(value), PANEL_TOP, x_of(value), bottom)
        drawing.text(x_of(value), bottom + 15, f"{value:g}", text_anchor="middle", **small)
    for at, target in enumerate(coverage.index):
        y = PANEL_TOP + ROW_H * (at + 0.5)
        drawing.text(TARGET_LEFT - 12, y + 4, svg.fitted(str(target), 150, 11.5), text_anchor="end", font_size=11.5)
        drawing.line(TARGET_LEFT, y, TARGET_RIGHT, y)
        for name in sorted(coverage.columns, key=lambda name: name == corpus):
            value = float(coverage.loc[target, name])
            if math.isfinite(value):
                mine = name == corpus
                place: dict[str, Any] = {"cx": x_of(value), "cy": y, "r": 5.5 if mine else 3.5}
                tip = f"{name} covers {100 * value:.1f} % of {target}"
                drawing.add("circle", tip=tip, fill=MINE if mine else OTHERS, stroke=SURFACE, **place)
        mine_value = float(coverage.loc[target, corpus]) if corpus in coverage else math.nan
        drawing.text(TARGET_RIGHT + 12, y + 4, numbers.number(mine_value), font_size=11.5)
