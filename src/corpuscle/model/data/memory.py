"""How much memory there is, and how much of it the counts of one training corpus may take."""

import os
from collections.abc import Iterator
from pathlib import Path

from corpuscle.core.errors import InputError

VARIABLE = "CORPUSCLE_MEMORY"
# Where the system does not say what is free.
UNKNOWN_BYTES = 4 << 30
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """Return the bytes that one corpus' counts may take in memory; a larger corpus is trained on from disk.

    It is what the environment variable ``CORPUSCLE_MEMORY`` says, in gigabytes, else half of what is available to
    this process now. No result depends on it.

    Raises
    ------
    InputError
        When the variable is no such number.

    Examples
    --------
    >>> memory_limit() > 0
    True
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        return min([*_free(), *_allowed()], default=UNKNOWN_BYTES) // 2
    try:
        limit = round(float(given) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise InputError(
            f"{VARIABLE} should be how many gigabytes a training corpus may take in memory, such as 4 or 0.5; "
            f"it is {given!r}"
        )
    return limit


def machine_memory() -> int:
    """Return the bytes of memory that this machine has, or that this process is allowed of them.

    Examples
    --------
    >>> machine_memory() > 0
    True
    """
    return min([*_present(), *_allowed()], default=UNKNOWN_BYTES)


def _present() -> Iterator[int]:
    if hasattr(os, "sysconf"):
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free() -> Iterator[int]:
    """Yield what the machine has left, as far as the system says so; else all it has."""
    if (PROC / "meminfo").exists():
        lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
        yield from (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    else:
        yield from _present()


def _allowed() -> Iterator[int]:
    """Yield the limits of this process' control groups, as a container or a cluster's scheduler sets them."""
    if not (PROC / "self/cgroup").exists():
        return
    for line in (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controller, group = line.split(":", 2)
        # Version 2 has one tree and no controller here; version 1 has a tree for memory.
        if controller not in ("", "memory"):
            continue
        root = CGROUPS / controller
        name = "memory.limit_in_bytes" if controller else "memory.max"
        folder = root / group.lstrip("/")
        for path in (folder, *folder.parents):
            limit = path / name
            if path.is_relative_to(root) and limit.exists() and (text := limit.read_text().strip()).isdigit():
                yield int(text)
