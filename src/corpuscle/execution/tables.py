"""Tables: what a study's runs gave, gathered from the store in the order of the plan."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import pandas as pd

from corpuscle.core.scores import ABOUT_ALTERED, ALTERED, COLUMNS, DTYPES, SEEN, TEXTS, about_altered
from corpuscle.execution.artifact import Address
from corpuscle.execution.graph import RunArtifacts
from corpuscle.model.model import Model
from corpuscle.statistics.divergence import FIT_DTYPES, FITS
from corpuscle.store import Store
from corpuscle.study.plan import Run

CURVES = ("corpus", "model", "seed", "step", "epoch", "quantity", "value", "title", "meaning")
MAPS = ("corpus", "model", "target", "x", "y", "cell_type", "batch")


class Result(Protocol):
    """A result in a store."""

    @property
    def address(self) -> Address:
        """What it is called there."""


class Answer(Result, Protocol):
    """What a task says of a model and a target, and their names in the study."""

    @property
    def asked(self) -> str:
        """The task's."""

    @property
    def target_name(self) -> str:
        """The target's."""


class RunResults(Protocol):
    """What there is to be of a run."""

    @property
    def run(self) -> Run:
        """The run."""

    @property
    def fit(self) -> Result:
        """Its model."""

    @property
    def scores(self) -> Sequence[Answer]:
        """Its scores."""

    @property
    def altered(self) -> tuple[str, ...]:
        """What was altered in its corpus: values of the columns `ALTERED`."""

    @property
    def seen(self) -> Mapping[str, float]:
        """By target, the share of its cells that the model learned from: the column `SEEN`."""


def scores(runs: Iterable[RunResults], store: Store, led_by: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Gather the scores that are there; `led_by` has the metric and way to lead with, by label of a task."""
    tables = []
    for one in runs:
        for asked in one.scores:
            if folder := store.find(*asked.address):
                table = pd.read_parquet(folder / "scores.parquet", read_dictionary=TEXTS)
                place = {"corpus": one.run.corpus, "model": one.run.model, "task": asked.asked}
                seen = {SEEN: one.seen.get(asked.target_name, math.nan)}
                altered = dict(zip(ALTERED, one.altered, strict=True))
                table = table.assign(**place, **altered, **seen, seed=one.run.seed, target=asked.target_name)
                table["headline"] = _led_by(table, *led_by.get(asked.asked, ("", "")))
                tables.append(table.assign(**{ABOUT_ALTERED: about_altered(table)}))
    empty = pd.DataFrame(columns=list(COLUMNS))
    return (pd.concat(tables, ignore_index=True) if tables else empty)[list(COLUMNS)].astype(DTYPES)


def _led_by(table: pd.DataFrame, metric: str, way: str) -> "pd.Series[bool]":
    """Return which scores of a task on a target are its headline; as it was where none is of that metric and way."""
    if not (metric or way):
        return table["headline"]
    # What is not named stays as it is.
    metrics = [metric] if metric else table.loc[table["headline"], "metric"].unique().tolist()
    known = table[table["metric"].isin(metrics)]
    known = known[known["way"] == way] if way else known
    if known.empty:
        return table["headline"]
    return (table["metric"] == known["metric"].iloc[0]) & (table["way"] == known["way"].iloc[0])


def curves(runs: Iterable[RunArtifacts], store: Store) -> pd.DataFrame:
    """Gather the training curves: the columns `CURVES`."""
    tables = []
    for one in runs:
        folder = store.find(*one.fit.address)
        if folder and (folder / "history.parquet").exists():
            table = pd.read_parquet(folder / "history.parquet")
            # A model that takes no steps has no curve; pandas warns of joining tables without rows.
            if len(table):
                tables.append(table.assign(**one.run._asdict(), **_about(one.fit.model, table["quantity"])))
    return pd.concat(tables, ignore_index=True)[list(CURVES)] if tables else pd.DataFrame(columns=list(CURVES))


def _about(model: Model, quantities: "pd.Series[str]") -> dict[str, "pd.Series[str]"]:
    """Return what a model says of each quantity of its curves: the ending says on which cells it was found."""
    known = {curve.name: curve for curve in model.curves}
    names = quantities.str.replace(r"_(train|validation)$", "", regex=True)
    return {
        about: names.map(lambda name: getattr(known.get(name), about, ""))  # noqa: B023
        for about in ("title", "meaning")
    }


def fits(runs: Iterable[RunResults], store: Store) -> pd.DataFrame:
    """Gather what was checked when models had been fitted, and how long that took.

    See `corpuscle.statistics.divergence.diverged`; ``seconds`` are those of the fit, on the machine that made it.
    """
    rows = []
    for one in runs:
        if folder := store.find(*one.fit.address):
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            rows.append({**one.run._asdict(), **facts["check"], "seconds": facts["seconds"]})
    return pd.DataFrame(rows, columns=[*FITS, "seconds"]).astype({**FIT_DTYPES, "seconds": "float64"})


def maps(runs: Iterable[RunArtifacts], store: Store) -> pd.DataFrame:
    """Gather the maps: the columns `MAPS`, one row per cell."""
    tables = []
    for one in runs:
        for drawn in one.maps:
            if folder := store.find(*drawn.address):
                place = {"corpus": one.run.corpus, "model": one.run.model, "target": drawn.target_name}
                tables.append(pd.read_parquet(folder / "map.parquet").assign(**place))
    return pd.concat(tables, ignore_index=True)[list(MAPS)] if tables else pd.DataFrame(columns=list(MAPS))
