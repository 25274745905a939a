"""What all plots share: where their tables come from, which axes they are drawn on, and colours."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.report.drawing.painted import require_matplotlib
from corpuscle.report.drawing.svg import THEME
from corpuscle.report.page.compared import compared
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections.overview import with_standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A run's folder, or what was read of it.
Run = Path | str | RunFolder
INK, MUTED = THEME["ink"], THEME["muted"]


def opened(run: Run) -> RunFolder:
    """Read a run's folder, if it is not read yet.

    Raises
    ------
    FolderError
        When it is not that of a run, or a file in it cannot be read.
    """
    return run if isinstance(run, RunFolder) else RunFolder.read(Path(run))


def axes_of(ax: "Axes | None") -> "Axes":
    """Return the axes to draw on: those given, else new ones.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    require_matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


class Comparison(NamedTuple):
    """One comparison of corpora: its summary, a row per corpus, in the study's order, and what it is called."""

    rows: pd.DataFrame
    title: str
    metric: str
    baseline: str


def comparison(run: Run, chosen: dict[str, str | None]) -> Comparison:
    """Choose one comparison of corpora: of the scores over all cells, what is asked for.

    Parameters
    ----------
    run
        A run's folder.
    chosen
        ``task``, ``metric``, ``target``, ``model`` and ``way``; None where there is one, or, of metric and way, for
        what the task is known for.

    Raises
    ------
    InputError
        When there is no such score, or there are several.
    """
    read = opened(run)
    table = compared(read).summary
    table = table[table["unit"] == "all"]
    if chosen["metric"] is None and chosen["way"] is None:
        table = table[table["headline"]]
    for name, value in chosen.items():
        table = _narrowed(table, name, value)
    order = [corpus for corpus in read.corpora if corpus in set(table["corpus"])]
    rows = with_standing(table).set_index("corpus").loc[order]
    first = rows.iloc[0]
    title = f"{first['model']} on {first['target']}"
    return Comparison(rows, title, str(first["title"]) or str(first["metric"]), read.baseline)


def _narrowed(rows: pd.DataFrame, name: str, value: str | None) -> pd.DataFrame:
    """Return the rows with a value, or with the only one there is."""
    known = [str(one) for one in rows[name].unique()]
    if value is None and len(known) == 1:
        return rows
    if value not in known:
        came = "none was named" if value is None else f"not {value!r}"
        raise InputError(f"{name}: expected one of {', '.join(map(repr, known)) or 'no scores'}; {came}")
    return rows[rows[name] == value]
