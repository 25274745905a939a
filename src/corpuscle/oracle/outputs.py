"""Outputs: which scores of a study a mixture is chosen by, each a column of the table of trials."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.study.mixing import mixed_of
from corpuscle.study.spec import Study


class Output(NamedTuple):
    """One metric of one task on one target.

    Attributes
    ----------
    name
        Its column: ``"r2_log on blood"``.
    task, metric, way, target
        Where its scores are; no way: the first.
    weight
        How much it counts.
    unseen
        Whether no source that is mixed is the target's own.
    """

    name: str
    task: str
    metric: str
    way: str | None
    target: str
    weight: float
    unseen: bool


def outputs_of(study: Study) -> list[Output]:
    """Return what a study's ``utility`` is made of; one that two of its tables name counts once, by their weights."""
    spec = study.spec.mixture
    assert spec is not None, "the caller has looked"
    mixed, found = set(mixed_of(study)), dict[str, Output]()
    for one in spec.utility:
        asked = next(task for task in study.tasks if one.task in (None, task.label))
        lead_metric, lead_way = asked.headline
        metric = one.metric or lead_metric or (asked.task.metrics[0].name if asked.task.metrics else "")
        # The way is the headline's where the metric is.
        way = one.way or (lead_way if one.metric in (None, lead_metric) else "") or None
        for target, weight in (one.shares or dict.fromkeys(asked.targets, 1.0)).items():
            ways = f" ({way})" if way else ""
            apart = f" ({asked.label})" if len({part.task for part in spec.utility}) > 1 else ""
            name = f"{metric or asked.label}{ways} on {target}{apart}"
            unseen = study.targets[target].source not in mixed
            before = found[name].weight if name in found else 0.0
            found[name] = Output(
                name, asked.label, metric, way, target, before + weight * one.weight, unseen
            )  # fmt: skip
    return list(found.values())


def trials_of(
    scores: pd.DataFrame, outputs: Sequence[Output], runs: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Lay scores out as trials.

    Parameters
    ----------
    scores
        Score rows; the corpus is the mixture.
    outputs
        What the columns are.
    runs
        Which trainings there were to be: ``corpus``, ``model`` and ``seed``; one that failed has no scores.

    Returns
    -------
    A row per ``mixture``, ``model`` and ``seed``, with a column per output, NaN where there is no score; and which way
    is better, by output, where a score says so.
    """
    found, better = runs.rename(columns={"corpus": "mixture"}), dict[str, str]()
    for one in outputs:
        here = scores[(scores["task"] == one.task) & (scores["target"] == one.target) & (scores["unit"] == "all")]
        here = here[here["metric"] == one.metric] if one.metric else here[here["headline"]]
        ways = here["way"].unique()
        here = here[here["way"] == (one.way if one.way is not None else ways[0])] if len(ways) else here
        values = here.set_index(["corpus", "model", "seed"])["value"]
        values = values[~values.index.duplicated()]
        found[one.name] = values.reindex(pd.MultiIndex.from_frame(runs)).to_numpy(float)
        if len(here):
            better[one.name] = str(here["better"].iloc[0])
    return found.astype({"mixture": str, "model": str, "seed": int}), better
