"""Tables as the page shows them: score heatmaps, composition, quality and inputs, without any markup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from corpuscle.report import words
from corpuscle.statistics.comparisons import IS_BASELINE

# Colour scales that a heatmap may have, in log2 units: small differences are not blown up to full colour, and a few
# large ones do not drown the rest. A doubling or halving, and more than that, has full colour.
LIMITS = (0.25, 0.5, 1.0)
HEADLINES = ("r2_log", "macro_f1", "avg_bio", "latent_r2", "fit_seconds")


@dataclass(frozen=True)
class Cell:
    """One cell of a heatmap.

    Attributes
    ----------
    value, spread, change
        Text: the mean, the half width of its interval ("±0.012"), the log2 fold change ("−0.66").
    tone
        ``"cool"`` (better; higher, where no way is better), ``"warm"`` (worse, or lower) or ``"neutral"``.
    weight
        Strength of the colour, 0 to 1.
    resolved
        Whether the interval of the fold change leaves out 0.
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
class Row:
    """One evaluation of a heatmap: its label, what it rests on, and a cell per corpus."""

    label: str
    detail: str
    cells: list[Cell]
    indented: bool = False


@dataclass(frozen=True)
class Heat:
    """A heatmap, evaluation × corpus, of one model, task and metric.

    Attributes
    ----------
    limit
        Log2 fold change at which the colour is full.
    directed
        Whether one way is better; else the colours mean higher and lower.
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
    rows: list[Row]
    limit: float
    notes: list[str]
    headline: bool
    data: pd.DataFrame = field(repr=False)

    @property
    def directed(self) -> bool:
        """Whether one way is better."""
        return self.better in ("higher", "lower")

    @property
    def title(self) -> str:
        """Heading: the metric and the task."""
        return f"{words.metric_name(self.metric)}, {self.task}"


def heats(
    summary: pd.DataFrame, baseline: str, corpora: Sequence[str], targets: Sequence[str], *, detail: bool
) -> list[Heat]:
    """Lay a summary out as heatmaps, one per model, task and metric, the headline metric of each task first.

    With `detail`, each target's donors or batches follow it as indented rows, and heatmaps without any are left
    out. Of several versions of a metric the latest is shown.
    """
    rows = summary[~summary["unit"].str.startswith("gene=")]
    found = []
    for (model, task), group in rows.groupby(["model", "task"], sort=False):
        metrics = list(group["metric"].unique())
        headline = next((metric for metric in HEADLINES if metric in metrics), metrics[0])
        for metric in sorted(metrics, key=lambda name: name != headline):
            data = group[group["metric"] == metric]
            data = data[data["version"] == data["version"].max()]
            data = data if detail else data[data["unit"] == "all"]
            if (data["unit"] != "all").any() if detail else len(data):
                names = (str(model), str(task), str(metric))
                found.append(_heat(data, names, baseline, corpora, targets, headline=metric == headline))
    return found


def _heat(
    data: pd.DataFrame,
    names: tuple[str, str, str],
    baseline: str,
    corpora: Sequence[str],
    targets: Sequence[str],
    *,
    headline: bool,
) -> Heat:
    """Build one heatmap from the summary rows of one model, task and metric."""
    limit = colour_limit(data["log2_fold_change"])
    better = str(data["better"].iloc[0])
    notes: list[str] = []
    rows = []
    for target in targets:
        here = data[data["target"] == target]
        units = sorted(here["unit"].unique(), key=lambda unit: (unit != "all", unit))
        for unit in units:
            one = here[here["unit"] == unit].set_index("corpus")
            cells = [_cell(one.loc[c] if c in one.index else None, better, limit, notes) for c in corpora]
            label = target if unit == "all" else unit.partition("=")[2]
            # Without a row over all cells, nothing above says which target a unit is of.
            label = label if units[0] == "all" else f"{target}: {label}"
            kind = "" if unit == "all" else unit.partition("=")[0] + ", "
            rows.append(Row(label, kind + _n_cells(one["n_cells"]), cells, indented=unit != "all"))
    model, task, metric = names
    return Heat(model, task, metric, better, baseline, list(corpora), rows, limit, notes, headline, data)


def side_by_side(found: Sequence[Heat]) -> list[Heat]:
    """Lay the headline heatmaps of one task out as one, a row per target and model; none where there is one model.

    Colours and fold changes stay within a model, against its own baseline corpus; the means are to be compared.
    """
    groups: dict[tuple[str, str], list[Heat]] = {}
    for heat in found:
        if heat.headline:
            groups.setdefault((heat.task, heat.metric), []).append(heat)
    return [_joined(group, "all models", [heat.model for heat in group]) for group in groups.values() if len(group) > 1]


def ways(found: Sequence[Heat]) -> list[Heat]:
    """Lay each model's headline heatmap out with those of the same metric found in other ways, a row per way."""
    groups: dict[tuple[str, str], list[Heat]] = {}
    for heat in found:
        groups.setdefault((heat.model, heat.task), []).append(heat)
    joined = []
    for (model, _), group in groups.items():
        headline = words.parts(next(heat.metric for heat in group if heat.headline))[0]
        alike = [heat for heat in group if words.parts(heat.metric)[0] == headline]
        if len(alike) > 1:
            joined.append(_joined(alike, model, [words.way(heat.metric) for heat in alike]))
    return joined


def _joined(group: Sequence[Heat], model: str, labels: Sequence[str]) -> Heat:
    """Join heatmaps, a row per target and heatmap, which is called by its label."""
    notes: list[str] = []
    rows: dict[str, list[Row]] = {}
    for heat, label in zip(group, labels, strict=True):
        for row in heat.rows:
            if not row.indented:
                cells = [replace(cell, note=_note(heat.notes[cell.note - 1], notes)) if cell.note else cell
                         for cell in row.cells]  # fmt: skip
                rows.setdefault(row.label, []).append(Row(label, f"{row.label}, {row.detail}", cells))
    data = pd.concat([heat.data for heat in group], ignore_index=True)
    joined = [row for of_target in rows.values() for row in of_target]
    return replace(group[0], model=model, rows=joined, notes=notes, data=data, headline=False)


def colour_limit(changes: pd.Series) -> float:
    """Log2 fold change of full colour: the smallest of `LIMITS` that holds every change, or the largest.

    Examples
    --------
    >>> colour_limit(pd.Series([0.1, -0.6, float("nan")])), colour_limit(pd.Series([0.01]))
    (1.0, 0.25)
    """
    largest = changes.abs().max()
    return next((limit for limit in LIMITS if not largest > limit), LIMITS[-1])


def _cell(row: pd.Series | None, better: str, limit: float, notes: list[str]) -> Cell:
    """Build one cell; what is missing gets a footnote."""
    if row is None:
        return Cell("n/a", "", "", "neutral", 0, resolved=False, tip="no score", note=_note("no score", notes))
    change, low, high = (float(row[name]) for name in ("log2_fold_change", "fc_low", "fc_high"))
    mean, compared = float(row["mean"]), row["fc_reason"] != IS_BASELINE and math.isfinite(row["mean"])
    reasons = [str(row["reason"]), str(row["fc_reason"]) if compared else ""]
    reason = "; ".join(dict.fromkeys(text for text in reasons if text))
    half = (float(row["high"]) - float(row["low"])) / 2
    tone, weight = "neutral", 0.0
    if math.isfinite(change) and change != 0:
        toward = -change if better == "lower" else change
        tone, weight = "cool" if toward > 0 else "warm", min(1.0, abs(change) / limit)
    return Cell(
        words.number(mean),
        words.spread(half, beside=mean),
        words.signed(change) if compared else "",
        tone,
        weight,
        resolved=low > 0 or high < 0,
        tip=_tip(row, reason),
        note=_note(reason, notes),
    )


def _tip(row: pd.Series, reason: str) -> str:
    """Say everything about a cell in words."""
    parts = [f"{row.name} on {row['target']}: {words.number(row['mean'], 4)}"]
    if pd.notna(row["low"]):
        parts.append(f"95 % interval {words.number(row['low'], 4)} to {words.number(row['high'], 4)}")
    if pd.notna(row["fc_low"]):
        interval = f"{words.signed(row['fc_low'])} to {words.signed(row['fc_high'])}"
        change = f"{words.signed(row['log2_fold_change'])} ({words.percent(row['log2_fold_change'])})"
        parts.append(f"log2 fold change {change}, interval {interval}")
    parts.append(words.plural(int(row["n_seeds"]), "seed"))
    return "; ".join([*parts, *([reason] if reason else [])])


def _note(reason: str, notes: list[str]) -> int:
    """Return the number of the footnote for a reason, adding it where new; 0 for no reason."""
    if not reason:
        return 0
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1


def _n_cells(counts: pd.Series) -> str:
    """Write the number of cells that a row's scores rest on."""
    low, high = int(counts.min()), int(counts.max())
    return words.plural(low, "cell") if low == high else f"{low:,} to {high:,} cells"


@dataclass(frozen=True)
class Quality:
    """Cells of one source: all of them, how many were kept, and why the others were not."""

    source: str
    total: int
    kept: int
    dropped: list[tuple[str, int]]

    @property
    def share(self) -> float:
        """Share of the cells that were kept, 0 to 1."""
        return self.kept / self.total if self.total else 0.0


def quality(sources: pd.DataFrame) -> list[Quality]:
    """Count per source the cells kept and, most frequent first, the reasons for the others."""
    found = []
    for source, group in sources.groupby("source", sort=False):
        counts = group.groupby("reason", sort=False)["n_cells"].sum()
        dropped = counts.drop("kept", errors="ignore")
        dropped = dropped[dropped > 0].sort_values(ascending=False, kind="stable")
        reasons = [(str(reason), int(count)) for reason, count in dropped.items()]
        found.append(Quality(str(source), int(counts.sum()), int(counts.get("kept", 0)), reasons))
    return found


@dataclass(frozen=True)
class CorpusRow:
    """One corpus: its size and richness (ranges over seeds where they differ), and its recipe."""

    name: str
    size: str
    richness: dict[str, str]
    recipe: str


# How composition tables name cells whose label is not known.
MISSING = "(missing)"
RICHNESS = {"cell_type": "Cell types", "tissue": "Tissues", "donor": "Donors", "study": "Studies"}


def corpus_rows(
    composition: pd.DataFrame, recipes: dict[str, dict[str, object]], corpora: Sequence[str]
) -> list[CorpusRow]:
    """Describe each corpus: cells, number of distinct cell types, tissues, donors, studies, and its recipe."""
    recorded = set(composition["column"])
    rows = []
    for name in corpora:
        here = composition[composition["corpus"] == name]
        sizes = here.groupby(["column", "seed"])["n_cells"].sum()
        recipe = recipes.get(name, {})
        stated = recipe.get("n_cells")
        size = _range(sizes) if len(sizes) else (f"{stated:,}" if isinstance(stated, int) else "not recorded")
        known = here[(here["n_cells"] > 0) & (here["value"] != MISSING)]
        distinct = known.groupby(["column", "seed"])["value"].nunique()
        richness = {RICHNESS[c]: _range(distinct[c]) if c in distinct else "–" for c in RICHNESS if c in recorded}
        rows.append(CorpusRow(name, size, richness, str(recipe.get("recipe", "not recorded"))))
    return rows


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
