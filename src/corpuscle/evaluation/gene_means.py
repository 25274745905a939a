"""Means over cells of each gene's expression: as counted, and as a model expects it.

Axes in names: N cells, G genes.
"""

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import TARGET_SUM, cp10k
from corpuscle.model.model import Reconstructs


def observed_mean(cells: Corpus) -> NDArray[np.float64]:
    """Return the mean over cells of counts per 10,000 of each gene, shape (G,)."""
    total_G = np.zeros(cells.n_genes)
    for _, counts_NG in cells.blocks():
        total_G += np.asarray(cp10k(counts_NG).sum(axis=0)).ravel()
    return total_G / len(cells)


def expected_mean(model: Reconstructs, cells: Corpus) -> NDArray[np.float64]:
    """Return the mean over cells of what a model expects of each gene, per 10,000, shape (G,)."""
    total_G = np.zeros(cells.n_genes)
    for _, fractions_NG in model.expected_fractions(cells):
        total_G += fractions_NG.sum(axis=0, dtype=np.float64) * TARGET_SUM
    return total_G / len(cells)
