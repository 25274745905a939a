"""Crossed seeds: means over runs that are draws × fits, where fit f has the same initialisation in every draw.

Such runs are not independent: those of one draw share its cells, those of one fit its initialisation. Score rows then
have the columns ``draw`` and ``fit`` (see `laid_out`); rows without them have runs that are independent of each other.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.statistics.intervals import widening
from corpuscle.statistics.two_way import Mean, components, two_way

Array = NDArray[np.float64]
NOT_CROSSED = "fewer than two draws have a value of every fit"


def laid_out(scores: pd.DataFrame, fits: int) -> pd.DataFrame:
    """Add ``draw`` and ``fit`` to score rows whose seeds are draw × fits + fit; with one fit, return them as they are.

    Examples
    --------
    >>> laid_out(pd.DataFrame({"seed": [0, 1, 2, 3]}), fits=2)[["draw", "fit"]].to_numpy().tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return scores if fits == 1 else scores.assign(draw=scores["seed"] // fits, fit=scores["seed"] % fits)


def fits_of(frame: pd.DataFrame) -> int:
    """Return how many fits each draw has; 1: runs are not crossed."""
    return int(frame["fit"].max()) + 1 if "fit" in frame and len(frame) else 1


def complete(seeds: Sequence[int] | pd.Index, fits: int) -> NDArray[np.intp]:
    """Return where, among seeds, those of draws with every fit are, draw by draw.

    Examples
    --------
    >>> complete([0, 1, 2, 5, 4], fits=2).tolist()
    [0, 1, 4, 3]
    """
    seed_R = np.asarray(seeds, np.int64)
    draw, n_fits = np.unique(seed_R // fits, return_counts=True)
    whole = np.flatnonzero(np.isin(seed_R // fits, draw[n_fits == fits]))
    return np.asarray(whole[np.argsort(seed_R[whole], kind="stable")], np.intp)


def mean_of_runs(values_RD: Array, fits: int, wide: float) -> Mean:
    """Estimate a mean over complete draws × fits, and over donors where there are two or more.

    The variance of the mean over runs is that of two crossed factors, draws and fits, as `two_way` finds it; it stands
    for the runs' part where runs are crossed with donors. What draws, or fits, and donors add together is then counted
    twice: the interval is a little too wide rather than too narrow.

    Parameters
    ----------
    values_RD
        One value per run and donor, all finite, draw by draw; further axes, before these, are further tables.
    fits
        How many fits a draw has; at least two.
    wide
        By how much the draws' part is widened because they share cells.

    Examples
    --------
    >>> values_RD = np.array([[0.50], [0.52], [0.60], [0.62], [0.55], [0.57]])
    >>> found = mean_of_runs(values_RD, fits=2, wide=1.0)
    >>> print(f"{found.mean:.3f}, standard error {found.error:.3f}, {found.df:.0f} degrees of freedom")
    0.560, standard error 0.031, 2 degrees of freedom
    """
    *tables, n_runs, n_donors = values_RD.shape
    values_DF = values_RD.mean(axis=-1).reshape(*tables, n_runs // fits, fits)
    runs = two_way(values_DF, wide)
    return two_way(values_RD, runs=runs) if n_donors > 1 else runs


def estimates(frame: pd.DataFrame, column: str, code_N: NDArray[np.int64], overlap_G: Array) -> pd.DataFrame:
    """Estimate means of groups of rows over complete draws × fits.

    Parameters
    ----------
    frame
        Rows with ``draw`` and ``fit``.
    column
        What is averaged.
    code_N
        The group of each row, from 0.
    overlap_G
        Which share of its cells a draw has in common with another, of each group.

    Returns
    -------
    One row per group that has a complete draw: ``mean``, ``error``, ``df``, ``count`` (of runs).
    """
    fits = fits_of(frame)
    rows = pd.DataFrame({"group": code_N, "draw": frame["draw"].to_numpy(), "fit": frame["fit"].to_numpy()})
    rows["value"] = frame[column].to_numpy(float)
    table = rows.pivot(index=["group", "draw"], columns="fit", values="value").reindex(columns=range(fits)).dropna()
    n_draws = table.groupby(level="group").size()
    found = []
    for n in sorted(n_draws.unique()):
        groups = n_draws.index[n_draws == n]
        here = table[table.index.get_level_values("group").isin(groups)].to_numpy(float)
        mean, error, df = two_way(here.reshape(len(groups), n, fits), widening(n, overlap_G[groups]))
        found.append(pd.DataFrame({"mean": mean, "error": error, "df": df, "count": n * fits}, index=groups))
    return pd.concat(found) if found else pd.DataFrame(columns=["mean", "error", "df", "count"])


def variance_components(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Estimate what draws, fits and the two together add to the variance of a score, over complete draws.

    Parameters
    ----------
    scores
        Score rows with ``draw`` and ``fit``.
    keys
        Columns that tell scores apart.

    Returns
    -------
    One row per score over all cells with two complete draws: the keys, ``n_draws``, ``n_fits``, and the variances
    ``draw``, ``fit`` and ``rest``: estimates from mean squares, which may be negative where there is nothing to
    estimate.
    """
    fits, rows = fits_of(scores), []
    for key, here in scores[scores["unit"] == "all"].groupby(list(keys), sort=False, dropna=False, observed=True):
        table = here.pivot(index="draw", columns="fit", values="value").reindex(columns=range(fits)).dropna()
        if len(table) > 1:
            rows.append((*key, len(table), fits, *(float(part) for part in components(table.to_numpy(float)))))
    return pd.DataFrame(rows, columns=[*keys, "n_draws", "n_fits", "draw", "fit", "rest"])
