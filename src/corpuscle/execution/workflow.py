"""Workflow: the main job, from a study to a folder with scores and a report; what the CLI and notebooks call."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from corpuscle.core import scratch
from corpuscle.core.components import legal_names
from corpuscle.core.errors import CorpusError, FolderError, InputError, Problem
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.export import write_corpus, written_identity
from corpuscle.execution import engine, measuring, results_folder, tables
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.artifacts import Scores
from corpuscle.execution.default_listener import default_listener
from corpuscle.execution.executor import Executor
from corpuscle.execution.graph import RunArtifacts, RunShares, made_cells, runs_of
from corpuscle.execution.listener import Listener
from corpuscle.execution.measuring import Measured
from corpuscle.execution.opened import Opened
from corpuscle.execution.remaining import Part, Remaining
from corpuscle.execution.results import Results
from corpuscle.execution.run_record import RunRecord, recording, store_of
from corpuscle.execution.upkeep import Kept
from corpuscle.execution.workers import Update
from corpuscle.report.page.outdated import mark_outdated
from corpuscle.report.page.render import render_description, written
from corpuscle.statistics.divergence import without_diverged
from corpuscle.store import Store, remove_partial
from corpuscle.study.opening import Notice
from corpuscle.study.plan import Plan, Run
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

if TYPE_CHECKING:
    from corpuscle.execution.cluster.connection import Cluster

FORMS = ("h5ad", "zarr")
# What stands for a model where a corpus could not be measured.
MEASURED = "measures"
# So many results that are there already say how long others take.
MOST_LEARNED = 1000


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(  # noqa: PLR0913  # all but two by name
    study: Study | Path | str,
    folder: Path | str,
    *,
    workers: int | None = None,
    store: Path | None = None,
    cluster: "Cluster | Path | str | None" = None,
    listener: Listener | None = None,
    page: bool = True,
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
        How many processes work at once, each on one thread; by default as many as there are cores. 0: this one alone.
    store
        Where what is made is kept, which other runs may share; by default where this folder's store is, or in it.
    cluster
        Which cluster makes artifacts, instead of processes of this machine: the address of a Dask scheduler,
        ``"slurm"``, or a TOML file with what SLURM's jobs are to have; or one that is connected, and stays so. Scores
        do not depend on it.
    listener
        Hears how it goes; by default it is shown in a notebook, and logged under ``corpuscle`` elsewhere.
    page
        Whether corpora are measured and the report is written; without, `corpuscle.render` can write one later.

    Raises
    ------
    InputError
        When the study, its data, the folder or the cluster cannot be used; nothing is trained then.
    ClusterError
        When the cluster is lost. What was made is kept.
    """
    study = study if isinstance(study, Study) else Study.read(study)
    folder, listener, started = Path(folder), listener or default_listener(), time.perf_counter()
    study = study.placed(folder)
    require_one_place(workers, cluster)
    with _at_work(study, folder, store, cluster, listener.said) as (opened, record, connection, check):
        kept, corpora = opened.store, opened.corpora
        if connection is not None:
            connection.require(record.claim)

        def notice(what: str, share: float) -> None:
            check()
            listener.notice(what, share)

        plan = prepare(study, kept, notice)
        listener.warned(plan.warnings)
        results_folder.write_plan(folder, plan)
        if connection is not None:
            connection.require(sources=[folder, *_files(study)])
        executor = connection or (cores() if workers is None else workers)
        runs = runs_of(plan, corpora)
        results_folder.write_artifacts(folder, kept, runs, results_folder.led_by(study))
        record.refer(artifact.address for one in runs for artifact in one.all)
        results_folder.write_unfinished(folder, plan)
        mark_outdated(folder / "report.html")
        measured = _measured(folder, measuring.measure(plan, corpora, notice, executor) if page else measuring.none())
        missing, failed = _make(runs, opened, executor, check, listener)
        check()
        if not failed and record.is_own:
            kept.forget_unfinished()
        failures = {
            **{Run(name, MEASURED, seed): why for (name, seed), why in measured.failures.items()},
            **{one.run: why for one in missing if (why := one.failure(failed)) is not None},
        }
        scores = _write_tables(folder, study, runs, kept)
        late = tuple(_without_headline(study, scores))
        listener.warned(late)
        listed = [{**run._asdict(), "message": message} for run, message in failures.items()]
        plan = replace(plan, warnings=plan.warnings + late)
        results_folder.write_provenance(folder, plan, listed, time.perf_counter() - started)
        # What an earlier study in this folder used is no longer of use.
        record.refer((artifact.address for one in runs for artifact in one.all), only=True)
        if page:
            written(folder)
        results = Results(folder, scores, failures, len(runs) - len(missing))
        listener.finished(results)
    return results


def _make(
    runs: Sequence[RunArtifacts],
    opened: Opened,
    executor: int | Executor,
    check: Callable[[], None],
    listener: Listener,
) -> tuple[list[RunArtifacts], dict[Address, str]]:
    """Make what the store lacks of some runs; return those runs, and why artifacts of theirs failed."""
    kept = opened.store
    missing = [one for one in runs if not one.is_done(kept)]
    listener.planned({one.run: one.n_steps for one in missing}, len(runs) - len(missing))
    shares = RunShares(missing, [one.address for run in missing for one in run.all if kept.has(*one.address)])
    wanted = [artifact for one in missing for artifact in one.all]
    remaining = Remaining(_parts(missing, kept), executor if isinstance(executor, int) else None)
    for part, seconds in islice(_earlier(runs, kept), MOST_LEARNED if missing else 0):
        remaining.learn(part.like, part.weight, seconds)

    def on_update(news: Update) -> None:
        check()
        remaining.update(*news)
        if (left := remaining.seconds()) is not None:
            listener.left(left)
        for run, share in shares.update(*news).items():
            listener.update(run, share)

    return missing, engine.execute(wanted, opened.corpora, executor, on_update, listener.failed)


def _measured(folder: Path, measured: Measured) -> Measured:
    """Write what was measured; return it."""
    results_folder.write_measures(folder, measured)
    return measured


@dataclass(frozen=True)
class Outlined:
    """One artifact of a study's graph.

    Attributes
    ----------
    artifact
        What it is.
    is_there
        Whether the store has it.
    """

    artifact: Artifact
    is_there: bool


def outline(
    study: Study, folder: Path | str, *, store: Path | None = None, notice: Notice | None = None
) -> list[tuple[Run, list[Outlined]]]:
    """Lay out what a run would make, and what of it is there; nothing is trained, and no table written.

    What the preparation finds is kept where the folder's store is there already, as in a run.

    Parameters
    ----------
    study, folder, store
        As for `run`.
    notice
        Called with what is being done, and which share of it is done.

    Returns
    -------
    For each run of the study, its model, made cells, maps and scores, each after what it is made from.

    Raises
    ------
    InputError
        When the study or its data cannot be used.
    """
    root = store_of(Path(folder), store)
    scratch.sweep()
    with TemporaryDirectory(prefix=scratch.PREFIX, suffix=scratch.suffix(), ignore_cleanup_errors=True) as place:
        opened = Opened(root if root.is_dir() else Path(place))
        runs = runs_of(prepare(study, opened.store, notice), opened.corpora)
        return [(one.run, [Outlined(each, opened.store.has(*each.address)) for each in _ordered(one)]) for one in runs]


def _ordered(one: RunArtifacts) -> list[Artifact]:
    """Return a run's artifacts, each after what it is made from."""
    return [*one.fit.inputs, *one.all]


def _write_tables(folder: Path, study: Study, runs: Sequence[RunArtifacts], kept: Store) -> pd.DataFrame:
    """Write what the runs gave; return the scores."""
    fits = tables.fits(runs, kept)
    scores = without_diverged(tables.scores(runs, kept, results_folder.led_by(study)), fits)
    results_folder.write_table(scores, folder / "scores.parquet")
    results_folder.write_table(tables.curves(runs, kept), folder / "curves.parquet")
    results_folder.write_table(fits, folder / "fits.parquet")
    results_folder.write_table(tables.maps(runs, kept), folder / "maps.parquet")
    return scores


def _without_headline(study: Study, scores: pd.DataFrame) -> Iterator[Problem]:
    """Warn of headlines that no score of their task is of: ways are known once a task has answered."""
    for at, task in enumerate(study.tasks):
        metric, way = task.headline
        of_task = scores[scores["task"] == task.label]
        lead = of_task[of_task["headline"]]
        if lead.empty or ((lead["metric"] == (metric or lead["metric"])) & (lead["way"] == (way or lead["way"]))).any():
            continue
        ways = ", ".join(of_task["way"].loc[of_task["way"] != ""].unique()) or "none"
        asked = ", ".join(part for part in (metric, way) if part)
        message = f"no score of {task.label} is of {asked}, so that it leads with its own; its ways: {ways}"
        yield study.problem(f"tasks[{at}].headline", message)


def _parts(missing: Sequence[RunArtifacts], kept: Store) -> Iterator[Part]:
    """Lay out what is to be made."""
    for one in missing:
        yield from (_part(one, artifact) for artifact in one.all if not kept.has(*artifact.address))


def _part(one: RunArtifacts, artifact: Artifact) -> Part:
    """Return an artifact by what takes as long: a model's steps, a task's answers on a target."""
    is_fit = artifact is one.fit
    what = [artifact.asked, artifact.target_name] if isinstance(artifact, Scores) else []
    like = (artifact.kind, *([] if is_fit else what), one.run.model)
    return Part(artifact.address, like, float(max(1, one.n_steps)) if is_fit else 1.0)


def _earlier(runs: Sequence[RunArtifacts], kept: Store) -> Iterator[tuple[Part, float]]:
    """Yield what the store has already, as far as it is known in how many seconds it was made."""
    for one in runs:
        for artifact in one.all:
            seconds = Kept(*artifact.address, kept.folder(*artifact.address)).record.get("seconds")
            if isinstance(seconds, int | float) and seconds >= 0:
                yield _part(one, artifact), float(seconds)


def require_one_place(workers: int | None, cluster: object) -> None:
    """Raise InputError where artifacts are to be made both by processes of this machine and by a cluster."""
    if cluster is not None and workers is not None:
        raise InputError("give either workers, processes of this machine, or a cluster, which has its own")


def connected_from(cluster: Path | str, folder: Path, said: Callable[[str], None]) -> "AbstractContextManager[Cluster]":
    """Connect with a cluster, which needs the extra ``cluster``; logs of its jobs go into a run's folder."""
    from corpuscle.execution.cluster.connection import connected

    return connected(cluster, folder / "errors" / "jobs", said)


@contextmanager
def _at_work(
    study: Study,
    folder: Path,
    store: Path | None,
    cluster: "Cluster | Path | str | None" = None,
    said: Callable[[str], None] = lambda _text: None,
) -> "Iterator[tuple[Opened, RunRecord, Cluster | None, Callable[[], None]]]":
    """Open a run's store, and its cluster if it has one; keep other runs out of its folder while the block lasts.

    What is yielded last checks that the folder is still there; see `results_folder.claimed`.
    """
    with ExitStack() as stack:
        check = stack.enter_context(results_folder.claimed(folder, study))
        connection = None
        if isinstance(cluster, Path | str):
            connection = stack.enter_context(connected_from(cluster, folder, said))
        elif cluster is not None:
            connection = cluster.again(said)
        opened = Opened(store_of(folder, store), folder / "errors")
        remove_partial(folder, but=opened.store.root)
        opened.store.sweep()
        scratch.sweep()
        try:
            with recording(opened.store, folder, study.name) as record:
                yield opened, record, connection, check
        finally:
            # What workers were making that were ended; the next run does it, too.
            with suppress(OSError):
                opened.store.sweep()
                scratch.sweep()


def _files(study: Study) -> list[Path]:
    """Return the files and folders of a study's sources; what is read from elsewhere has none."""
    found = [study.path(name) for name in study.spec.sources]
    return [path for paths in found for path in (paths if isinstance(paths, list) else [paths]) if path.exists()]


def describe(
    study: Study | Path | str,
    folder: Path | str | None = None,
    *,
    workers: int | None = None,
    store: Path | None = None,
    notice: Notice | None = None,
    page: bool = True,
) -> Measured:
    """Measure a study's corpora, and how well they cover its targets, without training.

    Parameters
    ----------
    study
        A study, or the path of a study file.
    folder
        Where to write tables, figures and the page ``description.html``; as for `run`, which goes on in the same
        folder. None: nothing is left behind.
    workers
        How many processes measure at once, as for `run`.
    store
        Where what is made is kept, as for `run`.
    notice
        Called with what is being done, and which share of it is done; by default as `run` shows it.
    page
        Whether figures and the page are written.

    Raises
    ------
    InputError
        When the study, its data or the folder cannot be used.
    """
    study, notice = study if isinstance(study, Study) else Study.read(study), notice or default_listener().notice
    workers = cores() if workers is None else workers
    if folder is None:
        if store is not None:
            raise FolderError("a store is only used with a folder to write into; give one, too")
        scratch.sweep()
        names = {"prefix": scratch.PREFIX, "suffix": scratch.suffix()}
        with TemporaryDirectory(ignore_cleanup_errors=True, **names) as place:
            opened = Opened(Path(place))
            return measuring.measure(prepare(study, opened.store, notice), opened.corpora, notice, workers)
    folder, started = Path(folder), time.perf_counter()
    study = study.placed(folder)
    with _at_work(study, folder, store) as (opened, *_):
        plan = prepare(study, opened.store, notice)
        results_folder.write_plan(folder, plan)
        results_folder.write_artifacts(folder, opened.store)
        measured = measuring.measure(plan, opened.corpora, notice, workers)
        results_folder.write_measures(folder, measured)
        failures = [
            {"corpus": name, "model": MEASURED, "seed": seed, "message": why}
            for (name, seed), why in measured.failures.items()
        ]
        results_folder.write_provenance(folder, plan, failures, time.perf_counter() - started, "description.json")
        if page:
            render_description(folder)
    return measured


def compose(  # noqa: PLR0913  # all but two by name
    study: Study | Path | str,
    folder: Path | str,
    *,
    only: str | None = None,
    form: str = "h5ad",
    workers: int | None = None,
    store: Path | None = None,
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
    workers
        How many processes make cells at once, where steps do, as for `run`.
    store
        Where what is made is kept, as for `run`.
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
    folder, notice = Path(folder), notice or default_listener().notice
    study = study.placed(folder)
    known = [recipe.name for recipe in study.recipes]
    if only is not None and only not in known:
        raise CorpusError(f"there is no corpus {only!r}; {legal_names(only, known)}")
    if form not in FORMS:
        raise CorpusError(f"there is no format {form!r}; {legal_names(form, FORMS)}")
    with _at_work(study, folder, store) as (opened, *_):
        plan = prepare(study, opened.store, notice)
        results_folder.claim(folder, study)
        results_folder.write_artifacts(folder, opened.store)
        chosen = {place: corpus for place, corpus in plan.corpora.items() if only in (None, place[0])}
        cells = [made for corpus in chosen.values() for made in made_cells(corpus, opened.corpora)]
        labels = {made.address: made.label for made in cells}
        # Cells that cannot be made say why when they are written.
        engine.execute(
            cells,
            opened.corpora,
            cores() if workers is None else workers,
            lambda news: notice(labels[news.address], news.share),
        )
        return [
            _compose_one(
                results_folder.corpus_folder(folder, name, seed) / f"corpus.{form}", plan, corpus, seed, notice
            )
            for (name, seed), corpus in chosen.items()
        ]


def _compose_one(path: Path, plan: Plan, corpus: Corpus, seed: int, notice: Notice) -> Path:
    manifest = results_folder.manifest(plan, corpus, seed)
    results_folder.write_manifest(path.parent, plan, corpus, seed)
    if written_identity(path) != manifest["fingerprint"]:
        what = f"writing {corpus.name}, seed {seed}"
        # The file says itself what it is: the manifest next to it may be that of a later study.
        uns = {"manifest": json.dumps(manifest)}
        write_corpus(corpus, path, manifest["fingerprint"], uns, lambda share: notice(what, share))
    return path
