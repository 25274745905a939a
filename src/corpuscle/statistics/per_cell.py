"""The published test: paired over cells, between two fitted networks. Kept for parity, with its warning."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from corpuscle.statistics.intervals import is_same

WARNING = (
    "cells of one target, scored by one pair of fitted networks, are not independent: this p is about these two "
    "networks on these cells, not about the corpora; see pairs.csv"
)
PLACE = ("model", "task", "target", "metric", "way", "version", "seed")
COLUMNS = (*PLACE, "corpus", "other", "difference", "p_cells", "n_cells", "warning")


def published_cell_tests(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every two corpora by the published test: a t test paired over the cells of a target, for one seed.

    Nadig et al. 2025 compared ten corpora on five targets so, all 225 pairs, without correction. It answers whether two
    fitted networks differ on these cells; with ten thousand cells its p vanishes whatever the corpora. What is about
    the corpora is `corpuscle.statistics.pairs.all_pairs`, over runs and donors.

    Parameters
    ----------
    scores
        Score rows of cells: those whose unit is ``cell=NAME``, the same cells for all corpora. Others are left out.

    Returns
    -------
    pandas.DataFrame
        One row per model, task, target, metric, way, version, seed and pair: ``corpus``, ``other``, ``difference``
        (corpus minus other, mean over cells), ``p_cells`` (two-sided; NaN where all cells differ alike to rounding),
        ``n_cells`` (that both have a value of) and ``warning``.

    References
    ----------
    Zimmerman, Espeland and Langefeld (2021), A practical solution to pseudoreplication bias in single-cell studies,
    Nature Communications 12:738, https://doi.org/10.1038/s41467-021-21038-1

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> place = {"seed": 0, "model": "m", "task": "t", "target": "blood"}
    >>> values = {"A": [0.50, 0.40, 0.60], "B": [0.52, 0.43, 0.61]}
    >>> scores = pd.concat(
    ...     score_table([Score("r2", f"cell={at}", value, 1, "higher") for at, value in enumerate(row)],
    ...                 corpus=corpus, **place)
    ...     for corpus, row in values.items())
    >>> published_cell_tests(scores)[["corpus", "other", "difference", "p_cells", "n_cells"]].round(3)
      corpus other  difference  p_cells  n_cells
    0      A     B       -0.02    0.074        3
    """
    cells = scores[scores["unit"].str.startswith("cell=").fillna(value=False).astype(bool)]
    rows = []
    for place, here in cells.groupby(list(PLACE), sort=False, observed=True):
        wide = here.pivot(index="unit", columns="corpus", values="value")
        for one, other in combinations(dict.fromkeys(here["corpus"]), 2):
            change = (wide[one] - wide[other]).dropna().to_numpy()
            one_value = len(change) < 2 or bool(
                is_same(np.ptp(change), np.nanmax(np.abs(wide[[one, other]].to_numpy())))
            )
            p = np.nan if one_value else stats.ttest_1samp(change, 0.0).pvalue
            mean = change.mean() if len(change) else np.nan
            rows.append((*place, one, other, mean, float(p), len(change), WARNING))
    return pd.DataFrame(rows, columns=list(COLUMNS))
