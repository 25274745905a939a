"""Read many short ranges of a long one-dimensional array on disk: the counts of some cells of a CSR matrix.

What is stored plainly is read range by range, past HDF5, whose every read costs as much as a thousand numbers. What is
compressed is read chunk by chunk, chunks near each other in one go: gzip's on all cores, other compression by HDF5 or
zarr themselves.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import SourceError

try:
    # The extra ``fast``: unpacks in two fifths of the time.
    from isal.isal_zlib import decompress
except ImportError:
    from zlib import decompress

Integers = NDArray[np.int64]

# Chunks (or, without chunks, ranges) that lie no further apart than this many numbers are read with what lies between.
GAP = 1 << 15
# Numbers read in one go, at most, but at least four chunks: 2^22 of them take 20 MB.
SPAN = 1 << 22
THREADS = 4
# A study reads the same few thousand cells for each model and each question: arrays of gzip up to so many bytes are
# unpacked once and kept, the last so many of them.
SMALL, KEPT = 1 << 24, 4


def read_ranges(array: Any, starts: Integers, stops: Integers) -> NDArray[Any]:
    """Read ranges of an array, each chunk once, in the order of storage.

    Parameters
    ----------
    array
        One-dimensional, of h5py or zarr.
    starts, stops
        The ranges, ascending, none overlapping another, shape (n,).

    Returns
    -------
    The ranges' numbers, one range after the other, in the array's own number type.

    Raises
    ------
    SourceError
        When a range ends after the array does, or the file before its numbers.

    Examples
    --------
    >>> read_ranges(np.arange(100), np.array([3, 50]), np.array([5, 53]))
    array([ 3,  4, 50, 51, 52])
    """
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    # Neighbours become one range.
    apart = starts[1:] > stops[:-1]
    starts, stops = np.concatenate([starts[:1], starts[1:][apart]]), np.concatenate([stops[:-1][apart], stops[-1:]])
    if len(stops) and not 0 <= starts[0] <= stops[-1] <= array.shape[0]:
        raise SourceError(f"damaged: counts are looked for at {stops[-1]:,}, past the last of {array.shape[0]:,}")
    found = np.empty(int((stops - starts).sum()), array.dtype)
    if not len(found):
        return found
    if _is_plain(array) and _read_plain(array, starts, stops, found):
        return found
    starts, stops = _cut(starts, stops, _chunk(array) * _stretch(_chunk(array), SPAN))
    done = 0
    for first, last in spans(starts, stops, _chunk(array), (GAP, SPAN)):
        begin, end = int(starts[first]), int(stops[last - 1])
        inside = found[done : done + int((stops[first:last] - starts[first:last]).sum())]
        whole = _load(array, begin, end)
        wanted = slice(None) if last - first == 1 else _mask(starts[first:last] - begin, stops[first:last] - begin)
        inside[:] = whole[wanted]
        done += len(inside)
    return found


def _mask(starts: Integers, stops: Integers) -> NDArray[np.bool_]:
    """Mark ranges up to the end of the last."""
    edges = np.column_stack([starts, stops]).ravel()
    return np.repeat(np.tile([False, True], len(starts)), np.diff(edges, prepend=0))


def spans(starts: Integers, stops: Integers, chunk: int, bounds: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Cut ascending ranges into runs, each to be read in one go.

    Parameters
    ----------
    starts, stops
        The ranges.
    chunk
        How many numbers are stored, and so read, together.
    bounds
        The gap over which it is worth reading on, and the most to read in one go.

    Yields
    ------
    The first range of a run, and one past its last.
    """
    gap, span = bounds
    first, last = starts // chunk, (stops - 1) // chunk
    apart = (first[1:] - last[:-1] - 1) * chunk > gap
    cuts = np.flatnonzero(apart | (np.diff(first // _stretch(chunk, span)) > 0)) + 1
    yield from pairwise([0, *cuts.tolist(), len(starts)])


def _stretch(chunk: int, span: int) -> int:
    """Return how many chunks are read in one go at most: four or more, as what crosses their end is read twice."""
    return max(4, span // chunk)


def _cut(starts: Integers, stops: Integers, size: int) -> tuple[Integers, Integers]:
    """Cut ranges at the multiples of a size."""
    first, last = starts // size, (stops - 1) // size
    owner = np.repeat(np.arange(len(starts)), last - first + 1)
    ordinal = np.arange(len(owner)) - np.repeat(np.cumsum(last - first + 1) - (last - first + 1), last - first + 1)
    begin = (first[owner] + ordinal) * size
    return np.maximum(starts[owner], begin), np.minimum(stops[owner], begin + size)


def _chunk(array: Any) -> int:
    return int(array.chunks[0]) if getattr(array, "chunks", None) else 1


def _load(array: Any, begin: int, end: int) -> NDArray[Any]:
    """Read a stretch of an array, not to be written to; gzip's chunks by `_unpack`."""
    if not _is_gzip(array):
        whole: NDArray[Any] = array[begin:end]
        return whole
    if array.nbytes <= SMALL and (kept := _kept_whole(array)) is not None:
        return kept[begin:end]
    return _unpack(array, begin, end)


# Arrays, by their name and what their file was.
_whole: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
_lock = Lock()


def _kept_whole(array: h5py.Dataset) -> NDArray[Any] | None:
    """Return all of an array, unpacked once; None where a part of it cannot be, which may not be wanted."""
    if array.file.driver != "sec2" or array.file.mode != "r":
        return None
    status = os.fstat(array.file.id.get_vfd_handle())
    of_file = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    key = (*of_file, array.name)
    with _lock:
        if key in _whole:
            _whole.move_to_end(key)
            return _whole[key]
    try:
        found = _unpack(array, 0, len(array))
    except Exception:  # of zlib, isal, HDF5 and numpy: who reads the damaged part gets the message
        return None
    with _lock:
        _whole[key] = found
        while len(_whole) > KEPT:
            _whole.popitem(last=False)
    return found


def _unpack(array: h5py.Dataset, begin: int, end: int) -> NDArray[Any]:
    """Read a stretch of an array of gzip's chunks on several cores; HDF5 would unpack one after the other."""
    size = _chunk(array)
    firsts = range(begin // size * size, end, size)
    try:
        stored = [array.id.read_direct_chunk((first,)) for first in firsts]
    except RuntimeError:  # a chunk that was never written
        stored = []
    if not stored or any(mask for mask, _ in stored):
        return np.asarray(array[begin:end])
    whole = np.empty(len(firsts) * size, array.dtype)

    def unpack(at: int) -> None:
        whole[at * size : (at + 1) * size] = _unpacked(stored[at][1], array.dtype, shuffled=bool(array.shuffle))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(unpack, range(len(firsts))))
    return whole[begin - firsts[0] : end - firsts[0]]


def _unpacked(stored: bytes, dtype: np.dtype[Any], *, shuffled: bool) -> NDArray[Any]:
    plain = np.frombuffer(decompress(stored), np.uint8)
    if shuffled:
        # HDF5's shuffle puts the first bytes of all numbers first, then all second ones, …
        plain = np.ascontiguousarray(plain.reshape(dtype.itemsize, -1).T).ravel()
    return plain.view(dtype)


def _is_of_numbers(array: Any) -> bool:
    return isinstance(array, h5py.Dataset) and array.dtype.kind in "iuf" and array.file.userblock_size == 0


def _is_gzip(array: Any) -> bool:
    """Return whether an array is stored in chunks of gzip, shuffled or not, and nothing else."""
    if not _is_of_numbers(array) or array.chunks is None:
        return False
    n_filters: int = array.id.get_create_plist().get_nfilters()
    return bool(array.compression == "gzip") and n_filters == 1 + bool(array.shuffle)


def _is_plain(array: Any) -> bool:
    """Return whether numbers lie in the file as they lie in memory; a file being written may yet hold them back."""
    if not _is_of_numbers(array) or not hasattr(os, "preadv"):
        return False
    if array.file.driver != "sec2" or array.file.mode != "r":
        return False
    is_filtered = array.id.get_create_plist().get_nfilters() > 0
    return not (is_filtered or array.external or array.is_virtual)


def _read_plain(array: h5py.Dataset, starts: Integers, stops: Integers, found: NDArray[Any]) -> bool:
    """Read ranges of a plain array past HDF5 into `found`; False where some of it was never written."""
    size, bytes_each = (_chunk(array) if array.chunks else len(array)), array.dtype.itemsize
    # A range across chunks is read in pieces, one of each chunk.
    begins, ends = _cut(starts, stops, size)
    chunk = begins // size
    touched, of_touched = np.unique(chunk, return_inverse=True)
    places = _places(array, touched * size)
    if places is None:
        return False
    file: int = array.file.id.get_vfd_handle()
    offsets = places[of_touched] + (begins - chunk * size) * bytes_each
    into, done = memoryview(found.data).cast("B"), 0
    for offset, length in zip(offsets.tolist(), ((ends - begins) * bytes_each).tolist(), strict=True):
        if os.preadv(file, [into[done : done + length]], offset) != length:
            raise SourceError("truncated: the file ends before its counts do")
        done += length
    return True


def _places(array: h5py.Dataset, firsts: Integers) -> Integers | None:
    """Return where in the file the chunks lie that begin with these numbers; None where one was never written."""
    if array.chunks is None:
        place = array.id.get_offset()
        return None if place is None else np.full(len(firsts), place, np.int64)
    found: dict[int, int] = {}
    # To ask for one chunk takes as long as to list a hundred.
    if array.id.get_num_chunks() < 100 * len(firsts):
        array.id.chunk_iter(lambda chunk: found.__setitem__(chunk.chunk_offset[0], chunk.byte_offset))
    else:
        for first in firsts.tolist():
            found[first] = array.id.get_chunk_info_by_coord((first,)).byte_offset
    places = [found.get(first) for first in firsts.tolist()]
    return None if None in places else np.array(places, np.int64)
