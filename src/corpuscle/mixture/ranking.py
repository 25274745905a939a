"""Ranking: whether mixtures that a fit did not see are put in the right order, and how right noise lets anything be.

Axes: M distinct mixtures, R runs, O outputs.
"""

import numpy as np
import pandas as pd
from scipy import stats

from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import Table
from corpuscle.statistics.corrections import holm

# With fewer there is no rank correlation to speak of.
FEWEST_RANKED = 8
# Below it, differences between mixtures are mostly noise.
LEAST_RELIABILITY = 0.5
# Chance of calling an output rankable that is noise.
ALPHA = 0.01
# Repeats, beyond the first run of a mixture, that a reliability takes.
FEWEST_REPEATS = 3


def rank_correlation(predicted_N: Array, actual_N: Array) -> tuple[float, float]:
    """Return Spearman's correlation, and the chance of one so high without any relation (one-sided, by Student's t).

    NaN where fewer than eight pairs are known, or all of one side are equal.
    """
    known_N = np.isfinite(predicted_N) & np.isfinite(actual_N)
    one_N, other_N = predicted_N[known_N], actual_N[known_N]
    if len(one_N) < FEWEST_RANKED or not np.ptp(one_N) or not np.ptp(other_N):
        return float("nan"), float("nan")
    found = stats.spearmanr(one_N, other_N, alternative="greater")
    return float(found.statistic), float(found.pvalue)


def reliability(table: Table, values_R: Array) -> float:
    """Return the share of the variance of mixtures' means that is not due to the runs.

    From a one-way analysis of variance: the mean squares between mixtures minus within, over between (the ICC(1, k) of
    Shrout & Fleiss 1979, https://doi.org/10.1037/0033-2909.86.2.420). NaN without three repeats; 0 where mixtures
    differ less than their runs.
    """
    known_R = np.isfinite(values_R)
    values, group = values_R[known_R], table.mixture_R[known_R]
    n_M = np.bincount(group, minlength=table.n_mixtures).astype(float)
    n_runs, n_groups = len(values), int((n_M > 0).sum())
    if n_runs - n_groups < FEWEST_REPEATS or n_groups < 2:
        return float("nan")
    means_M = np.bincount(group, values, table.n_mixtures) / np.maximum(n_M, 1)
    within = ((values - means_M[group]) ** 2).sum() / (n_runs - n_groups)
    # Mixtures count alike, as they do in a rank correlation: noise of a mean is that of a run over its runs.
    between = means_M[n_M > 0].var(ddof=1)
    if not between:
        return float("nan")
    return float(max(0.0, 1 - within * (1 / n_M[n_M > 0]).mean() / between))


def rankings(fitted: FittedMixture) -> pd.DataFrame:
    """Return how well left-out mixtures are ranked, a row per output.

    Returns
    -------
    Rows of outputs with the columns

    - ``n_mixtures``: distinct mixtures with a score; ``n_missing``: runs without one;
    - ``rank_correlation``: Spearman's, between the mean of a mixture's runs and what the fits that did not see the
      mixture predict; higher is better. ``p``: the chance of one so high without any relation, ``p_holm`` the same
      after Holm's correction for all outputs;
    - ``reliability`` of a mixture's mean, from repeats, and ``ceiling``, its root: the highest correlation that noise
      allows; ``of_ceiling``: the correlation over the ceiling;
    - ``left_out_r2``: 1 minus the mean squared error of left-out mixtures over the variance;
    - ``reason``: why the output cannot be ranked; empty where it can.

    Examples
    --------
    >>> from corpuscle.mixture.fitting import fit
    >>> weights = np.random.default_rng(0).dirichlet(np.ones(3), size=12)
    >>> table = rankings(fit(weights, 1 - weights[:, 0] ** 0.5))
    >>> table[["rank_correlation", "reason"]].round(2).to_dict("records")
    [{'rank_correlation': 1.0, 'reason': ''}]
    """
    table = fitted.table
    actual_MO, predicted_MO = table.means_MO(table.scores_RO), table.means_MO(fitted.left_out)
    rows = []
    for at in range(len(table.outputs)):
        found, p = rank_correlation(predicted_MO[:, at], actual_MO[:, at])
        known_M = np.isfinite(actual_MO[:, at])
        actual_M = actual_MO[known_M, at]
        variance = float(actual_M.var()) if len(actual_M) else 0.0
        error = float(((predicted_MO[known_M, at] - actual_M) ** 2).mean()) if len(actual_M) else float("nan")
        rows.append((
            int(known_M.sum()), int(np.isnan(table.scores_RO[:, at]).sum()), found, p,
            reliability(table, table.scores_RO[:, at]), 1 - error / variance if variance else float("nan"),
        ))  # fmt: skip
    names = ["n_mixtures", "n_missing", "rank_correlation", "p", "reliability", "left_out_r2"]
    result = pd.DataFrame(rows, index=pd.Index(table.outputs, name="output"), columns=names)
    result["p_holm"] = holm(result["p"])
    result["ceiling"] = np.sqrt(result["reliability"])
    result["of_ceiling"] = result["rank_correlation"] / result["ceiling"].where(result["ceiling"] > 0)
    result["reason"] = [
        "all scores are equal" if constant else unrankable(row.n_mixtures, row.reliability, row.p_holm)
        for constant, row in zip(fitted.constant_O, result.itertuples(), strict=True)
    ]
    return result[[
        "n_mixtures", "n_missing", "rank_correlation", "p", "p_holm", "reliability", "ceiling", "of_ceiling",
        "left_out_r2", "reason",
    ]]  # fmt: skip


def unrankable(n_mixtures: int, reliable: float, p: float) -> str:
    """Return why mixtures cannot be ranked, in words; empty where they can."""
    if n_mixtures < FEWEST_RANKED:
        return f"{n_mixtures} different mixtures have a score; at least {FEWEST_RANKED} are needed"
    if reliable < LEAST_RELIABILITY:
        return f"its reliability is {reliable:.2f}: repeats of a mixture differ about as much as mixtures do"
    if not p <= ALPHA:
        return "left-out mixtures are not ranked better than by chance"
    return ""
