"""A corpus is streamed into a file that is as if it were written from memory, however often it was stopped."""

import signal
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import DiskError
from corpuscle.corpus import export
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.export import write_corpus, written_identity
from corpuscle.execution.workflow import compose

each_form = pytest.mark.parametrize("form", ["h5ad", "zarr"])


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Cells in blocks of 7, counts in segments of 200 and chunks of 50."""
    for name, value in (("BLOCK_CELLS", 7), ("SEGMENT", 200), ("CHUNK", 50)):
        monkeypatch.setattr(export, name, value)


@pytest.fixture
def read_cells(monkeypatch):
    """Note which cells are read."""
    read, real = [], Corpus.counts

    def counts(corpus, rows=slice(None)):
        read.append((rows.start, rows.stop))
        return real(corpus, rows)

    monkeypatch.setattr(Corpus, "counts", counts)
    return read


def _read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ad.read_h5ad(path) if path.suffix == ".h5ad" else ad.read_zarr(path)


def _assert_holds(path, corpus):
    found, expected = _read(path), corpus.to_anndata()
    assert found.X.dtype.kind == "u"
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    pd.testing.assert_frame_equal(found.var, expected.var)
    pd.testing.assert_frame_equal(found.obs.astype(str), expected.obs.astype(str))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@each_form
@pytest.mark.parametrize("n_cells", [1, 7, 60])
def test_what_is_streamed_is_what_would_be_in_memory(make, tmp_path, form, n_cells):
    corpus, path = (
        make(n_cells, obs={"mixed": pd.array([None, "x"] * n_cells, "string")[:n_cells]}),
        tmp_path / "out" / f"corpus.{form}",
    )
    told = []
    write_corpus(corpus, path, "1d", {"manifest": "{}"}, told.append)
    _assert_holds(path, corpus)
    assert _read(path).uns["corpuscle"] == {"fingerprint": "1d", "manifest": "{}"}
    assert written_identity(path) == "1d"
    assert told == sorted(told)
    assert told[-1] == 1


@each_form
def test_cells_without_counts_keep_their_places(make, counts_of, tmp_path, form):
    counts = counts_of(40)
    counts[[0, 13, 14, 39]] = 0
    corpus, path = make(counts), tmp_path / "out" / f"corpus.{form}"
    write_corpus(corpus, path, "1d", {})
    _assert_holds(path, corpus)


def test_counts_are_compact_and_chunked(make, tmp_path):
    write_corpus(make(60), tmp_path / "corpus.h5ad", "1d", {})
    with h5py.File(tmp_path / "corpus.h5ad") as file:
        data = file["X/data"]
        assert (data.dtype, data.chunks, data.compression) == (np.uint16, (50,), "gzip")
    write_corpus(make(60), tmp_path / "corpus.zarr", "1d", {})
    import zarr

    data = zarr.open_group(tmp_path / "corpus.zarr", mode="r")["X/data"]
    assert (data.metadata.zarr_format, data.dtype, data.chunks, data.shards) == (3, np.uint16, (50,), (200,))


def test_only_a_block_of_cells_is_in_memory(make, tmp_path, read_cells):
    write_corpus(make(60), tmp_path / "corpus.h5ad", "1d", {})
    assert read_cells == [(start, min(start + 7, 60)) for start in range(0, 60, 7)]


class _Stop(BaseException):
    """As a kill would, this passes every handler of errors."""


def _stopping_at(share):
    def progress(done):
        if done >= share:
            raise _Stop

    return progress


@each_form
def test_what_was_stopped_goes_on_and_leaves_nothing_half_written(make, tmp_path, form, read_cells):
    corpus, path = make(60), tmp_path / "out" / f"corpus.{form}"
    for share in (0.0, 0.3, 0.3, 0.6, 1.0):
        with pytest.raises(_Stop):
            write_corpus(corpus, path, "1d", {}, _stopping_at(share))
        assert not path.exists()
    read_cells.clear()
    write_corpus(corpus, path, "1d", {})
    assert read_cells[0][0] > 45
    _assert_holds(path, corpus)


@each_form
@pytest.mark.parametrize("step", ["write", "finish", "note"])
def test_a_kill_in_the_midst_of_any_step_is_mended(make, tmp_path, form, step, monkeypatch):
    corpus, path = make(60), tmp_path / "out" / f"corpus.{form}"
    kind = export._Work if step == "note" else {"h5ad": export._H5ad, "zarr": export._Zarr}[form]
    real, calls = getattr(kind, step), []

    def killed(*args, **kwargs):
        calls.append(1)
        real(*args, **kwargs) if step == "write" else None
        if len(calls) == (1 if step == "finish" else 3):
            raise _Stop
        return real(*args, **kwargs)

    monkeypatch.setattr(kind, step, killed)
    with pytest.raises(_Stop):
        write_corpus(corpus, path, "1d", {})
    assert not path.exists()
    monkeypatch.setattr(kind, step, real)
    write_corpus(corpus, path, "1d", {})
    _assert_holds(path, corpus)


@each_form
def test_a_kill_just_before_the_file_takes_its_name_is_mended(make, tmp_path, form, monkeypatch):
    corpus, path, real = make(60), tmp_path / "out" / f"corpus.{form}", export._write_rest

    def killed(*args):
        real(*args)
        raise _Stop

    monkeypatch.setattr(export, "_write_rest", killed)
    with pytest.raises(_Stop):
        write_corpus(corpus, path, "1d", {})
    assert not path.exists()
    monkeypatch.setattr(export, "_write_rest", real)
    write_corpus(corpus, path, "1d", {})
    _assert_holds(path, corpus)


@each_form
def test_work_for_other_cells_is_not_taken_up(make, tmp_path, form, read_cells):
    path = tmp_path / "out" / f"corpus.{form}"
    with pytest.raises(_Stop):
        write_corpus(make(60), path, "1d", {}, _stopping_at(0.8))
    read_cells.clear()
    other = make(60, seed=1)
    write_corpus(other, path, "0ther", {})
    assert read_cells[0][0] == 0
    _assert_holds(path, other)


@each_form
@pytest.mark.parametrize("journal", ["", "{", "{}", "[]", '{"identity": 1}'])
def test_a_journal_that_cannot_be_read_is_as_none(make, tmp_path, form, journal):
    corpus, path = make(60), tmp_path / "out" / f"corpus.{form}"
    with pytest.raises(_Stop):
        write_corpus(corpus, path, "1d", {}, _stopping_at(0.5))
    (path.parent / f"{export.WORK}{path.name}" / "journal.json").write_text(journal)
    write_corpus(corpus, path, "1d", {})
    _assert_holds(path, corpus)


@each_form
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["gone", "empty"])
def test_work_that_lost_its_pointers_begins_anew(make, tmp_path, form, damage):
    corpus, path = make(60), tmp_path / "out" / f"corpus.{form}"
    with pytest.raises(_Stop):
        write_corpus(corpus, path, "1d", {}, _stopping_at(0.5))
    damage(path.parent / f"{export.WORK}{path.name}" / "indptr")
    write_corpus(corpus, path, "1d", {})
    _assert_holds(path, corpus)


@each_form
def test_what_is_there_is_replaced_at_the_end(make, tmp_path, form):
    path = tmp_path / "out" / f"corpus.{form}"
    write_corpus(make(30), path, "1d", {})
    with pytest.raises(_Stop):
        write_corpus(make(60), path, "2d", {}, _stopping_at(1.0))
    assert written_identity(path) == "1d"
    write_corpus(make(60), path, "2d", {})
    assert written_identity(path) == "2d"
    _assert_holds(path, make(60))


@each_form
def test_large_counts_get_the_room_they_need_and_the_work_goes_on(make, counts_of, tmp_path, form, read_cells):
    counts = counts_of(60)
    counts[20, 5] = 2**16
    corpus, path = make(counts), tmp_path / "out" / f"corpus.{form}"
    with pytest.raises(_Stop):
        write_corpus(corpus, path, "1d", {}, _stopping_at(0.8))
    read_cells.clear()
    write_corpus(corpus, path, "1d", {})
    assert read_cells[0][0] > 20
    assert _read(path).X.dtype == np.uint32
    _assert_holds(path, corpus)


def test_a_count_at_the_edge_still_fits(make, counts_of, tmp_path):
    counts = counts_of(20)
    counts[3, 4] = 2**16 - 1
    write_corpus(make(counts), tmp_path / "out" / "corpus.h5ad", "1d", {})
    assert _read(tmp_path / "out" / "corpus.h5ad").X.dtype == np.uint16
    _assert_holds(tmp_path / "out" / "corpus.h5ad", make(counts))


@each_form
def test_a_full_disk_is_told_and_nothing_is_lost(make, tmp_path, form, monkeypatch, read_cells):
    corpus, path = make(60), tmp_path / "out" / f"corpus.{form}"
    kind = {"h5ad": export._H5ad, "zarr": export._Zarr}[form]
    real = kind.write

    def full(self, at, data, genes):
        if at == 4:
            raise OSError(28, "No space left on device")
        real(self, at, data, genes)

    monkeypatch.setattr(kind, "write", full)
    with pytest.raises(DiskError, match=r"disk is full .*No space left.*free space there and run the same command"):
        write_corpus(corpus, path, "1d", {})
    assert not path.exists()
    monkeypatch.setattr(kind, "write", real)
    read_cells.clear()
    write_corpus(corpus, path, "1d", {})
    assert read_cells[0][0] > 0
    _assert_holds(path, corpus)


def test_what_is_no_composed_file_has_no_identity(tmp_path, write, make):
    (tmp_path / "text.h5ad").write_text("no")
    (tmp_path / "empty.zarr").mkdir()
    for path in (tmp_path / "text.h5ad", tmp_path / "empty.zarr", tmp_path / "none.zarr", write()):
        assert written_identity(path) is None
    with h5py.File(write("other"), "r+") as file:
        file.create_group("uns/corpuscle/fingerprint")
    assert written_identity(tmp_path / "other.h5ad") is None
    path = tmp_path / "corpus.zarr"
    write_corpus(make(), path, "1d", {})
    for part in ("uns/corpuscle/fingerprint/c", "uns/corpuscle/fingerprint/zarr.json", "zarr.json"):
        (path / part).write_text("{")
        assert written_identity(path) is None


STUDY = """
name = "killed"
models = [{ name = "ldvae", budget = { steps = 1 } }]
tasks = [{ name = "reconstruction", on = ["blood"] }]
corpora = [{ name = "A", parts = [{ source = "blood", n_cells = 30 }] }]
sources = { blood = { path = "blood.h5ad" } }
quality = { min_counts = 1, min_genes = 1 }
holdout = { blood = { by = "cell", share = 0.1 } }
"""
KILLED = """
import os, sys
from pathlib import Path
from corpuscle.corpus import export
from corpuscle.execution.workflow import compose

export.BLOCK_CELLS, export.SEGMENT, export.CHUNK = 7, 200, 50

def notice(what, share):
    if what.startswith("writing") and share > 0.5:
        os.kill(os.getpid(), 9)

compose(Path(sys.argv[1]), sys.argv[2], form=sys.argv[3], notice=notice)
"""


@pytest.mark.slow
@each_form
def test_a_killed_compose_called_again_leaves_what_an_undisturbed_one_leaves(tmp_path, write, form, read_cells):
    write("blood", 40)
    study, path = tmp_path / "study.toml", f"corpora/A/0/corpus.{form}"
    study.write_text(STUDY)
    compose(study, tmp_path / "undisturbed", form=form)
    call = [sys.executable, "-W", "ignore", "-c", KILLED, study, tmp_path / "killed", form]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / path).exists()
    read_cells.clear()
    compose(study, tmp_path / "killed", form=form)
    assert read_cells[0][0] > 7
    found, expected = (_contents(tmp_path / folder / path) for folder in ("killed", "undisturbed"))
    assert found.keys() == expected.keys()
    assert len(found) > 10
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    assert {entry.name for entry in (tmp_path / "killed" / path).parent.iterdir()} == {
        "manifest.json", "cells.parquet", f"corpus.{form}"}  # fmt: skip


def _contents(path):
    """Return every array of a hierarchy by its name."""
    if path.suffix == ".zarr":
        import zarr

        members = zarr.open_group(path, mode="r").members(max_depth=None)
        return {name: np.asarray(node[...]) for name, node in members if isinstance(node, zarr.Array)}
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, node: found.update({name: np.asarray(node[()])}) if hasattr(node, "dtype") else None
        )
    return found
