"""Reconstruction: how well a model that encodes a cell and decodes it again gives back its expression.

Axes in names: N cells, G genes of the study, V the variable genes.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Better, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.variable_genes import TARGET_SUM, cp10k, moments, most_variable
from corpuscle.evaluation.likelihood import likelihood_scores
from corpuscle.evaluation.metrics.correlation import squared_pearson
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import BoundsLikelihood, FittedModel, Reconstructs


@component
class Reconstruction(Task):
    """Squared Pearson correlation, cell by cell, of expected and counted expression over the most variable genes.

    The metric of Nadig et al. 2025: expression is log1p of counts per 10,000 in the study's genes, the genes are the
    target's 1,000 most variable, and the squared correlations are averaged over cells. Metrics, higher is better:

    - ``r2_log``: as published;
    - ``r2_linear``: the same on counts per 10,000, without the logarithm;
    - ``elbo``, ``elbo_median``: of a model that has one, the evidence lower bound of a cell's counts in nats, mean and
      median over cells; see `likelihood_scores`.

    Parameters
    ----------
    n_variable_genes
        How many genes, chosen on the target.
    posterior
        ``"mean"``: decode the mean of the posterior, which is deterministic. ``"sample"``: decode one sample of it
        per cell, as the published code does; the metrics then end in ``_one_sample``.
    """

    needs: ClassVar[type] = Reconstructs
    ability: ClassVar[str] = "reconstruct counts"

    n_variable_genes: Annotated[int, Field(ge=2)] = 1000
    posterior: Literal["mean", "sample"] = "mean"

    @property
    def headline(self) -> tuple[str, Better]:
        """`r2_log`, and which way is better."""
        return f"r2_log{self._suffix}", "higher"

    @property
    def _suffix(self) -> str:
        return "" if self.posterior == "mean" else "_one_sample"

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Reconstruct the target's cells; see `Task.run`."""
        if not isinstance(model, Reconstructs):
            raise ModelError(self.refusal)
        yield from self._correlations(model, target, rng)
        if isinstance(model, BoundsLikelihood):
            # Drawn last: what the correlations draw stays what it was.
            yield from likelihood_scores(model, target, seed=int(rng.integers(1 << 32)))

    def _correlations(self, model: Reconstructs, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        genes_V = most_variable(moments(target), self.n_variable_genes)
        suffix = self._suffix
        if len(genes_V) < 2:
            reason = f"only {len(genes_V)} genes vary over the {len(target)} cells of the target: no correlation"
            for unit in units(target):
                yield Score(f"r2_log{suffix}", unit, float("nan"), 0, better="higher", reason=reason)
                yield Score(f"r2_linear{suffix}", unit, float("nan"), 0, better="higher", reason=reason)
            return
        linear_N, log_N = np.full(len(target), np.nan), np.full(len(target), np.nan)
        for rows, fractions_NG in model.expected_fractions(target, rng if self.posterior == "sample" else None):
            truth_NV = cp10k(target.counts(rows))[:, genes_V].toarray()
            predicted_NV = fractions_NG[:, genes_V].astype(np.float64) * TARGET_SUM
            linear_N[rows] = squared_pearson(truth_NV, predicted_NV)
            log_N[rows] = squared_pearson(np.log1p(truth_NV), np.log1p(predicted_NV))
        for unit, mask_N in units(target).items():
            yield _mean(f"r2_log{suffix}", unit, log_N[mask_N])
            yield _mean(f"r2_linear{suffix}", unit, linear_N[mask_N])


def _mean(metric: str, unit: str, value_N: NDArray[np.float64]) -> Score:
    """Average over the cells that have a value, and say how many have none."""
    defined = np.isfinite(value_N)
    n_cells, n_defined = len(value_N), int(defined.sum())
    reason = ""
    if n_defined < n_cells:
        reason = f"{n_cells - n_defined} of {n_cells} cells are constant over the variable genes, or expected to be"
    value = float(value_N[defined].mean()) if n_defined else float("nan")
    return Score(metric, unit, value, n_defined, better="higher", reason=reason)
