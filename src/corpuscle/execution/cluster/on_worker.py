"""On a worker: what a cluster's worker does. Each artifact is made by a process of its own, as on one machine.

A process that is killed then costs its artifact and not the worker; libraries have one thread each, whatever the worker
was started with; and the worker goes on answering its scheduler. Processes wait for more for a while, with what they
have open.
"""

import contextlib
import multiprocessing
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from distributed import get_worker
from distributed.core import Status

from corpuscle.corpus.stored import CORPORA
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.cluster.terms import SEEN_SECONDS, Terms, appears, unmet
from corpuscle.execution.workers import Worker, gpu_names, make_in_worker
from corpuscle.model.data.memory import VARIABLE as MEMORY

POLL_SECONDS = 0.2
# What is reported as a share when the making of an artifact begins.
BEGUN = -1.0
# How often progress is reported, and for how long a process without work waits for more.
REPORT_SECONDS, IDLE_SECONDS = 0.5, 60.0
# What a worker offers, by the names of Dask's resources.
GPU, BYTES = "GPU", "MEMORY"


class Job(NamedTuple):
    """What a worker is sent: one artifact, and what is needed to make it.

    Attributes
    ----------
    artifact
        The artifact, pickled: only the process that makes it imports what it consists of.
    together
        Its `Artifact.together`.
    root, errors
        See `corpuscle.execution.opened.Opened`.
    terms
        What the worker must have.
    topic
        Under which progress is reported.
    paths, folder
        Where modules of the user's own are looked for, and what paths in the study are relative to.
    uses_gpu, gpu
        Whether it can use a GPU, and which share of one it may take; 0: none.
    """

    artifact: bytes
    together: str
    root: str
    errors: str
    terms: Terms
    topic: str
    paths: tuple[str, ...]
    folder: str
    uses_gpu: bool
    gpu: float


class Where(NamedTuple):
    """Which worker it was; `slurm_job` is empty where it is no job of SLURM's."""

    address: str
    name: str
    host: str
    slurm_job: str


class Answer(NamedTuple):
    """What comes back.

    Attributes
    ----------
    where
        From where.
    failure, is_lost
        As in `corpuscle.execution.workers.Ended`.
    refused
        What the worker lacks, so that it made nothing; empty: nothing.
    """

    where: Where
    failure: str | None = None
    is_lost: bool = False
    refused: str = ""


class _GivenUpError(Exception):
    """Nobody waits for the artifact any more."""


class _Child(Worker):
    """A process that makes artifacts for this worker."""

    timer: threading.Timer | None = None
    is_busy = True


_children: list[_Child] = []
_lock = threading.RLock()
# Which share of each GPU of this worker is in use.
_gpus: dict[str, float] | None = None
_gpu_is_free = threading.Condition(_lock)


def here() -> Where:
    """Return which worker this is."""
    worker = get_worker()
    return Where(worker.address, str(worker.name), socket.gethostname(), os.environ.get("SLURM_JOB_ID", ""))


def make_artifact(job: Job) -> Answer:
    """Make an artifact in a process of this worker; report progress on the way."""
    where = here()
    if problem := unmet(job.terms):
        return Answer(where, refused=problem)
    try:
        with _child(job) as child, _gpu(job, child) as gpu:
            return Answer(where, *_made(job, child, gpu, where))
    except _GivenUpError:
        return Answer(where, "its worker was closed", is_lost=True)


def _made(job: Job, child: _Child, gpu: str, where: Where) -> tuple[str | None, bool]:
    """Let a process make an artifact; return what `Worker.outcome` does."""
    worker = get_worker()
    key = worker.get_current_task()

    def report(share: float) -> None:
        worker.log_event(job.topic, {"key": key, "share": share, "where": list(where)})

    report(BEGUN)
    with _lock:
        child.submit(_make_pickled, job, gpu, _memory_gb(worker))
    share, reported, next_report = 0.0, BEGUN, time.monotonic()
    while not child.future.done():
        wait([child.future], timeout=POLL_SECONDS)
        for update in child.news():
            share = update.share
        if share != reported and time.monotonic() >= next_report:
            report(share)
            reported, next_report = share, time.monotonic() + REPORT_SECONDS
        if _is_given_up(worker, key):
            raise _GivenUpError
    return child.outcome()


def _make_pickled(job: Job, gpu: str, memory_gb: float) -> str | None:
    """Make an artifact, in the process that was started for it."""
    sys.path.extend(path for path in job.paths if path not in sys.path)
    with contextlib.suppress(OSError):
        os.chdir(job.folder)
    if memory_gb:
        os.environ.setdefault(MEMORY, str(memory_gb))
    artifact: Artifact = pickle.loads(job.artifact)
    for kind, key in (*(one.address for one in artifact.inputs), *((CORPORA, key) for key in artifact.corpora)):
        appears(Path(job.root) / kind / key, SEEN_SECONDS)
    return make_in_worker(artifact, gpu)


def _memory_gb(worker: Any) -> float:
    """Return the gigabytes that one corpus' counts may take: half of a process' share; 0: what is free decides."""
    limit = worker.memory_manager.memory_limit or 0
    return float(limit / 1e9 / worker.state.nthreads / 2)


def _is_given_up(worker: Any, key: str) -> bool:
    """Return whether nobody waits for an artifact any more: the run ended, or the worker is closing."""
    task = worker.state.tasks.get(key)
    return worker.status not in (Status.running, Status.paused) or task is None or task.state == "cancelled"


@contextmanager
def _child(job: Job) -> Iterator[_Child]:
    """Give a process to make a job's artifact in, if there is one that has open what it needs; then let it wait."""
    with _lock:
        _allow_processes()
        free = [one for one in _children if not one.is_busy]
        alike = [one for one in free if (str(one.root), str(one.errors)) == (job.root, job.errors)]
        child = next((one for one in alike if one.last == job.together), alike[0] if alike else None)
        if child is None:
            # Those of another run only take memory.
            for one in free:
                _end(one)
            child = _Child(Path(job.root), Path(job.errors))
            _children.append(child)
        if child.timer is not None:
            child.timer.cancel()
        child.is_busy, child.last = True, job.together
    try:
        yield child
    except BaseException:
        with _lock:
            _end(child)
        raise
    with _lock:
        child.is_busy = False
        child.timer = threading.Timer(IDLE_SECONDS, _end_idle, [child])
        child.timer.daemon = True
        child.timer.start()


def _end(child: _Child) -> None:
    child.stop()
    if child in _children:
        _children.remove(child)


def _end_idle(child: _Child) -> None:
    with _lock:
        if not child.is_busy:
            _end(child)


def end_idle_processes() -> None:
    """End the processes that wait for more: the run is over."""
    for child in _children:
        _end_idle(child)


def _allow_processes() -> None:
    """Let this process start others: Dask's nanny starts it as a daemon, which Python does not let have any."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]


@contextmanager
def _gpu(job: Job, child: _Child) -> Iterator[str]:
    """Give the GPU of this worker of which a share is free, when one is; what is given none is made on the CPU."""
    global _gpus  # noqa: PLW0603  # this process' own
    share = job.gpu
    if not share:
        yield "cpu" if job.uses_gpu else ""
        return
    with _gpu_is_free:
        if _gpus is None:
            child.submit(gpu_names)
            _gpus = dict.fromkeys(child.answer().split(), 0.0)
        if not _gpus:
            yield "cpu"
            return
        while not (fitting := [name for name, used in _gpus.items() if used + share <= 1]):
            _gpu_is_free.wait()
        # The fullest, so that whole ones stay free.
        chosen = max(fitting, key=_gpus.__getitem__)
        _gpus[chosen] += share
    try:
        yield chosen
    finally:
        with _gpu_is_free:
            _gpus[chosen] -= share
            _gpu_is_free.notify_all()
