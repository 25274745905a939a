"""Printing: texts from data as they stand, tables cut at what a reader takes in, and warnings."""

from collections.abc import Iterable

import pandas as pd
from rich.console import Console
from rich.markup import escape as without_markup
from rich.table import Table

from corpuscle.core.errors import Problem
from corpuscle.core.text import shown

# Of a longer table or list, so many lines are shown: a terminal is for reading, the files have all.
MOST_ROWS = 30


def escape(text: str) -> str:
    """Return a text so that rich prints it as it stands, without control characters and not endlessly."""
    return without_markup(shown(text))


def print_table(console: Console, title: str, rows: pd.DataFrame, n_rows: int = 0) -> None:
    """Print the first rows of a table of so many; by default, of as many as are given."""
    n_rows = n_rows or len(rows)
    console.print(f"[bold]{escape(title)}[/bold]")
    table = Table(header_style="dim", box=None)
    for column in rows:
        table.add_column(escape(str(column)), overflow="fold")
    for row in rows.head(MOST_ROWS).itertuples(index=False):
        table.add_row(*(escape(str(value)) for value in row))
    console.print(table)
    if n_rows > MOST_ROWS:
        console.print(f"… and {n_rows - MOST_ROWS:,} more", style="dim")
    console.print()


def show_warnings(console: Console, warnings: Iterable[Problem]) -> None:
    """Show what is legal and yet likely not meant."""
    warnings = list(warnings)
    for warning in warnings[:MOST_ROWS]:
        console.print(f"[yellow]Warning[/yellow] {escape(str(warning))}", soft_wrap=True)
    if len(warnings) > MOST_ROWS:
        console.print(f"… and {len(warnings) - MOST_ROWS:,} more warnings", style="dim")
