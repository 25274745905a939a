"""Answers: what the corpora did, and how models stand, in plain words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from corpuscle.report import words


class Finding(NamedTuple):
    """What one evaluation says: its target, what of it (a model; empty: all), and sentences.

    Where there is one model, a sentence per side that the seeds can resolve.
    """

    target: str
    of: str
    sentences: list[str]
    resolved: bool


class Answer(NamedTuple):
    """The answer of one metric: a lead sentence, and per target how models stand and what each one's corpora did.

    `remarks` are what a reader must know of the trainings that it rests on.
    """

    heading: str
    lead: str
    findings: list[Finding]
    remarks: Sequence[str] = ()


def answer(table: pd.DataFrame, every_way: pd.DataFrame, heading: str, baseline: str, targets: Sequence[str]) -> Answer:
    """Say in plain words what the corpora did, from the summary of one metric, unit "all".

    A difference counts as resolved when the interval of its log2 fold change leaves out 0. Nothing is corrected
    for the number of comparisons; the lead sentence says how many are expected by chance instead. Of several models
    each one's best corpus is told first; where the metric was found in `every_way`, its best way too.
    """
    others = table[table["corpus"] != baseline]
    better = str(table["better"].iloc[0]) if len(table) else "none"
    sign = {"higher": 1, "lower": -1}.get(better, 0)
    estimable = others[others["fc_low"].notna()]
    resolved = estimable[(estimable["fc_low"] > 0) | (estimable["fc_high"] < 0)]
    gains = int((resolved["log2_fold_change"] * sign > 0).sum())
    lead = _lead(len(others), len(estimable), len(resolved), gains if sign else None, baseline)
    several = table["model"].nunique() > 1
    findings = []
    for target in targets:
        on_target = table[table["target"] == target]
        if several and sign and on_target["mean"].notna().any():
            best = _best("with its best corpus", on_target, sign)
            findings.append(Finding(target, "", [best], resolved=True))
            in_ways = every_way[every_way["target"] == target]
            if in_ways["metric"].nunique() > 1:
                best = _best("with its best corpus and way", in_ways, sign)
                findings.append(Finding(target, "in every way", [best], resolved=True))
        for model, here in on_target.groupby("model", sort=False):
            name = str(model) if several else ""
            findings.append(_finding(target, name, here, resolved[resolved["model"] == model], baseline, sign))
    return Answer(heading, lead, findings)


def _best(how: str, here: pd.DataFrame, sign: int) -> str:
    """Name each model's best corpus, and way where there are several, the best model first; those without one last."""
    known = here[here["mean"].notna()].sort_values("mean", ascending=sign < 0, kind="stable")
    best = known.drop_duplicates("model")
    ways = here["metric"].nunique() > 1
    named = [
        f"{row['model']} {words.number(row['mean'])} ({row['corpus']}{'; ' + words.way(row['metric']) if ways else ''})"
        for _, row in best.iterrows()
    ]
    named += [f"{model} n/a" for model in here["model"].unique() if model not in set(best["model"])]
    return f"Each model {how}: {', '.join(named)}."


def _lead(total: int, estimable: int, resolved: int, gains: int | None, baseline: str) -> str:
    """Count the comparisons and what the seeds can resolve of them."""
    if total == 0:
        return f"There is no corpus besides the baseline {baseline}, so nothing to compare."
    if estimable == 0:
        return (
            f"None of the {words.plural(total, 'comparison')} with {baseline} has an interval (it takes at least two "
            "seeds with a value in both corpora), so no difference can be told from the scatter of seeds."
        )
    chance = round(0.05 * estimable, 0 if estimable >= 20 else 1)
    caveat = f"By chance alone, about {chance:g} of {estimable} would seem to differ at this level."
    if resolved == 0:
        return f"No difference from {baseline} that the seeds can resolve, in {words.plural(estimable, 'comparison')}."
    split = "" if gains is None else f": {gains} better, {resolved - gains} worse"
    of = f"{resolved} of {words.plural(estimable, 'comparison')} with {baseline}"
    return f"{of} differ by more than the scatter of seeds explains{split}. {caveat}"


def _finding(  # noqa: PLR0917
    target: str, model: str, here: pd.DataFrame, resolved: pd.DataFrame, baseline: str, sign: int
) -> Finding:
    """Say the largest gain and loss on one target."""
    rows = resolved[resolved["target"] == target]
    base = here[here["corpus"] == baseline]
    reference = float(base["mean"].iloc[0]) if len(base) else math.nan
    sentences = []
    for side, word in ((1, "gain" if sign else "rise"), (-1, "loss" if sign else "fall")):
        toward = rows[rows["log2_fold_change"] * (sign or 1) * side > 0]
        if len(toward):
            toward = toward.sort_values("log2_fold_change", key=abs, ascending=False, kind="stable")
            first = toward.iloc[0]
            sentences.append(
                f"Largest {word}: {first['corpus']}, {_compared(first, reference)}{_others(toward.iloc[1:])}."
            )
    if not sentences:
        known = here.loc[here["corpus"] != baseline, "fc_low"].notna().any()
        why = "no difference that the seeds can resolve" if known else "no interval, so nothing can be resolved"
        return Finding(target, model, [f"{why.capitalize()} ({baseline}: {words.number(reference)})."], resolved=False)
    return Finding(target, model, sentences, resolved=True)


def _others(rows: pd.DataFrame, at_most: int = 3) -> str:
    """Name the corpora after the first on the same side, with their changes."""
    if rows.empty:
        return ""
    named = [f"{row['corpus']} {words.percent(row['log2_fold_change'])}" for _, row in rows.head(at_most).iterrows()]
    more = f" and {len(rows) - at_most} more" if len(rows) > at_most else ""
    return f"; also {', '.join(named)}{more}"


def _compared(row: pd.Series, reference: float) -> str:
    """Write a mean against the baseline's, with the change and its interval."""
    interval = f"{words.percent(row['fc_low'])} to {words.percent(row['fc_high'])}"
    against = f"{words.number(row['mean'])} against {words.number(reference)}"
    return f"{against}, {words.percent(row['log2_fold_change'])} (95\N{NO-BREAK SPACE}% interval {interval})"
