"""Scratch: temporary files that a killed process cannot take off, named after it, so that any later one can.

They lie in the system's folder for temporary files (``TMPDIR``). A process removes its own when it ends in good order;
what a killed one left is removed by the next run, and by whoever writes there.
"""

import os
import re
import tempfile
import time
from pathlib import Path

from corpuscle.core.claims import is_gone, this_process
from corpuscle.core.disk import discard
from corpuscle.core.errors import SourceError

PREFIX = "corpuscle-"
# What is from a machine that cannot be looked at stays for so many seconds: it may be at work.
WEEK = 7 * 24 * 3600
_OWNED = re.compile(r"\.((?:[0-9a-f]{8}|unknown)-\d+-\d+)(\.h5)?$")


def scratch_folder() -> Path:
    """Return a folder for temporary files that only this user can write to.

    Raises
    ------
    SourceError
        When it cannot be made, or somebody else made it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"{PREFIX}{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"no folder for temporary files can be made ({error}); set TMPDIR to one of your own"
        ) from error
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise SourceError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
    return folder


def suffix() -> str:
    """Return how the names of this process' temporary files end, by which others see whose they are."""
    return f".{this_process()}"


def sweep() -> None:
    """Remove the temporary files of this user's processes that are gone, and what nobody touched for a week."""
    place = Path(tempfile.gettempdir())
    own = place / f"{PREFIX}{os.getuid() if hasattr(os, 'getuid') else 0}"
    for path in [*place.glob(f"{PREFIX}*"), *own.glob("*")]:
        if (found := _OWNED.search(path.name)) is None:
            # A copy as earlier versions named it.
            is_left = path.parent == own and path.suffix == ".h5" and _is_old(path)
        else:
            is_left = is_gone(found[1]) or _is_old(path)
        if is_left:
            discard(path)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > WEEK
    except OSError:
        return False
