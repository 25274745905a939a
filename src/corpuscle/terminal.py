"""Display: what the command line shows, with rich. Texts from data are escaped: none is markup or a code."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.markup import escape as without_markup
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as ProgressTask
from rich.table import Table
from rich.text import Text

from corpuscle.core import components
from corpuscle.core.component_text import examples, meanings, parameters, references, summary
from corpuscle.core.components import Component, guarded, legal_names
from corpuscle.core.errors import ComponentError, Problem
from corpuscle.core.text import plural, shown
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.execution.listener import Listener
from corpuscle.execution.logged import Logged, logging_to_stderr
from corpuscle.execution.measuring import Measured
from corpuscle.execution.rehearsal.estimate import Estimate
from corpuscle.execution.results import Results
from corpuscle.execution.results_folder import target_facts
from corpuscle.execution.tally import Tally
from corpuscle.execution.workflow import Outlined
from corpuscle.model.model import Model
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections.measures import sections
from corpuscle.report.sections.power import Asked, resolves
from corpuscle.report.sections.shown import of_corpora
from corpuscle.source.source import dataset_facts, dataset_names
from corpuscle.statistics.pilot import Pilot, pilots
from corpuscle.study.plan import Plan, Run
from corpuscle.study.proposing import Proposed
from corpuscle.study.shared_labels import shared_labels
from corpuscle.study.spec import Study

if TYPE_CHECKING:
    from corpuscle.model.families.inspection import Inspection

# Of a longer table or list, so many lines are shown: a terminal is for reading, the files have all.
MOST_ROWS = 30
# Of an estimate, in the order of a run.
PARTS = ("preparing", "measuring", "training", "asking", "report")
KINDS: dict[str, type[Component]] = {"samplers": Sampler, "alterations": Alteration, "models": Model, "tasks": Task}


def escape(text: str) -> str:
    """Return a text so that rich prints it as it stands, without control characters and not endlessly."""
    return without_markup(shown(text))


class Preparing:
    """What is being done, how far it is and how long it will take; shown while its `progress` is entered."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.percentage:>3.0f}%"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # Over minutes: how fast counts are read differs from stretch to stretch.
        self.progress = Progress(*columns, *times, console=console, transient=True, speed_estimate_period=120)
        self.task, self.what = self.progress.add_task("starting", total=1.0), "starting"

    def notice(self, what: str, share: float) -> None:
        """Show what is being done, and which share of it is."""
        if what != self.what:
            self.what = what
            self.progress.reset(self.task, total=1.0, description=escape(what))
        self.progress.update(self.task, completed=share)


class Running(Listener):
    """One bar for the whole study, with time left, and one for each model in training; see `Preparing`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        bar = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
        self.progress = Progress(TextColumn("{task.description}"), *bar, _Left(), console=console)
        self.whole = self.progress.add_task("preparing", total=None)
        self.share, self.stage_began = 0.0, time.monotonic()
        self.tally = Tally({})
        self.bars: dict[Run, TaskID] = {}

    def notice(self, what: str, share: float) -> None:
        """Show a step of the preparation."""
        if share <= self.share:
            # Another stage, which has a time of its own.
            self.stage_began = time.monotonic()
        self.share, passed = share, time.monotonic() - self.stage_began
        left = passed * (1 - share) / share if share else None
        self.progress.update(self.whole, description=escape(what), total=1.0, completed=share, left=left)

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Show them above the bars."""
        show_warnings(self.console, warnings)

    def said(self, text: str) -> None:
        """Show it above the bars."""
        self.console.print(escape(text), soft_wrap=True)

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Count what is to do."""
        self.tally = Tally(n_steps)
        if reused:
            self.console.print(f"{reused} of {len(n_steps) + reused} runs are there already")
        total = 1.0 if n_steps else None
        self.progress.reset(self.whole, total=total, description=f"{len(n_steps)} runs", left=None)

    def update(self, run: Run, share: float) -> None:
        """Move a run's bar, and the whole's."""
        if run not in self.bars:
            self.bars[run] = self.progress.add_task(escape(str(run)), total=1.0)
        self.tally.update(run, share)
        self.progress.update(self.bars[run], completed=share, visible=share < 1)
        self.progress.update(self.whole, completed=self.tally.share)

    def failed(self, what: str, why: str) -> None:
        """Show it above the bars."""
        self.console.print(f"[red]failed[/red] {escape(what)}: {escape(why)}", soft_wrap=True)

    def left(self, seconds: float) -> None:
        """Show how long the rest takes."""
        self.progress.update(self.whole, left=seconds)


@contextmanager
def listening(console: Console) -> Iterator[Listener]:
    """Give what shows a run: bars on a terminal; where output goes to a file, lines with their times."""
    if console.is_terminal:
        running = Running(console)
        with running.progress:
            yield running
    else:
        with logging_to_stderr():
            yield Logged()


class _Left(ProgressColumn):
    """How long the rest takes, where that is known."""

    def render(self, task: ProgressTask) -> Text:
        """Show it."""
        seconds = task.fields.get("left")
        if seconds is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=round(seconds))} left", style="progress.remaining")


def show_plan(console: Console, plan: Plan, expected: Estimate | None, workers: int) -> None:
    """Show what a study would do, and how long it would take, where that was estimated."""
    study = plan.study
    console.print(f"[bold]{escape(study.name)}[/bold]")
    console.print(
        f"{len(plan.runs)} runs = corpora ({len(study.recipes)}) × models ({len(study.models)}) × seeds "
        f"({_seeds(study)}); {sum(plan.n_steps(run) for run in plan.runs):,} steps on {len(plan.space):,} genes "
        f"({escape(study.spec.genes.space)}, by {plan.by})"
    )
    _show_estimate(console, expected, workers)
    _print(console, "Sources", _sources_table(plan))
    if len(plan.relabelled):
        _print(console, "Labels that [labels] names", _names_table(plan))
    _print(console, "Corpora", _corpora_table(plan), n_rows=len(study.recipes))
    _print(console, "Targets", _targets_table(plan))
    first = {name: corpus for (name, seed), corpus in plan.corpora.items() if seed == study.seeds[0]}
    shared = shared_labels(study, plan.targets, first)
    if len(shared):
        _print(console, "Labels that targets and corpora share", shared)
    for labelled in study.models:
        with guarded(labelled.model):
            programs = labelled.model.programs
        for program in programs:
            console.print(f"[bold]{escape(labelled.label)}[/bold] runs {escape(program)}", soft_wrap=True)
    for model, task in plan.unanswerable:
        note = f"{model} does not {task.ability}: its scores of {task.name} will be missing"
        console.print(f"[yellow]Note[/yellow] {escape(note)}", soft_wrap=True)
    show_warnings(console, plan.warnings)


def _show_estimate(console: Console, expected: Estimate | None, workers: int) -> None:
    if expected is None:
        console.print("How long it takes was not estimated (--plan)\n")
        return
    parts = ", ".join(f"{part} {_duration(getattr(expected, part))}" for part in PARTS)
    console.print(f"About {_duration(expected.seconds)} on {plural(workers, 'core')}: {parts}", soft_wrap=True)
    for lacking in expected.unknown[:MOST_ROWS]:
        console.print(f"[yellow]Not in it[/yellow], as it is not known: {escape(lacking)}", soft_wrap=True)
    if len(expected.unknown) > MOST_ROWS:
        console.print(f"… and {len(expected.unknown) - MOST_ROWS:,} more", style="dim")
    console.print()


def pilots_of(folder: Path) -> list[Pilot]:
    """Return what the scores of an earlier run scattered by."""
    earlier = RunFolder.read(folder)
    return pilots(earlier.scores, earlier.baseline, earlier.overlaps)


def show_power(console: Console, plan: Plan, known: Sequence[Pilot] | None) -> None:
    """Show which differences the study's seeds can resolve."""
    study, overlap = plan.study, plan.draws.dropna(subset=["overlap"]).groupby("corpus")["overlap"].max()
    others = (len(study.recipes) - 1) * len(study.models)
    asked = [
        Asked(task.label, metric.name, metric.title, metric.scale, others * len(task.targets))
        for task in study.tasks
        for metric in task.task.metrics[:1]
    ]
    for line in resolves(asked, len(study.draws), known, float(overlap.median()) if len(overlap) else 0.0):
        console.print(f"[bold]Power[/bold] {escape(line)}", soft_wrap=True)


def _seeds(study: Study) -> str:
    """Write how many seeds there are, and of what where they are crossed."""
    n = len(study.seeds)
    return f"{n}: {len(study.draws)} draws × {study.spec.n_fits} fits" if study.spec.n_fits > 1 else str(n)


def show_warnings(console: Console, warnings: Iterable[Problem]) -> None:
    """Show what is legal and yet likely not meant."""
    warnings = list(warnings)
    for warning in warnings[:MOST_ROWS]:
        console.print(f"[yellow]Warning[/yellow] {escape(str(warning))}", soft_wrap=True)
    if len(warnings) > MOST_ROWS:
        console.print(f"… and {len(warnings) - MOST_ROWS:,} more warnings", style="dim")


def _sources_table(plan: Plan) -> pd.DataFrame:
    rows = []
    for name, source in plan.sources.items():
        table = plan.quality[plan.quality["source"] == name]
        dropped = table[table["reason"] != "kept"]
        why = ", ".join(f"{row.n_cells:,} {row.reason}" for row in dropped.itertuples()) or "none"
        genes = plan.genes.set_index("source").loc[name]
        held = plan.study.holdout.get(name)
        rows.append(
            {
                "source": name,
                "cells": f"{len(source):,}",
                "dropped": why,
                "genes kept": f"{int(genes['kept']):,} of {int(genes['n_genes']):,}"
                + (f"; left out: {genes['left_out']}" if genes["left_out"] else ""),
                "counts kept": f"{genes['counts_kept']:.0%}",
                "held out": f"{len(source) - plan.n_training[name]:,} by {held.by}" if held else "",
            }
        )
    return pd.DataFrame(rows)


def _names_table(plan: Plan) -> pd.DataFrame:
    """Lay out what labels are called, and which become one."""
    rows = []
    for (column, name), table in plan.relabelled.groupby(["label", "to"], sort=False):
        told = [f"{row[2]!r} ({row[1]}, {row[5]:,} cells)" for row in table.itertuples(index=False)]
        rows.append({"label": column, "name": name, "of": ", ".join(told), "how": ", ".join(table["how"].unique())})
    return pd.DataFrame(rows)


def _corpora_table(plan: Plan) -> pd.DataFrame:
    rows = []
    for recipe in plan.study.recipes[:MOST_ROWS]:
        runs = [Run(recipe.name, model.label, seed) for seed in plan.study.seeds for model in plan.study.models]
        # Models that take no steps are not of interest here.
        steps = {plan.n_steps(run) for run in runs} - {0} or {0}
        cells = plan.corpora[recipe.name, plan.study.draws[0]].n_cells
        shown = " to ".join(f"{n:,}" for n in sorted({min(steps), max(steps)}))
        rows.append({"corpus": recipe.name, "cells": f"{cells:,}", "steps": shown, "recipe": str(recipe)})
    return pd.DataFrame(rows)


def _targets_table(plan: Plan) -> pd.DataFrame:
    rows = []
    for name in plan.asked_on:
        facts = target_facts(plan, name)
        tasks = ", ".join(task.label for task in plan.study.tasks if name in task.targets)
        cells = facts["n_cells"] if isinstance(facts["n_cells"], str) else f"{facts['n_cells']:,}"
        rows.append({"target": name, "cells": cells, "what": facts["description"], "tasks": tasks})
    return pd.DataFrame(rows, columns=["target", "cells", "what", "tasks"])


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
            _print(console, f"{first['model'].iloc[0]}: {title}", _means(first, "target"))
            continue
        for target, here in first.groupby("target", sort=False):
            _print(console, f"{target}: {title}", _means(here, "model"))
    for run, message in results.failures.items():
        console.print(f"[red]failed[/red] {escape(str(run))}: {escape(message)}", soft_wrap=True)
    console.print(f"Report: {escape(str(results.report))}", soft_wrap=True)


def show_outline(console: Console, runs: Sequence[tuple[Run, Sequence[Outlined]]]) -> None:
    """Show the graph of a study: what is there (=), and what is to be made (+), each below what it is made from."""
    there = {one.artifact.address: one for _, parts in runs for one in parts}
    kinds = dict.fromkeys(kind for kind, _ in there)
    rows = []
    for kind in kinds:
        known = [one.is_there for address, one in there.items() if address.kind == kind]
        rows.append([kind, f"{sum(known):,}", f"{len(known) - sum(known):,}"])
    _print(console, "Artifacts", pd.DataFrame(rows, columns=["kind", "there", "to be made"]))
    for run, parts in runs[:MOST_ROWS]:
        console.print(f"[bold]{escape(str(run))}[/bold]", soft_wrap=True)
        for one in parts:
            depth = 2 if one.artifact.kind in ("scores", "maps") else 1
            what = one.artifact.label.removesuffix(f": {run}")
            what = "model" if one.artifact.label == str(run) else what
            console.print(f"{'  ' * depth}{'=' if one.is_there else '+'} {escape(what)}", soft_wrap=True)
    if len(runs) > MOST_ROWS:
        console.print(f"… and {len(runs) - MOST_ROWS:,} more runs", style="dim")


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
            _print(console, section.title, pd.DataFrame(rows, columns=["", *shown]))
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
    _print(console, f"Names for labels of {column}", table.loc[is_named, columns])
    if not is_named.all():
        _print(
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
    _print(console, "files", pd.DataFrame(rows, columns=["what", "file", "SHA-256"]))
    if seen.accounting is not None:
        console.print(escape(str(seen.accounting)), soft_wrap=True)
    if seen.problem:
        console.print(f"[red]cannot be used[/red]: {escape(seen.problem)}", soft_wrap=True)


def show_components(console: Console, what: str | None) -> None:
    """List what a study file can name, of one kind or of all; or show all about what has a name.

    Raises
    ------
    ComponentError
        When there is no such kind, and nothing of that name.
    """
    kinds = ["datasets", *KINDS]
    if what is None or what in kinds:
        for kind in [what] if what else kinds:
            table = _datasets_table() if kind == "datasets" else _components_table(KINDS[kind])
            _print(console, kind.capitalize(), table)
        return
    found = [cls for cls in KINDS.values() if what in [*components.names(cls), *components.installed(cls)]]
    if not found and ":" in what:
        found = [cls for cls in KINDS.values() if _is_a(cls, what)]
    if what in dataset_names():
        _print(console, what, _datasets_table().query("name == @what"))
    for cls in found:
        _show_component(console, cls, what)
    if not found and what not in dataset_names():
        legal = [*kinds, *dataset_names(), *(name for kind in KINDS.values() for name in components.names(kind))]
        raise ComponentError(f"there is nothing called {what!r}; {legal_names(what, legal)}")


def _is_a(kind: type[Component], name: str) -> bool:
    try:
        components.find(kind, name)
    except ComponentError as error:
        if "cannot import" in str(error):
            raise
        return False
    return True


def _show_component(console: Console, kind: type[Component], name: str) -> None:
    """Show a component's docstring, and what each parameter may be; the documentation has the same text."""
    cls = components.find(kind, name)
    console.print(f"[bold]{escape(name)}[/bold] ({kind.kind})\n")
    console.print(escape(_plain_text(summary(cls))), soft_wrap=True)
    defaults, texts = parameters(cls), meanings(cls)
    if defaults:
        console.print("\n[bold]Parameters[/bold]")
    for field, parameter in defaults.items():
        console.print(escape(parameter), soft_wrap=True)
        console.print(Padding(escape(_plain_text(texts.get(field, ""))), (0, 0, 0, 4)))
    if shown_examples := examples(cls):
        console.print(f"\n[bold]Examples[/bold]\n{escape(shown_examples)}", soft_wrap=True)
    if followed := references(cls):
        console.print(f"\n[bold]References[/bold]\n{escape(_plain_text(followed))}", soft_wrap=True)


def _plain_text(text: str) -> str:
    return text.replace("``", "`")


def _datasets_table() -> pd.DataFrame:
    rows = []
    for name in dataset_names():
        facts = dataset_facts(name)
        size = f"{facts['n_cells']:,} × {facts['n_genes']:,}"
        origin = f"{facts['citation']} ({facts['licence']})"
        rows.append({"name": name, "cells × genes": size, "what": facts["title"], "from": origin})
    return pd.DataFrame(rows)


def _components_table(kind: type[Component]) -> pd.DataFrame:
    rows = []
    for name in [*components.names(kind), *components.installed(kind)]:
        try:
            cls = components.find(kind, name)
        except ComponentError as error:
            # What another package offers, and which cannot be had.
            rows.append({"name": name, "what": str(error), "parameters": ""})
            continue
        what = summary(cls).partition("\n")[0]
        rows.append({"name": name, "what": what, "parameters": ", ".join(parameters(cls).values())})
    return pd.DataFrame(rows)


def _print(console: Console, title: str, rows: pd.DataFrame, n_rows: int = 0) -> None:
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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
