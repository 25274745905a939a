"""Embeddings laid out in the plane: a panel per corpus, cells coloured by a label."""

from collections.abc import Sequence

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.drawing import svg
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.small_multiples import WIDTH, Axis, Panels
from corpuscle.report.drawing.svg import Drawing

MAX_CATEGORIES = len(svg.CATEGORIES)
NOUNS = {"cell_type": "type", "batch": "batch"}
MISSING = "(missing)"
PITCH = 18.0


def embedding_map(table: pd.DataFrame, label: str, corpora: Sequence[str], stem: str) -> Figure:
    """Draw the maps of one model and target, by one label.

    The most frequent values have colours of their own; the others are grey. Dots that fall on the same half pixel
    are drawn once, which keeps the file small.

    Parameters
    ----------
    table
        Rows of one model and target; columns ``corpus``, ``model``, ``target``, ``x``, ``y`` and the label.
    label
        ``"cell_type"`` or ``"batch"``.
    corpora
        All corpora in the order of the report.
    stem
        File name of the figure.
    """
    model, target = str(table["model"].iloc[0]), str(table["target"].iloc[0])
    values = table[label].replace("", MISSING)
    ranked = [str(value) for value in values.value_counts().index]
    shown = ranked[:MAX_CATEGORIES]
    colours = dict(zip(shown, svg.CATEGORIES, strict=False))
    names = [name for name in corpora if name in set(table["corpus"])]
    panels = Panels(len(names), height=230)
    legend = [*shown, *([f"{len(ranked) - len(shown)} more"] if len(ranked) > len(shown) else [])]
    per_row = 5
    bottom = panels.total + 6
    noun = label.replace("_", " ")
    title = f"{target} by {noun}, {model}"
    drawing = Drawing(WIDTH, bottom + PITCH * -(-len(legend) // per_row) + 8, name=stem, title=title)
    for i, name in enumerate(names):
        panels.frame(drawing, i, name, Axis([], float))
        _draw_cells(drawing, table[table["corpus"] == name], values, colours, panels.box(i))
    for i, value in enumerate(legend):
        x, y = panels.left + (WIDTH - panels.left) / per_row * (i % per_row), bottom + PITCH * (i // per_row)
        drawing.add("circle", cx=x + 5, cy=y + 5, r=4.5, fill=colours.get(value, svg.OTHER))
        drawing.text(x + 15, y + 9, svg.fitted(value, 180, 11))
    n_cells = table.groupby("corpus").size().max()
    caption = (
        f"UMAP of {numbers.plural(int(n_cells), 'cell')} of {target} in the embedding of {model}, a panel per corpus."
    )
    return Figure(stem, title, caption, drawing, table)


def _draw_cells(
    drawing: Drawing,
    cells: pd.DataFrame,
    values: "pd.Series[str]",
    colours: dict[str, str],
    box: tuple[float, float, float, float],
) -> None:
    """Draw one panel's cells, frequent values first, so that rare ones lie on top."""
    x0, y0, width, height = box
    # One scale for both axes: a map has no directions.
    middle = [(cells[axis].max() + cells[axis].min()) / 2 for axis in "xy"]
    reach = max(float(cells[axis].max() - cells[axis].min()) for axis in "xy") or 1.0
    unit = 0.94 * min(width, height) / reach
    across = x0 + width / 2 + unit * (cells["x"] - middle[0])
    up = y0 + height / 2 - unit * (cells["y"] - middle[1])
    here = values.loc[cells.index]
    for value in [*(value for value in here.value_counts().index if value not in colours), *colours]:
        at = here == value
        if at.any():
            points = list(zip(across[at], up[at], strict=True))
            drawing.dots(points, 1.2, stroke=colours.get(str(value), svg.OTHER), stroke_opacity=0.75)
