"""Gene coverage: how many genes a corpus expresses, and which share of a target's expression they make up.

Axes in names: G genes.
"""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError

# A gene is expressed where its mean is above this many counts per 10,000: the published threshold (Nadig et al. 2025).
EXPRESSED = 1.0


def expressed_genes(mean_G: NDArray[np.floating]) -> int:
    """Count the genes whose mean counts per 10,000 are above 1; higher covers more.

    Raises
    ------
    MeasureError
        When a mean is NaN.

    Examples
    --------
    >>> expressed_genes(np.array([0.0, 1.0, 1.5]))
    1
    """
    if np.isnan(mean_G).any():
        raise MeasureError("mean expression holds NaN")
    return int(np.sum(mean_G > EXPRESSED))


def gene_coverage(corpus_G: NDArray[np.floating], target_G: NDArray[np.floating]) -> float:
    """Return which share of a target's expression lies in genes that the corpus expresses; 0 to 1, higher is better.

    Σ t_g·[s_g > 1] / Σ t_g, with t and s the mean counts per 10,000 in target and corpus. A plain count of genes ranks
    corpora alike for every target; this does not.

    Raises
    ------
    MeasureError
        When the target expresses nothing, or the two are not of the same genes.

    Examples
    --------
    >>> gene_coverage(np.array([5.0, 0.1, 2.0]), np.array([10.0, 30.0, 0.0]))
    0.25
    """
    if corpus_G.shape != target_G.shape:
        raise MeasureError(f"means are of {len(corpus_G):,} and {len(target_G):,} genes; give both in the same genes")
    total = float(target_G.sum())
    if not total > 0:
        raise MeasureError("the target has no counts in these genes")
    return float(target_G[corpus_G > EXPRESSED].sum() / total)
