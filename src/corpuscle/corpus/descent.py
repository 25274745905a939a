"""Descent: how much of each cell is of cells that steps of a name made, whatever later steps made of these.

Axes in names: N cells.
"""

import re

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus


def share_made_by(corpus: Corpus, alteration: str) -> NDArray[np.float64]:
    """Return how much of each cell comes from cells that an alteration added, through all steps after it.

    Parameters
    ----------
    corpus
        The cells, N of them.
    alteration
        Its name, such as ``"doublets"``; it may have been a step several times.

    Returns
    -------
    From 0 to 1, shape (N,): 1 for what it made itself and for what was made of that alone (thinned, say), a share for
    averages and for cells between others. Of cells in which no parent is named (synthetic ones), 0.
    """
    share_N, made_N = np.zeros(len(corpus)), corpus.labels("made")
    # The key of what makes cells is the step's name, with a number where it was taken.
    own = re.compile(rf"{re.escape(alteration)}( \d+)?")
    for key, derived in corpus.used_makers.items():
        here = np.flatnonzero(made_N == key)
        if own.fullmatch(key):
            share_N[here] = 1.0
            continue
        parent_P = share_made_by(derived.parents, alteration)
        if parent_P.any():
            weights = derived.weights(corpus.cells["row"].to_numpy(np.int64)[here])
            total = np.asarray(weights.sum(axis=1)).ravel()
            share_N[here] = np.divide(weights @ parent_P, total, out=np.zeros(len(here)), where=total > 0)
    return share_N
