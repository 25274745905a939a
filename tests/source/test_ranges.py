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


@pytest.fixture(params=[0, ranges.SMALL])
def _kept_or_not(request, monkeypatch):
    """Keep small arrays of gzip, or none."""
    monkeypatch.setattr(ranges, "SMALL", request.param)


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
@pytest.mark.usefixtures("_kept_or_not")
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
    monkeypatch.setattr(ranges, "SMALL", 0)
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


@pytest.fixture
def unpacked(monkeypatch):
    """Count what is unpacked."""
    calls, real = [], ranges._unpack
    monkeypatch.setattr(ranges, "_unpack", lambda array, *ends: calls.append(ends) or real(array, *ends))
    return calls


def test_a_small_array_of_gzip_is_unpacked_once_as_long_as_its_file_is_the_same(tmp_path, unpacked):
    for turn in range(3):
        numbers = NUMBERS + turn // 2
        if turn != 1:
            _stored(tmp_path, numbers, **STORED["gzip"]).close()
        with h5py.File(tmp_path / "data.h5") as file:
            for start in (0, 2000):
                found = read_ranges(file["x"], np.array([start]), np.array([start + 9]))
                np.testing.assert_array_equal(found, numbers[start : start + 9])
                found[:] = -1
    assert unpacked == [(0, 2345)] * 2


def test_of_many_arrays_of_gzip_the_last_few_are_kept(tmp_path, unpacked):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for name in "abcde":
            file.create_dataset(name, data=NUMBERS, **STORED["gzip"])
    with h5py.File(tmp_path / "data.h5") as file:
        for name in "abcdea":
            read_ranges(file[name], np.array([3]), np.array([5]))
    assert len(unpacked) == 6
    assert len(ranges._whole) == ranges.KEPT


def test_a_part_that_is_damaged_does_not_matter_to_others(tmp_path):
    with _stored(tmp_path, NUMBERS, **STORED["gzip"]) as file:
        place = file["x"].id.get_chunk_info(7).byte_offset
    with (tmp_path / "data.h5").open("r+b") as file:
        file.seek(place)
        file.write(b"\0" * 8)
    with h5py.File(tmp_path / "data.h5") as file:
        np.testing.assert_array_equal(read_ranges(file["x"], np.array([3]), np.array([40])), NUMBERS[3:40])
        with pytest.raises(Exception, match=r"Error -\d|unsupported"):
            read_ranges(file["x"], np.array([351]), np.array([360]))


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
