"""What a full or read-only disk says, whichever library was writing, as one message."""

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpuscle.core.errors import CorpuscleError, DiskError, FolderError

if TYPE_CHECKING:
    import h5py

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


def discard(path: Path) -> None:
    """Remove a file or folder; what cannot be removed is not in the way: no name is used twice."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class _PatientFile(io.FileIO):
    """A file that remembers that the disk refused it, and goes on."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of it, or remember why not."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self.refused = self.refused or error
        return size


@contextmanager
def new_hdf5(path: Path) -> "Iterator[h5py.File]":
    """Make an HDF5 file to write into; whatever the disk refused is raised when the block ends.

    HDF5 keeps a file whose writing failed open, tries again when the process ends, and crashes it then; so it is never
    shown that a write failed.
    """
    import h5py

    with _PatientFile(path, "w+") as disk:
        try:
            with h5py.File(disk, "w") as file:
                yield file
        except Exception:
            if disk.refused is None:
                raise
        if disk.refused:
            raise disk.refused
