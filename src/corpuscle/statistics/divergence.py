"""Divergence: which fits give their own training cells back far worse than other seeds of the same corpus do."""

from itertools import combinations

import numpy as np
import pandas as pd

RUN = ["corpus", "model", "seed"]
# What is checked when a model has been fitted: see `corpuscle.evaluation.fit_check`.
CHECKS = ("r2_log", "share_error")
FITS = (*RUN, *CHECKS)
FIT_DTYPES = {"corpus": "string", "model": "string", "seed": "int64", "r2_log": "float64", "share_error": "float64"}
# How much worse than the median of its corpus a fit must be: in scatters of seeds; and a tenth, of R² or of all counts.
SCATTERS, SHARE = 5.0, 0.1
# Lower quartile of the absolute difference of two normal values over their standard deviation: √2 · Φ⁻¹(5/8).
QUARTILE = 0.4506
REASON = "diverged"


def diverged(fits: pd.DataFrame) -> pd.DataFrame:
    """Find the fits that diverged: weights are finite and the loss can be usual, yet their own cells come back badly.

    When a model that reconstructs has been fitted, it gives back a sample of the cells that it was trained on. Two
    numbers are kept: the mean R² (log), and the share of all counts that it expects of the wrong genes. Both should be
    nearly the same for all seeds of a corpus. A fit diverged where one of them is worse than the median of the corpus'
    seeds (of two, than the better one) by more than both

    - five times what seeds scatter, found from the differences between all pairs of seeds of one corpus, over all
      corpora of the model: their lower quartile, over 0.4506, estimates the standard deviation, and the pairs of single
      bad fits do not move it;
    - a tenth: of the median's R², or of all counts. So nothing is left out where seeds hardly scatter.

    Targets have no part in it: no score is left out for being low. A model that fails on cells unlike those it was
    trained on, and gives its own back well, did not diverge; the target's ELBO shows such a failure. The rule is
    one-sided and the same for every corpus, the baseline too. With one seed there is nothing to compare with, and no
    fit is found.

    Parameters
    ----------
    fits
        One row per fit: ``corpus``, ``model``, ``seed``, ``r2_log`` (higher is better) and ``share_error`` (0 to 1,
        lower is better); NaN for a model that does not reconstruct.

    Returns
    -------
    The rows that have values, with ``diverged`` and ``reason``, empty where it did not.

    Examples
    --------
    >>> fits = pd.DataFrame({"corpus": ["A"] * 3 + ["B"] * 3, "model": "ldvae", "seed": [0, 1, 2] * 2,
    ...                      "r2_log": [0.50, 0.51, 0.52, 0.46, 0.47, 0.44],
    ...                      "share_error": [0.10, 0.12, 0.11, 0.14, 0.13, 0.42]})
    >>> diverged(fits).query("diverged")[["corpus", "seed", "share_error"]]
      corpus  seed  share_error
    5      B     2         0.42
    """
    table = fits[np.isfinite(fits[list(CHECKS)].astype(float)).all(axis=1)].copy()
    bad_r2 = _worse(table, "r2_log", 1) > SHARE * _median(table, "r2_log", 1).abs()
    bad_share = _worse(table, "share_error", -1) > SHARE
    table["diverged"] = bad_r2 | bad_share
    reasons = [
        _reason(row) if row["diverged"] else ""
        for _, row in table.assign(r2=_median(table, "r2_log", 1), share=_median(table, "share_error", -1)).iterrows()
    ]
    table["reason"] = pd.Series(reasons, table.index, dtype=object)
    return table


def _median(table: pd.DataFrame, check: str, sign: int) -> pd.Series:
    """Return the median of a check over the seeds of each row's corpus; of an even number, the better of the two."""
    side = "higher" if sign > 0 else "lower"
    grouped = table.groupby(["model", "corpus"], sort=False)[check]
    return grouped.transform(lambda values: values.quantile(interpolation=side))


def _worse(table: pd.DataFrame, check: str, sign: int) -> pd.Series:
    """Return by how much each row is worse than its corpus' median, where that is beyond the scatter; else 0."""
    grouped = table.groupby(["model", "corpus"], sort=False)[check]
    gaps = grouped.agg(lambda values: [abs(one - other) for one, other in combinations(values, 2)]).explode()
    scatter = gaps.astype(float).groupby(level="model").quantile(0.25, interpolation="lower") / QUARTILE
    short = sign * (_median(table, check, sign) - table[check])
    return short.where(short > SCATTERS * table["model"].map(scatter).astype(float), 0.0)


def _reason(row: pd.Series) -> str:
    return (
        f"{REASON}: of its own training cells, the model expects {row['share_error']:.0%} of the counts of the wrong "
        f"genes (its corpus' median seed {row['share']:.0%}, of an even number the better of two), and R² (log) is "
        f"{row['r2_log']:.3f} ({row['r2']:.3f})"
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
    reasons = {tuple(place): why for *place, why in found.loc[found["diverged"], [*RUN, "reason"]].to_numpy().tolist()}
    if not reasons:
        return scores
    why = pd.Series([reasons.get(place) for place in zip(*(scores[name] for name in RUN), strict=True)], scores.index)
    astray = why.notna()
    return scores.assign(value=scores["value"].mask(astray), reason=scores["reason"].mask(astray, why))
