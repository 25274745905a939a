"""Power in words: which difference a study's seeds can show, and how many seeds or donors more it takes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.crossed import fits_of, variance_components
from corpuscle.statistics.noise_ceiling import noise_ceilings
from corpuscle.statistics.pilot import TYPICAL, Pilot
from corpuscle.statistics.power import Scatter, donors_for, half_width, resolvable, seeds_for

# More of them than this are named as that.
MOST_NAMED = 1000
# So many targets are named in a sentence.
MOST_TARGETS = 3
PLACES = ("model", "target", "way", "version", "corpus")


@dataclass(frozen=True)
class Asked:
    """What a study will compare: a task's metric, on which scale, and how often.

    Attributes
    ----------
    task, metric, title
        Of what.
    scale
        What the metric can be; see `corpuscle.core.scores.Metric`.
    n_comparisons
        Corpora besides the baseline × models × targets.
    """

    task: str
    metric: str
    title: str
    scale: str
    n_comparisons: int


def resolves(
    asked: Sequence[Asked], n_seeds: int, known: Sequence[Pilot] | None = None, overlap: float = 0.0
) -> Iterator[str]:
    """Yield for each metric which difference so many seeds show: by an earlier run, else by typical scatter.

    Parameters
    ----------
    asked
        What the study will compare.
    n_seeds
        How many seeds it has; with one, nothing is said: a warning says it.
    known
        What an earlier run scattered by; None: there is none.
    overlap
        Which share of its cells a draw of the study has in common with another seed's, where there is no earlier run.
    """
    found = {(pilot.task, pilot.metric): pilot for pilot in known or ()}
    if n_seeds < 2:
        return
    for one in asked:
        pilot = found.get((one.task, one.metric))
        if one.n_comparisons and (pilot or (known is None and one.scale in TYPICAL)):
            yield _resolves(one, n_seeds, pilot, overlap)
        elif one.n_comparisons and known is not None:
            yield f"{one.title} of {one.task}: the earlier run has no two seeds of it that can be compared."


def _resolves(one: Asked, n_seeds: int, pilot: Pilot | None, overlap: float) -> str:
    scatter = pilot.scatter if pilot else Scatter(TYPICAL[one.scale] ** 2, overlap=overlap)
    n_donors, ratio = (pilot.n_donors, pilot.ratio) if pilot else (0, False)
    least = resolvable(scatter, n_seeds, max(n_donors, 1), comparisons=one.n_comparisons)
    # A share differs by less than 1, and no certainty has a larger one shown.
    shown = "no difference" if one.scale == "share" and least >= 1 else f"differences from {_size(least, ratio=ratio)}"
    corrected = f", corrected for {one.n_comparisons} comparisons" if one.n_comparisons > 1 else ""
    seeds = numbers.plural(n_seeds, "seed") + (f" and {n_donors} donors" if n_donors else "")
    interval = f"intervals of about {_size(half_width(scatter, n_seeds, max(n_donors, 1)), ratio=ratio)}"
    basis = (
        f"by the scatter of the earlier run ({numbers.plural(pilot.n_seeds, 'seed')})"
        if pilot
        else f"assuming that a difference scatters by {TYPICAL[one.scale]:g} between seeds (--pilot RUN_FOLDER takes "
        "it from an earlier run)"
    )
    return f"{one.title} of {one.task}: {seeds} resolve {shown} (80 % power{corrected}; {interval}), {basis}."


def seed_parts(scores: pd.DataFrame) -> Iterator[str]:
    """Yield, where draws and fits are crossed, what runs are, and how the variance over them parts, metric by metric.

    Parameters
    ----------
    scores
        Score rows; see `corpuscle.statistics.crossed.laid_out`.
    """
    fits = fits_of(scores)
    if fits == 1:
        return
    n_draws = scores["draw"].nunique()
    yield (
        f"Runs are {n_draws} draws × {fits} initialisations, the same in every draw (seed = draw × {fits} + "
        "initialisation); intervals are about new draws and new initialisations."
    )
    found = variance_components(scores[scores["headline"]], ["task", "metric", "title", *PLACES])
    for _, here in found.groupby(["task", "metric"], sort=False):
        # Of means over corpora, models and targets; a negative one is none.
        draw, fit, rest = (max(0.0, float(here[part].mean())) for part in ("draw", "fit", "rest"))
        if total := draw + fit + rest:
            yield (
                f"Of the variance of {here['title'].iloc[0] or here['metric'].iloc[0]} over runs, about "
                f"{draw / total:.0%} is of the draw, {fit / total:.0%} of the initialisation and {rest / total:.0%} of "
                "both together."
            )


def more_needed(known: Sequence[Pilot], margins: Mapping[str, float]) -> Iterator[str]:
    """Yield for each metric how wide differences' intervals are, and how many seeds or donors narrower ones take.

    How narrow: to the study's margin for the metric, else half as wide as they are.
    """
    for pilot in known:
        now = half_width(pilot.scatter, pilot.n_seeds, max(pilot.n_donors, 1))
        if not now > 0:
            continue
        margin = margins.get(pilot.metric)
        aim = now / 2 if margin is None else math.log2(1 + margin) if pilot.ratio else margin
        seeds = numbers.plural(pilot.n_seeds, "seed")
        seeds += f" and {numbers.plural(pilot.n_donors, 'donor')}" if pilot.n_donors else ""
        over = f", over {numbers.plural(pilot.n_comparisons, 'comparison')}" if pilot.n_comparisons > 1 else ""
        text = f"{pilot.title}: with {seeds}, a difference is known to about {_size(now, ratio=pilot.ratio)}{over}"
        if now <= aim:
            yield f"{text}, within the margin of {_size(aim, ratio=pilot.ratio)}."
        else:
            yield f"{text}; {_size(aim, ratio=pilot.ratio)} {_takes(pilot, aim)}."


def cells_leave(scores: pd.DataFrame, baseline: str) -> Iterator[str]:
    """Yield for each task's best-known metric how far a target's cells themselves leave differences open.

    Parameters
    ----------
    scores
        Score rows; see `corpuscle.statistics.noise_ceiling.noise_ceilings`.
    baseline
        The corpus that others are compared with.
    """
    found = noise_ceilings(
        scores[scores["headline"]], ["task", "metric", "title", "way", "version", "target"], baseline
    )
    found = found[found["noise"] > 0]
    for (_, metric, title, way), here in found.groupby(["task", "metric", "title", "way"], sort=False):
        largest = here.nlargest(MOST_TARGETS, "noise")
        of_targets = ", ".join(f"{_size(row.noise, ratio=False)} on {row.target}" for row in largest.itertuples())
        rest = f" and less on {numbers.plural(n, 'other target')}" if (n := len(here) - len(largest)) else ""
        known = here.dropna(subset=["ceiling"])
        ceiling = f"; nothing can correlate with these scores beyond {known['ceiling'].min():.2f}" if len(known) else ""
        yield (
            f"{title or metric}{f' ({way})' if way else ''}: other cells of the same targets would move differences "
            f"from {baseline} by about {of_targets}{rest} (standard error, by two halves of their cells){ceiling}. "
            "Intervals over seeds do not have this part."
        )


def _takes(pilot: Pilot, aim: float) -> str:
    """Say what an interval of ± `aim` takes."""
    n_seeds = seeds_for(pilot.scatter, aim, max(pilot.n_donors, 1))
    ways = [f"about {_named(n_seeds, 'seed')}"] if n_seeds else []
    if pilot.n_donors:
        n_donors = donors_for(pilot.scatter, aim, pilot.n_seeds)
        ways += [f"{'' if ways else 'about '}{_named(n_donors, 'donor')}"] if n_donors else []
    if ways:
        return f"takes {' or '.join(ways)}"
    more = "cells to draw from" if pilot.scatter.overlap and not pilot.n_donors else "donors and more seeds"
    return f"takes more {more}: more seeds alone do not give it"


def _named(count: int, noun: str) -> str:
    return numbers.plural(count, noun) if count <= MOST_NAMED else f"more than {numbers.plural(MOST_NAMED, noun)}"


def _size(value: float, *, ratio: bool) -> str:
    """Write a size with two significant digits; one of a log2 ratio as a percentage."""
    if not ratio:
        return f"±{_two_digits(value)}"
    change = 100 * (2**value - 1)
    return f"±{_two_digits(change)}\N{NO-BREAK SPACE}%"


def _two_digits(value: float) -> str:
    if value >= 99.5:
        return f"{value:,.0f}"
    if value < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}"
