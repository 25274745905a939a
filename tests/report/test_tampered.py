"""A run's folder of which an entry is of another kind, missing, infinite, huge or negative: refused, or shown."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import InputError
from corpuscle.report.page.render import render
from corpuscle.report.page.run_folder import OPTIONAL

Change = Callable[[Path], object]
NUMBERS = {"text": "x", "missing": np.nan, "infinite": np.inf, "negative": -1, "huge": 1e308, "zero": 0}
TEXTS = {"number": 3.5, "missing": None, "empty": "", "long": "a" * 100_000}
ENTRIES: dict[str, Any] = {
    "nothing": None, "number": 3, "text": "x", "list": [], "table": {}, "numbers": [1], "nested": {"a": {"b": [None]}},
}  # fmt: skip
VALUES = ["3", '"x"', "[]", "{}", "[[1]]", "inf", "-5", "99999999999999999", "true"]


def _set(name: str, column: str, value: Any) -> Change:
    def change(folder: Path) -> None:
        table = pd.read_parquet(folder / f"{name}.parquet")
        table.assign(**{column: value}).to_parquet(folder / f"{name}.parquet")

    return change


def _rows(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    def apply(folder: Path) -> None:
        change(pd.read_parquet(folder / f"{name}.parquet")).to_parquet(folder / f"{name}.parquet")

    return apply


def tables(folder: Path) -> Iterator[tuple[str, Change]]:
    """List changes of each column of each table."""
    for name in ("scores", *OPTIONAL):
        if not (folder / f"{name}.parquet").is_file():
            continue
        table = pd.read_parquet(folder / f"{name}.parquet")
        for column in table:
            values = NUMBERS if pd.api.types.is_numeric_dtype(table[column]) else TEXTS
            yield from ((f"{name}.{column} {kind}", _set(name, column, value)) for kind, value in values.items())
        yield f"{name} without rows", _rows(name, lambda table: table.iloc[:0])
        yield f"{name} twice", _rows(name, lambda table: pd.concat([table, table]))


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*at, key))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*at, 0))


def _entry(at: tuple[Any, ...], value: Any) -> Change:
    def change(folder: Path) -> None:
        document = json.loads((folder / "provenance.json").read_text())
        place = document
        for key in at[:-1]:
            place = place[key]
        place[at[-1]] = value
        (folder / "provenance.json").write_text(json.dumps(document))

    return change


def _line(line: str, value: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / "study.toml").read_text()
        (folder / "study.toml").write_text(text.replace(line, f"{line.partition(' = ')[0]} = {value}", 1))

    return change


def documents(folder: Path) -> Iterator[tuple[str, Change]]:
    """List changes of each entry of the documents."""
    for at in _places(json.loads((folder / "provenance.json").read_text())):
        yield from ((f"{'.'.join(map(str, at))}: {kind}", _entry(at, value)) for kind, value in ENTRIES.items())
    lines = [line for line in (folder / "study.toml").read_text().splitlines() if " = " in line]
    for line in lines:
        yield from ((f"{line.partition(' = ')[0]} = {value}", _line(line, value)) for value in VALUES)
    for value in ("1", '{ r2_log = "x" }', "{ r2_log = -1.0 }", "{ r2_log = [1] }", "{ r2_log = inf }"):
        yield f"margins = {value}", _line(lines[0], f'"x"\nmargins = {value}')
    for value in ('{ draws = "x", fits = 2 }', "{ fits = [] }", "{ draws = 1, fits = 10 }"):
        yield f"seeds = {value}", _line(next(line for line in lines if line.startswith("seeds")), value)


def _is_refused_or_shown(whole: Path, work: Path, change: Change) -> str:
    """Return what else happened; empty where it was refused or shown."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    change(work)
    try:
        render(work)
    except InputError as error:
        return "" if str(work) in str(error) else f"no file is named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.fixture
def whole(make_run: Callable[..., Path]) -> Path:
    return make_run(corpora=("A", "B"), seeds=2, n_genes=12, n_types=3, targets=("blood",))


def test_some_tampered_folders_are_refused_or_shown(whole: Path, tmp_path: Path) -> None:
    changes = random.Random(0).sample([*tables(whole), *documents(whole)], 10)
    found = {name: _is_refused_or_shown(whole, tmp_path / "work", change) for name, change in changes}
    assert {name: why for name, why in found.items() if why} == {}


@pytest.mark.faults
@pytest.mark.parametrize("kind", [tables, documents])
def test_every_tampered_folder_is_refused_or_shown(whole: Path, tmp_path: Path, kind: Any) -> None:
    found = {name: _is_refused_or_shown(whole, tmp_path / "work", change) for name, change in kind(whole)}
    assert len(found) > 250
    assert {name: why for name, why in found.items() if why} == {}
