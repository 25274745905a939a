"""Trace: from a score to the files, rows, seed, versions and results of the store that it comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd

from corpuscle.core.errors import CorpuscleError, FolderError, InputError
from corpuscle.core.fingerprint import hash_array
from corpuscle.core.paths import open_plain, read_plain, safe_name
from corpuscle.core.plain_files import read_data
from corpuscle.core.plain_toml import parse_toml
from corpuscle.execution.run_record import read_artifacts, store_of
from corpuscle.execution.upkeep import Kept
from corpuscle.store import damage_of

# By what a score is chosen; `seed` is a number.
SELECTS = ("corpus", "model", "seed", "task", "target", "metric", "unit", "way")
# What is shown of each.
VALUES = ("metric", "unit", "way", "value", "n_cells", "version", "reason")
# What names the results that a score is from; and how many of those are traced at once.
FROM = ("corpus", "model", "seed", "task", "target")
MOST_TRACED = 20
SCORES, SUMMARY = "scores.parquet", "scores_summary.csv"


def trace(
    folder: Path, *, row: int | None = None, summary_row: int | None = None, **chosen: str | int
) -> list[dict[str, Any]]:
    """Follow scores of a run back to what they come from.

    Parameters
    ----------
    folder
        The run's folder.
    row
        The score's row in ``scores.parquet``, counted from 0.
    summary_row
        A row of ``scores_summary.csv``, counted from 0 below its header: the scores that it sums up.
    **chosen
        Values of the columns `SELECTS`, which choose scores by what they are.

    Returns
    -------
    One document for each corpus, model, seed, task and target among the chosen scores: the scores with their rows, and
    the scores', the model's, the training cells' and the target's results, files and versions. What is not known, or
    no longer there, says so.

    Raises
    ------
    InputError
        When the folder has no scores, or none or too many are chosen.
    """
    scores = _read(folder / SCORES)
    found = _choose(scores, _of_summary(folder, summary_row, chosen), row)
    groups = list(found.groupby(list(FROM), sort=False, dropna=False, observed=True))
    if len(groups) > MOST_TRACED:
        several = ", ".join(
            f"{name} ({', '.join(map(str, values[:5]))}{', …' if len(values) > 5 else ''})"
            for name in SELECTS
            if len(values := list(found[name].unique())) > 1
        )
        raise InputError(
            f"{len(found):,} scores are chosen, of {len(groups):,} origins; choose by {several}, or by row"
        )
    origins = _Origins(folder)
    return [origins.of(dict(zip(FROM, place, strict=True)), rows) for place, rows in groups]


def _read(path: Path) -> pd.DataFrame:
    try:
        with open_plain(path) as file:
            found = pd.read_parquet(file) if path.suffix == ".parquet" else pd.read_csv(file, keep_default_na=False)
    except FileNotFoundError:
        raise FolderError(f"{path}: expected the folder of a run that has scores; run the study there first") from None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: cannot be read ({error}); run the study there again") from None
    needed = (*SELECTS, *VALUES) if path.name == SCORES else [name for name in SELECTS if name != "seed"]
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise FolderError(f"{path}: expected a table of scores; it has no column {lacking[0]!r}")
    if path.name == SCORES and found["seed"].dtype.kind not in "iu":
        raise FolderError(f"{path}: expected whole numbers in the column 'seed'; run the study there again")
    return found


def _of_summary(folder: Path, row: int | None, chosen: Mapping[str, str | int]) -> dict[str, str | int]:
    """Return by what the scores of a row of the summary are chosen, and by what else."""
    if row is None:
        return dict(chosen)
    summary = _read(folder / SUMMARY)
    _check_row(row, summary, SUMMARY)
    known = {name: str(summary[name].iloc[row]) for name in SELECTS if name in summary}
    return {**known, **chosen}


def _check_row(row: int, table: pd.DataFrame, name: str) -> None:
    if not 0 <= row < len(table):
        raise InputError(f"{name} has no row {row}: its {len(table):,} rows are counted from 0")


def _choose(scores: pd.DataFrame, chosen: Mapping[str, str | int], row: int | None) -> pd.DataFrame:
    found = scores
    if row is not None:
        _check_row(row, scores, SCORES)
        found = found.iloc[[row]]
    for name, value in chosen.items():
        kept = found[found[name].astype(str) == str(value)]
        if kept.empty:
            there = [str(one) for one in found[name].unique()]
            raise InputError(
                f"no score has {name} {str(value)!r}; there {'is' if len(there) == 1 else 'are'} "
                f"{', '.join(map(repr, there[:20]))}{', …' if len(there) > 20 else ''}"
            )
        found = kept
    if found.empty:
        raise InputError(f"{SCORES} has no scores")
    return found


class _Origins:
    """What a run's folder and its store say of where its scores come from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, store_of(folder)
        self.runs = {(one["corpus"], one["model"], one["seed"]): one for one in read_artifacts(folder).get("runs", [])}
        self.provenance = _document(folder / "provenance.json")
        self.study = _study(folder / "study.toml")

    def of(self, place: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
        """Return the origins of scores of one corpus, model, seed, task and target."""
        run = self.runs.get((place["corpus"], place["model"], int(place["seed"])), {})
        asked: dict[str, Any] = next(
            (one for one in run.get("scores", []) if (one["task"], one["target"]) == (place["task"], place["target"])),
            {},
        )
        return {
            **{name: int(value) if name == "seed" else str(value) for name, value in place.items()},
            "scores": [{"row": int(cast("int", at)), **_plain(row[list(VALUES)])} for at, row in rows.iterrows()],
            "settings": {
                "study": str(self.folder / "study.toml"),
                "recipe": self._named("corpora", place["corpus"]),
                "model": self._named("models", place["model"]),
                "task": self._named("tasks", place["task"]),
            },
            "results": {
                "scores": self._result("scores", asked.get("key", "")),
                "model": self._result("models", run.get("model_key", "")),
                **({"reference": self._result("models", asked["reference"])} if asked.get("reference") else {}),
            },
            "trained_on": self._cells(run.get("cells", ""), self._manifest(place)),
            "asked_about": self._cells(asked.get("cells", ""), self._target(str(place["target"]))),
            "versions": {
                "last run": {
                    name: self.provenance.get(name) for name in ("created", "corpuscle", "python", "packages")
                },
            },
        }

    def _named(self, what: str, name: object) -> Any:
        """Return a table of the study file by its label or name."""
        listed = self.study.get(what, [])
        listed = listed if isinstance(listed, list) else []
        # A model may be its name alone.
        tables = [{"name": one} if isinstance(one, str) else one for one in listed if isinstance(one, dict | str)]
        return next((one for one in tables if one.get("label", one.get("name")) == name), None)

    def _manifest(self, place: Mapping[str, Any]) -> dict[str, Any]:
        folder = self.folder / "corpora" / safe_name(str(place["corpus"])) / str(place["seed"])
        found = _document(folder / "manifest.json")
        known: dict[str, Any] = {
            name: found[name] for name in ("recipe", "account", "n_cells", "fingerprint") if name in found
        }
        return {**known, "cells": str(folder / "cells.parquet")}

    def _target(self, name: str) -> dict[str, Any]:
        targets = self.provenance.get("targets", [])
        return next((dict(one) for one in targets if isinstance(one, dict) and one.get("name") == name), {"name": name})

    def _result(self, kind: str, key: str) -> dict[str, Any]:
        """Return what the store says of a result."""
        if not key:
            return {"kind": kind, "state": "not recorded: the run was made by an earlier version; run it again"}
        folder = self.root / kind / key
        found: dict[str, Any] = {"kind": kind, "key": key, "folder": str(folder)}
        if not folder.exists():
            return {**found, "state": "no longer in the store"}
        damage = damage_of(folder)[0]
        record = Kept(kind, key, folder).record
        facts = ("label", "made", "seconds", "cpu_seconds", "corpuscle", "python", "packages", "uses")
        return {**found, "state": damage or "whole", **{name: record[name] for name in facts if name in record}}

    def _cells(self, key: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return which rows of which files cells are, by their table in the store."""
        result = self._result("corpora", key)
        if result["state"] != "whole":
            return {**known, "result": result, "files": self._inputs()}
        folder, files = self.root / "corpora" / key, []
        try:
            record = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
            cells = pd.read_parquet(folder / "cells.parquet")
            for name, source in record["sources"].items():
                opened = read_data(self.root / "sources" / source)
                rows = cells.loc[cells["source"].astype(str) == name, "row"].to_numpy("int64")
                files.append(
                    {
                        "source": name,
                        "path": opened["paths"],
                        "content": opened["content"],
                        "n_rows": len(rows),
                        "first_row": int(rows.min()) if len(rows) else None,
                        "last_row": int(rows.max()) if len(rows) else None,
                        "rows_sha256": hash_array(rows),
                    }
                )
            made = sorted(set(cells["source"].astype(str)) - set(record["sources"]))
        except (OSError, ValueError, LookupError, TypeError, CorpuscleError) as error:
            unread = f"its table cannot be read ({type(error).__name__})"
            return {**known, "result": {**result, "state": unread}, "files": self._inputs()}
        return {**known, "result": result, "files": files, **({"made_cells": made} if made else {})}

    def _inputs(self) -> list[dict[str, Any]]:
        """Return all files of the study, where it is not known which rows of which it was."""
        listed = [one for one in self.provenance.get("inputs", []) if isinstance(one, dict)]
        return [
            {"source": one.get("source"), "path": one.get("path") or one.get("dataset"), "content": one.get("sha256")}
            for one in listed
        ]


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _study(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return {}


def _plain(row: "pd.Series[Any]") -> dict[str, Any]:
    """Return a row as JSON can hold it: what is no number is None."""
    values = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if pd.isna(value) else value for name, value in values.items()}
