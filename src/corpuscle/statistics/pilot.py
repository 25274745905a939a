"""Pilot: what paired differences of an earlier run scatter by, over seeds and donors, else typical scatter."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.scores import completed
from corpuscle.statistics.comparisons import compared_by, log2_ratio
from corpuscle.statistics.crossed import fits_of
from corpuscle.statistics.intervals import is_same
from corpuscle.statistics.over_donors import donor_scores
from corpuscle.statistics.over_runs import KEYS
from corpuscle.statistics.power import Scatter
from corpuscle.statistics.two_way import FEWEST_DONORS, components

PLACE = tuple(name for name in KEYS if name != "unit")
Array = NDArray[np.float64]

# Standard deviations between seeds of one paired difference, by a metric's scale, where no earlier run says more: from
# the studies that come with Corpuscle; see docs/statistics.md#power.
TYPICAL: Mapping[str, float] = {"share": 0.01}


class Pilot(NamedTuple):
    """What the differences of one task's metric scatter by.

    Attributes
    ----------
    task, metric, title
        Of what.
    ratio
        Whether corpora are compared by log2 of ratios; else by differences in the metric's unit.
    n_seeds, n_donors
        How many the differences rest on: the fewest of its comparisons; donors are 0 where they are not told apart.
    n_comparisons
        How many corpora were compared with the baseline, over models and targets.
    scatter
        Mean variances over these comparisons.
    """

    task: str
    metric: str
    title: str
    ratio: bool
    n_seeds: int
    n_donors: int
    n_comparisons: int
    scatter: Scatter


def pilots(scores: pd.DataFrame, baseline: str, overlaps: Mapping[str, float] | None = None) -> list[Pilot]:
    """Estimate what differences from the baseline scatter by, for the metric that each task is known for.

    As `corpuscle.statistics.comparisons.summarise` compares: paired by seed, and by donor where there are five or more.
    Comparisons that have fewer than two seeds in common, or one result at all of them, say nothing of scatter and are
    left out; so are metrics without any other. Variances are means over comparisons, the overlap of draws is a median.

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    baseline
        Name of the corpus that the others are compared with.
    overlaps
        As in `summarise`.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> values = {"A": [0.50, 0.52, 0.51], "B": [0.61, 0.63, 0.65]}
    >>> scores = pd.concat(
    ...     score_table([Score("r2", "all", value, 10, "higher", headline=True)],
    ...                 corpus=corpus, seed=seed, model="m", task="t", target="blood")
    ...     for corpus, row in values.items() for seed, value in enumerate(row))
    >>> found = pilots(scores, "A")[0]
    >>> print(f"{found.n_seeds} seeds, deviation {found.scatter.run ** 0.5:.3f}")
    3 seeds, deviation 0.017
    """
    frame = completed(scores)
    frame = frame[frame["headline"]].assign(value=frame["value"].where(np.isfinite(frame["value"])))
    frame = frame.assign(compared_by=compared_by(frame))
    if fits_of(frame) > 1:
        # A seed is then a draw with its fits: what is compared is their mean.
        keys = [*KEYS, "corpus", "draw"]
        means = frame.groupby(keys, sort=False, dropna=False, observed=True)["value"].transform(
            lambda v: v.mean(skipna=False)
        )
        frame = frame.assign(value=means, seed=frame["draw"])[frame["fit"].eq(0)].drop(columns=["draw", "fit"])
    found = []
    for (task, metric), here in frame.groupby(["task", "metric"], sort=False, observed=True):
        compared = list(_compared(here, baseline, overlaps or {}))
        if compared:
            # All comparisons of a metric are on one footing: where one has too few donors, none tells them apart.
            title, ratio = str(here["title"].iloc[0]) or str(metric), bool(here["compared_by"].eq("ratio").all())
            found.append(_pooled(compared, (str(task), str(metric), title, ratio)))
    return found


def _compared(here: pd.DataFrame, baseline: str, overlaps: Mapping[str, float]) -> Iterator[tuple[Array, float]]:
    """Yield the changes of each comparison, seeds × donors (one column: donors not told apart), and its overlap."""
    donors = {scores.key: scores.values for scores in donor_scores(here, PLACE)}
    ratio = bool(here["compared_by"].eq("ratio").all())
    for key, rows in here[here["unit"] == "all"].groupby(list(PLACE), sort=False, dropna=False, observed=True):
        values = rows.pivot(index=["corpus", "seed"], columns="unit", values="value")
        if key in donors and donors[key].shape[1] >= FEWEST_DONORS:
            values = donors[key]
        corpora = list(dict.fromkeys(values.index.get_level_values("corpus")))
        for corpus in corpora if baseline in corpora else ():
            after, before = values.loc[corpus], values.loc[baseline]
            seeds = after.index.intersection(before.index)
            one, other = after.loc[seeds].to_numpy(float), before.loc[seeds].to_numpy(float)
            change_SD = log2_ratio(one, other) if ratio else one - other
            change_SD = change_SD[np.isfinite(change_SD).all(axis=1)]
            if corpus != baseline and len(change_SD) > 1 and not is_same(np.ptp(change_SD, axis=0).max(), 1.0):
                yield change_SD, max(overlaps.get(corpus, 0.0), overlaps.get(baseline, 0.0))


def _pooled(compared: list[tuple[Array, float]], of: tuple[str, str, str, bool]) -> Pilot:
    n_seeds = min(len(change_SD) for change_SD, _ in compared)
    n_donors = min(change_SD.shape[1] for change_SD, _ in compared)
    overlap = float(np.median([overlap for _, overlap in compared]))
    if n_donors < FEWEST_DONORS:
        run = float(np.mean([change_SD.mean(axis=1).var(ddof=1) for change_SD, _ in compared]))
        return Pilot(*of, n_seeds, 0, len(compared), Scatter(run, overlap=overlap))
    # Negative estimates of single comparisons are kept, so that the mean is not biased; a negative mean is none.
    parts = np.mean([components(change_SD) for change_SD, _ in compared], axis=0)
    run, donor, rest = (max(0.0, float(part)) for part in parts)
    return Pilot(*of, n_seeds, n_donors, len(compared), Scatter(run, donor, rest, overlap))
