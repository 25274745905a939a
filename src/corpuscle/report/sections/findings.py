"""Answers: what the corpora did, and how models stand, in plain words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import numbers
from corpuscle.report.sections.heatmaps import in_ways
from corpuscle.statistics.comparisons import RATIO, Scale, scale_of
from corpuscle.statistics.intervals import WHOLE, widening

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


class TaskFindings(NamedTuple):
    """The answer of one metric: a lead sentence, and per target how models stand and what each one's corpora did.

    `remarks` are what a reader must know of the trainings that it rests on.
    """

    heading: str
    lead: str
    findings: list[Finding]
    remarks: Sequence[str] = ()


def answer(
    table: pd.DataFrame, every_way: pd.DataFrame, heading: str, baseline: str, targets: Sequence[str]
) -> TaskFindings:
    """Put in plain words what the corpora did, from the summary of one metric, unit "all".

    Corpora are compared by log2 fold changes, or by differences where ratios have no meaning, all of them alike (see
    `scale_of`). A difference counts as resolved when its interval leaves out 0. Nothing is corrected for the number of
    comparisons; the lead sentence says how many are expected by chance instead. Of several models each one's best
    corpus stands first; where the metric was found in `every_way`, its best way too.
    """
    scale = scale_of(table)
    others = table[table["corpus"] != baseline]
    better = str(table["better"].iloc[0]) if len(table) else "none"
    sign = {"higher": 1, "lower": -1}.get(better, 0)
    estimable = others[others[scale.low].notna()]
    resolved = estimable[(estimable[scale.low] > 0) | (estimable[scale.high] < 0)]
    gains = int((resolved[scale.value] * sign > 0).sum()) if sign else None
    why_none = list(dict.fromkeys(others.loc[others[scale.low].isna(), scale.reason]))
    lead = _lead(Tally(len(others), len(estimable), len(resolved), gains), why_none, baseline)
    several = table["model"].nunique() > 1
    findings = []
    for target in targets:
        on_target = table[table["target"] == target]
        if several and sign and on_target["mean"].notna().any():
            best = _best("with its best corpus", on_target, sign)
            findings.append(Finding(target, "", [best], resolved=True))
            all_ways = every_way[every_way["target"] == target]
            if in_ways(all_ways):
                best = _best("with its best corpus and way", all_ways, sign)
                findings.append(Finding(target, "in every way", [best], resolved=True))
        for model, here in on_target.groupby("model", sort=False):
            sentences, found = _finding(here, baseline, sign, scale)
            findings.append(Finding(target, str(model) if several else "", sentences, resolved=found))
    return TaskFindings(heading, lead, findings)


def _best(how: str, here: pd.DataFrame, sign: int) -> str:
    """Name each model's best corpus, and way where there are several, the best model first; those without one last."""
    known = here[here["mean"].notna()].sort_values("mean", ascending=sign < 0, kind="stable")
    best = known.drop_duplicates("model")
    several = in_ways(here)
    named = []
    for _, row in best.iterrows():
        where = f"{row['corpus']}; {numbers.way(row['way'])}" if several else row["corpus"]
        named.append(f"{row['model']} {numbers.number(row['mean'])} ({where})")
    named += [f"{model} n/a" for model in here["model"].unique() if model not in set(best["model"])]
    return f"Each model {how}: {', '.join(named)}."


class Tally(NamedTuple):
    """How many comparisons there are, have an interval, have one that leaves out 0, and are then for the better."""

    total: int
    estimable: int
    resolved: int
    gains: int | None


def _lead(found: Tally, why_none: Sequence[str], baseline: str) -> str:
    """Count the comparisons and what the seeds can resolve of them."""
    total, estimable, resolved, gains = found
    if total == 0:
        return f"There is no corpus besides the baseline {baseline}, so nothing to compare."
    without = "; ".join(why_none[:NAMED_AT_MOST])
    if estimable == 0:
        return (
            f"None of the {numbers.plural(total, 'comparison')} with {baseline} has an interval ({without}), so no "
            "difference can be distinguished from the scatter of seeds."
        )
    left = total - estimable
    rest = f" {left} more {'has' if left == 1 else 'have'} no interval ({without})." if left else ""
    counted = numbers.plural(estimable, "comparison")
    if resolved == 0:
        return f"No difference from {baseline} that the seeds can resolve, in {counted}.{rest}"
    chance = round(0.05 * estimable, 0 if estimable >= 20 else 1)
    caveat = f"By chance alone, about {chance:g} of {estimable} would seem to differ at this level."
    split = "" if gains is None else f": {gains} better, {resolved - gains} worse"
    of = f"{resolved} of {counted} with {baseline}"
    return f"{of} differ by more than the scatter of seeds explains{split}. {caveat}{rest}"


def _finding(here: pd.DataFrame, baseline: str, sign: int, scale: Scale) -> tuple[list[str], bool]:
    """Put in words one model's largest gain and loss on a target, what has no interval, and whether one is resolved."""
    others, base = here[here["corpus"] != baseline], here.loc[here["corpus"] == baseline, "mean"]
    resolved = others[(others[scale.low] > 0) | (others[scale.high] < 0)]
    sentences = []
    for side, word in ((1, "gain" if sign else "rise"), (-1, "loss" if sign else "fall")):
        toward = resolved[resolved[scale.value] * (sign or 1) * side > 0]
        if len(toward):
            toward = toward.sort_values(scale.value, key=abs, ascending=False, kind="stable")
            others_too = _named(toward.iloc[1:], scale)
            also = f"; also {others_too}" if others_too else ""
            sentences.append(f"Largest {word}: {toward['corpus'].iloc[0]}, {_compared(toward.iloc[0], scale)}{also}.")
    found = bool(sentences)
    if not found:
        known = others[scale.low].notna().any()
        why = "No difference that the seeds can resolve" if known else "No interval, so nothing can be resolved"
        sentences.append(f"{why} ({baseline}: {numbers.number(float(base.iloc[0]) if len(base) else math.nan)}).")
    for reason, rows in others[others[scale.low].isna()].groupby(scale.reason, sort=False):
        largest = rows.sort_values(scale.value, key=abs, ascending=False, kind="stable")
        sentences.append(f"Without an interval: {_named(largest, scale)} ({reason}).")
    return sentences, found


def _named(rows: pd.DataFrame, scale: Scale) -> str:
    """Name corpora with their changes."""
    named = [f"{row['corpus']} {_change(row[scale.value], scale)}" for _, row in rows.head(NAMED_AT_MOST).iterrows()]
    more = f" and {len(rows) - NAMED_AT_MOST} more" if len(rows) > NAMED_AT_MOST else ""
    return ", ".join(named) + more


def _change(value: float, scale: Scale) -> str:
    """Write a change: a percentage, or a difference with its sign."""
    return numbers.percent(value) if scale == RATIO and math.isfinite(value) else numbers.difference(value)


def _compared(row: pd.Series, scale: Scale) -> str:
    """Write a mean against the baseline's, over the seeds that both have, with the change and its interval."""
    change, low, high = (_change(float(row[name]), scale) for name in scale[:3])
    mean, base = numbers.apart(float(row["pair_mean"]), float(row["pair_base"]))
    return f"{mean} against {base}, {change} (95\N{NO-BREAK SPACE}% interval {low} to {high})"


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
