"""A folder that exists is complete: nothing is left of what was interrupted, whoever writes at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from corpuscle.core.errors import FolderError
from corpuscle.core.paths import safe_name
from corpuscle.store import Store, atomic, flush, remove_partial, write_text


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_result_is_there_when_its_block_ends(tmp_path: Path):
    store = Store(tmp_path)
    with store.create("models", "key") as folder:
        (folder / "weights").write_text("1")
        assert not store.has("models", "key")
    assert store.has("models", "key")
    assert names_in(tmp_path) == ["models", "models/key", "models/key/checksums.json", "models/key/weights"]


@pytest.mark.parametrize("trouble", [RuntimeError, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_an_interrupted_result_leaves_nothing(tmp_path: Path, trouble):
    store = Store(tmp_path)

    def interrupted():
        with store.create("models", "key") as folder:
            (folder / "weights").write_text("1")
            raise trouble

    with pytest.raises(trouble):
        interrupted()
    assert not store.has("models", "key")
    assert names_in(tmp_path) == ["models"]


def test_of_two_that_write_one_result_both_find_it_whole(tmp_path: Path):
    store, together = Store(tmp_path), Barrier(4)

    def write(_: int) -> None:
        with store.create("models", "key") as folder:
            (folder / "a").write_text("1")
            together.wait(timeout=300)
            (folder / "b").write_text("2")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    files = [f"models/key/{name}" for name in ("a", "b", "checksums.json")]
    assert names_in(tmp_path) == ["models", "models/key", *files]
    assert store.has("models", "key")


def test_the_first_of_two_results_stays(tmp_path: Path):
    store = Store(tmp_path)
    for text in ("first", "second"):
        with store.create("models", "key") as folder:
            (folder / "a").write_text(text)
    assert (store.folder("models", "key") / "a").read_text() == "first"


def test_a_file_in_the_place_of_a_result_is_replaced(tmp_path: Path):
    store = Store(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "key").write_text("a file in the way")
    with store.create("models", "key"):
        pass
    assert store.has("models", "key")


def test_a_folder_that_cannot_be_moved_into_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_path: Path, _to: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FolderError, match="key: cannot be written"), Store(tmp_path).create("models", "key"):
        pass
    assert names_in(tmp_path) == ["models"]


def test_sweeping_removes_what_killed_processes_left_and_nothing_else(tmp_path: Path):
    store = Store(tmp_path)
    with store.create("models", "done") as folder:
        (folder / "a").write_text("1")
    killed = tmp_path / "models" / ".partial-key-01234567"
    killed.mkdir()
    (killed / "a").write_text("half")
    (tmp_path / ".partial-01234567-scores.parquet").write_text("half")
    assert not store.has("models", "key")
    remove_partial(tmp_path)
    assert names_in(tmp_path) == ["models", "models/done", "models/done/a", "models/done/checksums.json"]


def test_a_store_without_a_folder_is_empty(tmp_path: Path):
    store = Store(tmp_path / "nowhere")
    remove_partial(store.root)
    assert not store.has("models", "key")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")

    def interrupted():
        with atomic(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["deep", "deep/file.txt"]


@pytest.mark.parametrize("text", ["a/b", "..", "", ".", "x" * 300, "Größe", "a\nb", "con:", "-x"], ids=repr)
def test_any_text_has_a_file_name_of_its_own(text):
    name = safe_name(text)
    assert Path(name).name == name
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert len(name) < 100
    assert name != safe_name(text + "!")


def test_a_flush_waits_for_the_disk_of_a_file_and_of_a_folders_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (file := tmp_path / "file").write_text("1")
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: waited.append(os.fstat(handle).st_ino))
    flush(file)
    flush(tmp_path)
    assert waited == [file.stat().st_ino, tmp_path.stat().st_ino]
