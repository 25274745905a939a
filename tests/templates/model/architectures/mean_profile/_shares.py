"""A private part of the model: how often each gene is counted."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus


def shares(corpus: Corpus, pseudocount: float) -> NDArray[np.float64]:
    """Return the share of each gene in a corpus' counts, shape (G,). A cell counts as often as it is used."""
    times_N = corpus.cells["times"].to_numpy(np.float64)
    total_G = corpus.counts().T @ times_N + pseudocount
    found: NDArray[np.float64] = total_G / total_G.sum()
    return found
