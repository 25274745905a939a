"""Runs in processes of their own, that can be killed at any moment, and what they leave."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

from repository import environment

# Of a 10x folder, so that counts are laid out in a temporary folder.
STUDY = """
name = "victim"
seeds = 3
sources.s = {{ path = "{path}" }}
quality = {{ min_genes = 1 }}
holdout.s = {{ by = "cell", share = 0.3 }}
corpora = [
  {{ name = "A", parts = [{{ source = "s", n_cells = 40 }}] }},
  {{ name = "B", parts = [{{ source = "s", n_cells = 60 }}] }},
]
models = [{{ name = "{model}" }}]
tasks = [{{ name = "reconstruction", on = ["s"] }}]
"""


def write_study(folder: Path, model: str = "toy:Slow") -> Path:
    """Write a small study with its source."""
    rng, place = np.random.default_rng(0), folder / "filtered"
    place.mkdir(parents=True)
    counts = rng.poisson(rng.gamma(1.0, 1.0, 50), (200, 50))
    counts[:, 0] += np.arange(200)
    mmwrite(place / "matrix.mtx", csr_matrix(counts).T.tocoo(), field="integer")
    (place / "genes.tsv").write_text("".join(f"G{at}\tG{at}\n" for at in range(50)))
    (place / "barcodes.tsv").write_text("".join(f"cell{at}\n" for at in range(200)))
    (folder / "study.toml").write_text(STUDY.format(path=place, model=model))
    return folder / "study.toml"


class Victim:
    """A run in a session of its own, whose temporary files lie in a folder of its own."""

    def __init__(self, study: Path, out: Path, scratch: Path, workers: int = 2) -> None:
        self.out = out
        command = [sys.executable, "-m", "corpuscle.cli", "run", str(study), "-o", str(out), "--workers", str(workers)]
        scratch.mkdir(exist_ok=True)
        # What runs the tests may ignore Ctrl-C, as a shell's background jobs do, and hand that down.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                command,
                env=environment(TMPDIR=str(scratch)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait for something, as long as the process lives; return whether it came."""
        while not condition():
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def n_results(self) -> int:
        """How many results its store has."""
        return sum(not path.parent.name.startswith(".") for path in self.out.glob("store/*/*/checksums.json"))

    def others(self) -> list[int]:
        """The other processes of its session that are there: workers, and what they are forked from."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                except OSError:
                    continue
                if int(session) == self.process.pid and state != "Z":
                    found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        """The processes that do work: those that another of the session has forked."""
        there = self.others()
        return [pid for pid in there if _parent(pid) in there]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return exit code and what it printed."""
        printed, _ = self.process.communicate()
        return self.process.returncode, printed

    def killed(self, *others: int) -> None:
        """Kill it, and others of its session."""
        for pid in (self.process.pid, *others):
            self.kill(pid)
        self.process.wait()

    def seconds_of_orphans(self, most: float = 60.0) -> float:
        """Wait until all other processes are gone; return how long that took."""
        started = time.monotonic()
        while self.others():
            assert time.monotonic() - started < most, "processes outlive the run"
            time.sleep(0.02)
        if self.process.stdout and not self.process.stdout.closed:
            self.process.communicate()
        return time.monotonic() - started

    def kill(self, pid: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill a process, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def left_behind(out: Path, scratch: Path) -> list[Path]:
    """What a run left that is no result: half-made, claims, temporary files."""
    odd = [path for path in out.rglob(".*") if path.name.startswith((".partial-", ".claim-"))]
    return [*odd, *(path for path in scratch.rglob("*") if path.is_file()), *(out / "store").glob("unfinished/*")]
