"""Plainly: what no mixture improves, and which sources can be done without."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.oracle.search import Search

# Standard errors by which a mixture has to be better than a single source.
BEYOND = 2


def no_better_than_single(search: Search) -> str:
    """Say on which scores no mixture that was tried is shown to beat a single source; empty where there is none.

    Of each score, the mixture with the best mean over its trainings of the proxy is compared with the single source
    that has the best: as the first is the best of many, what is named here is not for want of luck.
    """
    history, singles = search.history, list(search.stages.singles.index)
    trials = history.trials(search.label)
    named = []
    for output in (one.name for one in history.outputs if one.name in history.better):
        sign = 1.0 if history.better[output] == "higher" else -1.0
        known = trials[["mixture", output]].dropna()
        groups = (sign * known[output]).groupby(known["mixture"])
        mean, n, spread = groups.mean(), groups.size(), _spread(groups)
        alone = mean[mean.index.isin(singles)]
        mixed = mean[~mean.index.isin(singles) & (n > 1)]
        if alone.empty or mixed.empty or not np.isfinite(spread):
            continue
        error = spread * np.sqrt(1 / n[alone.idxmax()] + 1 / n[mixed.idxmax()])
        if mixed.max() - alone.max() <= BEYOND * error:
            named.append(f"{output} ({alone.idxmax()})")
    if not named:
        return ""
    return f"No mixture that was tried is shown to be better than a single source on {', '.join(named)}."


def dispensable(effects: pd.DataFrame, weights: Mapping[str, float], tolerance: float) -> str:
    """Say without which sources hardly any utility is expected to be lost; empty where there is none.

    Parameters
    ----------
    effects
        What `corpuscle.mixture.effects.effects` returned.
    weights
        Of the mixture that it began at; sources that it has none of are not needed.
    tolerance
        How much may be lost, in standard deviations of the utility.
    """
    names = [str(name) for name, lost in effects["none"].items() if str(name) not in weights or lost > -tolerance]
    if not names:
        return ""
    each = "either" if len(names) == 2 else "any one"
    which = names[0] if len(names) == 1 else f"{each} of {', '.join(names)}"
    return f"Without {which}, less than {tolerance:g} SD of utility is expected to be lost."


def _spread(groups: Any) -> float:
    """Return the standard deviation of a training within its mixture, over all mixtures; NaN without repeats."""
    n = groups.size()
    rest = int((n - 1).sum())
    return float(np.sqrt(((n - 1) * groups.var(ddof=1).fillna(0)).sum() / rest)) if rest else float("nan")
