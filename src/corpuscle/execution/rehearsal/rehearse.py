"""Rehearse: make all that a study makes, in the small and in one process, and note how long each thing took."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, NamedTuple

import pandas as pd

from corpuscle.core import scratch
from corpuscle.core.components import guarded
from corpuscle.core.errors import CorpuscleError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.derived import made_once
from corpuscle.corpus.stored import StoredCorpora
from corpuscle.evaluation.maps import MOST_CELLS
from corpuscle.execution import measuring
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.artifacts import Fit, Map, Scores
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.execution.rehearsal.growth import Size, Timed, seconds_at
from corpuscle.execution.rehearsal.shortened import Length
from corpuscle.execution.rehearsal.small_plan import Asked, Small, runs_programs, small_plan
from corpuscle.execution.workers import ThisProcess, Worker, pool_of
from corpuscle.model.imputer import ModelImputer
from corpuscle.model.model import Model, Progress
from corpuscle.store import MADE, write_text
from corpuscle.study.opening import Notice
from corpuscle.study.plan import Plan

# How many cells training corpora and targets have, round by round. The first loads libraries and compiles.
ROUNDS = (
    Size(64, 64), Size(64, 256), Size(256, 256), Size(256, 1024), Size(1024, 1024), Size(1024, 4096), Size(4096, 4096)
)  # fmt: skip
POLL_SECONDS = 0.2
# How the units of scores about single genes begin.
GENE = "gene="


class Like(NamedTuple):
    """What takes as long as other things of as many cells: its kind, and the task and the model that it is of.

    Attributes
    ----------
    kind
        The artifact's.
    task, model
        Their labels in the study; empty where none decides.
    length
        How long trainings in the task are.
    """

    kind: str
    task: str = ""
    model: str = ""
    length: Length = Length()


class Limits(NamedTuple):
    """How long a rehearsal may take: in processor seconds, after which nothing is begun, and by the clock.

    The first round, in which libraries are loaded, has as many processor seconds of its own.
    """

    seconds: float = 30.0
    most: float = 60.0


@dataclass
class Rehearsed:
    """What a rehearsal found.

    Attributes
    ----------
    seen
        What things took, by what they are; without the first time, where there was a second.
    warm_up
        How much longer the first of its kind took: libraries are loaded, and loops compiled.
    step_seconds
        How long a step of each model takes, by `model_key`.
    n_rows
        How many rows of scores, and of those about single genes, an answer has.
    failures
        What could not be made in the small.
    start
        Seconds until a process begins to make something.
    between
        Seconds from the end of what is made to its place in the store.
    """

    seen: dict[Like, list[Timed]] = field(default_factory=dict)
    warm_up: dict[Like, float] = field(default_factory=dict)
    step_seconds: dict[str, float] = field(default_factory=dict)
    n_rows: dict[Like, tuple[int, int]] = field(default_factory=dict)
    failures: dict[Like, str] = field(default_factory=dict)
    start: float = 0.0
    between: float = 0.0


@dataclass(frozen=True, eq=False)
class StepSeconds(Artifact):
    """How long a step of a model takes on this machine."""

    kind: ClassVar[str] = "step_seconds"

    model: Model
    n_genes: int

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Measure it."""
        with guarded(self.model):
            seconds = self.model.seconds_per_step(self.n_genes)
        write_text(folder / "seconds.json", json.dumps(float(seconds)))


class _Job(NamedTuple):
    """Something to make in a rehearsal."""

    artifact: Artifact
    like: Like
    size: Size


class _LateError(Exception):
    """The time is over."""


def rehearse(
    plan: Plan,
    notice: Notice | None = None,
    limits: Limits | None = None,
    *,
    workers: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Rehearsed:
    """Make what a study makes, in the small; nothing of it is kept.

    It is made round by round, each of more cells, as long as there is time. What fails, what crashes and what is not
    finished in time is left out; nothing of it is an error.

    Parameters
    ----------
    plan
        The plan.
    notice
        Called with what is being done, and which share of it is done.
    limits
        How long it may take.
    workers
        1: it is made in a process of its own, whose end is not ours. 0: by this one.
    clock
        Gives seconds.
    """
    scratch.sweep()
    names = {"prefix": scratch.PREFIX, "suffix": scratch.suffix()}
    with TemporaryDirectory(ignore_cleanup_errors=True, **names) as place:
        opened = Opened(Path(place) / "store")
        with pool_of(workers, opened.store.root, opened.store.errors) as (worker,):
            rehearsal = _Rehearsal(
                plan, opened.corpora, worker, notice or (lambda _what, _share: None), limits or Limits(), clock
            )
            try:
                rehearsal.steps()
                for draw, size in enumerate(_rounds(plan)):
                    rehearsal.round(size, draw)
                    # To load libraries and compile is no use of the time for more cells.
                    rehearsal.spent = rehearsal.spent if draw else 0.0
            except _LateError:
                rehearsal.found.failures.setdefault(Like(""), "there was no time to try it")
            except (CorpuscleError, OSError) as error:
                rehearsal.found.failures[Like("")] = str(error)
    return rehearsal.found


def models_with_steps(plan: Plan) -> dict[str, Model]:
    """Return the models that take optimisation steps, of the study and of steps of its corpora, by `model_key`."""
    found = {run.model: plan.model(run.model).model for run in plan.runs if plan.n_steps(run)}
    imputers = [
        one for corpus in plan.corpora.values() for derived in made_once(corpus) for one, _ in derived.trainings
    ]
    models = [*found.values(), *(one.model for one in imputers if isinstance(one, ModelImputer))]
    return {model_key(model): model for model in models if not runs_programs(model)}


def model_key(model: Model) -> str:
    """Return what distinguishes models whose steps are of different length."""
    return fingerprint(model.spec())


def sizes_of(artifact: Artifact, train: int, target: int) -> Size:
    """Return how many cells an artifact looks at, of so many that there are."""
    if isinstance(artifact, Fit):
        return Size(train)
    most = MOST_CELLS if isinstance(artifact, Map) else None
    if isinstance(artifact, Scores):
        most = getattr(artifact.task, "max_cells", None)
    if isinstance(most, int):
        return Size(0 if isinstance(artifact, Map) else min(train, most), min(target, most))
    return Size(train, target)


def measured_jobs(plan: Plan, corpora: StoredCorpora) -> Iterator[tuple[Artifact, Like, Size]]:
    """Yield what measuring a plan's corpora makes, each with its size."""
    largest = max(map(len, plan.targets.values()), default=0)
    found = measuring.artifacts_of(plan, corpora, measuring.cell_types_of(plan))
    for place, one in found.items():
        for before in one.components:
            yield before, Like(before.kind), Size(len(corpora.named(before.basis)))
        yield one, Like(one.kind), Size(plan.corpora[place].n_cells, largest)


def _rounds(plan: Plan) -> Iterator[Size]:
    """Yield sizes up to that of the study; two at least, as the first is for warming up."""
    sizes = sorted(corpus.n_cells for corpus in plan.corpora.values())
    whole = Size(sizes[len(sizes) // 2], max(map(len, plan.targets.values()), default=0))
    before = None
    for at, size in enumerate(ROUNDS):
        here = Size(*map(min, size, whole))
        if at < 2 or here != before:
            yield size
        before = here


class _Rehearsal:
    """A rehearsal in progress."""

    def __init__(  # noqa: PLR0917  # what `rehearse` is given
        self,
        plan: Plan,
        corpora: StoredCorpora,
        worker: Worker | ThisProcess,
        notice: Notice,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.plan, self.corpora, self.worker, self.notice = plan, corpora, worker, notice
        self.limits, self.clock, self.began = limits, clock, clock()
        self.found, self.spent, self.n_made = Rehearsed(), 0.0, 0
        # What was made once, so that it is not known how much of its time was to warm up.
        self._cold: set[Like] = set()

    def steps(self) -> None:
        """Time a step of each model that takes steps: those of the study, and those that make cells."""
        n_genes = len(self.plan.space)
        for key, model in models_with_steps(self.plan).items():
            artifact = StepSeconds(fingerprint(key, n_genes), f"a few steps of {model.name}", model, n_genes)
            like = Like(artifact.kind, model=key)
            if self._make(_Job(artifact, like, Size(0))):
                path = self.corpora.store.folder(*artifact.address) / "seconds.json"
                self.found.step_seconds[key] = float(json.loads(path.read_text(encoding="utf-8")))

    def round(self, size: Size, draw: int) -> None:
        """Make everything in one size, but what would take too long."""
        for job in [*self._jobs(small_plan(self.plan, size, draw))]:
            if all(self.corpora.store.has(*one.address) for one in job.artifact.inputs):
                self._make(job)

    def settle(self) -> None:
        """Take the first time of what has no second for no longer than that of what is alike: it may have warmed up."""
        for like in self._cold:
            (only,) = self.found.seen[like]
            alike = [seen[-1].seconds for one, seen in self.found.seen.items() if one[:2] == like[:2]]
            self.found.warm_up[like] = only.seconds - min(alike)
            self.found.seen[like] = [only._replace(seconds=min(alike))]

    def _jobs(self, small: Small) -> Iterator[_Job]:
        plan, corpora = small.plan, self.corpora
        yield from (_Job(*one) for one in measured_jobs(plan, corpora))
        for one in runs_of(plan, corpora):
            train = plan.corpus_of(one.run).n_cells
            for artifact in one.all:
                yield self._job(artifact, one.run.model, train, small.asked)

    def _job(self, artifact: Artifact, model: str, train: int, asked: dict[str, Asked]) -> _Job:
        target = len(self.corpora.named(artifact.target)) if isinstance(artifact, Map | Scores) else 0
        like = Like(artifact.kind, model=model)
        if isinstance(artifact, Scores):
            like = Like(artifact.kind, asked[artifact.asked].task, model, asked[artifact.asked].length)
        return _Job(artifact, like, sizes_of(artifact, train, target))

    def _make(self, job: _Job) -> bool:
        """Make one thing, unless it would take too long; return whether it is there."""
        artifact, like = job.artifact, job.like
        before = self.found.seen.get(like, [])
        expected = seconds_at(job.size, before) if before and like not in self._cold else 0.0
        if self.spent + expected > self.limits.seconds:
            return False
        for key in artifact.corpora:
            self.corpora.ensure(key)
        began = self.clock()
        self.worker.begin(artifact)
        self._wait()
        failure = self.worker.end().failure
        took = self.clock() - began
        if failure is not None or (folder := self.corpora.store.find(*artifact.address)) is None:
            self.found.failures.setdefault(like, failure or "it is not there")
            return False
        self._note(job, _record(folder), took)
        if isinstance(artifact, Scores):
            self.found.n_rows[like] = _n_rows(folder / "scores.parquet")
        return True

    def _wait(self) -> None:
        """Wait until the worker is done."""
        while True:
            passed = self.clock() - self.began
            self.notice("trying everything out on a few cells", min(1.0, passed / self.limits.most))
            if passed > self.limits.most:
                raise _LateError
            done, _ = wait([self.worker.future], POLL_SECONDS)
            for _ in self.worker.news():
                pass
            if done:
                return

    def _note(self, job: _Job, record: dict[str, float], took: float) -> None:
        """Take note of what something took: by its record, and from when it was asked for."""
        found, like = self.found, job.like
        # On a machine that has other work to do, processor seconds are what it takes where there is none.
        seconds, rest = record["cpu_seconds"], max(0.0, took - record["seconds"])
        self.spent += seconds
        found.failures.pop(like, None)
        if self.n_made:
            found.between = rest if self.n_made == 1 else min(found.between, rest)
        else:
            found.start = rest
        self.n_made += 1
        if like in self._cold:
            self._cold.remove(like)
            (first,) = found.seen.pop(like)
            found.warm_up[like] = max(0.0, first.seconds - seconds)
        elif like not in found.seen:
            self._cold.add(like)
        found.seen.setdefault(like, []).append(Timed(job.size, seconds))


def _record(folder: Path) -> dict[str, float]:
    """Return what the store noted of how something was made."""
    found: dict[str, float] = json.loads((folder / MADE).read_text(encoding="utf-8"))
    return found


def _n_rows(path: Path) -> tuple[int, int]:
    """Count the rows of a table of scores: those that are not about single genes, and those that are."""
    units = pd.read_parquet(path, columns=["unit"])["unit"]
    n_genes = int(units.str.startswith(GENE).sum())
    return len(units) - n_genes, n_genes
