"""Fit check: how well a model gives its own training cells back, taken when it has been fitted."""

import dataclasses

import numpy as np

from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.variable_genes import TARGET_SUM, cp10k, moments, most_variable
from corpuscle.evaluation.metrics.correlation import squared_pearson
from corpuscle.model.model import FittedModel, Reconstructs

# As many cells make the mean of R² as sure as is needed, at the price of a few steps of training.
N_CELLS, N_GENES = 512, 1000


def own_r2_log(fitted: FittedModel, corpus: Corpus, seed: int) -> float:
    """Return the mean over training cells of R² (log), as the task reconstruction defines it; NaN where undefined.

    It says nothing of what a corpus is good for, and is no score: it tells fits that diverged in what they reconstruct,
    which the loss does not always show (see `corpuscle.statistics.divergence`).

    Parameters
    ----------
    fitted
        The model.
    corpus
        What it was fitted on; 512 of its distinct cells are looked at, drawn by the seed.
    seed
        The seed of the fit.
    """
    if not isinstance(fitted, Reconstructs):
        return float("nan")
    rng = generator(seed, "fit check")
    rows = np.sort(rng.choice(len(corpus), min(N_CELLS, len(corpus)), replace=False))
    sample = dataclasses.replace(corpus, cells=corpus.cells.iloc[rows].reset_index(drop=True))
    genes_V = most_variable(moments(sample), N_GENES)
    if len(genes_V) < 2:
        return float("nan")
    found = []
    for block, fractions_NG in fitted.expected_fractions(sample):
        truth_NV = cp10k(sample.counts(block))[:, genes_V].toarray()
        predicted_NV = fractions_NG[:, genes_V].astype(np.float64) * TARGET_SUM
        found.append(squared_pearson(np.log1p(truth_NV), np.log1p(predicted_NV)))
    value_N = np.concatenate(found)
    defined = np.isfinite(value_N)
    return float(value_N[defined].mean()) if defined.any() else float("nan")
