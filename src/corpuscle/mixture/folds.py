"""Folds: which runs are left out together, so that every mixture is predicted by fits that did not see it."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.randomness import generator
from corpuscle.mixture.table import Table

# One mixture a fold while folds × outputs × runs stay below this; then fewer folds, never below ten.
MOST_SCORES = 20_000
FEWEST_FOLDS = 10


def fold_runs(table: Table, seed: int = 0) -> NDArray[np.int64]:
    """Assign a fold to every run, shape (R,): runs of one mixture are in one, since they answer for each other.

    Parameters
    ----------
    table
        The runs.
    seed
        Shuffles mixtures, where a fold holds several.
    """
    n_folds = min(table.n_mixtures, max(FEWEST_FOLDS, MOST_SCORES // table.scores_RO.size))
    order_M = np.arange(table.n_mixtures)
    if n_folds < table.n_mixtures:
        order_M = generator(seed, "mixture", "folds").permutation(order_M)
    return np.asarray((order_M % n_folds)[table.mixture_R], np.int64)
