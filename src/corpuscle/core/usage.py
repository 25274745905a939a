"""Usage: how long a piece of work took, and how much memory the process came to."""

import os
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Why a peak is missing.
NO_PEAK = "this system does not report the peak memory of a process"
_RESET = Path("/proc/self/clear_refs")


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

    def with_earlier(self, earlier: "Usage") -> "Usage":
        """Return what this piece of work and an earlier one took together."""
        peaks = [peak for peak in (self.peak_bytes, earlier.peak_bytes) if peak is not None]
        return Usage(
            self.seconds + earlier.seconds, self.cpu_seconds + earlier.cpu_seconds, max(peaks) if peaks else None
        )

    @property
    def peak_gb(self) -> float | None:
        """The same in gigabytes."""
        return None if self.peak_bytes is None else self.peak_bytes / 1e9


@dataclass
class _OtherPrograms:
    """What programs took that this process ran: all their processor time, and the most memory since it was reset."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


_others = _OtherPrograms()


def count_program(cpu_seconds: float, peak_bytes: int) -> None:
    """Count what a program took that this process ran and waited for, as if this process had taken it."""
    _others.cpu_seconds += cpu_seconds
    _others.peak_bytes = max(_others.peak_bytes, peak_bytes)


class Meter:
    """Measures from when it is made; what programs took that this process ran (`count_program`) is in it."""

    before: int

    def __init__(self) -> None:
        # One within another has the system count anew: what it counted until now is the other's, too.
        before = max(_peak(), _others.peak_bytes)
        for other in _meters:
            other.before = max(other.before, before)
        self._reports_peak = _reset_peak()
        self.before = 0
        _others.peak_bytes = 0
        _meters.add(self)
        self._started, self._started_cpu = time.perf_counter(), _cpu_seconds()

    def usage(self) -> Usage:
        """Return what was used until now."""
        seconds, cpu_seconds = time.perf_counter() - self._started, _cpu_seconds() - self._started_cpu
        peak = max(self.before, _peak(), _others.peak_bytes)
        return Usage(seconds, cpu_seconds, peak if self._reports_peak else None)


# Those that are in use, each within the one before.
_meters: "weakref.WeakSet[Meter]" = weakref.WeakSet()


def _cpu_seconds() -> float:
    return time.process_time() + _others.cpu_seconds


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
    usage, meter = Usage(), Meter()
    try:
        yield usage
    finally:
        found = meter.usage()
        usage.seconds, usage.cpu_seconds, usage.peak_bytes = found.seconds, found.cpu_seconds, found.peak_bytes


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
    return peak_of(os.getpid())


def peak_of(pid: int | None) -> int:
    """Return the most bytes that a process of this machine held since its peak was reset; 0 where that is not known."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
