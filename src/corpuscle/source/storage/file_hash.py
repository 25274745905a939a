"""What files on disk look like (cheap: sizes and times) and what is in them (a hash), for one file or many."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint, hash_file


def stamp(paths: Iterable[Path]) -> str:
    """Return a text that changes when a file's size or a time of its change does, or the files that a folder has.

    One of the times is the system's own, which no program can set back; it changes with a file's name and permissions,
    too.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "a"
    >>> _ = path.write_text("1")
    >>> before = stamp([path])
    >>> _ = path.write_text("12")
    >>> stamp([path]) == before
    False
    """
    found = []
    with _reporting():
        # Not the whole path: another process may know the file by a longer one.
        for name, path in _files(paths):
            status = path.stat()
            found.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return fingerprint(found)


def content(paths: Iterable[Path]) -> str:
    """Hash the content of files (SHA-256, hexadecimal); of one file, that of its bytes."""
    with _reporting():
        found = [(name, hash_file(path)) for name, path in _files(paths)]
    if len(found) == 1:
        return found[0][1]
    whole = hashlib.sha256()
    for name, one in found:
        whole.update(f"{name}\0{one}\n".encode())
    return whole.hexdigest()


@contextmanager
def _reporting() -> Iterator[None]:
    """Report which file is gone, or may not be read."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"cannot be read: {error}") from error


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """List files, folders' files in order of their names; each with its name from where it was listed."""
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.rglob("*") if entry.is_file())
            yield from ((entry.relative_to(path).as_posix(), entry) for entry in inside)
        else:
            yield path.name, path
