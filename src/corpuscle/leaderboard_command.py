"""The command `corpuscle leaderboard`: which measures of a corpus predict the scores of models trained on it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("measure", "of", "rank correlation", "95 % interval", "scores", "corpora")
MOST = 20


def leaderboard(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN_FOLDER", help="Of `corpuscle run` or `corpuscle recommend`.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write the tables into.", show_default=False),
    ] = None,
) -> None:
    """Say which measures of a corpus predict how models score that were trained on it.

    Over the corpora of a run: how well each measure ranks them as the scores do, for targets of sources that are
    trained on and for others apart. What measures well on one study's corpora need not on another's.
    """
    from corpuscle.core.text import shown
    from corpuscle.report.leaderboard import standings_of
    from corpuscle.table_folder import check_folder, write_tables

    check_folder(output)
    found = standings_of(folder)
    for seen, title in ((True, "Targets of sources that are trained on"), (False, "Targets of other sources")):
        here = found.means[found.means["seen"] == seen]
        if len(here):
            _show(title, here)
    if output is not None:
        write_tables(output, {"standings": found.means, "leaderboard": found.board})
        typer.echo(shown(f"Tables: {output}"))


def _show(title: str, table: "pd.DataFrame") -> None:
    """Print the best of one kind of targets, by corpora of equal size where a measure depends on it."""
    from corpuscle.store_commands import show

    equal = set(table.loc[table["size"] == "equal", "measure"])
    best = table[(table["size"] == "equal") | ~table["measure"].isin(equal)]
    least, most = best["n_corpora"].min(), best["n_corpora"].max()
    typer.echo(f"{title} ({f'{least} to ' if least < most else ''}{most} corpora that were measured and trained on)")
    rows = [
        (row.measure, row.of, f"{row.correlation:+.2f}",
         "none" if math.isnan(row.low) else f"{row.low:+.2f} to {row.high:+.2f}", str(row.n_scores), str(row.n_corpora))
        for row in best.head(MOST).itertuples()
    ]  # fmt: skip
    show(COLUMNS, rows)
    if len(best) > MOST:
        typer.echo(f"… {len(best) - MOST} more; -o writes all")
    typer.echo()
