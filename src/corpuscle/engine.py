"""Engine: execute a plan on this machine's cores, keep each result whole, and do again only what is missing.

Worker processes train one model each on one thread: inside so small a model, threads cost more than they bring.
"""

import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd
from safetensors import safe_open

from corpuscle import __version__
from corpuscle.core.errors import CorpuscleError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import safe_name
from corpuscle.core.randomness import generator
from corpuscle.core.scores import COLUMNS, DTYPES, score_table
from corpuscle.core.usage import Usage, measured
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.maps import umap_table
from corpuscle.evaluation.task import Compares, Task, answers
from corpuscle.model.model import Cost, FittedModel, Model, TrainsTogether
from corpuscle.store import Store, write_text
from corpuscle.study.plan import Plan, Run

POLL_SECONDS = 0.2
# A run whose worker was killed (out of memory, say) gets one more chance.
MOST_TRIES = 2
WORKER_LOST = "its worker process was killed; most often the machine ran out of memory: use fewer --workers"


class Reference(NamedTuple):
    """The run whose model another one is compared with; `key` is where that model is stored."""

    run: Run
    model: Model
    key: str


class Question(NamedTuple):
    """A task to be asked of a fitted model on a target; `key` is where its scores are stored."""

    key: str
    task: Task
    label: str
    target: Corpus
    reference: Reference | None = None


class Map(NamedTuple):
    """A target whose embedding is to be drawn in the plane; `key` is where its table is stored."""

    key: str
    target: Corpus


@dataclass(frozen=True, eq=False)
class Job:
    """One run, with all that a worker needs to do it."""

    run: Run
    model: Model
    corpus: Corpus
    key: str
    questions: tuple[Question, ...]
    store: Path
    n_steps: int
    maps: tuple[Map, ...] = ()

    @property
    def is_fitted(self) -> bool:
        """Say whether the store has the model."""
        return Store(self.store).has("models", self.key)

    @property
    def is_done(self) -> bool:
        """Say whether the store has the model, all of its scores, and its maps."""
        store = Store(self.store)
        return (
            self.is_fitted
            and all(store.has("scores", ask.key) for ask in self.questions)
            and all(store.has("maps", drawn.key) for drawn in self.maps)
        )

    def waits_for(self, coming: Collection[str]) -> bool:
        """Say whether a model that it is compared with is among those, by key, that are still to be fitted."""
        return any(ask.reference.key in coming for ask in self.questions if ask.reference)


class Update(NamedTuple):
    """News of a run: which share of it is done."""

    run: Run
    share: float


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

    A key is a fingerprint of everything that its result hangs on: settings, cells, genes, the content of the files,
    the seed, and the version of this package.
    """
    targets = {name: plan.identity(target) for name, target in plan.targets.items()}
    models = {run: plan.model(run.model).model for run in plan.runs}
    corpora = {run: plan.corpora[run.corpus, run.seed] for run in plan.runs}
    keys = {
        run: fingerprint("model", __version__, models[run].spec(), plan.identity(corpora[run]), run.seed)
        for run in plan.runs
    }
    found = []
    for run, key in keys.items():
        questions = []
        for task in plan.study.tasks:
            other = _reference(task.task, run)
            reference = Reference(other, models[other], keys[other]) if other else None
            for name in task.targets:
                identity = [task.task.spec(), targets[name], reference.key if reference else ""]
                question = fingerprint("scores", key, *identity)
                questions.append(Question(question, task.task, task.label, plan.targets[name], reference))
        # One seed is enough to look at.
        shown = [name for task in plan.study.tasks if task.task.maps for name in task.targets] if run.seed == 0 else []
        maps = [Map(fingerprint("map", key, targets[name]), plan.targets[name]) for name in dict.fromkeys(shown)]
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
        Told of the progress of each run.

    Returns
    -------
    What was done. A failed run does not stop the others.
    """
    missing = deque(job for job in found if not job.is_done)
    n_missing = len(missing)
    tries: Counter[Run] = Counter()
    failures: dict[Run, str] = {}
    with _stoppable(), contextlib.ExitStack() as stack:
        _fit_groups(groups(missing), on_update)
        pool = stack.enter_context(_workers(min(workers, n_missing)))
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
                if failure is None and not job.is_done:
                    # A model that it is compared with was not there yet.
                    missing.append(job)
                    continue
                if failure is not None:
                    failures[job.run] = failure
                on_update(Update(job.run, 1.0))
    return Outcome(n_missing - len(failures), len(found) - n_missing, failures)


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
        size = model.n_together(several[0].corpus.n_genes) if len(several) > 1 else 1
        found += [several[first : first + size] for first in range(0, len(several), size)] if size > 1 else []
    return [group for group in found if len(group) > 1]


def _fit_groups(found: list[list[Job]], on_update: Callable[[Update], None]) -> None:
    """Fit models that can be trained as one, in a process of its own; what fails is left to the jobs one by one."""
    for group in found:
        with _workers(1) as (worker,):
            worker.submit(_fit_together, group)
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
def _workers(n_workers: int) -> Iterator[list["_Worker"]]:
    """Give so many workers; end them and their processes when the block ends, however it ends."""
    pool = [_Worker() for _ in range(n_workers)]
    try:
        yield pool
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process that does one job at a time, and a pipe of its own on which it tells of its progress."""

    future: Future[str | None]

    def __init__(self) -> None:
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        # One pipe for each: a queue for all has a lock, which a worker that is killed may take along.
        self.pipe, self.far_end = context.Pipe(duplex=False)
        self.pool = ProcessPoolExecutor(1, context, _start_worker, (os.getpid(), self.far_end))

    def begin(self, job: Job, *, last_chance: bool) -> None:
        """Give it a job; at its last chance, a reference that is not there will never be."""
        self.job = job
        self.submit(_do, job, last_chance)

    def submit(self, work: Callable[..., str | None], *arguments: Any) -> None:
        """Let its process do something."""
        with _no_main_module(), _no_interrupts():
            self.future = self.pool.submit(work, *arguments)
        # The process is started by now. Only it may hold the far end, so that the pipe ends when it does.
        self.far_end.close()

    @property
    def has_ended(self) -> bool:
        """Say whether its job has come to an end, good or bad."""
        return self.job is not None and self.future.done()

    def end(self) -> tuple[Job, str | None]:
        """Take the job that ended from it; return the job and what went wrong (None: nothing)."""
        assert self.job is not None, "only a job that was begun can end"
        job, self.job = self.job, None
        if isinstance(self.future.exception(), BrokenProcessPool):
            self.stop()
            self._start()
            return job, WORKER_LOST
        return job, self.future.result()

    def news(self) -> Iterator[Update]:
        """Yield what it told since the last call."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                yield self.pipe.recv()

    def stop(self) -> None:
        """End it at once; what it was writing is not in the store."""
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
            process.join()
        self.pipe.close()
        self.far_end.close()


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep new processes from running the user's script again.

    A spawned process imports the main module first, so a script without an ``if __name__ == "__main__"`` would start
    its study anew in each worker. Nothing of it is needed there: components are found by the names of their modules.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Start processes that never hear Ctrl-C, which a terminal sends to all; the parent hears it after the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


# In a worker: where it tells of its progress.
_news: Connection


def _start_worker(parent: int, news: Connection) -> None:
    """Prepare a worker process: one thread, Ctrl-C is the parent's business, and no life after the parent."""
    global _news  # noqa: PLW0603  # the process is this worker's own
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(job: Job, last_chance: bool) -> str | None:  # noqa: FBT001  # by position through the pool
    """Do one job in a worker, as far as the models that it is compared with are there; return what went wrong."""
    try:
        _news.send(Update(job.run, 0.0))
        # Training is nearly all of a run; the last hundredth is for the tasks.
        fitted = _fitted(job, lambda share: _news.send(Update(job.run, 0.99 * share)))
        for drawn in job.maps:
            _draw(drawn, fitted, job)
        lacking = [question.reference for question in job.questions if not _ask(question, fitted, job)]
        if lacking and lacking[0] and last_chance:
            return f"the model that it is compared with could not be fitted: {lacking[0].run}"
    except CorpuscleError as error:
        return str(error)
    except Exception as error:
        name = "-".join(safe_name(str(part)) for part in job.run)
        log = job.store.parent / "errors" / f"{name}.txt"
        write_text(log, traceback.format_exc())
        return f"{type(error).__name__}: {error} (details in {log})"
    return None


def _fitted(job: Job, progress: Callable[[float], None]) -> FittedModel:
    """Fit the model, or load it where it was fitted before; either way with what fitting it cost."""
    store = Store(job.store)
    if store.has("models", job.key):
        return _loaded(store, job.model, job.key)
    with measured() as usage:
        fitted = job.model.fit(job.corpus, job.run.seed, progress)
    _keep(fitted, job, usage)
    return fitted


def _fit_together(group: list[Job]) -> str | None:
    """Fit a group's models as one, in a worker, and store them."""
    model = group[0].model
    assert isinstance(model, TrainsTogether), "the group was made for that"

    def progress(share: float) -> None:
        for job in group:
            _news.send(Update(job.run, 0.99 * share))

    with contextlib.suppress(CorpuscleError):  # each is told when it is fitted alone
        with measured() as usage:
            found = model.fit_together([job.corpus for job in group], [job.run.seed for job in group], progress)
        share = Usage(usage.seconds / len(group), usage.cpu_seconds / len(group), usage.peak_bytes)
        for job, fitted in zip(group, found, strict=True):
            _keep(fitted, job, share)
    return None


def _keep(fitted: FittedModel, job: Job, usage: Usage) -> None:
    """Store a fitted model, and what it cost."""
    with Store(job.store).create("models", job.key) as folder:
        fitted.save(folder)
        fitted.cost = Cost(usage, _n_numbers(folder))
        facts = {
            **dataclasses.asdict(usage),
            "n_parameters": fitted.cost.n_parameters,
            "n_steps": job.n_steps,
            "model": job.model.spec(),
            "corpus": job.corpus.fingerprint,
            "seed": job.run.seed,
        }
        write_text(folder / "run.json", json.dumps(facts, indent=1))


def _loaded(store: Store, model: Model, key: str) -> FittedModel:
    fitted = model.load_fitted(store.folder("models", key))
    facts = json.loads((store.folder("models", key) / "run.json").read_text(encoding="utf-8"))
    usage = Usage(**{field.name: facts[field.name] for field in dataclasses.fields(Usage)})
    fitted.cost = Cost(usage, facts["n_parameters"])
    return fitted


def _n_numbers(folder: Path) -> int:
    """Count the numbers in the weights that a model saved."""
    total = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _ask(question: Question, fitted: FittedModel, job: Job) -> bool:
    """Ask a question, unless the store has its scores; say whether it has them now."""
    store = Store(job.store)
    if store.has("scores", question.key):
        return True
    task, target, other = question.task, question.target, question.reference
    if other and not store.has("models", other.key):
        return False
    # Whatever the corpus and the model: what is drawn is then the same for all that are compared.
    rng = generator(job.run.seed, "task", question.label, target.name)
    scores = [*answers(task, fitted, job.corpus, target, rng)]
    if other and isinstance(task, Compares) and isinstance(fitted, task.needs):
        reference = fitted if other.key == job.key else _loaded(store, other.model, other.key)
        scores += task.compare(fitted, reference, target, rng)
    table = score_table(scores, corpus="", model="", seed=job.run.seed, task="", target="")
    with store.create("scores", question.key) as folder:
        table.to_parquet(folder / "scores.parquet")
    return True


def _draw(drawn: Map, fitted: FittedModel, job: Job) -> None:
    """Lay a target's embedding out in the plane, unless the store has it."""
    store = Store(job.store)
    if not store.has("maps", drawn.key):
        table = umap_table(fitted, drawn.target, job.run.seed)
        with store.create("maps", drawn.key) as folder:
            table.to_parquet(folder / "map.parquet")


def collect_scores(found: list[Job]) -> pd.DataFrame:
    """Gather the scores of all jobs that are done, in the order of the plan."""
    tables = []
    for job in found:
        store = Store(job.store)
        for question in job.questions:
            if store.has("scores", question.key):
                table = pd.read_parquet(store.folder("scores", question.key) / "scores.parquet")
                place = {"corpus": job.run.corpus, "model": job.run.model, "task": question.label}
                tables.append(table.assign(**place, seed=job.run.seed, target=question.target.name))
    empty = pd.DataFrame(columns=list(COLUMNS))
    return (pd.concat(tables, ignore_index=True) if tables else empty)[list(COLUMNS)].astype(DTYPES)


def collect_curves(found: list[Job]) -> pd.DataFrame:
    """Gather the training curves: columns corpus, model, seed, step, epoch, quantity, value."""
    tables = []
    for job in found:
        path = Store(job.store).folder("models", job.key) / "history.parquet"
        if path.exists():
            table = pd.read_parquet(path)
            # A model that takes no steps has no curve; pandas warns of joining tables without rows.
            if len(table):
                tables.append(table.assign(corpus=job.run.corpus, model=job.run.model, seed=job.run.seed))
    columns = ["corpus", "model", "seed", "step", "epoch", "quantity", "value"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def collect_maps(found: list[Job]) -> pd.DataFrame:
    """Gather the maps: columns corpus, model, target, x, y, cell_type, batch; one row per cell."""
    tables = []
    for job in found:
        for drawn in job.maps:
            path = Store(job.store).folder("maps", drawn.key) / "map.parquet"
            if path.exists():
                place = {"corpus": job.run.corpus, "model": job.run.model, "target": drawn.target.name}
                tables.append(pd.read_parquet(path).assign(**place))
    columns = ["corpus", "model", "target", "x", "y", "cell_type", "batch"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
