"""The store: results that are whole, or else are removed and reported."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from corpuscle import store as store_module
from corpuscle.core.disk import new_hdf5
from corpuscle.core.errors import DiskError, FolderError
from corpuscle.store import CHECKSUMS, PARTIAL, Store, atomic, remove_partial, write_text

resource = pytest.importorskip("resource", reason="limits on the size of files are POSIX")


def put(store: Store, text: str = "1 2 3") -> Path:
    with store.create("scores", "ab12") as folder:
        (folder / "scores.txt").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "more.txt").write_text("more")
    return store.folder("scores", "ab12")


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file, leaving its size and time."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda at: cut(at / "scores.txt"), "scores.txt is damaged (it has 4 bytes instead of 5)"),
    "emptied": (lambda at: (at / "scores.txt").write_text(""), "scores.txt is damaged (it has 0 bytes instead of 5)"),
    "flipped": (lambda at: flip(at / "scores.txt"), "scores.txt is damaged (its checksum differs)"),
    "deleted": (lambda at: (at / "inner" / "more.txt").unlink(), "inner/more.txt is missing"),
    "no checksums": (lambda at: (at / CHECKSUMS).unlink(), f"{CHECKSUMS} is missing"),
    "checksums cut": (lambda at: cut(at / CHECKSUMS), f"{CHECKSUMS} is damaged"),
    "checksums of another kind": (lambda at: (at / CHECKSUMS).write_text('{"scores.txt": 1}'), "is damaged"),
    "no checksum in checksums": (lambda at: (at / CHECKSUMS).write_text("{}"), "it lists none of the files"),
    "checksums in a list": (lambda at: (at / CHECKSUMS).write_text("[]"), f"{CHECKSUMS} is damaged"),
    "a file": (lambda at: (shutil.rmtree(at), at.write_text("?")), "it is a file, not a folder"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_result_is_reported_removed_and_made_again(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, message = DAMAGE[case]
    store = Store(tmp_path / "store")
    spoil(put(store))
    # As in another process, which has not looked at it yet.
    monkeypatch.setattr(store_module, "_sound", {})
    assert not store.has("scores", "ab12")
    assert f"{tmp_path / 'store' / 'scores' / 'ab12'}: " in caplog.text
    assert message in caplog.text
    assert list((tmp_path / "store" / "scores").iterdir()) == []
    caplog.clear()
    put(store)
    assert store.has("scores", "ab12")
    assert store.find("scores", "ab12") == store.folder("scores", "ab12")
    assert caplog.text == ""


def test_damage_that_happens_while_a_process_runs_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = put(store)
    assert store.has("scores", "ab12")
    (folder / "scores.txt").write_text("1 2 4")
    assert not Store(tmp_path).has("scores", "ab12")


def test_a_result_is_read_for_its_checksums_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Store(tmp_path))
    read: list[Path] = []
    real = store_module.hash_file
    monkeypatch.setattr(store_module, "hash_file", lambda path: read.append(path) or real(path))
    assert [Store(tmp_path).has("scores", "ab12") for _ in range(3)] == [True] * 3
    assert len(read) == 2, "each of its two files once"


def test_checksums_name_every_file(tmp_path: Path) -> None:
    sums = json.loads((put(Store(tmp_path)) / CHECKSUMS).read_text())
    assert {name: entry["size"] for name, entry in sums.items()} == {"scores.txt": 5, "inner/more.txt": 4}


def test_what_another_process_made_meanwhile_is_kept_if_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    with store.create("scores", "ab12") as slower:
        (slower / "scores.txt").write_text("slower")
        put(store, "quicker")
    assert (store.folder("scores", "ab12") / "scores.txt").read_text() == "quicker"
    with store.create("scores", "ab12") as slower:
        (slower / "scores.txt").write_text("slower")
        cut(store.folder("scores", "ab12") / "scores.txt")
    assert (store.folder("scores", "ab12") / "scores.txt").read_text() == "slower"
    assert "damaged" in caplog.text


def test_a_result_that_was_made_again_meanwhile_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    folder = put(store)
    # Another process removed the damaged one and made it again after this one had looked.
    store_module._remove(folder)
    assert store.has("scores", "ab12")
    assert [entry.name for entry in folder.parent.iterdir()] == ["ab12"]


def test_all_that_a_result_has_is_flushed_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_rename = Path.rename
    monkeypatch.setattr(store_module, "flush", lambda path: seen.append(path.name))
    monkeypatch.setattr(Path, "rename", lambda path, to: seen.append("named") or real_rename(path, to))
    put(Store(tmp_path))
    assert seen[-1] == "named"
    assert {"scores.txt", "more.txt", CHECKSUMS, "inner"} < set(seen)
    seen.clear()
    monkeypatch.setattr(Path, "replace", lambda path, to: seen.append("named") or real_rename(path, to))
    write_text(tmp_path / "note.txt", "note")
    assert (len(seen), seen[-1]) == (2, "named")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.create("scores", "ab12") as folder:
        (folder / "scores.txt").write_text("1 2 3")
        raise ZeroDivisionError
    assert not store.has("scores", "ab12")
    assert list((tmp_path / "scores").iterdir()) == []


def test_sweeping_removes_what_was_left(tmp_path: Path) -> None:
    folder = put(Store(tmp_path))
    (folder.parent / f"{PARTIAL}cd34").mkdir()
    (tmp_path / f"{PARTIAL}note").write_text("")
    remove_partial(tmp_path)
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))
    assert Store(tmp_path).has("scores", "ab12")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let files have 20,000 bytes at most, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


NOISE = np.random.default_rng(0).random(50_000)


def _hdf5(path: Path) -> None:
    with new_hdf5(path) as file:
        file["x"] = NOISE


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 100_000),
    "parquet": lambda path: pd.DataFrame({"x": NOISE}).to_parquet(path),
    "csv": lambda path: pd.DataFrame({"x": NOISE}).to_csv(path),
    "safetensors": lambda path: save_file({"x": NOISE}, path),
    "npz": lambda path: np.savez(path.with_suffix(".npz"), x=NOISE),
    "hdf5": _hdf5,
}


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "store")
    full = pytest.raises(DiskError, match=r"ab12: the disk is full .*free space there and run the same command again")
    with full, store.create("scores", "ab12") as folder:
        WRITERS[kind](folder / "file")
    assert list((tmp_path / "store" / "scores").iterdir()) == []
    if kind != "npz":
        (tmp_path / "file").write_text("before")
        with pytest.raises(DiskError, match="file: the disk is full"), atomic(tmp_path / "file") as partial:
            WRITERS[kind](partial)
        assert (tmp_path / "file").read_text() == "before"
        assert {entry.name for entry in tmp_path.iterdir()} == {"file", "store"}


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(FolderError, match=r"cannot be written \(.*Read-only file system"):
        put(Store(tmp_path / "store"))
    with pytest.raises(FolderError, match="choose another folder"):
        write_text(tmp_path / "note.txt", "note")


def test_a_result_that_may_not_be_read_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> str:
        raise PermissionError(13, "Permission denied")

    store = Store(tmp_path)
    folder = put(store)
    monkeypatch.setattr("corpuscle.store.read_plain", refuse)
    with pytest.raises(FolderError, match="cannot be read"):
        store.has("scores", "ab12")
    assert folder.is_dir()


def test_warnings_go_to_a_logger_of_the_package(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut(put(Store(tmp_path)) / "scores.txt")
    Store(tmp_path).has("scores", "ab12")
    assert [(record.name, record.levelno) for record in caplog.records] == [("corpuscle.store", logging.WARNING)]


def test_hdf5_that_met_a_full_disk_does_not_crash_when_the_process_ends(tmp_path: Path) -> None:
    code = f"""if True:
        import resource
        from pathlib import Path
        from corpuscle.core.disk import new_hdf5
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        try:
            with new_hdf5(Path({str(tmp_path / "x.h5")!r})) as file:
                for at in range(20):
                    file[f"group/{{at}}"] = [at] * 1000
        except OSError as error:
            print(error.strerror)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "File too large\n", "")
