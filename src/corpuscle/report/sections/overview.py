"""The overview: every corpus on every target with every model, in one table that ranks them; and what is incomplete."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.sections.bar_table import Axis, BarCell, BarColumn, BarRow, BarTable, bar
from corpuscle.report.sections.findings import TaskFindings
from corpuscle.report.sections.heatmaps import Layout, Sheet

# A reader takes in so many sentences before the table.
MOST_SENTENCES = 5
# Verdicts that have a colour: see `corpuscle.statistics.verdicts.verdicts`.
TONES = {"better": "cool", "worse": "warm"}
# The columns that tell one comparison of corpora from another.
COMPARISON = ["model", "task", "target", "metric", "way", "version", "unit"]


def sentences(answers: Sequence[TaskFindings]) -> list[tuple[str, str]]:
    """Return what the page says first, at most five: (of which metric, empty where there is one; the sentence).

    What each metric's comparisons came to, then the differences that are surest.
    """
    if answers and not any(found.is_compared for found in answers):
        # Of one corpus, the same is said of every metric.
        return [("", answers[0].lead)]
    several = len(answers) > 1
    said = [(found.heading if several else "", found.lead) for found in answers]
    shown = [(of, *held) for found, (of, _) in zip(answers, said, strict=True) for held in found.shown]
    surest = sorted(shown, key=lambda held: held[1])[: max(0, MOST_SENTENCES - len(said))]
    # In the order of the metrics and targets, whichever is surest.
    return [*said[:MOST_SENTENCES], *((of, sentence) for of, p, sentence in shown if (of, p, sentence) in surest)]


def with_standing(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``tone`` (the colour of the verdict on each corpus), ``mark`` ("best", "tied" or empty) and ``rank``.

    ``ties_best`` says which corpora no other is shown to be better than (see
    `corpuscle.statistics.pairs.ties_with_best`); the best is the one of them with the best mean. Ranks are of the
    means, 1 for the best. Where neither way is better, none is best, and there are no ranks.
    """
    table = table.assign(merit=_merit(table))
    tones = [TONES.get(str(verdict), "neutral") for verdict in table["verdict"]]
    marks = pd.Series("", index=table.index)
    for _, here in table.groupby(COMPARISON, sort=False):
        marks[here.index] = _marks(here)
    ranks = table.groupby(COMPARISON, sort=False)["merit"].rank(ascending=False)
    return table.drop(columns="merit").assign(tone=tones, mark=marks, rank=ranks)


def _merit(table: pd.DataFrame) -> "pd.Series[float]":
    """Return means so that higher is better; NaN where neither way is."""
    signed = table["mean"] * table["better"].map({"higher": 1.0, "lower": -1.0}).astype(float)
    return signed.where(table["better"] != "zero", -table["mean"].abs())


def _marks(here: pd.DataFrame) -> "pd.Series[str]":
    """Mark the best corpora of one comparison."""
    marks = pd.Series("", index=here.index)
    left = here["ties_best"].astype(bool)
    if len(here) > 1 and here.loc[left, "merit"].notna().any():
        marks[left] = "tied"
        # The best mean of those that no other is shown to be better than: means of other seeds may be higher.
        marks[left & (here["merit"] == here.loc[left, "merit"].max())] = "best"
    return marks


def overview(sheets: Sequence[Sheet], layout: Layout, fits: pd.DataFrame) -> BarTable | None:
    """Lay the headline of every task out as one table, the corpora that are best or tied most often first.

    Nothing is scaled by what it is compared with: bars are on the metric's own range, where its scale has one.

    Parameters
    ----------
    sheets
        The heatmaps of every task.
    layout
        Baseline, corpora and targets.
    fits
        One row per fit with its ``seconds``; NaN where they are not known.

    Returns
    -------
    BarTable
        None where no task has a score over all cells.
    """
    overall = [data[data["unit"] == "all"] for data in (sheet.headline.data for sheet in sheets)]
    tables = [with_standing(data) for data in overall if len(data)]
    if not tables:
        return None
    models = list(dict.fromkeys(str(model) for table in tables for model in table["model"]))
    columns: list[BarColumn] = []
    cells: dict[str, list[BarCell]] = {corpus: [] for corpus in layout.corpora}
    for table in tables:
        axis = Axis.of(str(table["scale"].iloc[0]), table[["mean", "low", "high"]].to_numpy(float).ravel().tolist())
        for target in layout.targets:
            here = table[table["target"] == target]
            if here.empty:
                continue
            columns.append(_column(here, axis, target))
            for corpus in layout.corpora:
                cells[corpus].append(_cell(here[here["corpus"] == corpus], axis, models))
    standing = pd.concat(tables)
    wins, costs = _wins(standing, layout.corpora), _costs(fits, layout.corpora)
    rows = [
        BarRow(corpus, [wins[corpus]] if wins else [], cells[corpus], [costs[corpus]] if costs else [])
        for corpus in ranked(standing, layout.corpora)
    ]
    before, behind = ["best or tied"] if wins else [], ["training, a fit"] if costs else []
    table = BarTable(columns, rows, before, behind, models if len(models) > 1 else [], layout.baseline)
    return _by_model(table, fits) if len(rows) == 1 and len(models) > 1 else table


def _by_model(table: BarTable, fits: pd.DataFrame) -> BarTable:
    """Give each model a row, in a table of one corpus, which has no other to be compared with."""
    (corpus,) = table.rows
    costs = {str(model): _costs(here, [corpus.name]) for model, here in fits.groupby("model")}
    rows = []
    for at, model in enumerate(table.models):
        bars = [cell.bars[at] for cell in corpus.cells]
        cells = [BarCell([bar], bar.at) for bar in bars]
        cost = costs.get(model, {}).get(corpus.name, ("n/a", math.nan))
        rows.append(BarRow(model, [], cells, [cost] if table.behind else []))
    return table._replace(rows=rows, before=[], models=[], baseline="", of="Model")


def ranked(standing: pd.DataFrame, corpora: Sequence[str]) -> list[str]:
    """Order corpora by how often they are best or tied with the best.

    Of equals, those that are better than the baseline more often, less how often worse, come first; then those whose
    means have the better rank, on average.
    """
    wins = standing["mark"].ne("").groupby(standing["corpus"]).sum()
    net = standing["tone"].map({"cool": 1, "warm": -1, "neutral": 0}).groupby(standing["corpus"]).sum()
    place = standing.groupby("corpus")["rank"].mean().fillna(0.0)
    return sorted(corpora, key=lambda corpus: (-wins.get(corpus, 0), -net.get(corpus, 0), place.get(corpus, 0.0)))


def _column(here: pd.DataFrame, axis: Axis, target: str) -> BarColumn:
    first = here.iloc[0]
    title = str(first["title"]) or str(first["metric"]).replace("_", " ")
    ways = here["way"].unique()
    about = ", ".join(part for part in (title, str(ways[0]) if len(ways) == 1 else "") if part)
    return BarColumn(f"{first['task']}: {about}", target, str(first["better"]), axis, str(first["meaning"]))


def _cell(here: pd.DataFrame, axis: Axis, models: Sequence[str]) -> BarCell:
    """Lay out one corpus on one target: a bar per model, those without a score as such."""
    found = {str(row["model"]): row for _, row in here.iterrows()}
    lacking = pd.Series({"mean": math.nan, "low": math.nan, "high": math.nan, "tone": "neutral", "mark": ""})
    bars = []
    for model in models:
        row = found.get(model, lacking)
        bars.append(bar(row, axis, model, tone=str(row["tone"]), mark=str(row["mark"])))
    known = [float(row["mean"]) for row in found.values() if math.isfinite(row["mean"])]
    return BarCell(bars, sum(known) / len(known) if known else math.nan)


def _wins(standing: pd.DataFrame, corpora: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Count the comparisons in which each corpus is best or tied with the best; empty where none has a best."""
    marked = standing["mark"].ne("")
    total = int(standing["mark"].eq("best").groupby([standing[name] for name in COMPARISON]).any().sum())
    wins = marked.groupby(standing["corpus"]).sum()
    return {corpus: (f"{wins.get(corpus, 0)} of {total}", float(wins.get(corpus, 0))) for corpus in corpora if total}


def _costs(fits: pd.DataFrame, corpora: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Return how long a fit takes, mean over seeds, from the quickest model to the slowest; empty where not known."""
    known = fits.dropna(subset=["seconds"])
    if known.empty:
        return {}
    means = known.groupby(["corpus", "model"])["seconds"].mean()
    costs = {}
    for corpus in corpora:
        here = means[corpus] if corpus in means.index.get_level_values(0) else pd.Series([math.nan])
        ends = dict.fromkeys(numbers.duration(float(end)) for end in (here.min(), here.max()))
        costs[corpus] = ("–".join(ends), float(here.sum(min_count=1)))
    return costs


def _lost(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the best-known scores without a value of which another run has one: what no run has cannot be had."""
    rows = scores[scores["headline"].astype(bool) & scores["unit"].eq("all")]
    has = rows["value"].notna().groupby([rows[name] for name in ("model", "task", "target", "way")]).transform("any")
    return rows[rows["value"].isna() & has]


def incomplete(
    scores: pd.DataFrame, failures: Sequence[Mapping[str, Any]], corpora: Sequence[str], seeds: int
) -> list[str]:
    """Return in sentences what a run lacks of what its study asked for; empty where it is whole.

    Parameters
    ----------
    scores
        Score rows.
    failures
        What the provenance has of runs that failed.
    corpora
        The study's corpora.
    seeds
        How many seeds the study asked for.
    """
    models = scores["model"].unique()
    found = scores.groupby("model")[["corpus", "seed"]].apply(lambda here: len(here.drop_duplicates()))
    wanted = len(corpora) * max(seeds, int(scores["seed"].nunique()))
    total, there = wanted * len(models), int(found.sum()) if len(models) else 0
    sentences = []
    lost = _lost(scores)
    if len(lost):
        why = ", ".join(list(dict.fromkeys(lost["reason"].replace("", "no reason recorded")))[:2])
        sentences.append(
            f"Without a value where other runs have one: {numbers.plural(len(lost), 'score')} over all cells ({why}); "
            "means and intervals are of the others."
        )
    if failures:
        failed = numbers.plural(len(failures), "run")
        sentences.append(f"{failed} failed: their scores are missing; means and intervals rest on those that finished.")
    if there < total:
        sentences.append(
            f"Of {total:,} runs (corpora × models × seeds), {there:,} have scores; what is said below is of these."
        )
    return sentences


def unfinished(missing: Sequence[Mapping[str, Any]], shown: int = 10) -> list[str]:
    """Return in a sentence which runs were not there when a page was made; empty where all were.

    Parameters
    ----------
    missing
        Corpus, model and seed of each run that lacked its model or scores.
    shown
        How many are named.

    Examples
    --------
    >>> unfinished([{"corpus": "Blood", "model": "ldvae", "seed": 1}])
    ['The run was not finished when this page was made: 1 run lacked its model or scores (Blood · ldvae · seed 1).']
    """
    if not missing:
        return []
    named = [f"{one['corpus']} · {one['model']} · seed {one['seed']}" for one in missing[:shown]]
    more = [f"and {len(missing) - shown:,} more"] if len(missing) > shown else []
    return [
        f"The run was not finished when this page was made: {numbers.plural(len(missing), 'run')} lacked its model or "
        f"scores ({', '.join([*named, *more])})."
    ]
