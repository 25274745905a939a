"""Reliability: how much of the scores' differences comes from the corpora, and how much from the seeds."""

import numpy as np
import pandas as pd

from corpuscle.core.scores import completed

SCORE = ["model", "task", "target", "metric", "way", "version", "unit"]
# Stands for the mean over targets, in the column of targets.
ALL_TARGETS = "(mean over targets)"


def reliability(scores: pd.DataFrame) -> pd.DataFrame:
    """Measure for each score the share of its variance that lies between corpora rather than between seeds.

    It is the intraclass correlation of one seed's score, from a one-way analysis of variance with corpora as groups
    (ICC(1) of Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420): the variance of the corpora's true means over
    that plus the variance over seeds. At 1, one seed orders the corpora as any other does; at 0, seeds are all that
    differs. A mean over n seeds has the reliability n r / (1 + (n - 1) r) (Spearman and Brown's formula).

    Corpora are compared in the same seed, where a network starts from the same weights and draws share cells: what a
    seed adds to all corpora alike cancels. The same share without it (ICC(3,1), from a two-way analysis of variance)
    is the reliability of a difference from the baseline, and is the one to read where corpora are compared.

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`. Rows without a value are left out.

    Returns
    -------
    One row per model, task, target, metric, way, version and unit, with a row for the mean over targets, for corpora
    that have all of them: ``reliability`` and, of the corpora that have a score in every seed, ``paired`` (at most 1;
    negative where corpora differ less than seeds would have it), ``n_corpora`` and ``n_scores``; NaN where there is one
    corpus, or one seed of each.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> place = {"model": "m", "task": "t", "target": "blood"}
    >>> values = {("A", 0): 0.50, ("A", 1): 0.52, ("B", 0): 0.60, ("B", 1): 0.62}
    >>> scores = pd.concat(score_table([Score("r2_log", "all", value, 10, "higher")], corpus=corpus, seed=seed, **place)
    ...                    for (corpus, seed), value in values.items())
    >>> reliability(scores)[["target", "reliability", "paired", "n_corpora"]].round(2)
                    target  reliability  paired  n_corpora
    0                blood         0.96     1.0          2
    1  (mean over targets)         0.96     1.0          2
    """
    known = completed(scores)[np.isfinite(scores["value"])]
    others = [name for name in SCORE if name != "target"]
    means = known.groupby([*others, "corpus", "seed"], sort=False)["value"].agg(["mean", "size"]).reset_index()
    whole = means["size"] == means.groupby(others, sort=False)["size"].transform("max")
    means = means[whole].rename(columns={"mean": "value"}).assign(target=ALL_TARGETS)
    rows = [
        (*place, intraclass(here), _paired(here), here["corpus"].nunique(), len(here))
        for part in (known, means)
        for place, here in part.groupby(SCORE, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*SCORE, "reliability", "paired", "n_corpora", "n_scores"])


def intraclass(here: pd.DataFrame) -> float:
    """Return ICC(1): seeds of different corpora have nothing in common."""
    grouped = here.groupby("corpus", sort=False)["value"]
    size, mean = grouped.size().to_numpy(float), grouped.mean().to_numpy()
    n_corpora, n_scores = len(size), len(here)
    if n_corpora < 2 or n_scores == n_corpora:
        return float("nan")
    between = (size * (mean - here["value"].mean()) ** 2).sum() / (n_corpora - 1)
    within = ((here["value"] - grouped.transform("mean")) ** 2).sum() / (n_scores - n_corpora)
    # How many seeds a corpus has, where they differ in it.
    seeds = (n_scores - (size**2).sum() / n_scores) / (n_corpora - 1)
    return _share(between, within, seeds)


def _paired(here: pd.DataFrame) -> float:
    """Return ICC(3,1): what a seed adds to all corpora alike is left out. Of corpora that have all seeds."""
    values_CS = here.pivot_table(index="corpus", columns="seed", values="value").dropna().to_numpy()
    n_corpora, n_seeds = values_CS.shape
    if n_corpora < 2 or n_seeds < 2:
        return float("nan")
    corpora_C1 = values_CS.mean(axis=1, keepdims=True)
    rest_CS = values_CS - corpora_C1 - values_CS.mean(axis=0) + values_CS.mean()
    between = n_seeds * corpora_C1.var(ddof=1)
    return _share(between, (rest_CS**2).sum() / ((n_corpora - 1) * (n_seeds - 1)), n_seeds)


def _share(between: float, within: float, seeds: float) -> float:
    """Return the share of the variance that lies between corpora, from mean squares."""
    total = between + (seeds - 1) * within
    return float((between - within) / total) if total else float("nan")
