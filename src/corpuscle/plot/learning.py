"""A learning curve: scores of a corpus drawn in several sizes, the fitted curve, and where it is saturated."""

import math
from typing import TYPE_CHECKING

import numpy as np

from corpuscle.core.errors import InputError
from corpuscle.plot.shared import INK, MUTED, Run, axes_of, opened
from corpuscle.report.drawing.learning_figures import LEVEL, drawn
from corpuscle.report.drawing.svg import THEME
from corpuscle.report.sections.learning_curves import LearningCurves
from corpuscle.statistics.ladders import ALL, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    run: Run,
    *,
    ladder: str | None = None,
    task: str | None = None,
    target: str | None = None,
    model: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw runs, means over seeds, the fitted curve with its 90 % interval, and N95 with its.

    The curve is dashed, and without an interval, where the means are too far from it. N95, the number of cells at which
    95 % of the gain are reached, stands at the foot; what lies beyond the largest size is cut off there.

    Parameters
    ----------
    run
        A run's folder.
    ladder, task, target, model
        Which curve; they may be left out where there is one. The metric is what the task is known for.
    ax
        The axes to draw on, whose x axis becomes logarithmic; by default new ones.

    Raises
    ------
    InputError
        When the study has no ladder, there is no such curve, or there are several of which one must be named; when
        matplotlib is not installed.
    """
    read = opened(run)
    found = LearningCurves.of(read.study, read.scores, read.draws, read.curves)
    chosen = {"ladder": ladder, "task": task, "target": target, "model": model}
    curve = _chosen([curve for curve in found.curves if curve.unit == ALL], chosen)
    axes, title = axes_of(ax), found.titles[str(curve.key["task"])][0]
    table = drawn(curve)
    runs, means = (table[table["kind"] == kind] for kind in ("run", "mean"))
    axes.plot(runs["size"], runs["value"], "o", color=THEME["train"], markersize=3, label="run")
    axes.plot(means["size"], means["value"], "o", color=INK, markersize=6, markerfacecolor="white", label="mean")
    fitted = table[table["kind"] == "curve"]
    axes.plot(
        fitted["size"],
        fitted["value"],
        color=INK,
        linestyle="-" if curve.learned.fits else "--",
        label="fitted",
        zorder=0,
    )
    if curve.learned.fits and fitted["low"].notna().all():
        label = f"{LEVEL:.0%} interval"
        axes.fill_between(
            fitted["size"], fitted["low"], fitted["high"], color=THEME["neutral"], alpha=0.35, label=label
        )
    axes.set_xscale("log")
    axes.set(xlabel="training cells", ylabel=title)
    axes.set_title(
        f"{curve.key['model']} on {curve.key['target']}, {curve.key['ladder']}", loc="left", fontsize="medium"
    )
    _n95(axes, curve)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _chosen(curves: list[Curve], chosen: dict[str, str | None]) -> Curve:
    """Return the one curve that is asked for."""
    if not curves:
        raise InputError("the study has no ladder: expected corpora that are one recipe in several sizes")
    for name, value in chosen.items():
        known = list(dict.fromkeys(str(curve.key[name]) for curve in curves))
        if value is None and len(known) == 1:
            continue
        if value not in known:
            came = "none was named" if value is None else f"not {value!r}"
            raise InputError(f"{name}: expected one of {', '.join(map(repr, known))}; {came}")
        curves = [curve for curve in curves if str(curve.key[name]) == value]
    return curves[0]


def _n95(axes: "Axes", curve: Curve) -> None:
    """Draw the interval of N95 at the foot of the axes, or say why there is none."""
    found, largest = curve.learned.n95, float(curve.learned.ladder.sizes[-1])
    across = axes.get_xaxis_transform()
    if math.isnan(found.low):
        axes.text(0.02, 0.02, f"N95 not known: {curve.learned.status}", transform=axes.transAxes, color=MUTED)
        return
    ends = np.minimum([found.low, found.high], largest)
    axes.plot(ends, [0.03, 0.03], transform=across, color=INK, linewidth=2, label="N95")
    if found.high > largest:
        axes.plot([largest], [0.03], ">", transform=across, color=INK, markersize=5)
    if found.value <= largest:
        axes.plot([found.value], [0.03], "|", transform=across, color=INK, markersize=9)
