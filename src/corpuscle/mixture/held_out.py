"""Held out: how well mixtures are ranked that no surrogate has learnt from."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from corpuscle.mixture.assessing import UTILITY
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.ranking import rank_correlation, reliability
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import FEWEST_MIXTURES, laid_out
from corpuscle.mixture.utility import Utility

COLUMNS = (
    "held_out_mixtures",
    "held_out_rank_correlation",
    "held_out_reliability",
    "held_out_of_ceiling",
    "held_out_coverage",
)


def held_out(
    fitted: FittedMixture, weights: pd.DataFrame, scores: pd.DataFrame, utility: Utility, level: float = 0.9
) -> pd.DataFrame:
    """Test predictions on runs of other mixtures than those that were learnt from.

    Parameters
    ----------
    fitted
        What predicts, without these runs.
    weights, scores
        The runs: as in `corpuscle.mixture.fit`, row by row.
    utility
        What is to be high.
    level
        Of the intervals, for one new run.

    Returns
    -------
    A row per output and one for the utility, with the columns `COLUMNS`: Spearman's correlation of predictions with
    mixtures' means (NaN with fewer than eight), the reliability of these means, the correlation over the root of that
    (the ceiling that noise sets), and the share of runs in their intervals. Empty with fewer than five mixtures.
    """
    names = list(fitted.table.outputs)
    if len(weights.drop_duplicates()) < FEWEST_MIXTURES:
        return pd.DataFrame(columns=list(COLUMNS))
    better = {name: "lower" if low else "higher" for name, low in zip(names, fitted.table.lower_O, strict=True)}
    table = laid_out(weights.reset_index(drop=True), scores[names].reset_index(drop=True), better)
    mean_RO, low_RO, high_RO = map(np.asarray, fitted.predict(table.weights_RK, level))
    actual_RO = table.scores_RO
    inside_RO = np.where(
        np.isfinite(actual_RO) & np.isfinite(low_RO), (low_RO <= actual_RO) & (actual_RO <= high_RO), np.nan
    )
    values = {name: (actual_RO[:, at], mean_RO[:, at], inside_RO[:, at]) for at, name in enumerate(names)}
    none_R = np.full(len(actual_RO), np.nan)
    values[UTILITY] = utility.of(fitted.table, actual_RO), utility.of(fitted.table, mean_RO), none_R
    rows = {}
    for name, (actual_R, predicted_R, inside_R) in values.items():
        found, _ = rank_correlation(_means(table.means_MO, predicted_R), known_M := _means(table.means_MO, actual_R))
        reliable = reliability(table, actual_R)
        ceiling = float(np.sqrt(reliable))
        known_R = np.isfinite(inside_R)
        rows[name] = (
            int(np.isfinite(known_M).sum()), found, reliable, found / ceiling if ceiling > 0 else float("nan"),
            float(inside_R[known_R].mean()) if known_R.any() else float("nan"),
        )  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))


def _means(means_MO: Callable[[Array], Array], values_R: Array) -> Array:
    return means_MO(values_R[:, None])[:, 0]
