"""Whether what a file says about itself fits together, before any of it is read: sizes, number types, lost chunks.

HDF5 and zarr read zeros where a chunk is not stored, numpy and scipy take what they are given, and a file of a few
kilobytes can declare a table of 80 GB. Arrays and groups are h5py's or zarr's.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import SourceError
from corpuscle.core.text import shown
from corpuscle.source.storage import hdf5

# What is read whole may be this many times as large as its file, and this large in any case. Gzip packs zeros to a
# thousandth; of a real file, most is counts, which hardly pack. A text takes so many bytes in memory.
PACKED, SMALL, TEXT = 100, 64 << 20, 64
# Bytes that a chunk may be stored in beyond twice what it holds: where nothing packs, little is added.
SWOLLEN = 1 << 16
# Pointers read at once.
POINTERS = 1 << 22


def is_array(node: Any) -> bool:
    """Return whether this is an array, and no group."""
    return hasattr(node, "dtype")


def native_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the number type that counts of a stored type are read as: in this machine's byte order.

    Scipy does not compute with half precision and numbers of 16 bytes: these become float32 and float64.

    Examples
    --------
    >>> native_type(np.dtype(">f4")), native_type(np.dtype("f2"))
    (dtype('float32'), dtype('float32'))
    """
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return dtype.newbyteorder("=")


def native(values: NDArray[Any]) -> NDArray[Any]:
    """Return counts in their `native_type`; the same array where they are."""
    return values.astype(native_type(values.dtype), copy=False)


def check_dense(array: Any, name: str) -> None:
    """Check a dense matrix by what is known of it without reading: two dimensions, numbers, a known compression.

    Raises
    ------
    SourceError
        When it is damaged, or cannot be unpacked here.
    """
    _check_kind(array, name, "iufb")


def check_sparse(matrix: Any, name: str, *, n_major: int) -> None:
    """Check a CSR or CSC matrix by what is known of it without reading: the sizes and types of its three arrays.

    Parameters
    ----------
    matrix
        A group with ``data``, ``indices`` and ``indptr``.
    name
        What messages call it.
    n_major
        How many rows (CSR) or columns (CSC) it is for.

    Raises
    ------
    SourceError
        When it is damaged, or cannot be unpacked here.
    """
    for part, kinds in (("data", "iufb"), ("indices", "iu"), ("indptr", "iu")):
        if part not in matrix or not is_array(matrix[part]):
            raise SourceError(f"damaged: {name} has no {part}")
        if matrix[part].ndim != 1:
            raise SourceError(f"damaged: {name}/{part} has {matrix[part].ndim} dimensions; it should have one")
        _check_kind(matrix[part], f"{name}/{part}", kinds)
    n_data, n_indices, n_pointers = (int(matrix[part].shape[0]) for part in ("data", "indices", "indptr"))
    if n_data != n_indices:
        raise SourceError(f"damaged: {name} has {n_data:,} counts (data), but says of {n_indices:,} where they belong")
    if n_pointers != n_major + 1:
        raise SourceError(f"damaged: {name} is for {n_major:,}, but its pointers (indptr) are for {n_pointers - 1:,}")


def _check_kind(array: Any, name: str, kinds: str) -> None:
    if isinstance(array, h5py.Dataset):
        hdf5.refuse_unknown_filters(array)
    if array.dtype.kind not in kinds:
        raise SourceError(f"damaged: {name} should hold {'whole ' if kinds == 'iu' else ''}numbers, not {array.dtype}")
    # However little is read of it, a chunk is unpacked whole.
    chunk = array.dtype.itemsize * math.prod(getattr(array, "chunks", None) or ())
    if chunk > SMALL and chunk > SMALL + PACKED * _file_size(array):
        raise SourceError(
            f"damaged: a chunk of {name} claims to hold {chunk:,} bytes, which a file of {_file_size(array):,} cannot"
        )


def check_stored(matrix: Any, name: str, *, n_minor: int) -> None:
    """Check what is stored of a matrix: pointers that ascend, and no lost chunks. To be done once; reads no counts.

    Parameters
    ----------
    matrix
        A dense array, or a group that has passed `check_sparse`.
    name
        What messages call it.
    n_minor
        How many columns (CSR) or rows (CSC) it is for.

    Raises
    ------
    SourceError
        When it is damaged.
    """
    for array in [matrix] if is_array(matrix) else [matrix[part] for part in ("data", "indices", "indptr")]:
        _refuse_swollen(array, name)
    if is_array(matrix):
        _check_dense_chunks(matrix, name)
        return
    n_stored = int(matrix["data"].shape[0])
    # All pointers are zero where there are no counts, and zarr stores no chunk of zeros.
    for part in ("data", "indptr") if n_stored else ():
        refuse_lost(matrix[part], f"{name}/{part}")
    _check_pointers(matrix["indptr"], name, n_stored, n_minor)
    _check_index_chunks(matrix, f"{name}/indices", n_minor)


def _check_pointers(indptr: Any, name: str, n_stored: int, n_minor: int) -> None:
    last = 0
    for start in range(0, indptr.shape[0], POINTERS):
        block = np.concatenate([[last], indptr[start : start + POINTERS].astype(np.int64)])
        if (start == 0 and block[1] != 0) or np.any(np.diff(block) < 0):
            raise SourceError(f"damaged: {name}'s pointers to the cells' counts point nowhere")
        if np.any(np.diff(block) > n_minor):
            raise SourceError(f"damaged: {name}'s pointers give more counts than there can be")
        last = int(block[-1])
    if last > n_stored:
        raise SourceError(f"damaged: {name}'s pointers to the cells' counts point nowhere (past the last count)")
    if last < n_stored:
        raise SourceError(f"damaged: {name} stores {n_stored:,} counts, and its pointers only know of {last:,}")


def _check_index_chunks(matrix: Any, name: str, n_minor: int) -> None:
    """Refuse lost chunks of indices; one of zeros, which zarr leaves out, has at most one number of a row or column."""
    indices = matrix["indices"]
    if isinstance(indices, h5py.Dataset):
        refuse_lost(indices, name)
        return
    lost = list(missing_chunks(indices))
    pointers = matrix["indptr"][:] if lost else np.zeros(1, np.int64)
    for (start,) in lost:
        stop = min(start + _stored_together(indices)[0], indices.shape[0])
        n_majors = np.searchsorted(pointers, stop, "left") - np.searchsorted(pointers, start, "right") + 1
        if n_minor > 1 and stop - start > n_majors:
            raise SourceError(_lost(name, (start,)))


def _check_dense_chunks(array: Any, name: str) -> None:
    """Refuse a dense matrix of which a part was surely lost; of zarr, see `unstored_counts` for the others."""
    if isinstance(array, h5py.Dataset) or not any(True for _ in _stored_chunks(array)):
        refuse_lost(array, name)
    _refuse_lost_among_zeros(array, name)


def _refuse_lost_among_zeros(array: Any, name: str) -> None:
    """Refuse an array whose writer stored a chunk of nothing but zeros, and of which another chunk is not stored."""
    if (start := next(missing_chunks(array), None)) is None:
        return
    # Nothing packs into fewer bytes than zeros.
    smallest = min(_stored_chunks(array), key=lambda chunk: chunk[1].stat().st_size, default=None)
    if smallest is None:
        return
    steps = _stored_together(array)
    values = array[tuple(slice(at * step, (at + 1) * step) for at, step in zip(smallest[0], steps, strict=True))]
    if not np.asarray(values).astype(bool).any():
        raise SourceError(_lost(name, start))


def unstored_counts(array: Any, name: str) -> str:
    """Return which parts of a dense matrix of zarr are not stored; empty where all are, and for a sparse matrix.

    Zarr leaves out chunks of nothing but zeros, so such a chunk looks the same as one that was lost.

    Parameters
    ----------
    array
        What has passed `check_stored`.
    name
        What messages call it.
    """
    missing = list(missing_chunks(array)) if is_array(array) else []
    if not missing:
        return ""
    (cell, gene), steps = missing[0], _stored_together(array)
    last_cell, last_gene = (min(at + step, n) - 1 for at, step, n in zip((cell, gene), steps, array.shape, strict=True))
    more = f", and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    return (
        f"a part of {name} (cells {cell:,} to {last_cell:,}, genes {gene:,} to {last_gene:,}{more}) is not stored and "
        "read as zeros: zarr leaves out parts of nothing but zeros, and a part that was lost looks the same"
    )


def unstored_columns(table: Any) -> dict[str, range]:
    """Return the columns of a table in zarr of which a part is not stored, with the rows of the first such part.

    They read as zeros, `False`, empty texts or the first category, and may be that: zarr stores no such chunk. Columns
    of one category, and what says which values are missing, are left out: in most files they are not stored.

    Parameters
    ----------
    table
        What has passed `check_table`.
    """
    found = {}
    for written in () if is_array(table) else table.attrs.get("column-order", ()):
        node = table[_text(written)]
        if not is_array(node) and "categories" in node and node["categories"].shape[0] < 2:
            continue
        for part in [node] if is_array(node) else [node[part] for part in ("codes", "values") if part in node]:
            if (start := next(missing_chunks(part), None)) is not None:
                stop = min(start[0] + _stored_together(part)[0], part.shape[0])
                found[_text(written)] = range(start[0], stop)
    return found


def refuse_lost(array: Any, name: str) -> None:
    """Refuse an array of which a part is not stored.

    Raises
    ------
    SourceError
        When a chunk is not there.
    """
    for start in missing_chunks(array):
        raise SourceError(_lost(name, start))


def _lost(name: str, start: tuple[int, ...]) -> str:
    return f"damaged: a part of {name} (from number {start[0]:,} on) is not stored; it was lost, or never written"


def check_table(table: Any, name: str) -> None:
    """Check a table of AnnData before it is read: its size, the lengths of its columns, lost codes and index.

    Parameters
    ----------
    table
        The group, or (of old files) the array of records.
    name
        What messages call it.

    Raises
    ------
    SourceError
        When it is damaged, or claims a size that its file cannot hold.
    """
    if is_array(table):
        check_size([table], table, name)
        return
    index = text_attribute(table, "_index")
    if not (index in table and is_array(table[index])):
        raise SourceError(f"damaged: {name} is not a table: it has no index, the names of its rows")
    check_size(_arrays(table), table, name)
    n_rows = int(table[index].shape[0])
    refuse_lost(table[index], f"{name}'s index")
    for written in table.attrs.get("column-order", ()):
        column = _text(written)
        if column not in table:
            raise SourceError(f"damaged: {name} has lost its column {_quoted(column)}")
        _check_column(table, column, f"{name}'s column {_quoted(column)}", n_rows)


def text_attribute(node: Any, name: str) -> str:
    """Return an attribute as text, empty where it is not there; R writes bytes, and lists of one."""
    found = node.attrs.get(name, "")
    return _text(found.item() if isinstance(found, np.ndarray) and found.size == 1 else found)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _quoted(column: Any) -> str:
    return repr(shown(column, 80))


def _check_column(table: Any, column: str, name: str, n_rows: int) -> None:
    node = table[column]
    parts = [node] if is_array(node) else [node[part] for part in ("codes", "values", "mask") if part in node]
    for part in parts:
        n_values = int(part.shape[0]) if part.ndim else 0
        if n_values != n_rows:
            raise SourceError(f"damaged: {name} has {n_values:,} values for {n_rows:,} rows")
        if isinstance(part, h5py.Dataset):
            refuse_lost(part, name)
        else:
            _refuse_lost_among_zeros(part, name)
    if not is_array(node) and "codes" in node and "categories" in node and is_array(node["categories"]):
        _check_codes(node["codes"], node["categories"], name)


def _check_codes(codes: Any, categories: Any, name: str) -> None:
    """Refuse codes that are no categories', and lost ones.

    Zarr stores no chunk of zeros, the first category's code. It is taken for lost where then a category has no cell:
    anndata leaves such out.
    """
    n = int(categories.shape[0])
    if n > 1:
        refuse_lost(categories, f"the categories of {name}")
    if codes.dtype.kind not in "iu":
        raise SourceError(f"damaged: {name} should hold the numbers of categories, not {codes.dtype}")
    found = np.unique(codes[:]).astype(np.int64)
    if len(found) and not -1 <= found[0] <= found[-1] < n:
        raise SourceError(f"damaged: {name} has {n:,} categories, and cells of a category that is not there")
    if n > 1 and len(found[found >= 0]) < n:
        refuse_lost(codes, name)


def _arrays(group: Any) -> Iterator[Any]:
    """List all arrays in a group."""
    for key in group:
        node = group[key]
        yield from [node] if is_array(node) else _arrays(node)


def check_size(arrays: Any, of: Any, name: str) -> None:
    """Refuse arrays that are to be read whole and claim more than their file can hold, or need an unknown filter.

    Parameters
    ----------
    arrays
        The arrays.
    of
        An array or group of the file.
    name
        What messages call them.

    Raises
    ------
    SourceError
        When they claim more than `PACKED` times the file's size, or are compressed with a filter that is not there.
    """
    total = 0
    for array in arrays:
        if isinstance(array, h5py.Dataset):
            hdf5.refuse_unknown_filters(array)
        _refuse_swollen(array, name)
        size = max(1, array.dtype.itemsize, 0 if array.dtype.kind in "iufbc" else TEXT)
        # A chunk is unpacked whole, and zarr's may be larger than their array.
        chunk = math.prod(getattr(array, "chunks", None) or ())
        total += size * max(math.prod(array.shape or ()), chunk)
    if total > SMALL and total > SMALL + PACKED * _file_size(of):
        raise SourceError(
            f"damaged: {name} claims to hold {total:,} bytes, which a file of {_file_size(of):,} bytes cannot"
        )


def _refuse_swollen(array: Any, name: str) -> None:
    """Refuse an array of which a chunk is stored in more bytes than it holds: unpacked, it may be any size."""
    if array.dtype.kind not in "iufbcSU":
        return
    if isinstance(array, h5py.Dataset):
        sizes = hdf5.stored_sizes(array)
        holds = array.dtype.itemsize * math.prod(array.chunks or ())
    else:
        sizes = [path.stat().st_size for _, path in _stored_chunks(array)]
        holds = array.dtype.itemsize * math.prod(_stored_together(array))
    if max(sizes, default=0) > SWOLLEN + 2 * holds:
        raise SourceError(f"damaged: a chunk of {name} holds {holds:,} bytes and is stored in far more")


def _file_size(node: Any) -> int:
    if isinstance(node, h5py.HLObject):
        return int(node.file.id.get_filesize())
    return sum(path.stat().st_size for path in _folder(node).rglob("*") if path.is_file())


def _folder(node: Any) -> Path:
    """Return the folder of a zarr array or group."""
    return Path(str(node.store.root), node.path)


def missing_chunks(array: Any) -> Iterator[tuple[int, ...]]:
    """List where the chunks (of zarr: or shards) of an array begin that are not stored."""
    if isinstance(array, h5py.Dataset):
        yield from hdf5.lost_chunks(array)
        return
    for place, path in _chunks(array):
        if path is None:
            yield tuple(at * step for at, step in zip(place, _stored_together(array), strict=True))


def _stored_chunks(array: Any) -> Iterator[tuple[tuple[int, ...], Path]]:
    """List the chunks of a zarr array that are stored: their places, and their files."""
    return ((place, path) for place, path in _chunks(array) if path is not None)


def _chunks(array: Any) -> Iterator[tuple[tuple[int, ...], Path | None]]:
    """List the chunks (or shards) of a zarr array by their places, with their files where they are stored."""
    if not hasattr(array, "store") or not math.prod(array.shape):
        return
    folder = _folder(array)
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    ends = [range(-(-length // step)) for length, step in zip(array.shape, _stored_together(array), strict=True)]
    for place in hdf5.not_in(ends, set()):
        yield place, there.get(array.metadata.encode_chunk_key(place))


def _stored_together(array: Any) -> tuple[int, ...]:
    """Return the shape of what is stored in one piece: a shard, a chunk, or the whole."""
    found = getattr(array, "shards", None) or array.chunks or array.shape
    return tuple(int(length) for length in found)
