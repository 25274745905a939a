"""Effects: what a little more of each source would do, as the fitted surrogates see it.

Axes: K sources, D draws.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from corpuscle.core.randomness import generator
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.utility import Utility

# Points of a corpus that a source is given more of, or less.
STEP = 0.1


def effects(
    fitted: FittedMixture, utility: Utility, base: Mapping[str, float], *, step: float = STEP, seed: int = 0
) -> pd.DataFrame:
    """Return by how much the utility changes when a source has more of a mixture, and when it has none.

    Parameters
    ----------
    fitted
        What is known of scores.
    utility
        What is to be high.
    base
        The mixture to begin at: weights by source.
    step
        How much more of the source, as a share of the corpus; the others have less, in proportion.
    seed
        Of the draws.

    Returns
    -------
    A row per source: ``more`` with ``more_low`` and ``more_high`` (90 % of draws), and ``none`` with the same, where
    the mixture has some of it; in standard deviations over the mixtures that were run, higher is better. NaN for a
    source that no run has.
    """
    sources = list(fitted.table.sources)
    base_K = np.array([base.get(name, 0.0) for name in sources])
    single_KK = np.eye(len(sources))
    more_KK = (1 - step) * base_K + step * single_KK
    none_KK = np.stack([_without(base_K, at) for at in range(len(sources))])
    draws_DN = Posterior(fitted, utility).draws(np.vstack([base_K, more_KK, none_KK]), generator(seed, "effects"))
    change_DN = draws_DN[:, 1:] - draws_DN[:, :1]
    low_N, high_N = np.quantile(change_DN, [0.05, 0.95], axis=0)
    table = pd.DataFrame(index=pd.Index(sources, name="source"))
    for at, name in enumerate(("more", "none")):
        rows = slice(at * len(sources), (at + 1) * len(sources))
        for ending, values in (("", change_DN.mean(axis=0)), ("_low", low_N), ("_high", high_N)):
            table[f"{name}{ending}"] = values[rows]
    # Of a source that no run has, nothing is known.
    table.loc[~fitted.table.used_K] = np.nan
    lacks = (base_K <= 0) | (base_K >= 1)
    table.loc[lacks, ["none", "none_low", "none_high"]] = np.nan
    return table


def _without(base_K: Array, at: int) -> Array:
    """Return a mixture without a source; as it is where it has nothing else."""
    rest_K = np.where(np.arange(len(base_K)) == at, 0.0, base_K)
    return np.asarray(rest_K / rest_K.sum() if rest_K.sum() > 0 else base_K)
