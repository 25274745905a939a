"""Engine: execute a plan on this machine's cores, keep each result whole, and do again only what is missing.

Worker processes train one model each on one thread: inside so small a model, threads cost more than they bring.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from corpuscle import __version__
from corpuscle.core.errors import CorpuscleError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import safe_name
from corpuscle.core.randomness import generator
from corpuscle.core.scores import COLUMNS, DTYPES, score_table
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel, Model
from corpuscle.store import Store, write_text
from corpuscle.study.plan import Plan, Run

POLL_SECONDS = 0.2
# A run whose worker was killed (out of memory, say) gets one more chance.
MOST_TRIES = 2
WORKER_LOST = "its worker process was killed; most often the machine ran out of memory: use fewer --workers"


class Question(NamedTuple):
    """A task to be asked of a fitted model on a target; `key` is where its scores are stored."""

    key: str
    task: Task
    label: str
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

    @property
    def is_done(self) -> bool:
        """Say whether the store has the model and all of its scores."""
        store = Store(self.store)
        return store.has("models", self.key) and all(store.has("scores", ask.key) for ask in self.questions)


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
    found = []
    for run in plan.runs:
        corpus, model = plan.corpora[run.corpus, run.seed], plan.model(run.model).model
        key = fingerprint("model", __version__, model.spec(), plan.identity(corpus), run.seed)
        questions = tuple(
            Question(
                fingerprint("scores", key, task.task.spec(), targets[name]),
                task.task,
                task.label,
                plan.targets[name],
            )
            for task in plan.study.tasks
            for name in task.targets
        )
        found.append(Job(run, model, corpus, key, questions, store.root, plan.n_steps(run)))
    return found


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
    with _stoppable(), _workers(min(workers, n_missing)) as pool:
        while missing or any(worker.job for worker in pool):
            for worker in pool:
                if missing and not worker.job:
                    worker.begin(missing.popleft())
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
                if failure is not None:
                    failures[job.run] = failure
                on_update(Update(job.run, 1.0))
    return Outcome(n_missing - len(failures), len(found) - n_missing, failures)


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

    def begin(self, job: Job) -> None:
        """Give it a job."""
        with _no_main_module(), _no_interrupts():
            self.job, self.future = job, self.pool.submit(_do, job)
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


def _do(job: Job) -> str | None:
    """Do one job in a worker; return what went wrong."""
    try:
        _news.send(Update(job.run, 0.0))
        # Training is nearly all of a run; the last hundredth is for the tasks.
        fitted = _fitted(job, lambda share: _news.send(Update(job.run, 0.99 * share)))
        for question in job.questions:
            _ask(question, fitted, job)
    except CorpuscleError as error:
        return str(error)
    except Exception as error:
        name = "-".join(safe_name(str(part)) for part in job.run)
        log = job.store.parent / "errors" / f"{name}.txt"
        write_text(log, traceback.format_exc())
        return f"{type(error).__name__}: {error} (details in {log})"
    return None


def _fitted(job: Job, progress: Callable[[float], None]) -> FittedModel:
    """Fit the model, or load it where it was fitted before."""
    store = Store(job.store)
    if store.has("models", job.key):
        return job.model.load_fitted(store.folder("models", job.key))
    started, started_cpu = time.perf_counter(), time.process_time()
    fitted = job.model.fit(job.corpus, job.run.seed, progress)
    facts = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - started_cpu,
        "n_steps": job.n_steps,
        "model": job.model.spec(),
        "corpus": job.corpus.fingerprint,
        "seed": job.run.seed,
    }
    with store.create("models", job.key) as folder:
        fitted.save(folder)
        write_text(folder / "run.json", json.dumps(facts, indent=1))
    return fitted


def _ask(question: Question, fitted: FittedModel, job: Job) -> None:
    store = Store(job.store)
    if store.has("scores", question.key):
        return
    rng = generator(job.run.seed, "task", question.key)
    scores = question.task.run(fitted, job.corpus, question.target, rng)
    table = score_table(scores, corpus="", model="", seed=job.run.seed, task="", target="")
    with store.create("scores", question.key) as folder:
        table.to_parquet(folder / "scores.parquet")


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
