"""Unfinished: what is there of a run that is at work, or was stopped, as tables that the report can read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpuscle.core.errors import FolderError
from corpuscle.core.paths import read_plain
from corpuscle.core.scores import ALTERED
from corpuscle.execution import results_folder, tables
from corpuscle.execution.artifact import Address
from corpuscle.execution.run_record import read_artifacts, store_of
from corpuscle.statistics.divergence import without_diverged
from corpuscle.store import Store, write_text
from corpuscle.study.plan import Run

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class _Named:
    """A result that the run wants, by its names in the store and in the study."""

    address: Address
    asked: str = ""
    target_name: str = ""


@dataclass(frozen=True)
class _Wanted:
    """A run, as `results_folder.write_artifacts` laid it out."""

    run: Run
    fit: _Named
    scores: Sequence[_Named]
    altered: tuple[str, ...]
    seen: Mapping[str, float]


def gather(folder: Path) -> list[Run] | None:
    """Write the tables of what is there of an unfinished run; return which runs lack something.

    Returns
    -------
    The runs; None where the folder's run is finished, or is not known to be unfinished.

    Raises
    ------
    FolderError
        When a document in the folder cannot be read, or nothing is there yet.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        return None
    try:
        provenance = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return None  # The report says what is wrong with it.
    if not isinstance(provenance, dict) or provenance.get("unfinished") is not True:
        return None
    artifacts, store = read_artifacts(folder), Store(store_of(folder))
    runs = [_wanted(one) for one in artifacts["runs"]]
    missing = [one.run for one in runs if not all(store.has(*asked.address) for asked in (one.fit, *one.scores))]
    fits = tables.fits(runs, store)
    scores = without_diverged(tables.scores(runs, store, artifacts.get("headlines", {})), fits)
    if scores.empty:
        raise FolderError(
            f"{folder}: its run is not finished: of {len(runs):,} runs, none has scores yet; look again later, or run "
            "the same command again if it was stopped"
        )
    results_folder.write_table(scores, folder / "scores.parquet")
    results_folder.write_table(fits, folder / "fits.parquet")
    write_text(path, json.dumps({**provenance, "missing": [run._asdict() for run in missing]}, indent=1))
    return missing


def _wanted(one: dict[str, Any]) -> _Wanted:
    fit = _Named(Address("models", str(one["model_key"])))
    asked = [_Named(Address("scores", str(s["key"])), str(s["task"]), str(s["target"])) for s in one["scores"]]
    run = Run(str(one["corpus"]), str(one["model"]), int(one["seed"]))
    altered = one.get("altered") or [""] * len(ALTERED)
    shares = (one.get("seen") or {}).items()
    seen = {str(target): math.nan if share is None else float(share) for target, share in shares}
    return _Wanted(run, fit, asked, tuple(map(str, altered)), seen)
