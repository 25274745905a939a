"""Learning curves as figures: runs, means, the fitted curve with its band, N95 and the published rule's point."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import INK, MUTED, SURFACE, Drawing
from corpuscle.statistics.ladders import Curve
from corpuscle.statistics.saturation import published_rule

HEIGHT, N_DRAWN, LEVEL = 170.0, 60, 0.9
BAND, DOT = "neutral", "train"


class _Place(NamedTuple):
    """One panel: its box and its scales."""

    box: tuple[float, float, float, float]
    x_of: Callable[[float], float]
    y_of: Callable[[float], float]
    clip: str


def learning_figure(curves: Sequence[Curve], title: str, better: str, stem: str) -> Figure:
    """Draw the learning curves of one ladder and task: a panel per model and target.

    Parameters
    ----------
    curves
        Of all cells.
    title
        The metric's name.
    better
        Which way is better, in words.
    """
    panels = Panels(len(curves), height=HEIGHT)
    drawing = Drawing(WIDTH, panels.total + 22, name=stem, title=f"Learning curves, {title}")
    _key(drawing)
    data = []
    for i, curve in enumerate(curves):
        table = drawn(curve)
        data.append(table.assign(model=curve.key["model"], target=curve.key["target"]))
        place = _frame(drawing, panels, i, curve, table)
        _draw(drawing, place, curve, table)
    drawing.text(WIDTH / 2, panels.total + 16, "training cells, log scale", text_anchor="middle", fill=MUTED)
    caption = (
        f"{title}, {better}. Dots: single runs; circles: means over seeds; line and band: the fitted curve with its "
        "90 % interval, dashed and without a band where the means are too far from it. The bar below the curve is the "
        "90 % interval of N95, the size at which 95 % of the gain are reached, with its estimate; an arrow: it goes on "
        "beyond the data. The triangle is where the published rule says saturated: one lucky run decides it."
    )
    return Figure(stem, drawing.title, caption, drawing, pd.concat(data, ignore_index=True))


def drawn(curve: Curve) -> pd.DataFrame:
    """Return all that is drawn: runs, means and the curve."""
    sizes = curve.learned.ladder.sizes
    runs = curve.runs[curve.runs["size"] > 0].assign(kind="run")
    means = runs.groupby("size")["value"].mean().reset_index().assign(kind="mean")
    along = np.geomspace(sizes[0], sizes[-1], N_DRAWN)
    low, high = curve.learned.band(along, LEVEL)
    fitted = pd.DataFrame({"size": along, "value": curve.learned.curve(along), "low": low, "high": high})
    return pd.concat([runs, means, fitted.assign(kind="curve")], ignore_index=True)


def _frame(drawing: Drawing, panels: Panels, i: int, curve: Curve, table: pd.DataFrame) -> _Place:
    x, y, width, height = panels.box(i)
    sizes = curve.learned.ladder.sizes
    shown = [*table["value"], *(table[["low", "high"]].to_numpy().ravel() if curve.learned.fits else [])]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    pad = 0.08 * (high - low) or 0.1
    log_x = svg.scale(math.log(sizes[0]), math.log(sizes[-1]), x + 14, x + width - 26)
    # Room for the published rule's point above the runs, and for the interval of N95 below them.
    y_of = svg.scale(low - pad, high + pad, y + height - 26, y + 10)
    place = _Place((x, y, width, height), lambda size: log_x(math.log(size)), y_of, drawing.clip(x, y, width, height))
    name = f"{curve.key['model']} · {curve.key['target']}"
    across = Axis(_size_ticks(sizes, place.x_of), place.x_of)
    panels.frame(drawing, i, name, across, Axis(svg.ticks(low - pad, high + pad, 4), y_of))
    return place


def _size_ticks(sizes: np.ndarray, x_of: Callable[[float], float]) -> list[float]:
    """Return the ends and those sizes between that leave room for their numbers."""
    kept = [float(sizes[-1]), float(sizes[0])]
    for size in sizes[1:-1].tolist():
        if all(abs(x_of(size) - x_of(other)) > 3.5 * (len(f"{size:,.0f}") + len(f"{other:,.0f}")) for other in kept):
            kept.append(size)
    return sorted(kept)


def _draw(drawing: Drawing, place: _Place, curve: Curve, table: pd.DataFrame) -> None:
    fitted = table[table["kind"] == "curve"]
    x_line = [place.x_of(size) for size in fitted["size"]]
    if curve.learned.fits and fitted["low"].notna().all():
        ends = [*zip(x_line, fitted["low"], strict=True), *reversed([*zip(x_line, fitted["high"], strict=True)])]
        corners = " ".join(f"{x:.1f},{place.y_of(value):.1f}" for x, value in ends)
        drawing.add("polygon", points=corners, fill=BAND, fill_opacity=0.35, clip_path=place.clip)
    look = {"stroke_width": 1.6, "clip_path": place.clip, "tip": _tip(curve)}
    dashes = {} if curve.learned.fits else {"stroke_dasharray": "4 3"}
    points = [(x, place.y_of(value)) for x, value in zip(x_line, fitted["value"], strict=True)]
    drawing.path(points, stroke=INK, **look, **dashes)
    for kind in ("run", "mean"):
        here = table[table["kind"] == kind]
        for size, value in zip(here["size"], here["value"], strict=True):
            x, y = place.x_of(size), place.y_of(value)
            if kind == "run":
                drawing.add("circle", cx=x, cy=y, r=2.2, fill=DOT)
            else:
                tip = f"{size:,.0f} cells: mean {numbers.number(value)}"
                drawing.add("circle", tip=tip, cx=x, cy=y, r=4, fill=SURFACE, stroke=INK, stroke_width=1.6)
    _n95(drawing, place, curve)
    _published(drawing, place, curve)


def _n95(drawing: Drawing, place: _Place, curve: Curve) -> None:
    """Draw the interval of N95 at the panel's foot; what lies beyond the sizes as an arrow."""
    found, sizes = curve.learned.n95, curve.learned.ladder.sizes
    x, y, width, height = place.box
    if math.isnan(found.low):
        drawing.text(x + 14, y + height - 8, f"N95 not known: {curve.learned.status}", fill=MUTED, font_size=10)
        return
    at, end = y + height - 12, x + width - 14
    low = place.x_of(found.low) if found.low <= sizes[-1] else end - 8
    high = place.x_of(found.high) if found.high <= sizes[-1] else end
    drawing.line(low, at, high, at, stroke=INK, stroke_width=2)
    if found.high > sizes[-1]:
        drawing.path([(end - 5, at - 4), (end, at), (end - 5, at + 4)], stroke_width=2)
    if found.value <= sizes[-1]:
        drawing.line(place.x_of(found.value), at - 6, place.x_of(found.value), at + 6, stroke=INK, stroke_width=2)


def _published(drawing: Drawing, place: _Place, curve: Curve) -> None:
    if curve.better != "higher":
        return
    runs = curve.runs[curve.runs["size"] > 0]
    size = published_rule(runs["value"].to_numpy(float), runs["size"].to_numpy(float))
    if math.isfinite(size):
        _triangle(drawing, place.x_of(size), place.box[1] + 5, f"published rule: saturated at {size:,.0f} cells")


def _triangle(drawing: Drawing, x: float, y: float, tip: str = "") -> None:
    corners = f"{x - 5:.1f},{y:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 8:.1f}"
    drawing.add("polygon", tip=tip, points=corners, fill=SURFACE, stroke=MUTED, stroke_width=1.4)


def _tip(curve: Curve) -> str:
    power = curve.learned.laws.power
    shares = ", ".join(f"{name} {share:.0%}" for name, share in curve.learned.shares.items())
    return f"exponent {power.exponent[0]:.2f}, asymptote {numbers.number(curve.learned.asymptote)}; weights: {shares}"


def _key(drawing: Drawing) -> None:
    """Draw what the marks are."""
    drawing.add("circle", cx=10, cy=10, r=2.2, fill=DOT)
    drawing.text(18, 14, "run")
    drawing.add("circle", cx=58, cy=10, r=4, fill=SURFACE, stroke=INK, stroke_width=1.6)
    drawing.text(67, 14, "mean over seeds")
    drawing.add("rect", x=170, y=4, width=22, height=12, fill=BAND, fill_opacity=0.35)
    drawing.line(170, 10, 192, 10, stroke=INK, stroke_width=1.6)
    drawing.text(198, 14, "fitted, 90 % interval")
    drawing.line(324, 10, 348, 10, stroke=INK, stroke_width=2)
    drawing.line(334, 4, 334, 16, stroke=INK, stroke_width=2)
    drawing.text(354, 14, "N95 of the gain, 90 % interval")
    _triangle(drawing, 536, 6)
    drawing.text(546, 14, "published rule (one lucky run)")
