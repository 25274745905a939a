"""Gate: which of a proxy's settings is calm enough to tell mixtures apart, before many of them are run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from corpuscle.mixture.units import centre_and_unit
from corpuscle.statistics.reliability import intraclass


def merit(
    trials: pd.DataFrame, better: Mapping[str, str], weights: Mapping[str, float], *, worst: bool = False
) -> "pd.Series[float]":
    """Return how good each trial is: outputs turned so that higher is better, in standard deviations over mixtures.

    Parameters
    ----------
    trials
        A row per training: ``mixture``, and a column per output; NaN where a score is missing.
    better
        ``"higher"`` or ``"lower"``, by output.
    weights
        How much each output counts; those without any don't.
    worst
        Take the worst output, not the weighted mean.

    Returns
    -------
    One number a row; NaN where an output that counts is missing. An output that is the same for all mixtures doesn't
    count; where all are, it is 0.
    """
    columns = [name for name, weight in weights.items() if weight > 0]
    means = trials.groupby("mixture", sort=False)[columns].mean()
    centre_O, unit_O = centre_and_unit(means.to_numpy(float))
    if unit_O.any():
        columns = [name for name, unit in zip(columns, unit_O, strict=True) if unit > 0]
        centre_O, unit_O = centre_O[unit_O > 0], unit_O[unit_O > 0]
    sign_O = np.array([1.0 if better[name] == "higher" else -1.0 for name in columns])
    turned = (trials[columns] - centre_O) / np.where(unit_O > 0, unit_O, np.inf) * sign_O
    if worst:
        return turned.min(axis=1, skipna=False)
    share = pd.Series({name: weights[name] for name in columns})
    return (turned * share / share.sum()).sum(axis=1, skipna=False)


def gate(
    trials: pd.DataFrame, better: Mapping[str, str], weights: Mapping[str, float], *, worst: bool = False
) -> pd.DataFrame:
    """Compare a proxy's settings by how alike seeds of one mixture are, against how different mixtures are.

    Parameters
    ----------
    trials
        A row per training: ``model`` (the setting), ``mixture``, ``seed``, and a column per output; a diverged or
        failed training has NaN.
    better, weights, worst
        See `merit`.

    Returns
    -------
    A row per setting, in their order: ``n_runs``, ``n_missing``, ``reliability`` of one run's utility (ICC(1), Shrout &
    Fleiss 1979; at most 1, higher is calmer; NaN where fewer than two mixtures, or no two seeds of any, have it), and
    ``calm``, reliability times the share of runs that are there, by which the first highest is taken.

    Examples
    --------
    >>> trials = pd.DataFrame({"model": ["wild"] * 4 + ["calm"] * 4, "mixture": ["A", "A", "B", "B"] * 2,
    ...                        "seed": [0, 1] * 4, "r2": [0.5, 0.7, 0.6, 0.5, 0.5, 0.51, 0.6, 0.61]})
    >>> gate(trials, {"r2": "higher"}, {"r2": 1.0})["reliability"].round(2).to_dict()
    {'wild': -0.67, 'calm': 0.99}
    """
    rows = {}
    for model, here in trials.groupby("model", sort=False):
        value = merit(here, better, weights, worst=worst)
        known = here.assign(corpus=here["mixture"], value=value)[value.notna()]
        found = intraclass(known) if len(known) else float("nan")
        rows[str(model)] = (len(here), len(here) - len(known), found, found * len(known) / max(1, len(here)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n_runs", "n_missing", "reliability", "calm"])


def calmest(settings: pd.DataFrame) -> str | None:
    """Return the calmest setting; None where nothing is known of any."""
    known = settings["calm"].dropna()
    return str(known.idxmax()) if len(known) else None
