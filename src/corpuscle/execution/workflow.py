"""Workflow: the main job, from a study to a folder with scores and a report; what the CLI and notebooks call."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from corpuscle.core.components import legal_names
from corpuscle.core.errors import CorpusError, ModelError, Problem
from corpuscle.corpus import derived
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.export import write_corpus, written_identity
from corpuscle.execution import engine, measuring, results_folder
from corpuscle.execution.job import Job
from corpuscle.execution.measuring import Measured
from corpuscle.execution.workers import Update
from corpuscle.report.page.render import render, render_description
from corpuscle.statistics.divergence import without_diverged
from corpuscle.store import Store, remove_partial
from corpuscle.study.plan import Notice, Plan, Run, prepare
from corpuscle.study.spec import Study

FORMS = ("h5ad", "zarr")


@dataclass(frozen=True)
class Results:
    """What a run left in its folder.

    Attributes
    ----------
    folder
        The folder.
    scores
        One row per corpus, model, seed, task, target, metric and unit; see `corpuscle.core.scores.Score`.
    failures
        What went wrong, by run.
    reused
        How many of the runs were there already.
    """

    folder: Path
    scores: pd.DataFrame
    failures: dict[Run, str]
    reused: int

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.folder / "report.html"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Listener:
    """Hears how a run goes; this one says nothing. The command line shows a subclass."""

    def notice(self, what: str, share: float) -> None:
        """Hear what the preparation is doing, and which share of it is done."""

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Hear what is legal and yet likely not meant."""

    def planned(self, found: list[Job]) -> None:
        """Hear the jobs, when the plan stands."""

    def update(self, news: Update) -> None:
        """Hear that a run moved on."""


def run(
    study: Study | Path | str,
    folder: Path | str,
    *,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Results:
    """Do a study: draw corpora, train models, ask the tasks, write scores and report.

    What the folder already has is not done again, so an interrupted run goes on where it stopped.

    Parameters
    ----------
    study
        A study, or the path of a study file.
    folder
        Where everything is written; new, empty, or this study's.
    workers
        How many models are trained at once, each on one thread; by default as many as there are cores.
    listener
        Told how it goes.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used; nothing is trained then.
    """
    study = study if isinstance(study, Study) else Study.read(study)
    folder, listener, started = Path(folder), listener or Listener(), time.perf_counter()
    with results_folder.claimed(folder, study):
        store = Store(folder / "store")
        remove_partial(folder)
        plan = prepare(study, store, listener.notice)
        listener.warned(plan.warnings)
        results_folder.write_plan(folder, plan)
        _prepare_makers(plan, listener.notice)
        results_folder.write_measures(folder, measuring.measure(plan, store, listener.notice))
        found = engine.jobs(plan, store)
        listener.planned(found)
        outcome = engine.execute(found, workers or cores(), listener.update)
        fits = engine.collect_fits(found)
        scores = without_diverged(engine.collect_scores(found), fits)
        results_folder.write_table(scores, folder / "scores.parquet")
        results_folder.write_table(engine.collect_curves(found), folder / "curves.parquet")
        results_folder.write_table(fits, folder / "fits.parquet")
        results_folder.write_table(engine.collect_maps(found), folder / "maps.parquet")
        failures = [{**run._asdict(), "message": message} for run, message in outcome.failures.items()]
        results_folder.write_provenance(folder, plan, failures, time.perf_counter() - started)
        render(folder)
    return Results(folder, scores, outcome.failures, outcome.reused)


def _prepare_makers(plan: Plan, notice: Notice) -> None:
    """Let what makes cells do what takes long, once."""
    for corpus in plan.corpora.values():
        # Where a model that makes cells cannot be trained, what needs its cells fails and says so.
        with contextlib.suppress(ModelError):
            derived.prepare_derived(corpus, notice)


def describe(study: Study | Path | str, folder: Path | str | None = None, *, notice: Notice | None = None) -> Measured:
    """Measure a study's corpora, and how well they cover its targets, without training.

    Parameters
    ----------
    study
        A study, or the path of a study file.
    folder
        Where to write tables, figures and the page ``description.html``; as for `run`, which goes on in the same
        folder. None: nothing is written.
    notice
        Called with what is being done, and which share of it is done.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used.
    """
    study, notice = study if isinstance(study, Study) else Study.read(study), notice or (lambda _what, _share: None)
    if folder is None:
        plan = prepare(study, None, notice)
        _prepare_makers(plan, notice)
        return measuring.measure(plan, None, notice)
    folder, started = Path(folder), time.perf_counter()
    with results_folder.claimed(folder, study):
        store = Store(folder / "store")
        remove_partial(folder)
        plan = prepare(study, store, notice)
        results_folder.write_plan(folder, plan)
        _prepare_makers(plan, notice)
        measured = measuring.measure(plan, store, notice)
        results_folder.write_measures(folder, measured)
        results_folder.write_provenance(folder, plan, [], time.perf_counter() - started, "description.json")
        render_description(folder)
    return measured


def compose(
    study: Study | Path | str,
    folder: Path | str,
    *,
    only: str | None = None,
    form: str = "h5ad",
    notice: Notice | None = None,
) -> list[Path]:
    """Write a study's corpora with their manifests, without training.

    Counts are streamed: a corpus need not fit in memory. What was stopped goes on where it stopped, if neither the
    study nor its sources changed.

    Parameters
    ----------
    study
        A study, or the path of a study file.
    folder
        Where to write; as for `run`.
    only
        The one corpus to write; all by default.
    form
        ``"h5ad"``, or ``"zarr"``: a zarr 3 folder, sharded.
    notice
        Called with what is being done, and which share of it is done.

    Returns
    -------
    The files, one per corpus and seed; those that were there already, of the same cells, are not rewritten.

    Raises
    ------
    InputError
        When the study, its data, the corpus' name, the format or the folder cannot be used.
    """
    study = study if isinstance(study, Study) else Study.read(study)
    folder, notice = Path(folder), notice or (lambda _what, _share: None)
    known = [recipe.name for recipe in study.recipes]
    if only is not None and only not in known:
        raise CorpusError(f"there is no corpus {only!r}; {legal_names(only, known)}")
    if form not in FORMS:
        raise CorpusError(f"there is no format {form!r}; {legal_names(form, FORMS)}")
    with results_folder.claimed(folder, study):
        store = Store(folder / "store")
        remove_partial(folder)
        plan = prepare(study, store, notice)
        results_folder.claim(folder, study)
        return [
            _compose_one(
                results_folder.corpus_folder(folder, name, seed) / f"corpus.{form}", plan, corpus, seed, notice
            )
            for (name, seed), corpus in plan.corpora.items()
            if only in (None, name)
        ]


def _compose_one(path: Path, plan: Plan, corpus: Corpus, seed: int, notice: Notice) -> Path:
    manifest = results_folder.manifest(plan, corpus, seed)
    results_folder.write_manifest(path.parent, plan, corpus, seed)
    if written_identity(path) != manifest["fingerprint"]:
        what = f"writing {corpus.name}, seed {seed}"
        # The file says itself what it is: the manifest next to it may be that of a later study.
        uns = {"manifest": json.dumps(manifest)}
        derived.prepare_derived(corpus, notice)
        write_corpus(corpus, path, manifest["fingerprint"], uns, lambda share: notice(what, share))
    return path
