"""Usage: how long a piece of work took, and how much memory the process came to."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Why a peak is missing.
NO_PEAK = "this system does not report the peak memory of a process"
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Usage:
    """What a piece of work took; filled in when it ends.

    Attributes
    ----------
    seconds, cpu_seconds
        By the clock, and of processor time.
    peak_bytes
        The most memory that the process held at any moment of it, with all that it held before; None where the system
        does not report it (only Linux does).
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None

    @property
    def peak_gb(self) -> float | None:
        """The same in gigabytes."""
        return None if self.peak_bytes is None else self.peak_bytes / 1e9


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure what the block takes.

    Examples
    --------
    >>> with measured() as usage:
    ...     _ = bytearray(10)
    >>> usage.seconds > 0
    True
    """
    usage, reports_peak = Usage(), _reset_peak()
    started, started_cpu = time.perf_counter(), time.process_time()
    try:
        yield usage
    finally:
        usage.seconds, usage.cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
        usage.peak_bytes = _peak() if reports_peak else None


def _reset_peak() -> bool:
    """Let the system count the most memory anew; return whether it does."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak() -> int:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
