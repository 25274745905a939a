"""Workers: processes that make one artifact at a time on one thread, and report their progress."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from corpuscle.core import scratch
from corpuscle.core.disk import discard
from corpuscle.core.errors import CorpuscleError
from corpuscle.core.lifeline import begin
from corpuscle.core.usage import peak_of
from corpuscle.execution.artifact import Address, Artifact
from corpuscle.execution.making import make
from corpuscle.execution.opened import Opened
from corpuscle.model.threads import THREADS

# Signals by which a system, or a person, ends a process that did nothing wrong; others are crashes.
KILLED = {-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)}
# A worker's libraries take seconds to load. On Linux one process loads them and does nothing else, and workers are
# forked from it. (A process that did work is not safe to fork, nor are the libraries of other systems.)
START = "forkserver" if sys.platform == "linux" else "spawn"
# They talk through a socket in the folder for temporary files, whose path a system lets have 107 letters, of which 33
# are the socket's; where the folder's own is longer, libraries are loaded by each worker.
LONGEST_FOLDER = 70
# Of the folder in which they talk, the name says whose it is, so that what a killed run left is found: it is longer.
LONGEST_NAMED = 50
# First of all, that it ends with the run.
LOADED = ["corpuscle.core.forked_from", "corpuscle.execution.artifacts", "corpuscle.execution.workers", "torch"]
WORKER_LOST = "its worker process was killed; most often the machine ran out of memory"


class Update(NamedTuple):
    """News of an artifact: which share of it is done."""

    address: Address
    share: float


class Ended(NamedTuple):
    """News of an artifact: its making came to an end.

    Attributes
    ----------
    artifact
        Which one.
    failure
        What went wrong; None: nothing did.
    is_lost
        Whether that is only that its worker was killed, so that it may be tried again.
    """

    artifact: Artifact
    failure: str | None
    is_lost: bool = False


@contextlib.contextmanager
def pool_of(n_workers: int, root: Path, errors: Path | None = None) -> "Iterator[list[Worker] | list[ThisProcess]]":
    """Give so many workers for a store; end them and their processes when the block ends, however it ends.

    Of none, this process does the work itself. For `root` and `errors` see `Opened`.
    """
    if not n_workers:
        yield [ThisProcess(root, errors)]
        return
    pool = [Worker(root, errors) for _ in range(n_workers)]
    try:
        yield pool
    finally:
        for worker in pool:
            worker.stop()


class Worker:
    """A process that makes one artifact at a time, and a pipe of its own on which it reports its progress.

    Attributes
    ----------
    artifact
        What it is making; None: it is free.
    last
        What it made last, by `Artifact.together`.
    gpu
        The GPU that it is using; empty: none that is shared.
    """

    future: Future[str | None]

    def __init__(self, root: Path, errors: Path | None = None) -> None:
        self.root, self.errors, self.last, self.gpu = root, errors, "", ""
        self.artifact: Artifact | None = None
        self.process: BaseProcess | None = None
        self._peak = 0
        self._start()

    def _start(self) -> None:
        fits = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER
        start = START if fits else "spawn"
        _start_tracker()
        context = multiprocessing.get_context(start)
        if start == "forkserver":
            # The system ends a process with the thread that started it, which only the main one outlives.
            is_main = threading.current_thread() is threading.main_thread()
            context.set_forkserver_preload(LOADED if is_main else LOADED[1:])
            _name_temporary_folder()
        # One pipe for each: a queue for all has a lock, which a worker that is killed may take along.
        self.pipe, self.far_end = context.Pipe(duplex=False)
        # The process that workers are forked from has the environment of the first run.
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        arguments = (f"{__name__}:{start_worker.__name__}", environment, self.far_end, self.root, self.errors)
        self.pool = ProcessPoolExecutor(1, context, begin, arguments)

    def begin(self, artifact: Artifact, gpu: str = "") -> None:
        """Let it make an artifact, on a GPU where one is named; see `corpuscle.model.data.on_gpu.gpus`."""
        self.artifact, self.last, self.gpu = artifact, artifact.together, gpu
        self.submit(make_in_worker, artifact, gpu)

    def submit(self, work: Callable[..., str | None], *arguments: Any) -> None:
        """Let its process do something."""
        with _no_main_module(), _no_interrupts(), _one_thread_each():
            try:
                self.future = self.pool.submit(work, *arguments)
            except BrokenProcessPool:
                # It was killed while it had nothing to do.
                self.stop()
                self._start()
                self.future = self.pool.submit(work, *arguments)
        (self.process,) = self.pool._processes.values()
        # The process is started by now. Only it may hold the far end, so that the pipe ends when it does.
        self.far_end.close()

    @property
    def has_ended(self) -> bool:
        """Return whether what it was making has come to an end, good or bad."""
        return self.artifact is not None and self.future.done()

    def end(self) -> Ended:
        """Take what ended from it."""
        assert self.artifact is not None, "only what was begun can end"
        artifact, self.artifact = self.artifact, None
        return Ended(artifact, *self.outcome())

    def outcome(self) -> tuple[str | None, bool]:
        """Return what went wrong with what ended (None: nothing), and whether only its process was killed.

        A process that is gone is replaced.
        """
        error = self.future.exception()
        if isinstance(error, BrokenProcessPool):
            why, was_killed = self._why_it_ended()
            self.stop()
            self._start()
            return why, was_killed
        if error is not None:
            # It could not be sent, or its end not be reported: nothing of the artifact's own gets here.
            return f"{type(error).__name__}: {error}", False
        return self.future.result(), False

    def answer(self) -> str:
        """Wait for what was submitted, and return it; empty where the process is gone, which another replaces."""
        try:
            return self.future.result() or ""
        except BrokenProcessPool:
            self.stop()
            self._start()
            return ""

    def _why_it_ended(self) -> tuple[str, bool]:
        """Return why the process is gone, and whether it was killed."""
        self.pool.shutdown(wait=True)
        code = None if self.process is None else self.process.exitcode
        if code is None or code in KILLED:
            held = f"; it held {self._peak / 1e9:.1f} GB when it was last looked at" if self._peak else ""
            return f"{WORKER_LOST}{held}", True
        if code < 0:
            return f"its worker process crashed ({signal.Signals(-code).name}) while the model or a task ran", False
        why = f"its worker process ended itself with exit code {code}: the model, a task or a library called os._exit"
        return why, False

    def news(self) -> Iterator[Update]:
        """Yield what it reported since the last call."""
        if self.process is not None:
            self._peak = peak_of(self.process.pid) or self._peak
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                yield self.pipe.recv()

    def stop(self) -> None:
        """End it at once; what it was writing is not in the store."""
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            # Not politely: one that is stopped (SIGSTOP, a debugger) would never hear it.
            process.kill()
            process.join()
        self.pipe.close()
        self.far_end.close()


class ThisProcess:
    """A worker without a process of its own: what it begins is done when `begin` returns."""

    def __init__(self, root: Path, errors: Path | None = None) -> None:
        self.opened, self.last, self.gpu = Opened(root, errors), "", ""
        self.artifact: Artifact | None = None
        self.future: Future[str | None] = Future()
        self._news: list[Update] = []

    def begin(self, artifact: Artifact, gpu: str = "") -> None:
        """Make an artifact, on whatever GPU this process uses."""
        self.artifact, self.last, self.future = artifact, artifact.together, Future()
        self.future.set_result(make(artifact, self.opened, lambda share: self._heard(artifact, share)))

    def _heard(self, artifact: Artifact, share: float) -> None:
        self._news.append(Update(artifact.address, share))

    @property
    def has_ended(self) -> bool:
        """Return whether it made something."""
        return self.artifact is not None

    def end(self) -> Ended:
        """Return what it made, and what went wrong."""
        assert self.artifact is not None, "only what was begun can end"
        artifact, self.artifact = self.artifact, None
        return Ended(artifact, self.future.result())

    def news(self) -> Iterator[Update]:
        """Yield what was reported since the last call."""
        while self._news:
            yield self._news.pop(0)


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


# In a worker: where it reports its progress, and what it has open of the store.
_news: Connection
_opened: Opened


def start_worker(environment: dict[str, str], news: Connection, root: Path, errors: Path | None) -> None:
    """Prepare a worker process, which `corpuscle.core.lifeline` began: one thread, Ctrl-C is the parent's business."""
    global _news, _opened  # the process is this worker's own
    os.environ.clear()
    os.environ.update(environment)
    # Forked processes have one state of the global generators, which a user's component may draw from.
    np.random.seed()  # noqa: NPY002
    _news, _opened = news, Opened(root, errors)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries show progress with tqdm, whose lock between processes would outlive a worker that is ended.
    tqdm.set_lock(threading.RLock())


def gpus_of(pool: "list[Worker] | list[ThisProcess]") -> list[str]:
    """Ask workers for the GPUs that are to have one artifact at a time; this process does not load torch for it."""
    workers = [worker for worker in pool if isinstance(worker, Worker)]
    for worker in workers:
        worker.submit(gpu_names)
    return max((worker.answer() for worker in workers), default="").split()


def gpu_names() -> str:
    """Name the GPUs, in a worker; a wrong name is an error of the first model that is trained."""
    from corpuscle.model.data.on_gpu import gpus

    try:
        return " ".join(gpus())
    except CorpuscleError:
        return ""


def _start_tracker() -> None:
    """Start Python's process that removes what others leave, so that it does so without a word.

    Workers are ended, not asked to end: libraries' semaphores that they hold then are for it to remove. It warns of
    each at the end of a run, after the report, unless its environment says otherwise.
    """
    before = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{before},{quiet}" if before else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def _name_temporary_folder() -> None:
    """Let this process' folder for sockets have a name by which a later run removes it, if this one is killed."""
    config: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is None and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_NAMED:
        place = Path(tempfile.gettempdir()) / f"{scratch.PREFIX}{scratch.suffix()}"
        place.mkdir(mode=0o700, exist_ok=True)
        config["tempdir"] = str(place)
        atexit.register(discard, place)


def make_in_worker(artifact: Artifact, gpu: str) -> str | None:
    """Make an artifact in a worker; return what went wrong."""
    if not gpu:
        return _made(artifact)
    from corpuscle.model.data.on_gpu import VARIABLE, release_memory

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = gpu
    try:
        return _made(artifact)
    finally:
        del os.environ[VARIABLE]
        os.environ.update({} if before is None else {VARIABLE: before})
        # The next that is made there may be another worker's.
        release_memory()


def _made(artifact: Artifact) -> str | None:
    return make(artifact, _opened, lambda share: _news.send(Update(artifact.address, share)))
