"""Answers: what the corpora did, and how models stand, in plain words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.sections.heatmaps import in_ways
from corpuscle.statistics.comparisons import DIFFERENCE, RATIO, Scale, scale_of
from corpuscle.statistics.intervals import WHOLE, widening
from corpuscle.statistics.two_way import FEWEST_DONORS

NAMED_AT_MOST = 3
# An interval that is widened by less than this is not worth a word.
WIDENED = 1.1


class Finding(NamedTuple):
    """What one evaluation says: its target, what of it (a model; empty: all), and sentences.

    Where there is one model, a sentence per side that the seeds can resolve.
    """

    target: str
    of: str
    sentences: list[str]
    resolved: bool


class Shown(NamedTuple):
    """A difference that holds: its corrected p, and a sentence that stands alone."""

    p: float
    sentence: str


class TaskFindings(NamedTuple):
    """The answer of one metric: a lead sentence, and per target how models stand and what each one's corpora did.

    `shown` are the differences that hold, each target's and model's largest for the better and for the worse.

    `remarks` are what a reader must know of the trainings that it rests on; `is_compared`, whether there is any corpus
    besides the baseline.
    """

    heading: str
    lead: str
    findings: list[Finding]
    remarks: Sequence[str] = ()
    shown: Sequence[Shown] = ()
    is_compared: bool = True


def answer(
    table: pd.DataFrame,
    every_way: pd.DataFrame,
    heading: str,
    baseline: str,
    targets: Sequence[str],
    *,
    control: str = "",
) -> TaskFindings:
    """Put in plain words what the corpora did, from the summary of one metric, unit "all".

    Every word is a verdict of the table (see `corpuscle.statistics.verdicts.verdicts`), with its numbers: corpora are
    better or worse where that holds after correction for all comparisons of the metric, equivalent where that was
    shown, and else not resolved, within an interval. Of several models each one's best
    corpus stands first, with what cannot be told from it; where the metric was found in `every_way`, its best way too.
    """
    better = str(table["better"].iloc[0]) if len(table) else "none"
    sign = {"higher": 1, "lower": -1}.get(better, 0)
    others = table[table["corpus"] != baseline]
    several = table["model"].nunique() > 1
    findings: list[Finding] = []
    largest: list[Shown] = []
    for target in targets:
        on_target = table[table["target"] == target]
        if sign and on_target["mean"].notna().any() and (several or on_target["corpus"].nunique() > 2):
            best = _best("with its best corpus" if several else "", on_target, sign)
            findings.append(Finding(target, "", [best], resolved=True))
            all_ways = every_way[every_way["target"] == target]
            if in_ways(all_ways):
                best = _best("with its best corpus and way", all_ways, sign)
                findings.append(Finding(target, "in every way", [best], resolved=True))
        for model, here in on_target.groupby("model", sort=False):
            sentences, found = _finding(here, baseline, control)
            findings.append(Finding(target, str(model) if several else "", sentences, resolved=found))
            place = f"{target}, {model}" if several else target
            largest += [
                Shown(float(rows["p_holm"].iloc[0]), f"On {place}, {_held(rows.iloc[:1], verdict, baseline, control)}.")
                for verdict, rows in _holding(here, baseline)
            ]
    return TaskFindings(heading, _lead(others, baseline), findings, shown=largest, is_compared=len(others) > 0)


def _best(how: str, here: pd.DataFrame, sign: int) -> str:
    """Name each model's best corpus, and way where there are several, the best model first; those without one last.

    Corpora that cannot be told from the best are named with it.
    """
    known = here[here["mean"].notna()].sort_values("mean", ascending=sign < 0, kind="stable")
    # Means of other seeds may be higher than that of a corpus that is shown to be better; where nothing is shown, as of
    # ways that the task is not known for, all means count.
    shown = known.groupby(["model", "way"], observed=True)["ties_best"].transform("any")
    left = known[known["ties_best"].astype(bool) | ~shown.astype(bool)]
    best = left.drop_duplicates("model")
    best = best.sort_values("mean", ascending=sign < 0, kind="stable")
    several = in_ways(here)
    named = []
    for _, row in best.iterrows():
        where = f"{row['corpus']}; {numbers.way(row['way'])}" if several else row["corpus"]
        ties = known[(known["model"] == row["model"]) & (known["way"] == row["way"]) & known["ties_best"]]
        ties = [corpus for corpus in ties["corpus"] if corpus != row["corpus"]]
        more = f" and {len(ties) - NAMED_AT_MOST} more" if len(ties) > NAMED_AT_MOST else ""
        tied = f", tied with {', '.join(ties[:NAMED_AT_MOST])}{more}" if ties else ""
        score = f"{numbers.number(row['mean'])} ({where}{tied})"
        named.append(f"{row['model']} {score}" if how else f"{where}, {numbers.number(row['mean'])}{tied}")
    named += [f"{model} n/a" for model in here["model"].unique() if model not in set(best["model"])]
    return f"Each model {how}: {', '.join(named)}." if how else f"Best mean: {named[0]}."


# Verdicts, in the order in which a sentence counts them, with what it calls them.
COUNTED = {
    "better": "better", "worse": "worse", "higher": "higher", "lower": "lower",
    "equivalent": "equivalent within the margin", "unresolved": "not resolved", "no interval": "without an interval",
}  # fmt: skip


def _lead(others: pd.DataFrame, baseline: str) -> str:
    """Count the comparisons by their verdicts."""
    total = len(others)
    if total == 0:
        return f"{baseline} is the only corpus, so no corpora are compared."
    counts = others["verdict"].value_counts()
    perhaps = int(counts[counts.index.str.startswith("perhaps")].sum())
    parts = [f"{counts[verdict]} {word}" for verdict, word in COUNTED.items() if verdict in counts]
    if perhaps:
        # What has no interval was not corrected for.
        parts.append(f"{perhaps} perhaps, but not after correction for {int(others['p'].notna().sum())}")
    of = f"{numbers.plural(total, 'comparison')} with {baseline}"
    missing = others.loc[others["verdict"].eq("no interval")]
    reasons = list(dict.fromkeys(_reason(row) for _, row in missing.iterrows()))[:NAMED_AT_MOST]
    why = f" Without an interval, nothing can be concluded: {'; '.join(reasons)}." if reasons else ""
    return f"Of {of}: {', '.join(parts)}.{why}"


def _reason(row: pd.Series) -> str:
    """Return why a comparison has no interval."""
    scale = RATIO if row["compared_by"] == "ratio" else DIFFERENCE
    return str(row[scale.reason]) or "no reason recorded"


def _finding(here: pd.DataFrame, baseline: str, control: str) -> tuple[list[str], bool]:
    """Put in words what one model's corpora did on a target, and return whether something was shown."""
    scale, others = scale_of(here), _ordered(here, baseline)
    sentences = []
    for verdict, rows in _holding(here, baseline):
        more = f"; also {verdict}: {_named(rows.iloc[1:], scale)}" if len(rows) > 1 else ""
        sentences.append(f"{_held(rows, verdict, baseline, control)}{more}.")
    shown = bool(sentences)
    perhaps = others[others["verdict"].str.startswith("perhaps")]
    if len(perhaps):
        sentences.append(f"Perhaps, but not after correction for all comparisons: {_named(perhaps, scale)}.")
    alike = others[others["verdict"] == "equivalent"]
    if len(alike):
        margin = f"{100 * alike['margin'].iloc[0]:g} %" if scale == RATIO else f"{alike['margin'].iloc[0]:g}"
        sentences.append(
            f"No difference shown, and none larger than ±{margin} (equivalence): {', '.join(alike['corpus'])}."
        )
    open_ = others[others["verdict"] == "unresolved"]
    if len(open_):
        n_seeds = numbers.plural(int(open_["n_pairs"].min()), "seed")
        sentences.append(f"Not resolved at {n_seeds}: {_named(open_, scale)}.")
    base = here.loc[here["corpus"] == baseline, "mean"]
    if not shown:
        sentences.append(f"{baseline}: {numbers.number(float(base.iloc[0]) if len(base) else math.nan)}.")
    for reason, rows in others[others["verdict"] == "no interval"].groupby(scale.reason, sort=False):
        sentences.append(f"Without an interval: {_named(rows, scale)} ({reason}).")
    return sentences, shown or bool(len(alike))


def _ordered(here: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return all corpora but the baseline, the furthest from it first."""
    others = here[here["corpus"] != baseline]
    change = others[scale_of(here).value].abs()
    return others.loc[change.sort_values(ascending=False, kind="stable").index]


def _holding(here: pd.DataFrame, baseline: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the corpora whose difference holds, by verdict."""
    others = _ordered(here, baseline)
    by_verdict = [(verdict, others[others["verdict"] == verdict]) for verdict in ("better", "worse", "higher", "lower")]
    return [(verdict, rows) for verdict, rows in by_verdict if len(rows)]


def _held(rows: pd.DataFrame, verdict: str, baseline: str, control: str) -> str:
    """Put in words the first of the differences that hold, with everything that it rests on."""
    row = rows.iloc[0]
    scale = RATIO if row["compared_by"] == "ratio" else DIFFERENCE
    mean, base = numbers.apart(float(row["pair_mean"]), float(row["pair_base"]))
    change, low, high = (_change(float(row[name]), scale) for name in scale[:3])
    rests, n_donors = numbers.plural(int(row["n_pairs"]), "seed"), int(row["pair_donors"])
    if n_donors:
        # Of fewer, nothing is known of others, and that belongs next to the verdict.
        these = "of this " if n_donors == 1 else "of these "
        few = n_donors < FEWEST_DONORS
        rests += f", {these if few else ''}{numbers.plural(n_donors, 'donor')}{' alone' if few else ''}"
    kind = " (geometric means)" if scale == RATIO else ""
    beyond = ""
    if control and math.isfinite(float(row["control_difference"])):
        over, ends = float(row["control_difference"]), (float(row["control_low"]), float(row["control_high"]))
        interval = f" ({_change(ends[0], scale)} to {_change(ends[1], scale)})" if math.isfinite(ends[0]) else ""
        beyond = f"; beyond the size control {control}: {_change(over, scale)}{interval}"
    up = float(row[scale.value]) > 0
    title = str(row["title"]) or str(row["metric"]).replace("_", " ")
    return (
        f"{row['corpus']} is {verdict} than {baseline}: it {'raises' if up else 'lowers'} {title} by "
        f"{change.lstrip('+−')}, from {base} to {mean}{kind} "
        f"(95\N{NO-BREAK SPACE}% interval {low} to {high}; {rests}{beyond})"
    )


def _named(rows: pd.DataFrame, scale: Scale) -> str:
    """Name corpora with their changes and intervals."""
    named = []
    for _, row in rows.head(NAMED_AT_MOST).iterrows():
        change, low, high = (float(row[name]) for name in scale[:3])
        ends = f" ({_change(low, scale)} to {_change(high, scale)})" if math.isfinite(low) else ""
        named.append(f"{row['corpus']} {_change(change, scale)}{ends}")
    more = f" and {len(rows) - NAMED_AT_MOST} more" if len(rows) > NAMED_AT_MOST else ""
    return ", ".join(named) + more


def _change(value: float, scale: Scale) -> str:
    """Write a change: a percentage, or a difference with its sign."""
    return numbers.percent(value) if scale == RATIO and math.isfinite(value) else numbers.difference(value)


def limits(summary: pd.DataFrame) -> list[str]:
    """Return what cannot be concluded, whatever the scores are: of other donors, and with so few seeds.

    Parameters
    ----------
    summary
        Rows of `corpuscle.statistics.comparisons.summarise`.
    """
    overall = summary[summary["unit"].eq("all") & summary["mean"].notna() & summary["headline"]]
    sentences = []
    donors = overall.groupby("target", sort=False, observed=True)["n_donors"].max()
    many, some = donors[donors >= FEWEST_DONORS], donors[(donors < FEWEST_DONORS) & (donors > 0)]
    if len(many):
        named = ", ".join(f"{target} ({numbers.plural(int(n), 'donor')})" for target, n in many.items())
        sentences.append(f"On {named}, means are over donors, each counting alike, and intervals are about new donors.")
    if len(some):
        named = ", ".join(f"{target} ({numbers.plural(int(n), 'donor')})" for target, n in some.items())
        sentences.append(
            f"On {named}, nothing can be concluded about other donors: that takes {FEWEST_DONORS} or more."
        )
    unknown = donors[donors == 0]
    if len(unknown):
        named = ", ".join(unknown.index)
        sentences.append(
            f"On {named}, no donors are known that all runs have a score of: nothing is about other donors."
        )
    fewest = int(overall["n_seeds"].max()) if len(overall) else 0
    if fewest == 2:
        sentences.append(
            "With two seeds, an interval is 12.7 standard errors wide to each side (three: 4.3; five: 2.8)."
        )
    return sentences


def scope(draws: pd.DataFrame, corpora: Sequence[str], n_seeds: int) -> list[str]:
    """Return what intervals are about, where the draws of two seeds share cells: these cells only, or the sources.

    Parameters
    ----------
    draws
        Columns ``corpus``, ``source``, ``overlap``; see `RunFolder.draws`.
    corpora
        In which order they are named.
    n_seeds
        How many seeds there are.
    """
    largest = draws.dropna(subset=["overlap"]).sort_values("overlap").drop_duplicates("corpus", keep="last")
    found = largest.set_index("corpus")
    named = [corpus for corpus in corpora if corpus in found.index]
    same = [f"{corpus} ({found.loc[corpus, 'source']})" for corpus in named if found.loc[corpus, "overlap"] > WHOLE]
    wide = {corpus: float(widening(n_seeds, found.loc[corpus, "overlap"])) for corpus in named}
    shown = [
        f"{corpus} ×{wide[corpus]:.1f} ({found.loc[corpus, 'overlap']:.0%} of {found.loc[corpus, 'source']})"
        for corpus in named
        if wide[corpus] >= WIDENED
    ]
    sentences = []
    if same:
        sentences.append(
            f"Of {', '.join(same)}, intervals are about these cells only: every seed draws the same cells of that "
            "source, so nothing is known of others."
        )
    if shown:
        sentences.append(
            f"Intervals are about the sources, and widened where draws of two seeds share cells: {', '.join(shown)}."
        )
    return [*sentences, "A comparison goes by the corpus whose draws share more."] if sentences else []
