"""Results: scores, measures, what is missing, remarks on a corpus, proposed names and published weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from corpuscle.execution.measuring import Measured
from corpuscle.execution.results import Results
from corpuscle.report.sections.measures import sections
from corpuscle.report.sections.shown import of_corpora
from corpuscle.study.plan import Run
from corpuscle.study.proposing import Proposed
from corpuscle.terminal.printing import MOST_ROWS, escape, print_table

if TYPE_CHECKING:
    from corpuscle.model.families.inspection import Inspection


def show_results(console: Console, results: Results) -> None:
    """Show the scores in short, what failed, and where the report is."""
    scores = results.scores[results.scores["unit"] == "all"]
    for task, table in scores.groupby("task", sort=False):
        first = table[table["headline"]]
        if first.empty:
            continue
        named = ", ".join(part for part in (first["metric"].iloc[0], *_only(first["way"])) if part)
        title = f"{task}, {named}, mean over seeds"
        if first["model"].nunique() == 1:
            print_table(console, f"{first['model'].iloc[0]}: {title}", _means(first, "target"))
            continue
        for target, here in first.groupby("target", sort=False):
            print_table(console, f"{target}: {title}", _means(here, "model"))
    for run, message in results.failures.items():
        console.print(f"[red]failed[/red] {escape(str(run))}: {escape(message)}", soft_wrap=True)
    console.print(f"Report: {escape(str(results.report))}", soft_wrap=True)


def show_missing(console: Console, missing: Sequence[Run]) -> None:
    """Show which runs of an unfinished one are not there yet."""
    console.print(f"The run is not finished: {len(missing):,} runs lack a model or scores")
    for run in missing[:MOST_ROWS]:
        console.print(f"  {escape(str(run))}", soft_wrap=True)
    if len(missing) > MOST_ROWS:
        console.print(f"  … and {len(missing) - MOST_ROWS:,} more", style="dim")


def _only(values: pd.Series) -> list[str]:
    """Return the one value that a column has; none where it has several."""
    found = [str(value) for value in values.unique()]
    return found if len(found) == 1 else []


def _means(scores: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Lay out the means over seeds, a row per corpus."""
    means = scores.pivot_table(
        index="corpus", columns=columns, values="value", aggfunc="mean", sort=False, dropna=False
    )
    shown = means.map(lambda value: "n/a" if pd.isna(value) else f"{value:.3f}")
    # In place, the target is called as the column of names is.
    shown.insert(0, "corpus", shown.index, allow_duplicates=True)
    return shown


def show_measures(console: Console, measured: Measured, corpora: list[str]) -> None:
    """Show the measures of corpora, means over seeds, and which cell types are not known in the Cell Ontology."""
    shown = corpora[:MOST_ROWS]
    for section in sections(of_corpora(measured.measures, shown), shown):
        rows = [[row.label, *(cell.value for cell in row.cells)] for row in section.rows]
        if rows:
            print_table(console, section.title, pd.DataFrame(rows, columns=["", *shown]))
        for reason in section.notes:
            console.print(f"n/a: {escape(reason)}", style="dim", soft_wrap=True)
    if len(corpora) > len(shown):
        console.print(f"… and {len(corpora) - len(shown):,} more corpora", style="dim")
    for (name, seed), message in measured.failures.items():
        console.print(f"[red]failed[/red] {escape(name)} · seed {seed}: {escape(message)}", soft_wrap=True)
    unknown = measured.cell_types[measured.cell_types["term"] == ""]
    if len(unknown) < len(measured.cell_types):
        labels = ", ".join(f"{row.label} ({row.n_cells:,})" for row in unknown.itertuples())
        console.print(f"Not known in the Cell Ontology: {escape(labels or 'none')}\n", soft_wrap=True)


def remarks_on(composed: Path) -> list[str]:
    """Return what is odd about a composed corpus, from the manifest next to it."""
    manifest = json.loads((composed.parent / "manifest.json").read_text(encoding="utf-8"))
    barcodes = [
        f"{n_cells:,} cells of {source} share their barcode with another; they are named {source}:BARCODE-ROW"
        for source, n_cells in manifest["repeated_barcodes"].items()
    ]
    renamed = [
        f"column {name!r} is called {legal!r} there, a name that h5ad and zarr can hold"
        for name, legal in manifest["renamed_columns"].items()
    ]
    as_text = [f"column {name!r} is written as text: its values are not of one kind that h5ad and zarr can hold"
               for name in manifest["columns_as_text"]]  # fmt: skip
    return [f"{composed}: {remark}" for remark in (*barcodes, *renamed, *as_text)]


def show_proposals(console: Console, proposed: Proposed, column: str, written: Path | None, named: str) -> None:
    """Show which names are proposed for labels, which have none, and what to do with the table, if one was written.

    `named` is what the study file calls it.
    """
    table = proposed.table
    is_named = table["to"] != ""
    columns = ["from", "to", "kind_of", "confidence", "by", "sources", "n_cells"]
    print_table(console, f"Names for labels of {column}", table.loc[is_named, columns])
    if not is_named.all():
        print_table(
            console, "No name is proposed: left to you", table.loc[~is_named, ["from", "near", "sources", "n_cells"]]
        )
    if proposed.without:
        console.print(f"[yellow]Note[/yellow] {escape(proposed.without)}", soft_wrap=True)
    if written is None:
        console.print("Nothing was written: -o labels.csv writes these names into a table for the study")
        return
    console.print(f"Names: {escape(str(written))}", soft_wrap=True)
    console.print(
        escape(f"Look through them, fill in or change what stands under to, and name the file in the study:\n"
               f"[labels]\n{column} = {json.dumps(named, ensure_ascii=False)}"), soft_wrap=True
    )  # fmt: skip


def show_checkpoint(console: Console, seen: "Inspection") -> None:
    """Show what a folder with published weights is, and what of it is loaded."""
    console.print(f"[bold]{escape(seen.found.title)}[/bold]", soft_wrap=True)
    console.print(f'name = "{seen.model}"', style="dim")
    if seen.n_parameters:
        console.print(f"{seen.n_parameters:,} parameters")
    rows = [[role, path.name, seen.hashes[path.name]] for role, path in seen.found.files.items()]
    print_table(console, "files", pd.DataFrame(rows, columns=["what", "file", "SHA-256"]))
    if seen.accounting is not None:
        console.print(escape(str(seen.accounting)), soft_wrap=True)
    if seen.problem:
        console.print(f"[red]cannot be used[/red]: {escape(seen.problem)}", soft_wrap=True)
