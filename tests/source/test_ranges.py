"""Ranges of an array are what slices of it are, however it is stored, and read no more than they must."""

import os
import zlib

import h5py
import numpy as np
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.storage import ranges
from corpuscle.source.storage.ranges import read_ranges

STORED = {
    "in one piece": {},
    "chunks": {"chunks": (50,)},
    "gzip": {"chunks": (50,), "compression": "gzip"},
    "gzip, shuffled": {"chunks": (50,), "compression": "gzip", "shuffle": True},
    "gzip, checked": {"chunks": (50,), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (50,), "compression": "lzf"},
}
each_storage = pytest.mark.parametrize("stored", STORED.values(), ids=STORED.keys())
NUMBERS = np.random.default_rng(0).integers(0, 200, 2345)


@pytest.fixture
def drawn():
    """Ascending ranges: some empty, some side by side, some over several chunks."""
    cuts = np.sort(np.random.default_rng(1).choice(2346, 80, replace=False))
    starts, stops = cuts[:-1:2], cuts[1::2].copy()
    stops[5], stops[6] = starts[5], starts[7]
    return starts, stops


@pytest.fixture
def slices(monkeypatch):
    """Count what HDF5 is asked for by slices."""
    read, real = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda array, key: read.append(key) or real(array, key))
    return read


def _stored(folder, numbers, **options):
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("x", data=numbers, **options)
    return h5py.File(folder / "data.h5", "r")


@each_storage
@pytest.mark.parametrize("number_type", ["uint8", "<i2", ">i4", "int64", "float32", "float64", "bool"])
def test_ranges_are_slices(tmp_path, drawn, monkeypatch, stored, number_type):
    monkeypatch.setattr(ranges, "SPAN", 300)
    monkeypatch.setattr(ranges, "GAP", 60)
    starts, stops = drawn
    numbers = NUMBERS.astype(number_type)
    with _stored(tmp_path, numbers, **stored) as file:
        array = file["x"]
        expected = np.concatenate([numbers[start:stop] for start, stop in zip(starts, stops, strict=True)])
        found = read_ranges(array, starts, stops)
        assert found.dtype == numbers.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(read_ranges(array, np.array([0]), np.array([len(numbers)])), numbers)
        assert len(read_ranges(array, np.array([7, 9]), np.array([7, 9]))) == 0
        assert len(read_ranges(array, np.array([], np.int64), np.array([], np.int64))) == 0


@pytest.mark.parametrize("stored", ["gzip", "gzip, shuffled"])
def test_gzip_is_unpacked_without_the_extra_as_with_it(tmp_path, drawn, monkeypatch, stored):
    found = []
    for decompress in (ranges.decompress, zlib.decompress):
        monkeypatch.setattr(ranges, "decompress", decompress)
        with _stored(tmp_path, NUMBERS, **STORED[stored]) as file:
            found.append(read_ranges(file["x"], *drawn))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("stored", ["in one piece", "chunks", "gzip", "gzip, shuffled"])
def test_what_lies_plain_or_in_gzip_is_not_read_by_hdf5(tmp_path, drawn, slices, stored):
    with _stored(tmp_path, NUMBERS, **STORED[stored]) as file:
        read_ranges(file["x"], *drawn)
    assert slices == []


def test_only_the_ranges_of_what_lies_plain_are_read(tmp_path, monkeypatch):
    read, real = [], ranges.os.preadv
    monkeypatch.setattr(ranges.os, "preadv", lambda file, into, at: read.append(len(into[0])) or real(file, into, at))
    with _stored(tmp_path, NUMBERS, chunks=(50,)) as file:
        read_ranges(file["x"], np.array([10, 95]), np.array([12, 103]))
    assert read == [2 * 8, 5 * 8, 3 * 8]


@pytest.mark.parametrize("options", [{"userblock_size": 512}, {"driver": "core"}, {}])
def test_unusual_files_and_those_being_written_are_left_to_hdf5(tmp_path, drawn, slices, options):
    with h5py.File(tmp_path / "data.h5", "w", **options) as file:
        array = file.create_dataset("x", data=NUMBERS, chunks=(50,))
        assert len(read_ranges(array, *drawn))
    assert slices


@each_storage
def test_what_was_never_written_is_zero(tmp_path, stored):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        array = file.create_dataset("x", (500,), np.int32, **stored)
        if stored:
            array[300:350] = 7
    with h5py.File(tmp_path / "data.h5") as file:
        found = read_ranges(file["x"], np.array([10, 299]), np.array([160, 302]))
    assert found.tolist() == [0] * 151 + [7, 7] * bool(stored) + [0, 0] * (not stored)


def test_a_file_that_was_cut_is_told(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(100_000)
    with h5py.File(path, "r") as file:
        os.truncate(path, 300_000)
        with pytest.raises(SourceError, match="truncated"):
            read_ranges(file["x"], np.array([5, 99_000]), np.array([9, 99_009]))
