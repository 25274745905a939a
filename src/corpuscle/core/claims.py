"""Claims: which process is making what, as files in a shared folder that one process can create and others watch.

A claim is a file that only one process can create; it names its process, and its time is renewed every `BEAT_SECONDS`.
File locks are not used: network file systems may not honour them. Clocks are not compared, since those of two machines
differ: who waits looks whether the file changes, and counts by its own clock for how long it did not.

A claim is over when its process ended (seen at once on the same machine), or, of a process that is not seen to run,
when it did not change for `SILENT_SECONDS` of watching. A process that was only stopped for so long goes on without its
claim: what it makes may then be made twice, and whoever keeps results must allow for it.
"""

import contextlib
import functools
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from corpuscle.core.disk import discard
from corpuscle.core.paths import open_plain

# How often a claim is renewed, and for how long it may be seen without a change before it is over. Code that keeps
# Python's other threads waiting delays the renewal, so it is many times longer.
BEAT_SECONDS, SILENT_SECONDS = 1.0, 15.0
# How often it is looked whether a claim is over: soon at first, since many things are made in no time.
FIRST_LOOK, LAST_LOOK = 0.01, 0.5
ASIDE = ".partial-claim-"


class Owner(NamedTuple):
    """The process that a claim names; all empty where the file is not written yet, or damaged.

    `begun` is when the claim was made, in nanoseconds by the clock that the disk gives to files.
    """

    token: str = ""
    host: str = ""
    pid: int = 0
    machine: str = ""
    started: str = ""
    begun: int = 0

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it is known to be one of the processes that this machine lists."""
        return bool(self.machine) and self.machine == _machine()

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended: only of processes of this machine."""
        return self.is_of_this_machine and _process(self.pid)[0] != self.started

    @property
    def is_running(self) -> bool:
        """Whether it is known to run, and is not stopped: only of processes of this machine."""
        return self.is_of_this_machine and _process(self.pid) == (self.started, True)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


class _State(NamedTuple):
    """What is seen of a claim; it changes whenever its process renews it."""

    content: bytes
    time: int
    file: int


class Watch:
    """What a process has seen of a claim of another.

    Parameters
    ----------
    path
        The claim's file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: _State | None = None
        self._silent, self._looked = 0.0, 0.0
        self._has_changed = False

    @property
    def owner(self) -> Owner:
        """The process that held the claim when it was last looked at."""
        return _owner(self._seen.content) if self._seen else Owner()

    @property
    def is_alive(self) -> bool:
        """Whether its process is known to be there: the claim was seen to change, or it is one of this machine."""
        return self._has_changed or self.owner.is_of_this_machine

    def is_over(self) -> bool:
        """Look at the claim; return whether there is none now. One whose process is gone is removed.

        Raises
        ------
        OSError
            When the folder cannot be read or written.
        """
        state = self.look()
        if state is None:
            return True
        # A process that runs may renew its claim late: some code keeps Python's other threads waiting.
        if self.owner.is_running:
            self._silent = 0.0
        if not self.owner.has_ended and self._silent < SILENT_SECONDS:
            return False
        return _remove(self.path, state)

    def look(self) -> _State | None:
        """Look at the claim, and only that; None: there is none.

        Raises
        ------
        OSError
            When the folder cannot be read.
        """
        state, now = _look(self.path), time.monotonic()
        if state is None:
            return None
        # If this process itself was stopped between two looks, that says nothing about the other.
        self._silent += min(now - self._looked, BEAT_SECONDS)
        if state != self._seen:
            self._silent, self._has_changed = 0.0, self._seen is not None
        self._seen, self._looked = state, now
        return state


def attempt(path: Path) -> str | None:
    """Claim, unless another process holds the claim; return the claim's token, by which it is released.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    token = uuid4().hex[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    try:
        begun = os.fstat(handle).st_mtime_ns
        owner = Owner(token, socket.gethostname(), os.getpid(), _machine(), _process(os.getpid())[0], begun)
        content = json.dumps(owner._asdict()).encode()
        os.write(handle, content)
    finally:
        os.close(handle)
    _heart.keep(path, content)
    return token


def release(path: Path, token: str) -> None:
    """Give a claim back, unless it is another's by now."""
    _heart.leave(path)
    with contextlib.suppress(OSError):
        if holds(path, token):
            path.unlink()


def holds(path: Path, token: str) -> bool:
    """Return whether a claim is still that of a token."""
    state = _look(path)
    return state is not None and _owner(state.content).token == token


@contextmanager
def claimed(path: Path) -> Iterator[str]:
    """Hold a claim while the block lasts, after waiting for that of another process; yield its token.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "claim"
    >>> with claimed(path):
    ...     attempt(path) is None
    True
    >>> path.exists()
    False
    """
    watch, pause = Watch(path), FIRST_LOOK
    while (token := attempt(path)) is None:
        if not watch.is_over():
            time.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
    try:
        yield token
    finally:
        release(path, token)


def _look(path: Path) -> _State | None:
    """Read a claim; None: there is none. Opened, not only asked for: network file systems then ask the server anew.

    What is no file (a folder, a pipe) is nobody's claim; one that does not change is over in time.
    """
    try:
        if not path.is_file():
            facts = path.lstat()
            return _State(b"", facts.st_mtime_ns, facts.st_ino)
        with open_plain(path) as file:
            facts = os.fstat(file.fileno())
            return _State(file.read(10_000), facts.st_mtime_ns, facts.st_ino)
    except FileNotFoundError:
        return None


def _remove(path: Path, state: _State) -> bool:
    """Remove a claim that is over, by way of a name of its own: others may be doing the same. Return whether it is."""
    aside = path.with_name(f"{ASIDE}{uuid4().hex[:12]}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    is_same = _look(aside) == state
    if not is_same:
        # Another was quicker to remove it, and claimed anew; or its process was only stopped, and goes on.
        with contextlib.suppress(OSError):
            os.link(aside, path)
    discard(aside)
    return is_same


def _owner(content: bytes) -> Owner:
    try:
        found = json.loads(content)
        texts = {name: str(found[name]) for name in ("token", "host", "machine", "started")}
        return Owner(pid=int(found["pid"]), begun=int(found["begun"]), **texts)
    except (ValueError, LookupError, TypeError, RecursionError):
        return Owner()


@functools.cache
def _machine() -> str:
    """Return what tells apart machines, their starts and containers, within which numbers of processes mean one thing.

    Empty where the system does not list its processes in files.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}" if _process(os.getpid())[0] else ""
    except OSError:
        return ""


def _process(pid: int) -> tuple[str, bool]:
    """Return when a process was started, by the system's own count (empty: there is none), and whether it runs.

    One that a signal or a debugger stopped does not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", False
    # The name, in parentheses, may hold anything. Then come the state and, as the 22nd of all, the start.
    state, *others = text.rpartition(")")[2].split()
    return ("", False) if state in "ZX" else (others[18], state not in "Tt")


def this_process() -> str:
    """Return what names this process for good, as a part of a file's name: no other will ever have it."""
    machine = hashlib.sha256(_machine().encode()).hexdigest()[:8] if _machine() else "unknown"
    return f"{machine}-{os.getpid()}-{_process(os.getpid())[0] or 0}"


def is_gone(process: str) -> bool:
    """Return whether a process, by its `this_process`, is known to have ended: only one of this machine is.

    Examples
    --------
    >>> is_gone(this_process())
    False
    """
    machine, _, others = process.partition("-")
    pid, _, started = others.partition("-")
    return machine == this_process().partition("-")[0] != "unknown" and _process(int(pid))[0] != started


class _Heart:
    """Renews the claims of this process, on a thread of its own."""

    def __init__(self) -> None:
        self._held: dict[Path, bytes] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(self, path: Path, content: bytes) -> None:
        """Renew a claim from now on."""
        with self._lock:
            self._held[path] = content
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="claims", daemon=True)
                self._thread.start()

    def leave(self, path: Path) -> None:
        """Renew it no longer."""
        with self._lock:
            self._held.pop(path, None)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            with self._lock:
                held = dict(self._held)
            for path, content in held.items():
                # It may be another's by now, or the disk may be away for a moment.
                with contextlib.suppress(OSError):
                    state = _look(path)
                    if state is not None and state.content == content:
                        os.utime(path)


_heart = _Heart()
