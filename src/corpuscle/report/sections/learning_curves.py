"""Learning curves: what the page says of corpora that were drawn in several sizes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.exchange import exchange_rates
from corpuscle.statistics.ladders import ALL, Curve, learning_curves, saturation_rows
from corpuscle.statistics.saturation import Range, Status

RUNGS = ("corpus", "ladder", "family", "kept", "cells")
STATUSES: tuple[Status, ...] = ("saturated", "not saturated", "censored", "undetermined")


class Row(NamedTuple):
    """One line of the table of verdicts, as it is shown."""

    ladder: str
    model: str
    task: str
    target: str
    unit: str
    measured: str
    gain: str
    n95: str
    n95_of_asymptote: str
    equivalent_from: str
    published: str
    status: str
    reason: str


@dataclass(frozen=True)
class LearningCurves:
    """What is known of a study's ladders.

    Attributes
    ----------
    curves
        One per ladder, model, task, target and, where there are donors, mean over them; of each task's headline.
    titles
        The headline metric's name and direction, by task.
    table
        What `corpuscle.statistics.ladders.saturation` returns of them.
    exchanges
        Cells against depth, in sentences, each with what it is about.
    compute
        Whether the models of a ladder took equally many steps, in sentences.
    """

    curves: list[Curve]
    titles: Mapping[str, tuple[str, str]]
    table: pd.DataFrame = field(repr=False)
    exchanges: list[tuple[str, str]]
    compute: list[str]

    @classmethod
    def of(
        cls, study: Mapping[str, Any], scores: pd.DataFrame, draws: pd.DataFrame, steps: pd.DataFrame
    ) -> "LearningCurves":
        """Judge the ladders of a run.

        Parameters
        ----------
        study
            The study file, as parsed.
        scores
            All score rows; the headlines' are used.
        draws
            How many distinct cells each corpus has, by source.
        steps
            The training curves, of which the last step counts.
        """
        rungs = rungs_of(study, draws)
        placed = scores[scores["headline"].astype(bool)].merge(rungs, on="corpus", validate="many_to_one")
        if placed.empty:
            return cls([], {}, pd.DataFrame(), [], [])
        starts = starts_of(study)
        known = learning_curves(placed, placed["cells"], starts=starts)
        # A model before its first step learns from no cell.
        untrained = set(starts.values())
        curves = [curve for curve in known if curve.key["model"] not in untrained]
        placed = placed[~placed["model"].isin(untrained)]
        about = placed.drop_duplicates("task").set_index("task")
        titles = {
            str(task): (str(row["title"]) or str(row["metric"]), numbers.DIRECTIONS[str(row["better"])])
            for task, row in about.iterrows()
        }
        return cls(curves, titles, saturation_rows(curves), _exchanges(placed), _compute(steps, rungs))

    @property
    def summary(self) -> str:
        """How many curves have which verdict."""
        counts = Counter(curve.learned.status for curve in self.curves)
        parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
        return f"Of {numbers.plural(len(self.curves), 'curve')}: {', '.join(parts)}."

    @property
    def rows(self) -> list[Row]:
        """The table of verdicts."""
        return [_shown(curve, found) for curve, found in zip(self.curves, self.table.to_dict("records"), strict=True)]


def rungs_of(study: Mapping[str, Any], draws: pd.DataFrame) -> pd.DataFrame:
    """Return the corpora that are sizes of ladders.

    Returns
    -------
    The columns `RUNGS`: the ``ladder`` by its name in the study file; its ``family``, the same for ladders that differ
    only in how far their cells are thinned; the share of molecules ``kept``; ``cells``, how many distinct ones
    a draw has.

    Examples
    --------
    >>> corpora = [{"name": "Blood", "parts": [], "ladder": {"percent": [1, 100]}}]
    >>> draws = pd.DataFrame({"corpus": ["Blood 1 %", "Blood 100 %"], "source": "blood", "n_cells": [10, 1000]})
    >>> rungs_of({"corpora": corpora}, draws)[["corpus", "ladder", "kept", "cells"]]
            corpus ladder  kept  cells
    0    Blood 1 %  Blood   1.0     10
    1  Blood 100 %  Blood   1.0   1000
    """
    cells = draws.groupby("corpus", sort=False)["n_cells"].sum().astype(float).round().astype("int64")
    rows = []
    for corpus in study.get("corpora", []):
        ladder = corpus.get("ladder")
        if not isinstance(ladder, dict):
            continue
        names = [f"{corpus['name']} {size:g} %" for size in ladder.get("percent", [])]
        names += [f"{corpus['name']} {size:,} cells" for size in ladder.get("cells", [])]
        family, depth = _depth(corpus)
        rows += [(name, corpus["name"], family, depth, cells[name]) for name in names if name in cells.index]
    return pd.DataFrame(rows, columns=list(RUNGS))


def _depth(corpus: Mapping[str, Any]) -> tuple[str, float]:
    """Return what a corpus is besides its depth, as one text, and its depth."""
    depth, others = 1.0, []
    for step in corpus.get("steps", []):
        if step.get("alteration") == "thin" and "where" not in step:
            depth *= float(step["keep"])
        else:
            others.append(step)
    rest = {key: value for key, value in corpus.items() if key not in ("name", "steps")}
    return json.dumps([rest, others], sort_keys=True, default=str), depth


def starts_of(study: Mapping[str, Any]) -> dict[str, str]:
    """Return for each model, by label, the model of the study that is the same before its first step.

    Examples
    --------
    >>> starts_of({"models": [{"name": "ldvae", "label": "L"}, {"name": "untrained", "model": {"name": "ldvae"}}]})
    {'L': 'untrained'}
    """
    models = study.get("models", [])
    untrained = {str(model["model"].get("name")): str(model.get("label", model["name"])) for model in models
                 if model["name"] == "untrained" and isinstance(model.get("model"), dict)}  # fmt: skip
    return {str(model.get("label", model["name"])): untrained[model["name"]]
            for model in models if model["name"] in untrained}  # fmt: skip


def _exchanges(placed: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what is said of depth, for ladders of one family, by their first one's name."""
    first = placed.drop_duplicates("family").set_index("family")["ladder"]
    families = placed.assign(ladder=placed["family"].map(first))
    rates = exchange_rates(families, families["cells"], families["kept"])
    return [
        (f"{row['ladder']}, {row['model']}, {row['task']} on {row['target']}", str(row["says"]))
        for row in rates.to_dict("records")
    ]


def _compute(steps: pd.DataFrame, rungs: pd.DataFrame) -> list[str]:
    """Say of each model that takes steps whether they are as many at all sizes."""
    last = steps[steps["corpus"].isin(rungs["corpus"])].groupby(["model", "corpus"], sort=False)["step"].max()
    said = []
    for model, here in last.groupby(level="model", sort=False):
        least, most = int(here.min()), int(here.max())
        if least == most:
            said.append(
                f"{model} took {most:,} steps at every size: compute is matched, and small corpora are seen more often."
            )
        else:
            said.append(
                f"{model} took {least:,} to {most:,} steps: compute is not matched, and what looks like an effect of "
                "cells may be one of steps. Give it a budget in steps."
            )
    return said


def _shown(curve: Curve, found: Mapping[Any, Any]) -> Row:
    """Lay a verdict out for reading."""
    learned, key = curve.learned, curve.key
    ladder = learned.ladder
    equivalent = f"{learned.equivalent_from:,.0f}" if np.isfinite(learned.equivalent_from) else "none shown"
    published = "not defined"
    if np.isfinite(found["published"]):
        published = f"{found['published']:,.0f} (of means {found['published_of_means']:,.0f})"
    gain = f"{numbers.difference(learned.gain.value)}"
    if np.isfinite(learned.gain.low):
        gain += f" ({numbers.difference(learned.gain.low)} to {numbers.difference(learned.gain.high)})"
    return Row(
        str(key["ladder"]), str(key["model"]), str(key["task"]), str(key["target"]),
        "" if curve.unit == ALL else curve.unit,
        f"{len(ladder.sizes)} sizes × {int(ladder.n.min())} seeds, from {ladder.start_name}",
        gain, cells(learned.n95, ladder.sizes), cells(learned.n95_of_asymptote, ladder.sizes), equivalent, published,
        learned.status, learned.reason,
    )  # fmt: skip


def cells(found: Range, sizes: Sequence[float] | np.ndarray) -> str:
    """Write a number of cells with its interval; what lies outside the ladder is written as that.

    Examples
    --------
    >>> cells(Range(1520, 1010, 2330), [100, 10_000]), cells(Range(np.nan, np.nan, np.nan), [100, 10_000])
    ('1,520 (1,010 to 2,330)', 'not known')
    >>> cells(Range(25_000, 5_000, np.inf), [100, 10_000]), cells(Range(100, 100, 300), [100, 10_000])
    ('beyond 10,000 (5,000 to more)', 'up to 100 (100 or less to 300)')
    >>> cells(Range(np.inf, 20_000, np.inf), [100, 10_000])
    'beyond 10,000 (all of the interval)'
    """
    smallest, largest = float(sizes[0]), float(sizes[-1])
    if not np.isfinite(found.low) and np.isnan(found.low):
        return "not known"
    if found.low > largest:
        return f"beyond {largest:,.0f} (all of the interval)"
    value = f"beyond {largest:,.0f}" if found.value > largest else _rounded(found.value)
    value = f"up to {smallest:,.0f}" if found.value <= smallest else value
    low = f"{smallest:,.0f} or less" if found.low <= smallest else _rounded(found.low)
    high = "more" if found.high > largest else _rounded(found.high)
    return f"{value} ({low} to {high})"


def _rounded(value: float) -> str:
    """Write a number of cells with three digits that count."""
    return f"{float(f'{value:.3g}'):,.0f}"
