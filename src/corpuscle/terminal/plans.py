"""Plans: what a study would do, how long it would take, which differences it can resolve, what is there."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from corpuscle.core.components import guarded
from corpuscle.core.text import plural
from corpuscle.execution.rehearsal.estimate import Estimate
from corpuscle.execution.results_folder import target_facts
from corpuscle.execution.workflow import Outlined
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections.power import Asked, resolves
from corpuscle.statistics.pilot import Pilot, pilots
from corpuscle.study.plan import Plan, Run
from corpuscle.study.shared_labels import shared_labels
from corpuscle.study.spec import Study
from corpuscle.terminal.printing import MOST_ROWS, escape, print_table, show_warnings

# Of an estimate, in the order of a run.
PARTS = ("preparing", "measuring", "training", "asking", "report")


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
    print_table(console, "Sources", _sources_table(plan))
    if len(plan.relabelled):
        print_table(console, "Labels that [labels] names", _names_table(plan))
    print_table(console, "Corpora", _corpora_table(plan), n_rows=len(study.recipes))
    print_table(console, "Targets", _targets_table(plan))
    first = {name: corpus for (name, seed), corpus in plan.corpora.items() if seed == study.seeds[0]}
    shared = shared_labels(study, plan.targets, first)
    if len(shared):
        print_table(console, "Labels that targets and corpora share", shared)
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
        listed = [f"{row[2]!r} ({row[1]}, {row[5]:,} cells)" for row in table.itertuples(index=False)]
        rows.append({"label": column, "name": name, "of": ", ".join(listed), "how": ", ".join(table["how"].unique())})
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


def show_outline(console: Console, runs: Sequence[tuple[Run, Sequence[Outlined]]]) -> None:
    """Show the graph of a study: what is there (=), and what is to be made (+), each below what it is made from."""
    there = {one.artifact.address: one for _, parts in runs for one in parts}
    kinds = dict.fromkeys(kind for kind, _ in there)
    rows = []
    for kind in kinds:
        known = [one.is_there for address, one in there.items() if address.kind == kind]
        rows.append([kind, f"{sum(known):,}", f"{len(known) - sum(known):,}"])
    print_table(console, "Artifacts", pd.DataFrame(rows, columns=["kind", "there", "to be made"]))
    for run, parts in runs[:MOST_ROWS]:
        console.print(f"[bold]{escape(str(run))}[/bold]", soft_wrap=True)
        for one in parts:
            depth = 2 if one.artifact.kind in ("scores", "maps") else 1
            what = one.artifact.label.removesuffix(f": {run}")
            what = "model" if one.artifact.label == str(run) else what
            console.print(f"{'  ' * depth}{'=' if one.is_there else '+'} {escape(what)}", soft_wrap=True)
    if len(runs) > MOST_ROWS:
        console.print(f"… and {len(runs) - MOST_ROWS:,} more runs", style="dim")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
