"""Verdicts: what may be said of a comparison, so that no word is false of its own numbers."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from corpuscle.statistics.scales import ENDS, stretched

Margins = Mapping[str, float]
Verdict = Literal[
    "baseline", "no interval", "better", "worse", "higher", "lower", "perhaps better", "perhaps worse",
    "perhaps higher", "perhaps lower", "equivalent", "unresolved",
]  # fmt: skip


def verdicts(table: pd.DataFrame, baseline: str, alpha: float = 0.05) -> "pd.Series[str]":
    """Return what may be said of each comparison with the baseline.

    =================================  ===============================================================================
    ``better``, ``worse``              The difference is there after Holm's correction for all comparisons of the
                                       task's metric: the chance of any such word being false among them is below
                                       `alpha`. ``higher`` and ``lower`` where neither way is better.
    ``perhaps better`` (and so on)     The interval leaves out 0, but the correction does not let it stand.
    ``equivalent``                     None of these, and both one-sided tests (TOST), after Holm's correction, find
                                       the difference smaller than the margin.
    ``unresolved``                     None of these: the interval says how large a difference there can be.
    ``no interval``                    There is no interval, for the reason given.
    ``baseline``                       The baseline itself.
    =================================  ===============================================================================

    Parameters
    ----------
    table
        Rows of `corpuscle.statistics.comparisons.summarise`, with ``p``, ``p_holm`` and ``p_equivalent``.
    baseline
        Name of the baseline.
    alpha
        The level of the tests.
    """
    change = table["log2_fold_change"].where(table["compared_by"].eq("ratio"), table["difference"]).astype(float)
    better = table["better"].map({"higher": 1.0, "lower": -1.0}).astype(float)
    # Which of 0 (toward worse) and 1 (toward better) is up; metrics without a direction say higher and lower.
    up = np.where(better.isna(), change > 0, change * better > 0)
    words = np.where(better.isna(), np.where(up, "higher", "lower"), np.where(up, "better", "worse"))
    found = pd.Series("unresolved", index=table.index, dtype=object)
    found[table["p_equivalent"] <= alpha] = "equivalent"
    perhaps, sure = table["p"] <= alpha, table["p_holm"] <= alpha
    found[perhaps] = pd.Series(words, index=table.index).radd("perhaps ")[perhaps]
    found[sure] = pd.Series(words, index=table.index)[sure]
    found[table["p"].isna()] = "no interval"
    found[table["corpus"].eq(baseline)] = "baseline"
    return found


def equivalence(
    table: pd.DataFrame,
    numbers: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    kind: "pd.Series[str]",
    margins: Margins,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Test whether differences are smaller than a margin: two one-sided t tests, the larger of their p values.

    A p below 0.05 goes with a 90 % interval that lies within the margin (Schuirmann 1987). That no difference was found
    says nothing of the kind.

    Parameters
    ----------
    table
        With the column ``metric``, and ``compared_by``.
    numbers
        Means, standard errors and degrees of freedom of the differences, or of log2 fold changes.
    kind
        The scales that they are on; see `corpuscle.statistics.scales.Kind`.
    margins
        By metric; see `corpuscle.statistics.comparisons.summarise`.

    Returns
    -------
    The margins (NaN where none is set), and the p values (NaN without a margin or standard error).

    References
    ----------
    Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach, Journal of
    Pharmacokinetics and Biopharmaceutics 15:657-680, https://doi.org/10.1007/BF01068419
    """
    mean, error, df = numbers
    margin = table["metric"].map(dict(margins)).astype(float).to_numpy()
    ratio = table["compared_by"].eq("ratio").to_numpy()
    # A ratio may be as much below 1 as above it: a share of 0.25 allows 1 / 1.25 to 1.25.
    bound = np.where(ratio, np.log2(1 + margin), margin)
    p = np.full(mean.shape, np.nan)
    kinds = kind.to_numpy(object)
    for name in set(kinds):
        here = kinds == name
        limit = np.where(bound[here] < ENDS[name][1], bound[here], np.nan)
        (at, slope), (ends, _) = stretched(mean[here], name), stretched(limit, name)
        with np.errstate(invalid="ignore", divide="ignore"):
            width = slope * error[here]
            above: Any = stats.t.sf((at + ends) / width, df[here])
            below: Any = stats.t.sf((ends - at) / width, df[here])
        p[here] = np.maximum(above, below)
    return margin, p
