"""Pareto: mixtures that no other one is better than in all that counts."""

from collections.abc import Mapping

import numpy as np
import pandas as pd


def non_dominated(scores: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows than which no other is at least as good in every output, and better in one.

    Parameters
    ----------
    scores
        Mixtures × outputs; rows with a missing score are left out.
    better
        ``"higher"`` or ``"lower"``, by output.

    Examples
    --------
    >>> scores = pd.DataFrame({"r2": [0.9, 0.5, 0.4], "loss": [2.0, 1.0, 1.5]}, ["A", "B", "C"])
    >>> list(non_dominated(scores, {"r2": "higher", "loss": "lower"}).index)
    ['A', 'B']
    """
    known = scores.dropna()
    turned_NO = known.to_numpy(float) * np.array([1 if better[name] == "higher" else -1 for name in known.columns])
    kept = [
        not ((turned_NO >= row_O).all(axis=1) & (turned_NO > row_O).any(axis=1)).any() for row_O in turned_NO
    ]  # fmt: skip
    return known[kept]
