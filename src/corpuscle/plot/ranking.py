"""The report's overview: every corpus on every target with every model, ranked."""

import math
from typing import TYPE_CHECKING

from corpuscle.core.errors import InputError
from corpuscle.plot.shared import INK, Run, axes_of, opened
from corpuscle.report.drawing.svg import THEME
from corpuscle.report.page.compared import compared
from corpuscle.report.sections.bar_table import Bar
from corpuscle.report.sections.heatmaps import Layout, sheets
from corpuscle.report.sections.overview import overview as laid_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of a column's width, what its bars take.
WIDTH = 0.86


def overview(run: Run, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the report's overview: a row a corpus, a column a target, a bar per model on the metric's own range.

    Corpora that are best, or cannot be distinguished from the best, most often stand on top; a dot marks where they are
    (filled: best).

    Parameters
    ----------
    run
        A run's folder.
    ax
        The axes to draw on; by default new ones.

    Raises
    ------
    InputError
        When there are no scores over all cells, or matplotlib is not installed.
    """
    read = opened(run)
    found = compared(read)
    layout = Layout(read.baseline, found.corpora, read.targets)
    table = laid_out(sheets(found.summary, layout), layout, read.fits)
    if table is None:
        raise InputError(f"{run}: expected scores over all cells of a target; there are none to rank corpora by")
    axes, lanes = axes_of(ax), max(1, len(table.models))
    for at, row in enumerate(table.rows):
        for column, cell in enumerate(row.cells):
            for lane, one in enumerate(cell.bars):
                _bar(axes, one, (column, at - 0.4 + 0.8 * (lane + 0.5) / lanes), 0.8 / lanes)
    groups = ["", *(column.group for column in table.columns)]
    heads = [
        f"{column.group if column.group != before else ''}\n{column.name}\n{column.axis.text}"
        for before, column in zip(groups, table.columns, strict=False)
    ]
    axes.set_xticks(range(len(heads)), heads, fontsize="small", ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(table.rows)), [row.name for row in table.rows])
    axes.set(xlim=(-0.1, len(heads)), ylim=(len(table.rows) - 0.4, -0.6))
    if table.models:
        axes.set_xlabel(f"bars of a cell, from the top: {', '.join(table.models)}", fontsize="small")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes


def _bar(axes: "Axes", one: Bar, place: tuple[float, float], height: float) -> None:
    """Draw a bar and its interval from `place`, in units of columns and rows."""
    if not one.is_known:
        return
    x, y = place
    start = one.at if math.isnan(one.start) else one.start
    axes.barh(y, WIDTH * (one.at - start), left=x + WIDTH * start, height=0.8 * height, color=THEME[one.tone])
    axes.plot([x + WIDTH * one.at], [y], "|", color=THEME[one.tone], markersize=4)
    if one.has_interval:
        axes.plot([x + WIDTH * one.low, x + WIDTH * one.high], [y, y], color=INK, linewidth=1.0)
    if one.mark:
        axes.plot([x - 0.05], [y], "o", color=INK, markersize=3, markerfacecolor=INK if one.mark == "best" else "white")
