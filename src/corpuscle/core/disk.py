"""What a full or read-only disk says, whichever library was writing, as one message."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpuscle.core.errors import CorpuscleError, DiskError, FolderError

# What a system says when there is no space (left, allowed to a user, or in one file) or the disk fails; and when
# nothing may be written at all.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk leads to, while a block writes, into one message that names the file.

    Raises
    ------
    DiskError
        When the disk is full or fails.
    FolderError
        When the place cannot be written at all.
    """
    try:
        yield
    except CorpuscleError:
        raise
    except Exception as error:
        number = refusal(error)
        if number in FULL:
            raise DiskError(
                f"{path}: the disk is full or fails ({os.strerror(number)}); free space there and run the same command "
                "again: nothing that was complete is lost"
            ) from error
        if number in CLOSED:
            raise FolderError(f"{path}: cannot be written ({error}); allow it, or choose another folder") from error
        raise


def refusal(error: Exception) -> int | None:
    """Return the number of the system's error, if a disk refused to be written; None: something else went wrong.

    HDF5, Arrow and safetensors have errors of their own kinds for it, with the system's words in their messages.

    Examples
    --------
    >>> refusal(OSError(errno.ENOSPC, "no space")) == refusal(RuntimeError("…: No space left on device (os error 28)"))
    True
    >>> refusal(ValueError("too many values to unpack"))
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in (*FULL, *CLOSED) else None
    text = str(error)
    return next((number for number in (*FULL, errno.EROFS) if os.strerror(number) in text), None)
