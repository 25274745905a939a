"""Jobs: SLURM's jobs as workers of a Dask scheduler in this process, by dask-jobqueue; they come and go with work."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError
from corpuscle.core.paths import read_plain
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
    """Refuse the name of a network that this machine does not have."""
    if name is not None and name not in (known := [known for _, known in socket.if_nameindex()]):
        raise InputError(f"--cluster: interface: this machine has no network {name!r}; {legal_names(name, known)}")


class EndedJob(NamedTuple):
    """A job that SLURM began and that is over: its number, its log, and the last line there."""

    number: str
    log: Path
    said: str

    def __str__(self) -> str:
        said = f"; its log ends with: {shortened(self.said, 300)}" if self.said else "; its log is empty"
        return f"SLURM's job {self.number} ended before it could work{said} ({self.log})"


def ended_jobs(logs: Path) -> tuple[list[EndedJob], bool]:
    """Return the jobs that began and are over, by their logs, and whether others still run or wait.

    What SLURM does not answer is taken for jobs that still run.
    """
    try:
        asked = ["squeue", "--me", "--noheader", "--format=%A", f"--name={NAME}"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return [], True
    there = set(found.stdout.split())
    numbers = {path: path.stem.removeprefix(f"{NAME}-") for path in sorted(logs.glob(f"{NAME}-*.err"))}
    over = [EndedJob(number, path, _last_line(path)) for path, number in numbers.items() if number not in there]
    return over, bool(there)


def _last_line(path: Path) -> str:
    try:
        lines = [line for line in read_plain(path, "utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        return ""
    return shown(lines[-1]) if lines else ""


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
