"""Score: one row of the results table, the contract between making (tasks) and reading (statistics, reports)."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Better = Literal["higher", "lower", "zero", "none"]
# What values a metric can have: from 0 to 1; from -1 to 1; 0 and more; any.
Scale = Literal["share", "correlation", "positive", "real"]
# What a metric is in the figures that reports have besides tables, if anything. Of genes (units ``gene=NAME``):
# "observed" and "expected" mean counts per 10,000 are drawn against each other, with the "residual", (observed -
# expected) / observed. Of corpora: "reach", a share of each target, is drawn for each corpus next to the others.
Figure = Literal["", "observed", "expected", "residual", "reach"]


class Score(NamedTuple):
    """What one task found about one unit: a row that explains itself.

    Attributes
    ----------
    metric
        Name of the metric, such as ``"macro_f1"``.
    unit
        What was measured: ``"all"`` for all cells, else ``"kind=value"``, such as ``"donor=human4"`` or
        ``"gene=LYZ"``. Never a pre-average: statistics resample these rows.
    value
        The value; NaN when it is not defined, with the cause in `reason`.
    n_cells
        How many cells the value rests on.
    better
        Which way is better: ``"higher"``, ``"lower"``, ``"zero"`` (the nearer to zero) or ``"none"``.
    version
        Version of the metric's definition; a corrected metric gets a new one, and both stay.
    reason
        Why the value is NaN, which cells it leaves out, or which genes it is of; else empty.
    way
        How it was found, where a task finds a metric in several ways, such as ``"5 nearest"`` or ``"whole, focal"``.
    title
        The metric's name in reports; empty: made of `metric`.
    meaning
        What it measures, in a sentence; empty where its title says it.
    scale
        Which values it can have: ``"share"``, ``"correlation"``, ``"positive"`` or ``"real"``.
    headline
        Whether it is the metric, and the way, that its task is known for.
    figure
        What it is in a figure, if anything: see `Figure`.
    """

    metric: str
    unit: str
    value: float
    n_cells: int
    better: Better
    version: int = 1
    reason: str = ""
    way: str = ""
    title: str = ""
    meaning: str = ""
    scale: Scale = "real"
    headline: bool = False
    figure: Figure = ""


@dataclass(frozen=True)
class Metric:
    """What a task or a measure says of a number that it finds, once, for all rows that have it.

    Attributes
    ----------
    name
        Its name in tables: letters, digits and ``_``.
    title
        Its name in reports.
    meaning
        What it measures, in a sentence.
    better
        Which way is better.
    scale
        Which values it can have; ratios are taken of ``"share"`` and ``"positive"`` alone.
    version
        Raised when its definition changes: what the store has of it is then found anew.
    figure
        What it is in a figure of the report, if anything: see `Figure`.

    Examples
    --------
    >>> accuracy = Metric("accuracy", "Accuracy", "Share of cells that are given their type.", "higher", "share")
    >>> accuracy.score("all", 0.9, 100, way="5 nearest").title
    'Accuracy'
    """

    name: str
    title: str
    meaning: str
    better: Better = "none"
    scale: Scale = "real"
    version: int = 1
    figure: Figure = ""

    def score(self, unit: str, value: float, n_cells: int, reason: str = "", way: str = "") -> Score:
        """Return a score of this metric."""
        return Score(
            self.name,
            unit,
            value,
            n_cells,
            self.better,
            self.version,
            reason,
            way,
            self.title,
            self.meaning,
            self.scale,
            figure=self.figure,
        )


def declared(*metrics: Metric) -> dict[str, Metric]:
    """Return metrics by their names, in order."""
    return {metric.name: metric for metric in metrics}


def fault_in(scores: Iterable[Any]) -> str:
    """Return in words why what a task found cannot be a table of scores; empty where it can.

    Examples
    --------
    >>> f1 = Metric("f1", "F1", "", "higher", "share")
    >>> fault_in([f1.score("all", 0.5, 10)])
    ''
    >>> fault_in([f1.score("all", 0.5, 10), f1.score("all", 0.6, 10)])
    "two values of 'f1' of 'all': give each another way or unit"
    """
    found = Counter[tuple[str, ...]]()
    for score in scores:
        if not isinstance(score, Score):
            return f"{score!r:.80}, which is no Score; make one by Metric.score"
        for name, kind in (("value", Real), ("n_cells", Real), ("metric", str), ("unit", str), ("way", str)):
            if not isinstance(getattr(score, name), kind):
                expected = "a number" if kind is Real else "a text"
                return f"a score of {score.metric!r} whose {name} is {getattr(score, name)!r:.80}, not {expected}"
        found[score.metric, score.unit, score.way, str(score.version)] += 1
    (metric, unit, way, _), most = found.most_common(1)[0] if found else (("",) * 4, 0)
    said = f" ({way})" if way else ""
    return f"two values of {metric!r}{said} of {unit!r}: give each another way or unit" if most > 1 else ""


def with_headline(scores: Sequence[Score], metric: str = "") -> list[Score]:
    """Mark the scores that a task is known for: those of one metric, in the first way in which it was found.

    Parameters
    ----------
    scores
        All scores of a task on a target.
    metric
        The metric; where there is none of it, the first one's.

    Examples
    --------
    >>> f1 = Metric("f1", "F1", "", "higher", "share")
    >>> found = [f1.score("all", value, 10, way=way) for way, value in (("5 nearest", 0.5), ("15 nearest", 0.6))]
    >>> [score.headline for score in with_headline(found, "f1")]
    [True, False]
    """
    if not scores:
        return []
    known = next((score for score in scores if score.metric == metric), scores[0])
    return [score._replace(headline=(score.metric, score.way) == (known.metric, known.way)) for score in scores]


# What places a score in a study, before the fields of the score itself.
CONTEXT = ("corpus", "model", "seed", "task", "target")
# What a task is asked on, and the target in its scores, where it is asked about each corpus' own cells.
IN_PLACE = "corpus"
# Which types, of which batches, steps of the corpus changed the number of: see `label_list`.
ALTERED = ("altered_type", "altered_batch")
# Whether a score is about one of these types.
ABOUT_ALTERED = "about_altered"
# The share of the target's cells that the model learned from, themselves or copies of them: 0, unseen; NaN, not known.
SEEN = "seen_in_training"
COLUMNS = (*CONTEXT, *Score._fields, *ALTERED, ABOUT_ALTERED, SEEN)

DTYPES = {
    "corpus": "string", "model": "string", "seed": "int64", "task": "string", "target": "string",
    "metric": "string", "unit": "string", "value": "float64", "n_cells": "int64", "better": "string",
    "version": "int64", "reason": "string", "way": "string", "title": "string", "meaning": "string",
    "scale": "string", "headline": "bool", "figure": "string", "altered_type": "string", "altered_batch": "string",
    "about_altered": "bool",
    SEEN: "float64",
}  # fmt: skip
# Few texts in very many rows: read as a dictionary, each is in memory once.
TEXTS = [name for name, dtype in DTYPES.items() if dtype == "string"]


def label_list(labels: Sequence[str]) -> str:
    """Write labels as one text, a list in JSON: a label may have any character. No labels: an empty text.

    Examples
    --------
    >>> label_list(["B", "CD4+, naive"]), label_list([])
    ('["B", "CD4+, naive"]', '')
    """
    return json.dumps([*labels], ensure_ascii=False) if labels else ""


def listed_labels(text: str) -> list[str]:
    """Read what `label_list` wrote; results of earlier versions have labels with commas between them.

    Examples
    --------
    >>> listed_labels('["B", "CD4+, naive"]'), listed_labels("B, T"), listed_labels("")
    (['B', 'CD4+, naive'], ['B', 'T'], [])
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(isinstance(label, str) for label in found):
        return found
    return text.split(", ") if text else []


def about_altered(scores: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether each row's unit is a type that the steps of its corpus changed the number of.

    Examples
    --------
    >>> rows = pd.DataFrame({"unit": ["cell_type=B", "cell_type=NK", "all"], "altered_type": '["B", "T"]'})
    >>> about_altered(rows).tolist()
    [True, False, False]
    """
    found_R = np.zeros(len(scores), bool)
    if "altered_type" not in scores or "unit" not in scores:
        return found_R
    for text in scores["altered_type"].dropna().unique():
        units = [f"cell_type={label}" for label in listed_labels(str(text))]
        if units:
            found_R |= (scores["altered_type"] == text).fillna(value=False).to_numpy(bool) & scores["unit"].isin(units)
    return found_R


def completed(scores: pd.DataFrame) -> pd.DataFrame:
    """Return score rows with what they may leave out: `version` and what follows it in a `Score`, at its defaults.

    Examples
    --------
    >>> completed(pd.DataFrame({"metric": ["r2"], "value": [0.5]}))[["metric", "way", "version"]].to_dict("records")
    [{'metric': 'r2', 'way': '', 'version': 1}]
    """
    defaults = {**Score._field_defaults, **dict.fromkeys(ALTERED, ""), SEEN: float("nan")}
    if ABOUT_ALTERED not in scores:
        defaults[ABOUT_ALTERED] = about_altered(scores)
    lacking = {name: default for name, default in defaults.items() if name not in scores}
    return scores.assign(**lacking) if lacking else scores


def score_table(scores: Iterable[Score], **context: str | int) -> pd.DataFrame:
    """Lay scores out as a table with the columns `COLUMNS`.

    Examples
    --------
    >>> score = Score("r2_log", "all", 0.5, n_cells=10, better="higher")
    >>> table = score_table([score], corpus="Blood", model="ldvae", seed=0, task="reconstruction", target="blood")
    >>> table[["corpus", "target", "metric", "value"]].to_dict("records")
    [{'corpus': 'Blood', 'target': 'blood', 'metric': 'r2_log', 'value': 0.5}]
    """
    none = {**dict.fromkeys(ALTERED, ""), ABOUT_ALTERED: False, SEEN: float("nan")}
    rows = [{**context, **score._asdict(), **none} for score in scores]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(DTYPES)
