"""File names from data: a corpus may be called ``a/b`` or ``..``, a folder may not; and some names no file can have."""

import hashlib
import re
from pathlib import Path


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
