"""A file that changes between planning and reading is refused; one whose permissions change is not."""

import os

import numpy as np
import pytest

from corpuscle.core.errors import SourceError
from corpuscle.source.readers.h5ad import H5ad
from corpuscle.source.readers.zarr import Zarr
from corpuscle.source.source import open_source
from stores import STORES


def _rewritten(path, last=b"?"):
    """Write a file or each file of a folder anew, with another last byte or none; sizes and times are as before."""
    for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
        status, content = file.stat(), file.read_bytes()
        file.write_bytes(content[: len(content) - len(last)] + last)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_source_that_changed_since_it_was_opened_is_refused(store, counts_of, monkeypatch):
    monkeypatch.setattr("corpuscle.source.storage.change_guard.REST", 0)
    path = store(counts_of(40))
    source = open_source("blood", path)
    source.reader.read_counts(np.arange(3))
    _rewritten(path, last=b"")
    source.reader.read_counts(np.arange(3))
    _rewritten(path)
    with pytest.raises(SourceError, match="source 'blood' has changed, or is gone, since it was opened"):
        source.reader.read_counts(np.arange(3))


def test_a_source_that_is_gone_is_refused(write):
    path = write()
    source = open_source("blood", path)
    path.unlink()
    with pytest.raises(SourceError, match="has changed, or is gone"):
        source.reader.read_counts(np.arange(3))


def test_a_folder_of_many_files_is_not_looked_at_all_the_time(tmp_path, annotated, counts_of, monkeypatch):
    source = open_source("blood", STORES["zarr 3"](tmp_path, annotated(counts_of(40))))
    looks, stamp = [], Zarr.stamp
    monkeypatch.setattr(Zarr, "stamp", lambda reader: looks.append(1) or stamp(reader))
    monkeypatch.setattr("corpuscle.source.storage.change_guard.REST", 10**9)
    for _ in range(5):
        source.reader.check()
    assert len(looks) == 1


def test_the_time_that_a_hash_takes_does_not_leave_a_file_unwatched(write, monkeypatch):
    path, clock, looks = write(), [0.0], []
    source, reader = open_source("blood", path), H5ad
    stamp, content = reader.stamp, reader.content

    def slow_stamp(one):
        clock[0] += 1
        looks.append(clock[0])
        return stamp(one)

    def slow_hash(one):
        clock[0] += 1_000
        return content(one)

    monkeypatch.setattr("corpuscle.source.storage.change_guard.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(reader, "stamp", slow_stamp)
    monkeypatch.setattr(reader, "content", slow_hash)
    path.chmod(0o640 if path.stat().st_mode & 0o777 != 0o640 else 0o600)
    source.reader.check()
    source.reader.check()
    assert looks == [1.0] and clock == [1_001.0]
    clock[0] += 21
    source.reader.check()
    assert len(looks) == 2
