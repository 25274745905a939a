"""Divergence: which fits give their own training cells back far worse than other seeds of the same corpus do."""

from itertools import combinations

import numpy as np
import pandas as pd

RUN = ["corpus", "model", "seed"]
FITS = (*RUN, "r2_log")
FIT_DTYPES = {"corpus": "string", "model": "string", "seed": "int64", "r2_log": "float64"}
# How far below the median of its corpus a fit must be: in scatters of seeds, and as a share of that median.
SCATTERS, SHARE = 5.0, 0.1
# Median absolute difference of two normal values over their standard deviation: √2 · Φ⁻¹(3/4).
MEDIAN_DIFFERENCE = 0.9539
REASON = "diverged"


def diverged(fits: pd.DataFrame) -> pd.DataFrame:
    """Find the fits that diverged: weights are finite and the loss is usual, yet their own cells are given back badly.

    When a model that reconstructs has been fitted, it gives back a sample of the cells that it was trained on, and the
    mean R² (log) of that is kept. It should be nearly the same for all seeds of a corpus. A fit diverged where its
    value is below the median of the corpus' seeds (of an even number, the upper one) by more than both

    - five times what seeds scatter: the median, over all pairs of seeds of one corpus and all corpora of the model, of
      the absolute difference, over 0.954, which estimates the standard deviation and which single fits do not move;
    - a tenth of that median, so that nothing is left out where seeds hardly scatter.

    Targets have no part in it: no score is left out for being low. The rule is one-sided and the same for every corpus,
    the baseline too. With one seed there is nothing to compare with, and no fit is found.

    Parameters
    ----------
    fits
        One row per fit: ``corpus``, ``model``, ``seed`` and ``r2_log``, NaN for a model that does not reconstruct.

    Returns
    -------
    The rows that have a value, with ``median`` (over the corpus' seeds), ``scatter``,
    ``diverged`` and ``reason``, empty where it did not.

    Examples
    --------
    >>> fits = pd.DataFrame({"corpus": ["A"] * 3 + ["B"] * 3, "model": "ldvae", "seed": [0, 1, 2] * 2,
    ...                      "r2_log": [0.50, 0.51, 0.52, 0.46, 0.47, 0.21]})
    >>> diverged(fits).query("diverged")[["corpus", "seed", "r2_log", "median"]]
      corpus  seed  r2_log  median
    5      B     2    0.21    0.46
    """
    table = fits[np.isfinite(fits["r2_log"].astype(float))].copy()
    grouped = table.groupby(["model", "corpus"], sort=False)["r2_log"]
    table["median"] = grouped.transform(lambda values: values.quantile(interpolation="higher"))
    gaps = grouped.agg(lambda values: [abs(one - other) for one, other in combinations(values, 2)]).explode()
    scatter = gaps.astype(float).groupby(level="model").median() / MEDIAN_DIFFERENCE
    table["scatter"] = table["model"].map(scatter).astype(float)
    short = table["median"] - table["r2_log"]
    table["diverged"] = (short > SCATTERS * table["scatter"]) & (short > SHARE * table["median"].abs())
    table["reason"] = np.where(table["diverged"], [_reason(row) for _, row in table.iterrows()], "")
    return table


def _reason(row: pd.Series) -> str:
    return (
        f"{REASON}: the model gives its own training cells back with R² (log) {row['r2_log']:.3f}; the median over "
        f"the corpus' seeds is {row['median']:.3f}, and seeds scatter by {row['scatter']:.3f}"
    )


def without_diverged(scores: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """Return score rows with those of diverged fits missing: NaN, and the reason.

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    fits
        See `diverged`.
    """
    found = diverged(fits)
    reasons = found[found["diverged"]].set_index(RUN)["reason"]
    if reasons.empty:
        return scores
    places = pd.MultiIndex.from_frame(scores[RUN].astype({"corpus": object, "model": object}))
    told = reasons.reindex(places).to_numpy(object)
    astray = pd.notna(told)
    return scores.assign(
        value=scores["value"].mask(astray), reason=scores["reason"].mask(astray, pd.Series(told, scores.index))
    )
