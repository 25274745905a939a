"""What corpora are made of."""

from typing import TYPE_CHECKING

from corpuscle.core.errors import InputError
from corpuscle.plot.shared import Run, axes_of, opened
from corpuscle.report.drawing.corpus_figures import NOUNS, segments_of, shown_values
from corpuscle.report.drawing.svg import CATEGORIES, OTHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def composition(run: Run, *, column: str = "cell_type", ax: "Axes | None" = None) -> "Axes":
    """Draw what each corpus is made of, as stacked bars of cells, mean over seeds; rare values are summed.

    Parameters
    ----------
    run
        A run's folder.
    column
        By which label, such as ``"cell_type"``, ``"tissue"`` or ``"donor"``.
    ax
        The axes to draw on; by default new ones.

    Raises
    ------
    InputError
        When the composition by this label was not recorded, or matplotlib is not installed.
    """
    read = opened(run)
    here = read.composition[read.composition["column"] == column]
    if here.empty:
        known = ", ".join(map(repr, read.composition["column"].unique())) or "none"
        raise InputError(f"column: expected one of the labels that were recorded ({known}), not {column!r}")
    seeds = here.groupby("corpus")["seed"].nunique()
    cells = (here.groupby(["corpus", "value"], sort=False)["n_cells"].sum() / seeds).rename("n_cells")
    shown, other = shown_values(cells, NOUNS.get(column, "value"))
    names = [name for name in read.corpora if name in seeds.index]
    parts = [dict(segments_of(cells.loc[[name]].droplevel("corpus"), shown, other)) for name in names]
    axes, left = axes_of(ax), [0.0] * len(names)
    for value, colour in zip([*shown, *([other] if other else [])], [*CATEGORIES, OTHER], strict=False):
        widths = [part.get(value, 0.0) for part in parts]
        axes.barh(names, widths, left=left, color=colour, label=value, edgecolor="white", linewidth=0.5)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(f"cells by {column.replace('_', ' ')}")
    axes.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return axes
