"""Agreement: whether two models, or two settings of one, rank the same mixtures alike."""

from typing import NamedTuple

import pandas as pd
from scipy import stats

# Below it, ranks of the one say little of ranks of the other.
LEAST_AGREEMENT = 0.5


class Agreement(NamedTuple):
    """What two sides have in common.

    Attributes
    ----------
    rank_correlation
        Spearman's; 1: the same order. NaN with fewer than four mixtures, or where one side has no order.
    n_mixtures
        Mixtures that both have.
    """

    rank_correlation: float
    n_mixtures: int


def agreement(one: "pd.Series[float]", other: "pd.Series[float]") -> Agreement:
    """Compare the ranks of mixtures, given by name.

    Examples
    --------
    >>> names = ["A", "B", "C", "D"]
    >>> agreement(pd.Series([1.0, 2, 3, 4], names), pd.Series([2.0, 1, 3, 4], names))
    Agreement(rank_correlation=0.8, n_mixtures=4)
    """
    both = pd.concat([one, other], axis=1, join="inner").dropna()
    first, second = both.iloc[:, 0], both.iloc[:, 1]
    if len(both) < 4 or first.nunique() < 2 or second.nunique() < 2:
        return Agreement(float("nan"), len(both))
    return Agreement(round(float(stats.spearmanr(first, second).statistic), 12), len(both))
