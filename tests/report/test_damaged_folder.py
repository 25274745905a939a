"""A run's folder that was damaged or tampered with: the file is named, with what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import DiskError, FolderError
from corpuscle.execution.results_folder import write_table
from corpuscle.report.page.render import render
from corpuscle.report.page.run_folder import OPTIONAL, RunFolder

MakeRun = Callable[..., Path]


def _table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        change(pd.read_parquet(folder / f"{name}.parquet")).to_parquet(folder / f"{name}.parquet")

    return edit


def _document(**parts: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "provenance.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))

    return edit


def _first(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: [value, *table[column].astype(object)[1:]]})

    return change


SPOILT: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "text for numbers": ("scores.parquet", _table("scores", lambda t: t.assign(value="high")), "expected numbers"),
    "numbers for texts": ("curves.parquet", _table("curves", lambda t: t.assign(corpus=1)), "expected texts"),
    "a seed is missing": ("scores.parquet", _table("scores", _first("seed", None)), "a number in every row"),
    "lists": ("maps.parquet", lambda at: pd.DataFrame({"x": [[1]]}).to_parquet(at / "maps.parquet"), "lacks"),
    "no column": ("measures.parquet", _table("measures", lambda t: t.drop(columns="value")), "lacks ['value']"),
    "failures of another kind": ("provenance.json", _document(failures="all"), "expected failures to be tables"),
    "corpora without names": ("provenance.json", _document(corpora=[{}]), "expected corpora to be tables with name"),
    "packages of another kind": ("provenance.json", _document(packages=[1]), "expected packages to be a table"),
    "a list": ("provenance.json", lambda at: (at / "provenance.json").write_text("[]"), "not a list"),
    "brackets": ("provenance.json", lambda at: (at / "provenance.json").write_text("[" * 10**5), "cannot be read"),
    "bytes": ("study.toml", lambda at: (at / "study.toml").write_bytes(b"\xff\xfe"), "cannot be read"),
    "study of another kind": ("study.toml", lambda at: (at / "study.toml").write_text("tasks = 1"), "tasks"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_was_tampered_with_is_named_with_what_to_do(make_run: MakeRun, case: str) -> None:
    name, spoil, said = SPOILT[case]
    folder = make_run(corpora=("A", "B"), seeds=1, n_genes=12)
    spoil(folder)
    with pytest.raises(FolderError) as caught:
        RunFolder.read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / name}: ")
    assert said in message
    assert "run the study again in this folder" in message


@pytest.mark.parametrize("name", ["scores", *(name for name in OPTIONAL if name != "maps")])
@pytest.mark.parametrize("how", ["cut", "emptied"])
def test_every_table_that_is_damaged_is_named(make_run: MakeRun, name: str, how: str) -> None:
    folder = make_run(corpora=("A", "B"), seeds=1, n_genes=12)
    path = folder / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-9] if how == "cut" else b"")
    with pytest.raises(FolderError, match=f"{name}.parquet: cannot be read"):
        RunFolder.read(folder)


def test_a_table_that_the_run_wrote_and_that_is_gone_is_named(make_run: MakeRun) -> None:
    """Without its draws, say, intervals would be narrower."""
    folder = make_run(corpora=("A", "B"), seeds=1, n_genes=12)
    _document(tables=["draws.parquet", "scores.parquet"])(folder)
    RunFolder.read(folder)
    (folder / "draws.parquet").unlink()
    with pytest.raises(FolderError, match=r"draws.parquet: the run wrote it, and it is gone; run the study again"):
        RunFolder.read(folder)


def test_a_flipped_bit_in_a_table_is_found(make_run: MakeRun) -> None:
    folder = make_run(corpora=("A", "B"), seeds=1, n_genes=12)
    path = folder / "scores.parquet"
    whole = pd.read_parquet(path)
    write_table(whole, path)
    content, rng, n_found = path.read_bytes(), np.random.default_rng(0), 0
    expected = RunFolder.read(folder).scores
    for _ in range(40):
        at = int(rng.integers(len(content)))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :])
        try:
            # What is read is right: such a bit is in what Arrow does not use.
            pd.testing.assert_frame_equal(RunFolder.read(folder).scores, expected)
        except FolderError as error:
            assert str(path) in str(error)
            n_found += 1
    assert n_found > 10


def test_a_report_in_a_folder_that_cannot_be_written_is_one_message(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(corpora=("A", "B"), seeds=1, n_genes=12)

    def refuse(number: int, said: str) -> Callable[..., None]:
        def raising(*_arguments: object, **_options: object) -> None:
            raise OSError(number, said)

        return raising

    monkeypatch.setattr(Path, "write_text", refuse(30, "Read-only file system"))
    with pytest.raises(FolderError, match=r"cannot be written \(.*Read-only file system"):
        render(folder)
    monkeypatch.setattr(Path, "write_text", refuse(28, "No space left on device"))
    with pytest.raises(DiskError, match="the disk is full"):
        render(folder)
    assert not (folder / "report.html").exists()
    assert not list(folder.rglob(".partial-*"))
