"""Heats: score tables as the page shows them, evaluation × corpus, without any markup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.comparisons import IS_BASELINE, RATIO, Scale, scale_of

# Verdicts that a difference was shown.
SHOWN = ("better", "worse", "higher", "lower")
# Colour scales that a heatmap may have, in log2 units: small differences are not blown up to full colour, and a few
# large ones do not drown the rest. A doubling or halving, and more than that, has full colour.
LIMITS = (0.25, 0.5, 1.0)
# The same where corpora are compared by differences: of a metric up to 1, and in proportion of larger ones.
DIFFERENCE_LIMITS = (0.05, 0.1, 0.25)


@dataclass(frozen=True)
class Cell:
    """One cell of a heatmap.

    Attributes
    ----------
    value, spread, change
        Text: the mean, its interval ("0.46–0.48"), the log2 fold change ("−0.66") or difference.
    tone
        ``"cool"`` (better than the baseline), ``"warm"`` (worse) or ``"neutral"`` (neither: a grey).
    weight
        Strength of the colour, 0 to 1.
    resolved
        Whether the difference from the baseline holds after correction for all comparisons of the metric.
    tip
        Everything in words, for a tooltip.
    note
        Number of the footnote that says what is missing; 0 for none.
    """

    value: str
    spread: str
    change: str
    tone: str
    weight: float
    resolved: bool
    tip: str
    note: int = 0


@dataclass(frozen=True)
class HeatRow:
    """One evaluation of a heatmap: its label, what it rests on, and a cell per corpus."""

    label: str
    detail: str
    cells: list[Cell]
    indented: bool = False


@dataclass(frozen=True)
class Heat:
    """A heatmap, evaluation × corpus, of one task and metric.

    Attributes
    ----------
    model
        The model whose scores it has; empty: several.
    metric
        The metric's name.
    limit
        Log2 fold change, or difference, at which the colour is full.
    scale
        On which of the two scales all of it is compared; see `scale_of`.
    notes
        Footnotes, in order.
    data
        The summary rows behind it.
    """

    model: str
    task: str
    metric: str
    better: str
    baseline: str
    corpora: list[str]
    rows: list[HeatRow]
    limit: float
    scale: Scale
    notes: list[str]
    data: pd.DataFrame = field(repr=False)

    @property
    def compared_by(self) -> str:
        """What the comparison with the baseline is called."""
        return "log2 fold change" if self.scale == RATIO else "difference"

    @property
    def directed(self) -> bool:
        """Whether one way is better; else changes are grey, whichever way they go."""
        return self.better in ("higher", "lower")

    @property
    def title(self) -> str:
        """Heading: the metric, the way and the task."""
        ways = self.data["way"].unique()
        title = str(self.data["title"].iloc[0]) or self.metric.replace("_", " ")
        return ", ".join(part for part in (title, str(ways[0]) if len(ways) == 1 else "", self.task) if part)

    @property
    def meaning(self) -> str:
        """What the metric measures, in a sentence; empty where its title says it."""
        return str(self.data["meaning"].iloc[0])

    @property
    def ways(self) -> bool:
        """Whether it has the metric in several ways in which it was found; see `in_ways`."""
        return in_ways(self.data)


@dataclass(frozen=True)
class Sheet:
    """The heatmaps of one task.

    Attributes
    ----------
    headline
        The metric that it is known for, over all cells: a row per target and model.
    alone
        The same for each model by itself.
    more
        The other metrics over all cells, and the headline's where it was found in several ways: a row per target,
        model and way.
    units
        Metrics that donors, batches, types or latents have, as rows below each target; those found in the headline's
        way.
    """

    headline: Heat
    alone: list[Heat]
    more: list[Heat]
    units: list[Heat]

    @property
    def every_way(self) -> Heat | None:
        """The headline's metric in every way in which it was found, where there are several."""
        return next((heat for heat in self.more if heat.metric == self.headline.metric), None)


def in_ways(data: pd.DataFrame) -> bool:
    """Return whether some model has a metric in several ways; that models each have a way of their own is none."""
    return bool((data.groupby("model")["way"].nunique() > 1).any())


class Layout(NamedTuple):
    """What heatmaps of a run have in common: the corpora in their columns, and the targets in their order."""

    baseline: str
    corpora: Sequence[str]
    targets: Sequence[str]


def sheets(summary: pd.DataFrame, layout: Layout) -> list[Sheet]:
    """Lay a summary out as heatmaps, task by task.

    Colours and fold changes are within a model (and way), against its own baseline corpus. Of several versions of a
    metric the latest is shown. A task without a score over all cells is known for what it has of parts of them.
    """
    rows = summary[~summary["unit"].str.startswith("gene=")]
    rows = rows[rows["version"] == rows.groupby(["task", "metric"])["version"].transform("max")]
    found = []
    for task, of_task in rows.groupby("task", sort=False):
        overall = of_task[of_task["unit"] == "all"]
        known = _headline(of_task if overall.empty else overall)
        of_known = overall["metric"].eq(known["metric"].iloc[0])
        more = [
            _heat(data, str(task), layout)
            for metric, data in overall.groupby("metric", sort=False)
            if metric != known["metric"].iloc[0] or len(known) < of_known.sum()
        ]
        alike = [_alike(of_metric, known) for _, of_metric in of_task.groupby("metric", sort=False)]
        units = [_heat(data, str(task), layout) for data in alike if data["unit"].ne("all").any()]
        alone = (
            [] if overall.empty else [_heat(data, str(task), layout) for _, data in known.groupby("model", sort=False)]
        )
        found.append(Sheet(_heat(known, str(task), layout), alone, more, units))
    return found


def _headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of what a task is known for: as its scores say, else of its first metric in its first way."""
    if rows["headline"].any():
        return rows[rows["headline"]]
    first = rows.iloc[0]
    return rows[rows["metric"].eq(first["metric"]) & rows["way"].eq(first["way"])]


def _alike(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a metric that were found as the headline was, or in no particular way; else in the first."""
    alike = rows["way"].isin(["", *known["way"]])
    return rows[alike] if alike.any() else rows[rows["way"].eq(rows["way"].iloc[0])]


def _heat(data: pd.DataFrame, task: str, layout: Layout) -> Heat:
    """Build one heatmap from the summary rows of a task and a metric, in one or more ways, of one or more models."""
    models, metric, several = list(data["model"].unique()), str(data["metric"].iloc[0]), in_ways(data)
    scale, better = scale_of(data), str(data["better"].iloc[0])
    colours = Colours(scale, better, colour_limit(data[scale.value], _limits(data, scale)))
    notes: list[str] = []
    rows = []
    for target in layout.targets:
        of_target = data[data["target"] == target]
        for (model, way), here in of_target.groupby(["model", "way"], sort=False):
            place = [str(target), *([str(model)] if len(models) > 1 else [])]
            place += [numbers.way(str(way))] if several else []
            units = sorted(here["unit"].unique(), key=lambda unit: (unit != "all", unit))
            for unit in units:
                one = here[here["unit"] == unit].set_index("corpus")
                cells = [_cell(one.loc[c] if c in one.index else None, colours, notes) for c in layout.corpora]
                size = _n_cells(one["n_cells"])
                rows.append(_row(place, unit, size, cells, below="all" in units))
    model = str(models[0]) if len(models) == 1 else ""
    corpora = list(layout.corpora)
    return Heat(model, task, metric, better, layout.baseline, corpora, rows, colours.limit, scale, notes, data)


def _row(place: list[str], unit: str, size: str, cells: list[Cell], *, below: bool) -> HeatRow:
    """Label a row: by the last of target, model and way; by the unit, where it stands below the row over all cells."""
    if unit == "all":
        return HeatRow(place[-1], ", ".join(part for part in (*place[:-1], size) if part), cells)
    kind, _, name = unit.partition("=")
    # Without a row over all cells, nothing above says which target a unit is of.
    label = name if below else ", ".join(place) + f": {name}"
    return HeatRow(label, f"{kind}, {size}", cells, indented=True)


class Colours(NamedTuple):
    """What decides a cell's colour: the scale of comparison, which way is better, and where the colour is full."""

    scale: Scale
    better: str
    limit: float


def _limits(data: pd.DataFrame, scale: Scale) -> Sequence[float]:
    """Return the colour scales that a heatmap may have."""
    if scale == RATIO:
        return LIMITS
    largest = float(data["mean"].abs().max())
    unit = 10.0 ** max(0, math.ceil(math.log10(largest))) if largest > 0 else 1.0
    return tuple(unit * limit for limit in DIFFERENCE_LIMITS)


def colour_limit(changes: pd.Series, limits: Sequence[float] = LIMITS) -> float:
    """Change of full colour: the smallest of the limits that holds every change, or the largest.

    Examples
    --------
    >>> colour_limit(pd.Series([0.1, -0.6, float("nan")])), colour_limit(pd.Series([0.01]))
    (1.0, 0.25)
    """
    largest = changes.abs().max()
    return next((limit for limit in limits if not largest > limit), limits[-1])


def _cell(row: pd.Series | None, colours: Colours, notes: list[str]) -> Cell:
    """Build one cell; what is missing gets a footnote."""
    if row is None:
        return Cell("n/a", "", "", "neutral", 0, resolved=False, tip="no score", note=_note("no score", notes))
    scale, better, limit = colours
    change = float(row[scale.value])
    mean, compared = float(row["mean"]), row[scale.reason] != IS_BASELINE and math.isfinite(row["mean"])
    reasons = [str(row["reason"]), str(row[scale.reason]) if compared else ""]
    reason = "; ".join(dict.fromkeys(text for text in reasons if text))
    tone, weight = "neutral", 0.0
    if math.isfinite(change) and change != 0:
        tone, weight = toned(change, better), min(1.0, abs(change) / limit)
    return Cell(
        numbers.number(mean),
        numbers.ranged(float(row["low"]), float(row["high"]), value=mean),
        _changed(change, scale) if compared else "",
        tone,
        weight,
        resolved=row["verdict"] in SHOWN,
        tip=_tip(row, scale, reason),
        note=_note(reason, notes),
    )


def toned(change: float, better: str) -> str:
    """Return the colour of a change against the baseline: cool where it is for the better, warm where for the worse.

    Examples
    --------
    >>> toned(0.1, "higher"), toned(0.1, "lower"), toned(0.1, "none")
    ('cool', 'warm', 'neutral')
    """
    if better not in ("higher", "lower") or change == 0:
        return "neutral"
    return "cool" if (change > 0) == (better == "higher") else "warm"


def _changed(change: float, scale: Scale) -> str:
    """Write a comparison: a log2 fold change to two decimals, a difference in the metric's unit."""
    return numbers.signed(change) if scale == RATIO else numbers.difference(change)


def _tip(row: pd.Series, scale: Scale, reason: str) -> str:
    """Return everything about a cell in words."""
    parts = [f"{row.name} on {row['target']}: {numbers.number(row['mean'], 4)}"]
    if pd.notna(row["low"]):
        parts.append(f"95 % interval {numbers.number(row['low'], 4)} to {numbers.number(row['high'], 4)}")
    if pd.notna(row[scale.low]):
        change, low, high = (float(row[name]) for name in scale[:3])
        shown = _changed(change, scale)
        shown = f"log2 fold change {shown} ({numbers.percent(change)})" if scale == RATIO else f"difference {shown}"
        parts.append(f"{shown}, interval {_changed(low, scale)} to {_changed(high, scale)}")
    parts.append(numbers.plural(int(row["n_seeds"]), "seed"))
    if row["over"] == "runs and donors":
        parts.append(
            f"{numbers.plural(int(row['n_donors']), 'donor')}; mean over cells {numbers.number(row['cell_mean'])}"
        )
    if row["verdict"] not in ("baseline", "no interval"):
        parts.append(f"{row['verdict']} (p {numbers.number(row['p'], 2)}, Holm {numbers.number(row['p_holm'], 2)})")
    return "; ".join([*parts, *([reason] if reason else [])])


def _note(reason: str, notes: list[str]) -> int:
    """Return the number of the footnote for a reason, adding it where new; 0 for no reason."""
    if not reason:
        return 0
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1


def _n_cells(counts: pd.Series) -> str:
    """Write the number of cells that a row's scores rest on; nothing where others' tables do not have it."""
    low, high = int(counts.min()), int(counts.max())
    if high == 0:
        return ""
    return numbers.plural(low, "cell") if low == high else f"{low:,} to {high:,} cells"
