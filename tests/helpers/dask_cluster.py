"""A real Dask scheduler with real workers, each a process of its own, as a user starts them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from repository import environment

# Nothing is timed by it: it ends a test that hangs.
PATIENCE = 240


class DaskCluster:
    """A scheduler and its workers, which a test may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, list[subprocess.Popen[bytes]]()
        self.file = folder / "scheduler.json"
        self.scheduler = self._started("scheduler", "--port", "0", "--host", "127.0.0.1", "--dashboard-address", ":0")
        wait_for(self._is_there)
        self.address = str(json.loads(self.file.read_text())["address"])

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads(self.file.read_text())["address"])
        return False

    def add_worker(self, *options: str, nanny: bool = False, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a worker, from another folder than the test's."""
        name = f"w{len(self.workers)}"
        watched = "--nanny" if nanny else "--no-nanny"
        local = ("--local-directory", str(self.folder / name), "--no-dashboard", "--death-timeout", "20")
        worker = self._started(
            "worker", "--name", name, watched, *local, *(options or ("--nthreads", "1")), prefix=prefix
        )
        self.workers.append(worker)
        return worker

    def _started(self, what: str, *options: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{what}{len(self.workers)}.log").open("wb")
        command = [*prefix, sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(self.file)]
        # Workers read as little of this machine's settings as they can; the folder is not the study's.
        with log:
            return subprocess.Popen(
                [*command, *options], env=environment(), cwd="/", stdout=log, stderr=log, start_new_session=True
            )

    def close(self) -> None:
        """End all of it, politely first: workers then end their own processes."""
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[DaskCluster]:
    """Give a scheduler without workers; end it with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something happened."""
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)
