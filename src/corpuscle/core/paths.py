"""File names from data: a corpus may be called ``a/b`` or ``..``, a folder may not; and some names no file can have.

And files that are none: reading from a pipe waits for ever, reading from a device may never end.
"""

import errno
import hashlib
import io
import os
import re
import stat
from pathlib import Path

SPECIAL = "it is a pipe, a socket or a device, no file"
# Texts of settings, manifests and the like are far smaller.
MOST_TEXT = 1 << 28


def safe_name(text: str) -> str:
    """Return a file name for any text: itself where it is one, else a cleaned form with a short hash.

    Examples
    --------
    >>> safe_name("Blood+Pancreas"), safe_name("../etc")
    ('Blood+Pancreas', 'etc-f7f9121f')
    """
    clean = re.sub(r"[^A-Za-z0-9+=_-]+", "-", text).strip("-")[:60]
    if clean and clean == text:
        return clean
    return f"{clean or 'unnamed'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder; there is none whose name is too long or has a null in it.

    Raises
    ------
    PermissionError
        When a folder on the way to it may not be read.

    Examples
    --------
    >>> is_there(Path("a" * 300))
    False
    """
    try:
        path.stat()
    except PermissionError:
        raise
    # Too long, with a null, below a file, a loop of links.
    except (OSError, ValueError):
        return False
    return True


def is_special(path: Path) -> bool:
    """Return whether there is something that is neither a file nor a folder: a pipe, a socket or a device.

    Examples
    --------
    >>> is_special(Path("/dev/null")), is_special(Path(__file__))
    (True, False)
    """
    return is_there(path) and not (path.is_file() or path.is_dir())


def first_special(folder: Path) -> Path | None:
    """Return what is neither a file nor a folder somewhere below a folder; None: there is nothing of that kind."""
    for place, _, names in os.walk(folder):
        with os.scandir(place) as entries:
            # Most entries are known to be files without asking the system for each.
            odd = [entry.path for entry in entries if not entry.is_file(follow_symlinks=False)]
        for path in map(Path, odd if names else ()):
            if is_special(path):
                return path
    return None


def open_plain(path: Path) -> io.BufferedReader:
    """Open a file for reading bytes, without waiting for anybody.

    Raises
    ------
    OSError
        When it cannot be opened, or is a pipe, a socket or a device.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        file = os.fdopen(handle, "rb")
    except OSError:  # a folder
        os.close(handle)
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(errno.EINVAL, SPECIAL, str(path))
    return file


def read_plain(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, with any line ends.

    Raises
    ------
    OSError
        When it cannot be read, is a pipe, a socket or a device, or has more than `MOST_TEXT` bytes.
    ValueError
        When it is no such text.
    """
    with open_plain(path) as file:
        content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MOST_TEXT:,} bytes", str(path))
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
