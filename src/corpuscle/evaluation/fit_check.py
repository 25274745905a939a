"""Fit check: how well a model gives its own training cells back, taken when it has been fitted."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import TARGET_SUM, cp10k, gene_moments, most_variable
from corpuscle.evaluation.metrics.correlation import squared_pearson
from corpuscle.model.model import FittedModel, Reconstructs

# As many cells make the mean of R² as sure as is needed, at the price of a few steps of training.
N_CELLS, N_GENES = 512, 1000


class FitCheck(NamedTuple):
    """What a model makes of its own training cells; NaN where that is not defined.

    Attributes
    ----------
    r2_log
        The mean over cells of R² (log), as the task reconstruction defines it.
    share_error
        The share of all counts that is expected of the wrong genes, 0 to 1: half the sum over genes of the absolute
        difference between expected and observed share, each the mean over cells.
    """

    r2_log: float
    share_error: float


UNDEFINED = FitCheck(math.nan, math.nan)


def check_fit(fitted: FittedModel, corpus: Corpus, seed: int) -> FitCheck:
    """Check what a fitted model makes of its own training cells.

    It says nothing of what a corpus is good for, and is no score: it finds fits that diverged in what they reconstruct,
    which the loss does not always show. Seen at high learning rates: a sixth of all counts was expected of one gene
    that had a hundredth. It costs little likelihood, for with so wide a dispersion (log θ = -2.4) the gene's mean
    hardly matters, and a library size twenty times too large makes up for the other genes. See
    `corpuscle.statistics.divergence`.

    Parameters
    ----------
    fitted
        The model.
    corpus
        What it was fitted on; 512 of its distinct cells are looked at, drawn by the seed.
    seed
        The seed of the fit.

    Raises
    ------
    ModelError
        When what it expects of a cell are no shares of its counts.
    """
    if not isinstance(fitted, Reconstructs):
        return UNDEFINED
    rng = generator(seed, "fit check")
    rows = np.sort(rng.choice(len(corpus), min(N_CELLS, len(corpus)), replace=False))
    sample = dataclasses.replace(corpus, cells=corpus.cells.iloc[rows].reset_index(drop=True))
    genes_V = most_variable(gene_moments(sample), N_GENES)
    if len(genes_V) < 2:
        return UNDEFINED
    found, difference_G = [], np.zeros(corpus.n_genes)
    for block, fractions_NG in fitted.expected_fractions(sample):
        _refuse_other_than_shares(fractions_NG)
        truth_NG = cp10k(sample.counts(block))
        difference_G += fractions_NG.sum(0, dtype=np.float64) - np.asarray(truth_NG.sum(axis=0)).ravel() / TARGET_SUM
        truth_NV = truth_NG[:, genes_V].toarray()
        predicted_NV = fractions_NG[:, genes_V].astype(np.float64) * TARGET_SUM
        found.append(squared_pearson(np.log1p(truth_NV), np.log1p(predicted_NV)))
    value_N = np.concatenate(found)
    defined = np.isfinite(value_N)
    r2 = float(value_N[defined].mean()) if defined.any() else math.nan
    return FitCheck(r2, float(np.abs(difference_G).sum() / 2 / len(sample)))


def _refuse_other_than_shares(fractions_NG: NDArray[np.floating[Any]]) -> None:
    """Refuse what is negative or does not sum to 1; a fit that diverged may have NaN."""
    sum_N = fractions_NG.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(np.isfinite(sum_N) & ((np.abs(sum_N - 1) > 0.01) | (fractions_NG.min(axis=1) < 0)))
    if len(wrong):
        row = fractions_NG[wrong[0]]
        raise ModelError(
            "expected_fractions should yield each gene's share of a cell's counts: they are not negative and sum to 1; "
            f"of a training cell they sum to {sum_N[wrong[0]]:.4g}, and the smallest is {row.min():.4g}"
        )
