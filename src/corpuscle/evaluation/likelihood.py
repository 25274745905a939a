"""Likelihood: how probable a fitted model finds cells that it was not trained on, by its evidence lower bound."""

from collections.abc import Iterator

import numpy as np

from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.task import units
from corpuscle.model.model import BoundsLikelihood

ELBO = Metric(
    "elbo",
    "ELBO",
    "Evidence lower bound of the log-likelihood of a cell's counts, nats, from one posterior sample; mean over cells. "
    "A few cells that look like none in training can decide it: see the median too.",
    "higher",
)
ELBO_MEDIAN = Metric("elbo_median", "ELBO, median", "As ELBO, median over cells.", "higher")
LIKELIHOOD = (ELBO, ELBO_MEDIAN)


def likelihood_scores(model: BoundsLikelihood, target: Corpus, seed: int) -> Iterator[Score]:
    """Score a model by the evidence lower bound (ELBO) of a target's cells.

    The bound of a cell, in nats, is E_q[log p(x | z, l)] - KL(q(z | x) || p(z)) - KL(q(l | x) || p(l)), where x are its
    counts of all genes that its source measured, z its latents and l its library size, where the model draws one
    (Kingma and Welling 2014, arXiv 1312.6114). The expectation is over one posterior sample for each cell, and both
    divergences have full weight, whatever they had in training. It is never more than log p(x).

    Parameters
    ----------
    model
        The fitted model.
    target
        The cells.
    seed
        Names the posterior sample: the same for all models that are compared.

    Yields
    ------
    For each unit ``elbo``, the mean over its cells, and ``elbo_median``; higher is better. A few cells that look like
    none in training can have a bound that is thousands of nats lower than the others': where the mean and the median
    disagree on which corpus is better, such cells decide the mean. Bounds can be compared between corpora, models and
    seeds on one target in one gene space; between targets or gene spaces they cannot.
    """
    bound_N = -model.elbo(target, seed)["elbo"].to_numpy(dtype=float)
    for unit, mask_N in units(target).items():
        n_bad = int((~np.isfinite(bound_N[mask_N])).sum())
        reason = f"the bound of {n_bad} of {mask_N.sum()} cells is no finite number" if n_bad else ""
        for metric, average in ((ELBO, np.mean), (ELBO_MEDIAN, np.median)):
            value = float("nan") if n_bad else float(average(bound_N[mask_N]))
            yield metric.score(unit, value, int(mask_N.sum()), reason)
