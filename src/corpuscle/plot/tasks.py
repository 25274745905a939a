"""Scores of one comparison: what each corpus reaches, and how far it is from the baseline."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from corpuscle.plot.shared import INK, MUTED, Comparison, Run, axes_of, comparison
from corpuscle.report.drawing.svg import THEME
from corpuscle.report.sections.bar_table import RANGES
from corpuscle.report.sections.heatmaps import SHOWN
from corpuscle.statistics.comparisons import RATIO, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scores(  # noqa: PLR0913
    run: Run,
    *,
    task: str | None = None,
    metric: str | None = None,
    target: str | None = None,
    model: str | None = None,
    way: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw what each corpus reaches: bars of means over seeds with their intervals, on the metric's own range.

    Parameters
    ----------
    run
        A run's folder.
    task, target, model
        Which scores; they may be left out where there is one.
    metric, way
        Which metric, found in which way; by default what the task is known for.
    ax
        The axes to draw on; by default new ones.

    Raises
    ------
    InputError
        When there are no such scores, or several of which one must be named; when matplotlib is not installed.
    """
    found = comparison(run, {"task": task, "metric": metric, "target": target, "model": model, "way": way})
    axes = axes_of(ax)
    for at, (_, row) in enumerate(found.rows.iterrows()):
        axes.barh(at, row["mean"], height=0.6, color=THEME[row["tone"]])
        _interval(axes, at, row["low"], row["high"], INK)
        if row["mark"]:
            sign = "★" if row["mark"] == "best" else "☆"
            end = float(np.nanmax([row["mean"], row["high"]]))
            axes.annotate(sign, (end, at), (4, 0), textcoords="offset points", va="center")
    if limits := RANGES.get(str(found.rows["scale"].iloc[0])):
        axes.set_xlim(*limits)
    return _named(axes, found, found.metric)


def effects(  # noqa: PLR0913
    run: Run,
    *,
    task: str | None = None,
    metric: str | None = None,
    target: str | None = None,
    model: str | None = None,
    way: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw how far each corpus is from the baseline, with its interval; filled where it is better or worse.

    That is after correction for all comparisons of the metric; the interval is not corrected.

    Parameters
    ----------
    run, task, metric, target, model, way, ax
        As for `scores`.

    Raises
    ------
    InputError
        As `scores`.
    """
    found = comparison(run, {"task": task, "metric": metric, "target": target, "model": model, "way": way})
    axes, scale = axes_of(ax), scale_of(found.rows.reset_index())
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for at, (corpus, row) in enumerate(found.rows.iterrows()):
        if corpus == found.baseline or not math.isfinite(row[scale.value]):
            continue
        colour = THEME[row["tone"]]
        _interval(axes, at, row[scale.low], row[scale.high], colour)
        fill = colour if row["verdict"] in SHOWN else "white"
        axes.plot(row[scale.value], at, "o", color=colour, markerfacecolor=fill)
    kind = "log2 fold change" if scale == RATIO else "difference"
    return _named(axes, found, f"{found.metric}: {kind} against {found.baseline}")


def _interval(axes: "Axes", at: float, low: float, high: float, colour: str) -> None:
    if pd.notna(low) and pd.notna(high):
        axes.plot([low, high], [at, at], color=colour, linewidth=1.6, solid_capstyle="butt")


def _named(axes: "Axes", found: Comparison, label: str) -> "Axes":
    """Name rows and axes, the first corpus on top."""
    axes.set_yticks(range(len(found.rows)), [str(corpus) for corpus in found.rows.index])
    axes.set_ylim(len(found.rows) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.set_title(found.title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return axes
