"""Engine: execute a plan on this machine's cores, keep each result whole, and do again only what is missing.

Workers train one model each on one thread: inside so small a model, threads cost more than they bring.
"""

import contextlib
import json
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from corpuscle.core.components import guarded
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.scores import COLUMNS, DTYPES, TEXTS
from corpuscle.evaluation.maps import MOST_MAPPED
from corpuscle.evaluation.task import Compares, Task
from corpuscle.execution.job import Job, Map, Question, Reference
from corpuscle.execution.workers import WORKER_LOST, Update, pool_of
from corpuscle.model.model import Model, TrainsTogether
from corpuscle.statistics.divergence import FIT_DTYPES, FITS
from corpuscle.store import Store
from corpuscle.study.known_targets import KnownTargets
from corpuscle.study.plan import Plan, Run

# Raised when what is kept of a model, of a task's answers or of a map changes in form or by code of no component: what
# the store has of older versions is not used.
MODELS, SCORES, MAPS = 1, 1, 1
POLL_SECONDS = 0.2
# A run whose worker was killed (out of memory, say) gets one more chance.
MOST_TRIES = 2
# One round fits, a second compares with a model fitted meanwhile; more where the store is damaged meanwhile.
MOST_ROUNDS = 5


@dataclass(frozen=True)
class Outcome:
    """What executing a plan did.

    Attributes
    ----------
    done, reused
        How many runs were done now, and how many the store had.
    failures
        What went wrong, by run.
    """

    done: int
    reused: int
    failures: dict[Run, str] = field(default_factory=dict)


def jobs(plan: Plan, store: Store) -> list[Job]:
    """Lay out a plan's runs as jobs.

    A key is a fingerprint of everything that its result depends on: settings, cells, genes, the content of the files,
    the seed, and the versions of the code of all components that it is made with.
    """
    known = KnownTargets(plan.targets)
    models = {run: plan.model(run.model).model for run in plan.runs}
    corpora = {run: plan.corpora[run.corpus, run.seed] for run in plan.runs}
    keys = {
        run: fingerprint("model", MODELS, models[run].identity(), plan.identity(corpora[run]), run.seed)
        for run in plan.runs
    }
    mapped = [*dict.fromkeys([plan.study.baseline, *(run.corpus for run in plan.runs)])][:MOST_MAPPED]
    found = []
    for run, key in keys.items():
        corpus, questions = corpora[run], []
        for task in plan.study.tasks:
            other = _reference(task.task, run)
            reference = Reference(other, models[other], keys[other], corpora[other]) if other else None
            for name in task.targets:
                target = known.of(name, corpus)
                identity = [task.task.identity(), plan.identity(target.cells), reference.key if reference else ""]
                question = fingerprint("scores", SCORES, key, *identity)
                questions.append(Question(question, task.task, task.label, target.cells, reference, target.note))
        # One seed is enough to look at.
        is_shown = run.seed == 0 and run.corpus in mapped
        shown = [name for task in plan.study.tasks if task.task.maps for name in task.targets] if is_shown else []
        drawn = [target.cells for name in dict.fromkeys(shown) if (target := known.of(name, corpus)).n_known]
        maps = [Map(fingerprint("map", MAPS, key, plan.identity(cells)), cells) for cells in drawn]
        job = Job(run, models[run], corpora[run], key, tuple(questions), store.root, plan.n_steps(run), tuple(maps))
        found.append(job)
    return found


def _reference(task: Task, run: Run) -> Run | None:
    """Return the run whose model a task compares this run's with; None where it compares with none."""
    if not isinstance(task, Compares) or not (task.reference_corpus or task.reference_model):
        return None
    return run._replace(corpus=task.reference_corpus or run.corpus, model=task.reference_model or run.model)


def execute(found: list[Job], workers: int, on_update: Callable[[Update], None]) -> Outcome:
    """Do the jobs that are not done, `workers` at once.

    Every worker is a pool of its own with one process: when a process is killed, only its own job is lost, and it is
    known which one that was.

    Parameters
    ----------
    found
        The jobs; see `jobs`.
    workers
        How many processes.
    on_update
        Called with the progress of each run.

    Returns
    -------
    What was done. A failed run does not stop the others.
    """
    missing = deque(job for job in found if not job.is_done)
    n_missing = len(missing)
    tries: Counter[Run] = Counter()
    rounds: Counter[Run] = Counter()
    failures: dict[Run, str] = {}
    with _stoppable(), contextlib.ExitStack() as stack:
        _fit_groups(groups(missing), on_update)
        pool = stack.enter_context(pool_of(min(workers, n_missing)))
        while missing or any(worker.job for worker in pool):
            running = [worker.job for worker in pool if worker.job]
            for worker in pool:
                coming = {job.key for job in [*missing, *running] if not job.is_fitted} if missing else set()
                job = None if worker.job else _next(missing, coming)
                if job:
                    worker.begin(job, last_chance=not job.waits_for(coming - {job.key}))
                    running.append(job)
            wait([worker.future for worker in pool if worker.job], timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for worker in pool:
                for update in worker.news():
                    on_update(update)
                if not worker.has_ended:
                    continue
                job, failure = worker.end()
                tries[job.run] += 1
                if failure == WORKER_LOST and tries[job.run] < MOST_TRIES:
                    missing.append(job)
                    continue
                rounds[job.run] += 1
                if not job.is_done:
                    # A model that it is compared with was not there yet, or was damaged and must be fitted again.
                    known = {other.run for other in [*missing, *(one.job for one in pool if one.job)]} | failures.keys()
                    damaged = _damaged_references(job, found, known)
                    if (failure is None or damaged) and rounds[job.run] < MOST_ROUNDS:
                        missing.extend([*damaged, job])
                        continue
                    failure = failure or f"what it wrote to {job.store} cannot be read again; check that disk"
                if failure is not None:
                    failures[job.run] = failure
                on_update(Update(job.run, 1.0))
    return Outcome(n_missing - len(failures), len(found) - n_missing, failures)


def _damaged_references(job: Job, found: Iterable[Job], known: Collection[Run]) -> list[Job]:
    """Return the jobs of the models that a job is compared with, where these are neither there nor on their way."""
    keys = {ask.reference.key for ask in job.questions if ask.reference} - {job.key}
    return [other for other in found if other.key in keys and other.run not in known and not other.is_fitted]


def groups(missing: Iterable[Job]) -> list[list[Job]]:
    """Put jobs together whose models are to be fitted and can be trained as one: none, but on a GPU."""
    alike: dict[str, dict[str, Job]] = {}
    for job in missing:
        if isinstance(job.model, TrainsTogether) and not job.is_fitted:
            same = fingerprint(job.model.spec(), job.corpus.space.fingerprint, job.corpus.n_cells)
            alike.setdefault(same, {})[job.key] = job
    found = []
    for by_key in alike.values():
        several = list(by_key.values())
        model = several[0].model
        assert isinstance(model, TrainsTogether), "others were left out"
        with guarded(model):
            size = model.n_together(several[0].corpus.n_genes) if len(several) > 1 else 1
        found += [several[first : first + size] for first in range(0, len(several), size)] if size > 1 else []
    return [group for group in found if len(group) > 1]


def _fit_groups(found: list[list[Job]], on_update: Callable[[Update], None]) -> None:
    """Fit models that can be trained as one, in a process of its own; what fails is left to the jobs one by one."""
    for group in found:
        with pool_of(1) as (worker,):
            worker.begin_together(group)
            while not worker.future.done():
                wait([worker.future], timeout=POLL_SECONDS)
                for update in worker.news():
                    on_update(update)


def _next(missing: deque[Job], coming: Collection[str]) -> Job | None:
    """Take the first job with something to do now: a model to fit, or no reference to wait for."""
    for job in missing:
        if job.key in coming or not job.waits_for(coming):
            missing.remove(job)
            return job
    return None


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let a polite kill (SIGTERM) end the run as Ctrl-C does, with its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def collect_scores(found: list[Job]) -> pd.DataFrame:
    """Gather the scores of all jobs that are done, in the order of the plan."""
    tables = []
    for job in found:
        store = Store(job.store)
        for question in job.questions:
            if folder := store.find("scores", question.key):
                table = pd.read_parquet(folder / "scores.parquet", read_dictionary=TEXTS)
                place = {"corpus": job.run.corpus, "model": job.run.model, "task": question.label}
                tables.append(table.assign(**place, seed=job.run.seed, target=question.target.name))
    empty = pd.DataFrame(columns=list(COLUMNS))
    return (pd.concat(tables, ignore_index=True) if tables else empty)[list(COLUMNS)].astype(DTYPES)


def collect_curves(found: list[Job]) -> pd.DataFrame:
    """Gather the training curves: columns corpus, model, seed, step, epoch, quantity, value, title, meaning."""
    tables = []
    for job in found:
        folder = Store(job.store).find("models", job.key)
        if folder and (folder / "history.parquet").exists():
            table = pd.read_parquet(folder / "history.parquet")
            # A model that takes no steps has no curve; pandas warns of joining tables without rows.
            if len(table):
                place = {"corpus": job.run.corpus, "model": job.run.model, "seed": job.run.seed}
                tables.append(table.assign(**place, **_about(job.model, table["quantity"])))
    columns = ["corpus", "model", "seed", "step", "epoch", "quantity", "value", "title", "meaning"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _about(model: Model, quantities: "pd.Series[str]") -> dict[str, "pd.Series[str]"]:
    """Return what a model says of each quantity of its curves: the ending says on which cells it was found."""
    known = {curve.name: curve for curve in model.curves}
    names = quantities.str.replace(r"_(train|validation)$", "", regex=True)
    return {
        about: names.map(lambda name: getattr(known.get(name), about, ""))  # noqa: B023
        for about in ("title", "meaning")
    }


def collect_fits(found: list[Job]) -> pd.DataFrame:
    """Gather what was checked when models had been fitted; see `corpuscle.statistics.divergence.diverged`."""
    rows = []
    for job in found:
        if folder := Store(job.store).find("models", job.key):
            check = json.loads((folder / "run.json").read_text(encoding="utf-8"))["check"]
            rows.append({**job.run._asdict(), **check})
    return pd.DataFrame(rows, columns=list(FITS)).astype(FIT_DTYPES)


def collect_maps(found: list[Job]) -> pd.DataFrame:
    """Gather the maps: columns corpus, model, target, x, y, cell_type, batch; one row per cell."""
    tables = []
    for job in found:
        for drawn in job.maps:
            if folder := Store(job.store).find("maps", drawn.key):
                place = {"corpus": job.run.corpus, "model": job.run.model, "target": drawn.target.name}
                tables.append(pd.read_parquet(folder / "map.parquet").assign(**place))
    columns = ["corpus", "model", "target", "x", "y", "cell_type", "batch"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
