"""Workers: processes that do one job at a time on one thread, and tell of their progress."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NamedTuple

from tqdm import tqdm

from corpuscle.core.errors import CorpuscleError
from corpuscle.execution.job import Job, do, fit_together
from corpuscle.study.plan import Run

# What libraries read, when they are loaded, to know how many threads to start: OpenMP's, those of BLAS, numba's.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")
# Signals by which a system, or a person, ends a process that did nothing wrong; others are crashes.
KILLED = {-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)}
WORKER_LOST = "its worker process was killed; most often the machine ran out of memory: use fewer --workers"


class Update(NamedTuple):
    """News of a run: which share of it is done."""

    run: Run
    share: float


@contextlib.contextmanager
def pool_of(n_workers: int) -> Iterator[list["Worker"]]:
    """Give so many workers; end them and their processes when the block ends, however it ends."""
    pool = [Worker() for _ in range(n_workers)]
    try:
        yield pool
    finally:
        for worker in pool:
            worker.stop()


class Worker:
    """A process that does one job at a time, and a pipe of its own on which it describes its progress."""

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

    def begin_together(self, group: list[Job]) -> None:
        """Let it fit a group's models as one; what comes of it is reported by the store."""
        self.submit(_fit_together, group)

    def submit(self, work: Callable[..., str | None], *arguments: Any) -> None:
        """Let its process do something."""
        with _no_main_module(), _no_interrupts(), _one_thread_each():
            self.future = self.pool.submit(work, *arguments)
        (self.process,) = self.pool._processes.values()
        # The process is started by now. Only it may hold the far end, so that the pipe ends when it does.
        self.far_end.close()

    @property
    def has_ended(self) -> bool:
        """Return whether its job has come to an end, good or bad."""
        return self.job is not None and self.future.done()

    def end(self) -> tuple[Job, str | None]:
        """Take the job that ended from it; return the job and what went wrong (None: nothing)."""
        assert self.job is not None, "only a job that was begun can end"
        job, self.job = self.job, None
        error = self.future.exception()
        if isinstance(error, BrokenProcessPool):
            why = self._why_it_ended()
            self.stop()
            self._start()
            return job, why
        if error is not None:
            # The job could not be sent, or its end not be reported: nothing of the job's own gets here.
            return job, f"{type(error).__name__}: {error}"
        return job, self.future.result()

    def _why_it_ended(self) -> str:
        """Return why the process is gone."""
        self.pool.shutdown(wait=True)
        code = self.process.exitcode
        if code is None or code in KILLED:
            return WORKER_LOST
        if code < 0:
            return f"its worker process crashed ({signal.Signals(-code).name}) while the model or a task ran"
        return f"its worker process ended itself with exit code {code}: the model, a task or a library called os._exit"

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
def _one_thread_each() -> Iterator[None]:
    """Start processes whose libraries take one thread each.

    They read it when they are loaded, and a library that is loaded late sets it for others: numba's threads, when first
    used, set OpenMP's anew, which are torch's. Several threads of several processes would wait for each other on the
    same cores, and sums would depend on the number of cores.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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


# In a worker: where it describes its progress.
_news: Connection


def _start_worker(parent: int, news: Connection) -> None:
    """Prepare a worker process: one thread, Ctrl-C is the parent's business, and no life after the parent."""
    global _news  # noqa: PLW0603  # the process is this worker's own
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    # Libraries show progress with tqdm, whose lock between processes would outlive a worker that is ended.
    tqdm.set_lock(threading.RLock())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(job: Job, last_chance: bool) -> str | None:  # noqa: FBT001  # by position through the pool
    """Do a job in a worker; return what went wrong."""
    return do(job, lambda share: _news.send(Update(job.run, share)), last_chance=last_chance)


def _fit_together(group: list[Job]) -> str | None:
    """Fit a group's models as one, in a worker; what went wrong is reported when each is fitted alone."""

    def tell(share: float) -> None:
        for job in group:
            _news.send(Update(job.run, share))

    with contextlib.suppress(CorpuscleError):
        fit_together(group, tell)
    return None
