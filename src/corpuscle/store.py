"""Store: results named after the fingerprint of what they depend on, each whole, flushed, and checked before its use.

A result is a folder with its files, their checksums, and a record of how it was made. A process killed at any moment
leaves either all of it or nothing; what a disk or a person damaged later is found by the checksums, reported, removed,
and then made again. Of several processes that want one result, one makes it, and the others wait for it.
"""

import contextlib
import errno
import functools
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from corpuscle.core.claims import Watch, attempt, claimed, holds, release
from corpuscle.core.disk import discard, writing
from corpuscle.core.errors import FolderError
from corpuscle.core.fingerprint import hash_file
from corpuscle.core.heard import heard
from corpuscle.core.paths import read_plain
from corpuscle.core.usage import Meter
from corpuscle.core.version import __version__

PARTIAL, CLAIM = ".partial-", ".claim-"
CHECKSUMS, MADE, LOG = "checksums.json", "made.json", "log.txt"
# Where the runs that use a store are recorded.
RUNS = "runs"
# What the record of a result says of the packages that made it.
PACKAGES = ("anndata", "h5py", "numpy", "pandas", "scipy", "torch")

_log = logging.getLogger(__name__)
# Names, sizes and times of the files of results whose checksums this process compared; they are read only once.
_Files = tuple[tuple[str, int, int, int], ...]
_sound: dict[Path, _Files] = {}
# What the block that is running used of stores; None: nobody asks.
_used: ContextVar[set[tuple[str, str]] | None] = ContextVar("used", default=None)


class Store:
    """A folder of results, each written once and whole.

    A result is written into a folder of another name next to it, flushed to the disk with the checksums of its files,
    and renamed when it is complete. Before it is used, its files are compared with their checksums, once per process
    and again when they changed. A result that does not fit is removed with a warning (logger ``corpuscle.store``), and
    is then like one that was never made.

    Parameters
    ----------
    root
        The store's folder; it is made when the first result is written.
    errors
        Where tracebacks of what goes wrong are kept; by default, next to the store.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> store = Store(Path(mkdtemp()))
    >>> with store.create("models", "c0ffee") as folder:
    ...     _ = (folder / "weights.txt").write_text("1 2 3")
    >>> store.has("models", "c0ffee")
    True
    >>> _ = (store.folder("models", "c0ffee") / "weights.txt").write_text("1 2 4")
    >>> store.has("models", "c0ffee")
    False
    """

    def __init__(self, root: Path, errors: Path | None = None) -> None:
        self.root, self.errors = root, errors or root.parent / "errors"

    def folder(self, kind: str, key: str) -> Path:
        """Return where a result is, or would be; whether it can be used is for `has` and `find` to say."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Return whether a result is there, complete and undamaged; a damaged one is removed, with a warning."""
        return self.find(kind, key) is not None

    def find(self, kind: str, key: str) -> Path | None:
        """Return the folder of a result, or None where it is not there; a damaged one is removed, with a warning.

        Raises
        ------
        FolderError
            When the result may not be read, or is damaged and may not be removed.
        """
        folder = self.folder(kind, key)
        if not os.path.lexists(folder):
            return None
        if (damage := _damage(folder)) is None:
            if (used := _used.get()) is not None:
                used.add((kind, key))
            return folder
        _remove(folder)
        _log.warning("%s: %s; it was removed, and is made again", folder, damage)
        return None

    def kept(
        self,
        kind: str,
        key: str,
        write: Callable[[Path], None],
        *,
        label: str = "",
        uses: Collection[tuple[str, str]] = (),
    ) -> Path:
        """Return the folder of a result, after `write` made it there where the store lacked it.

        Where another process is making it, this one waits.

        Parameters
        ----------
        kind, key
            What it is called.
        write
            Writes it into the folder that it is given.
        label
            What it is, for people; kept in its record.
        uses
            The kinds and keys of what it is made from, as far as `write` does not ask the store for it; kept, too.

        Raises
        ------
        FolderError
            When what was written cannot be read again.
        """
        claim = self.claim(kind, key)
        while (found := self.find(kind, key)) is None:
            with writing(claim), claimed(claim) as token:
                found = self._made(kind, key, token, _recording(write, label, uses))
            if found is not None:
                return found
        return found

    def kept_if_free(
        self,
        kind: str,
        key: str,
        write: Callable[[Path], None],
        *,
        label: str = "",
        uses: Collection[tuple[str, str]] = (),
    ) -> Path | None:
        """Do as `kept` does, but return None at once where another process is making it."""
        if (found := self.find(kind, key)) is not None:
            return found
        claim = self.claim(kind, key)
        with writing(claim):
            # One look is enough to see that a process of this machine is gone: a worker that was killed, say.
            token = attempt(claim) or (attempt(claim) if Watch(claim).is_over() else None)
        if token is None:
            return None
        try:
            return self._made(kind, key, token, _recording(write, label, uses))
        finally:
            release(claim, token)

    def claim(self, kind: str, key: str) -> Path:
        """Return where the claim of the process is that makes a result; see `corpuscle.core.claims`."""
        return self.root / kind / f"{CLAIM}{key}"

    def _made(self, kind: str, key: str, token: str, write: Callable[[Path], None]) -> Path | None:
        """Make a result that is claimed; None: this process stood still for so long that another took over."""
        # Another may have made it before the claim was this process'.
        if (found := self.find(kind, key)) is not None:
            return found
        try:
            with self.create(kind, key, token) as folder:
                write(folder)
        except Exception:
            # Without its claim, what it was writing into may be gone; that is then no error of what it was making.
            if holds(self.claim(kind, key), token):
                raise
            return None
        if (found := self.find(kind, key)) is None:
            raise FolderError(f"what was written to {self.folder(kind, key)} cannot be read again; check that disk")
        return found

    def unfinished(self, key: str) -> Path:
        """Return where what is not finished yet may be kept, so that a process that is killed can go on from it."""
        return self.root / "unfinished" / key

    def forget_unfinished(self) -> None:
        """Remove what was begun, never finished, and is not being made; call it when all that is wanted is there."""
        for begun in list(self.root.glob("unfinished/*")):
            if not any(self.root.glob(f"*/{CLAIM}{begun.name}")):
                shutil.rmtree(begun, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.root / "unfinished").rmdir()

    def sweep(self) -> list[Path]:
        """Remove what killed processes left half-made, and not what a process is making; return what it was."""
        # In this order: who is making a result claims it first.
        left = [*self.root.glob(f"*/{PARTIAL}*"), *self.root.glob(f"unfinished/*/{PARTIAL}*")]
        claims = list(self.root.glob(f"*/{CLAIM}*"))
        watches = [watch for watch in map(Watch, claims) if not watch.is_over()]
        tokens = {watch.owner.token for watch in watches}
        keys = {watch.path.name.removeprefix(CLAIM) for watch in watches}
        removed = [claim for claim in claims if not claim.exists()]
        for partial in left:
            is_made = partial.name.rpartition("-")[2] in tokens or partial.parent.name in keys
            # A record of a run is written in no time, by a run that may be another.
            if not is_made and partial.parent.name != RUNS:
                discard(partial)
                removed.append(partial)
        return removed

    @contextmanager
    def create(self, kind: str, key: str, token: str = "") -> Iterator[Path]:
        """Give a folder to write a result into; it is in the store when the block ends without an error.

        `token` is that of the claim under which it is made, and part of the folder's name until then.

        Raises
        ------
        DiskError, FolderError
            When the disk is full, or the store cannot be written; see `writing`. What was complete stays.
        """
        final = self.folder(kind, key)
        partial = final.with_name(f"{PARTIAL}{key}-{token or uuid4().hex[:8]}")
        with writing(final):
            try:
                partial.mkdir(parents=True)
                yield partial
                _seal(partial)
                try:
                    partial.rename(final)
                except OSError:
                    # Another process was quicker: what depends on the same fingerprint is the same result. Where it is
                    # a damaged one that is in the way, it is gone now.
                    if not self.has(kind, key):
                        partial.rename(final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def uses_of_block() -> Iterator[set[tuple[str, str]]]:
    """Yield what the block uses of stores, by kind and key, as it comes; not what only what it makes uses."""
    found: set[tuple[str, str]] = set()
    before = _used.set(found)
    try:
        yield found
    finally:
        _used.reset(before)


def _recording(write: Callable[[Path], None], label: str, uses: Collection[tuple[str, str]]) -> Callable[[Path], None]:
    """Return what writes a result, and how it was made: when, in how many seconds, from what, with which versions.

    What was said meanwhile (warnings, messages of loggers) is put into ``log.txt``, where there is any.
    """

    def write_all(folder: Path) -> None:
        meter = Meter()
        with uses_of_block() as used, heard() as lines:
            write(folder)
        usage = meter.usage()
        record = {
            "label": label,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(usage.seconds, 3),
            "cpu_seconds": round(usage.cpu_seconds, 3),
            "peak_bytes": usage.peak_bytes,
            "uses": sorted({*used, *uses}),
            **_versions(),
        }
        if lines:
            (folder / LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / MADE).write_text(json.dumps(record), encoding="utf-8")

    return write_all


@functools.cache
def _versions() -> Mapping[str, object]:
    packages = {name: version(name) for name in PACKAGES}
    return {"corpuscle": __version__, "python": platform.python_version(), "packages": packages}


def _seal(folder: Path) -> None:
    """Write the checksums of a folder's files next to them, and flush all of it to the disk."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            flush(path)
            sums[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": hash_file(path)}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    flush(folder / CHECKSUMS)
    for inner in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        flush(inner)


def _damage(folder: Path) -> str | None:
    """Return in words what is wrong with a result's files; None: nothing. They are read once, unless they change."""
    damage, files = damage_of(folder, _sound.get(folder))
    if damage is None and _sound.get(folder) != files:
        _sound[folder] = files
        # When it was last taken up, by which it is seen to be in use; a store that may only be read has none.
        with contextlib.suppress(OSError):
            os.utime(folder)
    return damage


def damage_of(folder: Path, sound: _Files | None = None) -> tuple[str | None, _Files]:
    """Return in words what is wrong with a result's files (None: nothing), and what they are.

    `sound` is what they were when nothing was wrong; files of the same names, sizes and times are not read again.

    Raises
    ------
    FolderError
        When they may not be read.
    """
    files: _Files = ()
    try:
        files = _files(folder)
        return (None if sound == files else _misfit(folder, {name: size for name, size, _, _ in files})), files
    except FileNotFoundError:
        damage = f"{CHECKSUMS} is missing: it is damaged, or from an earlier version"
    except NotADirectoryError:
        damage = "it is a file, not a folder"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        damage = f"{CHECKSUMS} is damaged"
    except PermissionError as error:
        raise FolderError(f"{folder}: cannot be read ({error}); allow it, or choose another folder") from error
    except OSError as error:
        damage = f"it cannot be read ({error})"
    return damage, files


def _misfit(folder: Path, sizes: Mapping[str, int]) -> str | None:
    """Compare files, given with their sizes in bytes, with their checksums."""
    sums = json.loads(read_plain(folder / CHECKSUMS))
    if not sums and set(sizes) > {CHECKSUMS}:
        return f"{CHECKSUMS} is damaged (it lists none of the files)"
    for name, recorded in sums.items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != recorded["size"]:
            return f"{name} is damaged (it has {sizes[name]:,} bytes instead of {recorded['size']:,})"
        if hash_file(folder / name) != recorded["sha256"]:
            return f"{name} is damaged (its checksum differs)"
    # Systems leave files of their own, with a dot; others might be taken for a part of the result.
    extra = [name for name in sizes if name not in sums and name != CHECKSUMS and not Path(name).name.startswith(".")]
    return f"{extra[0]} is not one of its files" if extra else None


def _files(folder: Path) -> _Files:
    """List the files of a folder with what changes when they do."""
    if not folder.is_dir():
        raise NotADirectoryError
    found = []
    for path in folder.rglob("*"):
        if not path.is_dir():
            facts = path.stat()
            found.append((path.relative_to(folder).as_posix(), facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return tuple(sorted(found))


def _remove(folder: Path) -> None:
    """Remove a damaged result, by way of a name of its own: another process may be doing the same."""
    aside = folder.with_name(f"{PARTIAL}{folder.name}-{uuid4().hex[:8]}")
    with writing(folder):
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return
        if _damage(aside) is None and not folder.exists():
            # It was removed and made again meanwhile.
            aside.rename(folder)
        elif aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def is_store(folder: Path) -> bool:
    """Return whether a folder is a store: runs are recorded in it, or it holds a result."""
    return (folder / RUNS).is_dir() or any(folder.glob(f"*/*/{CHECKSUMS}"))


def remove_partial(folder: Path, but: Path | None = None) -> None:
    """Remove what killed processes left below a folder; call it only while no other process writes there.

    `but` is left as it is: a store, which has a `Store.sweep` of its own.
    """
    for partial in list(folder.rglob(f"{PARTIAL}*")):
        if but not in partial.parents:
            discard(partial)


def write_text(path: Path, text: str, *, flushed: bool = True) -> None:
    """Write a file whole or not at all; see `atomic`."""
    with atomic(path, flushed=flushed) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def flush_below(folder: Path) -> None:
    """Wait until all files and names in a folder are on the disk."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


@contextmanager
def atomic(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path` when the block ends without an error.

    Parameters
    ----------
    path
        The file.
    flushed
        Whether it must be on the disk before it takes its name (some milliseconds); not needed for what is written
        again from other files at once.

    Raises
    ------
    DiskError, FolderError
        When the disk is full, or the folder cannot be written; see `writing`.
    """
    partial = path.with_name(f"{PARTIAL}{uuid4().hex[:8]}-{path.name}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if flushed:
                flush(partial)
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows does not open folders.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot do it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
