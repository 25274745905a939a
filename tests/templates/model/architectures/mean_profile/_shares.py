"""A private part of the model: how often each gene is counted."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus


def shares(corpus: Corpus, pseudocount: float) -> NDArray[np.float64]:
    """Return the share of each gene in a corpus' counts, shape (G,)."""
    total_G = np.asarray(corpus.counts().sum(axis=0, dtype=np.float64)).ravel() + pseudocount
    found: NDArray[np.float64] = total_G / total_G.sum()
    return found
