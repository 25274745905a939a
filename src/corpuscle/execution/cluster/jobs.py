"""Jobs: SLURM's jobs as workers of a Dask scheduler in this process, by dask-jobqueue; they come and go with work."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError
from corpuscle.core.paths import open_plain
from corpuscle.core.text import shortened, shown
from corpuscle.execution.cluster.on_worker import BYTES, GPU
from corpuscle.execution.cluster.settings import Slurm, seconds_of

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster

NAME = "corpuscle"
# A job gives its work back so long before its time is over: it may still be writing a checkpoint.
LAST_SECONDS, LAST_SHARE = 60, 0.1
# How many seconds a job waits for this process before it ends: it was killed, or the network is down.
DEATH_SECONDS = 30
# How long a worker may be silent before its work is done elsewhere: a machine that lost its power says nothing.
SILENT = "60s"
# Of a job's log, how many bytes of its end are read for the last line.
LOG_TAIL = 1 << 16
CONFIGURATION = {
    # What kills its workers is counted by what it is, not by how often a job came to its end; see `pool`.
    "distributed.scheduler.allowed-failures": 1_000_000,
    "distributed.scheduler.worker-ttl": SILENT,
    # Until it is known how long something takes: long enough to want a worker of its own.
    "distributed.scheduler.unknown-task-duration": "1h",
    # Sites have settings of their own for other work; these are all given here.
    "jobqueue.slurm.job-extra-directives": [],
    "jobqueue.slurm.job-script-prologue": [],
    "jobqueue.slurm.worker-extra-args": [],
    "jobqueue.slurm.job-directives-skip": [],
}


@contextmanager
def slurm_jobs(table: Slurm, logs: Path) -> Iterator["SLURMCluster"]:
    """Start a scheduler in this process, and let jobs come and go; end them with the block.

    Parameters
    ----------
    table
        What a job is to have.
    logs
        The folder for what jobs print; they are named after the job.

    Raises
    ------
    InputError
        When SLURM is not here, or would not take such a job.
    """
    import dask
    from dask_jobqueue import SLURMCluster

    if shutil.which("sbatch") is None:
        raise InputError("--cluster: there is no sbatch here; use a machine from which jobs are submitted to SLURM")
    _check_interface(table.interface)
    memory, directives = table.memory, list(table.directives)
    if table.gpus:
        directives.append(f"--gres=gpu:{table.gpus}")
    seconds = seconds_of(table.time)
    lifetime = seconds - round(min(LAST_SECONDS, LAST_SHARE * seconds))
    offers = [f"{BYTES}={memory}", *([f"{GPU}={table.gpus}"] if table.gpus else [])]
    with dask.config.set(CONFIGURATION):
        cluster = SLURMCluster(
            queue=table.partition,
            account=table.account,
            walltime=table.time,
            cores=table.cores,
            processes=1,
            memory=f"{memory}B",
            interface=table.interface,
            python=table.python,
            job_name=NAME,
            job_extra_directives=directives,
            job_script_prologue=list(table.environment),
            log_directory=str(logs),
            death_timeout=DEATH_SECONDS,
            worker_extra_args=["--resources", f'"{" ".join(offers)}"', "--lifetime", f"{lifetime}s"],
            scheduler_options={"dashboard_address": ":0"},
            silence_logs="critical",
        )
        try:
            _try_out(cluster.job_script())
            cluster.adapt(minimum_jobs=table.minimum, maximum_jobs=table.maximum, interval="2s", wait_count=15)
            yield cluster
        finally:
            cluster.close()
            # Nothing is left where no job was begun.
            with suppress(OSError):
                logs.rmdir()
                logs.parent.rmdir()


def _check_interface(name: str | None) -> None:
    """Refuse a network that this machine does not have, or by which no job could reach it."""
    from distributed.utils import get_ip_interface

    if name is None:
        return
    if name not in (known := [known for _, known in socket.if_nameindex()]):
        raise InputError(f"--cluster: interface: this machine has no network {name!r}; {legal_names(name, known)}")
    try:
        get_ip_interface(name)
    except ValueError:
        raise InputError(f"--cluster: interface: {name!r} has no IPv4 address, by which jobs reach this one") from None


class EndedJob(NamedTuple):
    """A job that is over: its number, its log, and the last line there; None where there is no log."""

    number: str
    log: Path
    said: str | None

    def __str__(self) -> str:
        said = f"its log ends with: {shortened(self.said, 300)}" if self.said else "its log is empty"
        if self.said is None:
            said = "it left no log; the machine of the job must see the folder"
        return f"SLURM's job {self.number} ended before it could work; {said} ({self.log})"


def ended_jobs(logs: Path, submitted: Collection[str]) -> tuple[list[EndedJob], bool]:
    """Return the jobs of this run that are over, the newest last, and whether others still run or wait.

    Jobs of other runs have the same name, and logs of earlier runs are in the same folder: neither is asked about.
    What SLURM does not answer is taken for jobs that still run.

    Parameters
    ----------
    logs
        The folder of the jobs' logs.
    submitted
        The numbers of this run's jobs.
    """
    asked = ["squeue", "--me", "--noheader", "--format=%A"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return [], True
    over = sorted(set(submitted) - set(found.stdout.split()), key=lambda number: (len(number), number))
    ended = [EndedJob(number, log_of(logs, number), _last_line(log_of(logs, number))) for number in over]
    return ended, len(over) < len(set(submitted))


def _last_line(path: Path) -> str | None:
    """Return the last line of a log that is not empty; None where there is no log."""
    try:
        with open_plain(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            # In a locale of its own, or cut within a letter: what can be read is shown.
            lines = file.read(LOG_TAIL).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((shown(line.strip()) for line in reversed(lines) if line.strip()), "")


def log_of(logs: Path, job: str) -> Path:
    """Return where the log of a job is."""
    return logs / f"{NAME}-{job}.err"


def _try_out(script: str) -> None:
    """Ask SLURM whether it would take a job, without submitting it."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", prefix="corpuscle-") as file:
        file.write(script)
        file.flush()
        try:
            found = subprocess.run(
                ["sbatch", "--test-only", file.name], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"--cluster slurm: sbatch does not answer ({error})") from None
    if found.returncode:
        lines = [line.removeprefix("sbatch: error: ") for line in found.stderr.splitlines() if line.strip()]
        lines = [line.removeprefix("allocation failure: ") for line in lines]
        why = "; ".join(dict.fromkeys(lines)) or "it gave no reason"
        raise InputError(f"--cluster: SLURM would not take such a job: {why}")
