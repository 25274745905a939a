"""Open HDF5 files: say what keeps a whole file from being read, and load the compression filters that it needs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import h5py

from corpuscle.core.errors import SourceError
from corpuscle.core.text import shown

# Names of the filters registered with the HDF Group that single-cell files are met with.
# https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
FILTERS = {
    4: "szip", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32017: "sz", 32024: "sz3", 32026: "blosc2", 32028: "sperr",
}  # fmt: skip


# Groups in groups: AnnData's lie a handful deep.
DEEPEST = 100


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; to be used inside `corpuscle.source.reader.reading`.

    Raises
    ------
    SourceError
        When another program has the file open for writing, the file system has no locks, or a part is elsewhere.
    """
    if path.is_dir():
        raise SourceError("this is a folder; give the path of the file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if isinstance(error, BlockingIOError) or "unable to lock file" in str(error):
            raise SourceError(
                "another program has this file open for writing (a notebook, perhaps), or its file system has no "
                "locks; close it there, or set the environment variable HDF5_USE_FILE_LOCKING=FALSE if nothing writes "
                "to it"
            ) from error
        if "already open for write" in str(error):
            raise SourceError("this process has the file open for writing; close it first") from error
        raise
    with file:
        status = path.stat()
        known = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        name = None if known in _alone else _elsewhere(file)
        if name is not None:
            raise SourceError(
                f"{shown(name, 200)} is kept in another file (an external link, external storage or a view); only what "
                "is in this file is read: copy that into it (h5repack, or AnnData.write_h5ad)"
            )
        _alone.add(known)
        yield file


# Files, as they were, of which nothing is elsewhere: a source is opened for each stretch of its cells.
_alone: set[tuple[int, ...]] = set()


def _elsewhere(file: h5py.File) -> str | None:
    """Name what a file takes from other files, which may be any that this user can read; None: nothing.

    Raises
    ------
    SourceError
        When groups are nested so deep that to look at all takes very long: HDF5 goes down from the top to each.
    """
    found: list[str] = []
    deep: list[bytes] = []

    def look_at_link(name: bytes, info: h5py.h5l.LinkInfo) -> bool | None:
        if name.count(b"/") > DEEPEST:
            deep.append(name)
        if info.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            found.append(name.decode("utf-8", "replace"))
        return bool(found or deep) or None

    def look_at_object(name: str, node: h5py.HLObject) -> bool | None:
        if isinstance(node, h5py.Dataset) and (
            node.external or (node.is_virtual and any(source.file_name != "." for source in node.virtual_sources()))
        ):
            found.append(name)
        return bool(found) or None

    file.id.links.visit(look_at_link, info=True)
    if deep:
        raise SourceError(f"its groups are nested more than {DEEPEST} deep, and those of a file of cells are not")
    if not found:
        file.visititems(look_at_object)
    return found[0] if found else None


def refuse_unknown_filters(dataset: h5py.Dataset) -> None:
    """Refuse a dataset compressed with a filter that HDF5 does not have, also with hdf5plugin's where it is installed.

    Raises
    ------
    SourceError
        With the filter's name and number, and what to install.
    """
    settings = dataset.id.get_create_plist()
    numbers = [settings.get_filter(at)[0] for at in range(settings.get_nfilters())]
    unknown = [number for number in numbers if not h5py.h5z.filter_avail(number)]
    if unknown and _has_plugins():
        unknown = [number for number in unknown if not h5py.h5z.filter_avail(number)]
    if unknown:
        raise SourceError(
            f"{dataset.name} is compressed with {_named(unknown[0])}, a filter that is not installed here; the file "
            "may be whole: pip install 'corpuscle[hdf5]' (hdf5plugin), or write it anew with gzip"
        )


def _named(number: int) -> str:
    return f"{FILTERS[number]} (HDF5 filter {number})" if number in FILTERS else f"HDF5 filter {number}"


@cache
def _has_plugins() -> bool:
    """Load hdf5plugin, which makes its filters known to HDF5; False where it is not installed."""
    try:
        import hdf5plugin  # noqa: F401  # its import registers them
    except ImportError:
        return False
    return True


def lost_chunks(dataset: h5py.Dataset) -> Iterator[tuple[int, ...]]:
    """List where the chunks of a dataset begin that were never written, or whose place was lost.

    A dataset without chunks counts as one; HDF5 reads zeros there.
    """
    if dataset.size in (0, None) or dataset.is_virtual or dataset.external:
        return
    if dataset.chunks is None:
        if not dataset.id.get_storage_size():
            yield (0,) * dataset.ndim
        return
    grid = [range(0, length, step) for length, step in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == math.prod(
        -(-length // step) for length, step in zip(dataset.shape, dataset.chunks, strict=True)
    ):
        return
    there: set[tuple[int, ...]] = set()
    dataset.id.chunk_iter(lambda chunk: there.add(chunk.chunk_offset))
    yield from not_in(grid, there)


def stored_sizes(dataset: h5py.Dataset) -> list[int]:
    """Return in how many bytes each chunk of a dataset is stored; none for a dataset without chunks."""
    sizes: list[int] = []
    if dataset.chunks is not None and dataset.id.get_num_chunks():
        dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    return sizes


def not_in(grid: list[range], there: set[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """List the points of a grid that are not in a set, in order."""
    yield from (point for point in _points(grid) if point not in there)


def _points(grid: list[range]) -> Iterator[tuple[int, ...]]:
    """List the points of a grid as they are asked for: it may be declared beyond all memory."""
    if not grid:
        yield ()
        return
    for first in grid[0]:
        for rest in _points(grid[1:]):
            yield (first, *rest)
