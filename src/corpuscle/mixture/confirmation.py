"""Confirmation: whether a mixture that a search chose is better than its rivals on fresh seeds."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from corpuscle.mixture.assessing import UTILITY
from corpuscle.statistics.corrections import holm

COLUMNS = ("output", "mixture", "rival", "difference", "low", "high", "p", "p_holm", "n_seeds")


def confirm(
    trials: pd.DataFrame, mixtures: Sequence[str], rivals: Sequence[str], better: Mapping[str, str], level: float = 0.95
) -> pd.DataFrame:
    """Compare mixtures with rivals, paired by seed.

    Parameters
    ----------
    trials
        A row per training with a fresh seed: ``mixture``, ``seed``, a column per output, and one for the utility.
    mixtures
        What was chosen; the first is what is recommended.
    rivals
        What they are compared with.
    better
        ``"higher"`` or ``"lower"``, by output; differences are turned so that above 0 the mixture is better.
    level
        Of the intervals (Student's t over seeds).

    Returns
    -------
    The columns `COLUMNS`. ``p`` is two-sided. ``p_holm`` is of the recommended mixture alone, and corrected (Holm) over
    its rivals in the utility, and over rivals and outputs in the others. NaN where fewer than two seeds have both.

    Examples
    --------
    >>> trials = pd.DataFrame({"mixture": ["A"] * 3 + ["B"] * 3, "seed": [5, 6, 7] * 2,
    ...                        "loss": [0.5, 0.6, 0.7, 0.62, 0.7, 0.81]})
    >>> confirm(trials, ["A"], ["B"], {"loss": "lower"})[["difference", "p_holm", "n_seeds"]].round(3)
       difference  p_holm  n_seeds
    0        0.11   0.003        3
    """
    rows: list[tuple[object, ...]] = []
    for output, way in better.items():
        wide = trials.pivot_table(index="seed", columns="mixture", values=output, aggfunc="mean")
        rows += [
            (output, mixture, rival, *_paired(wide, mixture, rival, way, level))
            for mixture, rival in product(mixtures, rivals)
            if rival != mixture
        ]
    table = pd.DataFrame(rows, columns=[*(name for name in COLUMNS if name != "p_holm")])
    table["p_holm"] = np.nan
    first = table["mixture"] == (mixtures[0] if mixtures else "")
    for family in (table["output"] == UTILITY, table["output"] != UTILITY):
        table.loc[first & family, "p_holm"] = holm(table.loc[first & family, "p"])
    return table[list(COLUMNS)]


def _paired(
    wide: pd.DataFrame, mixture: str, rival: str, way: str, level: float
) -> tuple[float, float, float, float, int]:
    """Return the mean difference, its interval, p and the number of seeds."""
    nan = float("nan")
    if mixture not in wide or rival not in wide:
        return nan, nan, nan, nan, 0
    change = ((wide[mixture] - wide[rival]) * (1 if way == "higher" else -1)).dropna().to_numpy(float)
    n = len(change)
    if n < 2:
        return (float(change.mean()) if n else nan), nan, nan, nan, n
    mean, error = float(change.mean()), float(change.std(ddof=1) / np.sqrt(n))
    if error <= 1e-12 * max(1.0, abs(mean)):
        # The same in all seeds: nothing scatters that an interval could be of.
        return mean, nan, nan, nan, n
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * error
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1)), n
