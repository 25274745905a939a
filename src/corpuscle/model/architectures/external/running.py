"""Running: one command in a working folder, to its end, its time limit, or the end of this process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from corpuscle.core import scratch
from corpuscle.core.errors import ModelError
from corpuscle.core.usage import count_program
from corpuscle.model.architectures.external.supervisor import END, GRACE
from corpuscle.model.threads import THREADS

LOG = "log.txt"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
SUPERVISOR = Path(__file__).with_name("supervisor.py")
# Of what a command printed, what its error has: the last lines, and how many characters of them.
LINES, CHARACTERS = 12, 1500
# Exit codes above it say by which signal a program inside a container or a shell was ended.
BY_SIGNAL = 128


class Place(NamedTuple):
    """Where a command runs.

    Attributes
    ----------
    work
        Its working folder, as `working_folder` gives one.
    environment
        Its environment variables.
    """

    work: Path
    environment: Mapping[str, str]


def run(command: Sequence[str], place: Place, timeout: float | None, what: str) -> str:
    """Run a command, and wait for it.

    Parameters
    ----------
    command
        Program and arguments; no shell reads them.
    place
        Where.
    timeout
        Seconds that it may take; None: any number.
    what
        Which command it is, for errors.

    Returns
    -------
    What it printed last, to follow an error.

    Raises
    ------
    ModelError
        When it cannot be started, takes too long, or ends with another exit code than 0.
    """
    # Not in the folder itself, all of which is the command's.
    log, root = place.work.with_name(LOG), place.work.parent
    job = {"command": [*command], "folder": str(place.work), "log": str(log), "remove": str(root)}
    found = _supervised(job | {"environment": dict(place.environment)}, timeout)
    tail = _said(_tail(log))
    if found is None:
        raise ModelError(f"{what} did not end within its timeout of {timeout:g} s, and was ended{tail}")
    if "error" in found:
        raise ModelError(f"{what} cannot be started: {found['error']}")
    count_program(found["cpu_seconds"], found["peak_bytes"])
    if found["code"]:
        raise ModelError(f"{what} {_why(found['code'])}{tail}")
    return tail


@contextmanager
def working_folder(parent: Path | None = None) -> Iterator[Path]:
    """Give a new folder to run a command in; it is gone afterwards.

    Parameters
    ----------
    parent
        A folder to make it in, which goes as well where this process is killed while a command runs; None: a new one.
    """
    root = Path(tempfile.mkdtemp(prefix=scratch.PREFIX, suffix=scratch.suffix())) if parent is None else parent
    try:
        (root / "work").mkdir()
        yield root / "work"
    finally:
        shutil.rmtree(root / "work" if parent else root, ignore_errors=True)


def variables(own: Mapping[str, str], *, uses_gpu: bool) -> dict[str, str]:
    """Return a command's environment variables: this process', one thread, which GPU is visible, and its own."""
    return {**os.environ, **dict.fromkeys(THREADS, "1"), **_visible_gpu(uses_gpu=uses_gpu), **own}


def _visible_gpu(*, uses_gpu: bool) -> dict[str, str]:
    """Return what shows a command the GPU on which this process is to train; none, where it uses none."""
    if not uses_gpu:
        return {VISIBLE_GPUS: ""}
    from corpuscle.model.data.on_gpu import training_device

    device = training_device()
    if device.type != "cuda":
        # A GPU that torch does not find here, the command's own environment may.
        return {}
    visible = [name for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name]
    at = device.index or 0
    return {VISIBLE_GPUS: visible[at] if at < len(visible) else str(at)}


def _supervised(job: Mapping[str, Any], timeout: float | None) -> dict[str, Any] | None:
    """Run a job under a supervisor; None where its time was over, and it was ended."""
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert supervisor.stdin is not None, "it has a pipe"
    assert supervisor.stdout is not None, "it has a pipe"
    with supervisor.stdin as asks, supervisor.stdout as answers:
        try:
            with contextlib.suppress(OSError):  # It is gone already, which its exit code says.
                asks.write(f"{json.dumps(job)}\n".encode())
                asks.flush()
            supervisor.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(supervisor)
        text = answers.read()
    return json.loads(text) if text else {"error": f"its supervisor ended with exit code {supervisor.returncode}"}


def _end(supervisor: "subprocess.Popen[bytes]") -> None:
    """End what a supervisor runs, and it, if it still does."""
    if supervisor.poll() is not None:
        return
    assert supervisor.stdin is not None, "it has a pipe"
    with contextlib.suppress(OSError):  # It has ended meanwhile.
        supervisor.stdin.write(END)
        supervisor.stdin.close()
    try:
        supervisor.wait(2 * GRACE)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _why(code: int) -> str:
    """Say how a command ended that did not end well."""
    number = -code if code < 0 else code - BY_SIGNAL
    name = {int(one): one.name for one in signal.Signals}.get(number)
    if name == "SIGKILL":
        return "was killed (SIGKILL); most often the machine, or the container, ran out of memory"
    if name:
        return f"was ended by a signal ({name})"
    return f"ended with exit code {code}"


def _tail(log: Path) -> str:
    """Return the last lines of what a command printed, without what progress bars wrote over."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = (line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n"))
    kept = ["".join(letter for letter in line if letter.isprintable()) for line in lines if line.strip()]
    return "\n".join(kept[-LINES:])[-CHARACTERS:]


def _said(tail: str) -> str:
    return f"; the last that it printed:\n{tail}" if tail else "; it printed nothing"
