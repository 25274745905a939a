"""Estimate: how long a study takes on this machine, in parts; from a rehearsal, and all that its graph has to make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from corpuscle.core import scratch
from corpuscle.core.components import guarded
from corpuscle.corpus.corpus import DerivedCounts
from corpuscle.corpus.derived import MADE_CELLS, made_once
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.artifacts import Fit, MadeCells, Map, Scores
from corpuscle.execution.graph import made_cells, runs_of
from corpuscle.execution.opened import Opened
from corpuscle.execution.rehearsal.growth import Size, mean, seconds_at
from corpuscle.execution.rehearsal.rehearse import (
    Like,
    Limits,
    Rehearsed,
    measured_jobs,
    model_key,
    rehearse,
    sizes_of,
)
from corpuscle.execution.rehearsal.shortened import Length, length_of
from corpuscle.execution.rehearsal.small_plan import runs_programs
from corpuscle.model.imputer import ModelImputer
from corpuscle.study.opening import Notice
from corpuscle.study.plan import Plan

KINDS = ("components", "measures", "models", "scores", "maps")
# What they are, in words.
WORDS = {
    "components": "principal components", "measures": "measures", "models": "opening and saving", "scores": "task",
    "maps": "maps",
}  # fmt: skip
# A page, and for each row of scores and each row about a gene that it sums up, in seconds; by `benchmarks/report.py`.
PAGE, ROW, GENE_ROW = 1.3, 1.2e-3, 1.0e-5


@dataclass(frozen=True)
class Estimate:
    """How long a run of a study takes, in seconds by the clock, on a machine that has nothing else to do.

    Attributes
    ----------
    preparing, measuring, training, asking, report
        Opening and drawing; measures of corpora, with cells that steps make; models; tasks, with what they train, and
        maps; tables and page.
    unknown
        What is not in it, in words.
    """

    preparing: float
    measuring: float
    training: float
    asking: float
    report: float
    unknown: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.preparing + self.measuring + self.training + self.asking + self.report


class Need(NamedTuple):
    """Something that a study has to make.

    Attributes
    ----------
    artifact
        What it is.
    like
        What takes as long.
    size
        Of how many cells it is.
    steps
        What it trains: how many steps of which models, by `model_key`.
    """

    artifact: Artifact
    like: Like
    size: Size
    steps: tuple[tuple[str, int], ...] = ()


def estimate(
    plan: Plan,
    workers: int,
    *,
    preparing: float = 0.0,
    notice: Notice | None = None,
    limits: Limits | None = None,
) -> Estimate:
    """Rehearse a study, and say how long a run of it takes on this machine's processor.

    Parameters
    ----------
    plan
        The plan.
    workers
        How many processes make it.
    preparing
        How many seconds it took to prepare the plan.
    notice
        Called with what is being done, and which share of it is done.
    limits
        How long the rehearsal may take.
    """
    return estimated(plan, rehearse(plan, notice, limits), workers, preparing=preparing)


def estimated(plan: Plan, found: Rehearsed, workers: int, *, preparing: float = 0.0) -> Estimate:
    """Say how long a run takes, by what a rehearsal found; see `estimate`."""
    names = {"prefix": scratch.PREFIX, "suffix": scratch.suffix()}
    with TemporaryDirectory(ignore_cleanup_errors=True, **names) as place:
        measured, runs = needs_of(plan, Path(place) / "store")
    times, workers = _Times(plan, found), max(1, workers)
    seconds = {need.artifact.address: times.of(need) for need in (*measured.values(), *runs.values())}
    warm = {kind: sum(found.warm_up[like] for like in found.warm_up if like.kind == kind) for kind in KINDS}
    measuring = _wall(seconds, [need.artifact for need in measured.values()], workers)
    making = _wall(seconds, [need.artifact for need in runs.values()], workers)
    own = {kind: sum(seconds[one] for one in runs if one.kind == kind) for kind in ("models", "scores", "maps")}
    share = own["models"] / (sum(own.values()) or 1.0)
    rows = [times.n_rows(need.like) for need in runs.values() if isinstance(need.artifact, Scores)]
    return Estimate(
        preparing,
        found.start + measuring + warm["components"] + warm["measures"],
        making * share + warm["models"],
        making * (1 - share) + warm["scores"] + warm["maps"],
        PAGE + sum(ROW * n + GENE_ROW * n_genes for n, n_genes in rows),
        tuple(dict.fromkeys(times.unknown)),
    )


def needs_of(plan: Plan, root: Path) -> tuple[dict[Address, Need], dict[Address, Need]]:
    """Lay out what a run makes, each thing once: when corpora are measured, and after that.

    Parameters
    ----------
    plan
        The plan.
    root
        A folder for a store, in which what is measured against is written down.
    """
    corpora = Opened(root).corpora
    before, after = dict[Address, Need](), dict[Address, Need]()
    for corpus in plan.corpora.values():
        for derived, made in zip(made_once(corpus), made_cells(corpus, corpora), strict=True):
            before[made.address] = _of_made(made, derived)
    for artifact, like, size in measured_jobs(plan, corpora):
        before[artifact.address] = Need(artifact, like, size)
    lengths = {task.label: length_of(task.task) for task in plan.study.tasks}
    for one in runs_of(plan, corpora):
        train = plan.corpus_of(one.run).n_cells
        for artifact in one.all:
            target = len(corpora.named(artifact.target)) if isinstance(artifact, Map | Scores) else 0
            task, length = (artifact.asked, lengths[artifact.asked]) if isinstance(artifact, Scores) else ("", Length())
            steps = ((model_key(artifact.model), one.n_steps),) if isinstance(artifact, Fit) else ()
            like = Like(artifact.kind, task, one.run.model, length)
            after[artifact.address] = Need(artifact, like, sizes_of(artifact, train, target), steps)
    return before, after


def _of_made(artifact: MadeCells, derived: DerivedCounts) -> Need:
    """Say what making cells comes to: the trainings of the models that make them."""
    steps, largest = [], 0
    for imputer, n_cells in derived.trainings:
        if isinstance(imputer, ModelImputer):
            with guarded(imputer.model):
                steps.append((model_key(imputer.model), imputer.model.n_steps(n_cells)))
            largest = max(largest, n_cells)
    return Need(artifact, Like(artifact.kind), Size(largest), tuple(steps))


def _wall(seconds: Mapping[Address, float], artifacts: Sequence[Artifact], workers: int) -> float:
    """Return how long it takes by the clock to make some things, each after what it is made from."""
    ends: dict[Address, float] = {}

    def end(artifact: Artifact) -> float:
        if artifact.address not in ends:
            before = (end(one) for one in (*artifact.inputs, *artifact.better_after) if one.address in seconds)
            ends[artifact.address] = max(before, default=0.0) + seconds[artifact.address]
        return ends[artifact.address]

    longest = max((end(one) for one in artifacts), default=0.0)
    return max(longest, sum(seconds[one.address] for one in artifacts) / workers)


class _Times:
    """How long things take that a study needs, by what a rehearsal found."""

    def __init__(self, plan: Plan, found: Rehearsed) -> None:
        self.plan, self.found = plan, found
        self.unknown: list[str] = []
        self._programs = {one.label for one in plan.study.models if runs_programs(one.model)}

    def of(self, need: Need) -> float:
        """Return how long something takes, in seconds."""
        seconds = self.found.between + self._alike(need)
        for key, n_steps in need.steps:
            if n_steps and key not in self.found.step_seconds:
                self._lacks(need, f"steps of {need.like.model or 'models that make cells'}")
            seconds += n_steps * self.found.step_seconds.get(key, 0.0)
        return seconds

    def _alike(self, need: Need) -> float:
        """Return how long it takes besides steps of models: by what is alike, or what is most nearly so."""
        if need.like.kind == MADE_CELLS:
            # What is left of it is less than its steps.
            return 0.0
        if need.like.model in self._programs and need.like.kind == Fit.kind:
            self._lacks(need, f"training {need.like.model}, which runs a program of yours")
            return 0.0
        for few in self._levels(need.like):
            if (found := mean(self._at(need, one) for one in few)) is not None:
                return found
        like = need.like
        self._lacks(
            need, " ".join(part for part in (WORDS[like.kind], like.task, like.model and f"of {like.model}") if part)
        )
        return 0.0

    def _levels(self, like: Like) -> Iterator[list[Like]]:
        """Yield what is alike, from what is most so; of lengths of trainings, the shortest stands for all."""
        shortest: dict[tuple[str, str, str], Like] = {}
        for one in self.found.seen:
            shortest[one[:3]] = min(one, shortest.get(one[:3], one))
        same_kind = [one for one in shortest.values() if one.kind == like.kind]
        yield [one for one in same_kind if (one.task, one.model) == (like.task, like.model)]
        yield [one for one in same_kind if one.task == like.task]
        yield [one for one in same_kind if one.model == like.model]
        yield same_kind

    def _at(self, need: Need, like: Like) -> float:
        """Return how long what is alike takes in a size, with trainings as long as they are to be."""
        of_length = sorted((one for one in self.found.seen if one[:3] == like[:3]), key=lambda one: one.length)
        first, last = of_length[0], of_length[-1]
        seconds, more = self._seconds_at(need.size, first), last.length.number - first.length.number
        if not more or not need.like.length.number:
            return seconds
        if need.like.length.unit == "steps":
            # A step is of a batch, however many cells there are.
            sizes = [one.size for one in self.found.seen[first]]
            same = [one for one in self.found.seen[last] if one.size in sizes]
            at = max((one.size for one in same), default=Size(0))
            longer = sum(
                sign * next((one.seconds for one in self.found.seen[of] if one.size == at), 0.0)
                for sign, of in ((1, last), (-1, first))
            )
        else:
            longer = self._seconds_at(need.size, last) - seconds
        return seconds + max(0.0, longer) / more * max(0, need.like.length.number - first.length.number)

    def _seconds_at(self, size: Size, like: Like) -> float:
        """Return how long it takes in a size; it grows as that does which is alike and was tried with more cells."""
        own = self.found.seen[like]
        grown = [seconds_at(size, own)]
        for other, seen in self.found.seen.items():
            if (other.kind, other.task, other.length) == (like.kind, like.task, like.length) and sum(
                seen[-1].size
            ) > sum(own[-1].size):
                then = [one.seconds for one in seen if one.size == own[-1].size and one.seconds > 0]
                grown += [own[-1].seconds * seconds_at(size, seen) / then[-1]] if then else []
        return max(grown)

    def n_rows(self, like: Like) -> tuple[int, int]:
        """Return how many rows of scores an answer has, and how many about genes."""
        for few in self._levels(like):
            if known := [self.found.n_rows[one] for one in few if one in self.found.n_rows]:
                return max(known)
        return 0, 0

    def _lacks(self, need: Need, what: str) -> None:
        failed = (why for like, why in self.found.failures.items() if like[:3] == need.like[:3])
        why = next(failed, self.found.failures.get(Like(""), ""))
        self.unknown.append(f"{what} ({why})" if why else what)
