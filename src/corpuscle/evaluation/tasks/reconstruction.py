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
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import TARGET_SUM, cp10k, gene_moments, most_variable
from corpuscle.evaluation.likelihood import LIKELIHOOD, likelihood_scores
from corpuscle.evaluation.metrics.correlation import squared_pearson
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import BoundsLikelihood, FittedModel, Reconstructs

R2_LOG = Metric(
    "r2_log",
    "R² (log)",
    "Squared Pearson correlation of observed and reconstructed expression over genes, per cell, averaged over cells; "
    "log1p of counts per 10,000.",
    "higher",
    "share",
)
R2_LINEAR = Metric(
    "r2_linear", "R² (linear)", "As R² (log), on counts per 10,000 without the logarithm.", "higher", "share"
)


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
        per cell, as the published code does; the scores then say so in their ``way``.
    per_cell
        Also give ``r2_log`` of every cell, as rows of the unit ``cell=SOURCE:ROW``: for the published test over cells
        (`corpuscle.statistics.per_cell.published_cell_tests`), whose results then lie in ``per_cell.csv``.
    """

    needs: ClassVar[type] = Reconstructs
    ability: ClassVar[str] = "reconstruct counts"
    metrics: ClassVar[tuple[Metric, ...]] = (R2_LOG, R2_LINEAR, *LIKELIHOOD)

    n_variable_genes: Annotated[int, Field(ge=2)] = 1000
    posterior: Literal["mean", "sample"] = "mean"
    per_cell: bool = False

    @property
    def _way(self) -> str:
        return "" if self.posterior == "mean" else "one sample"

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Reconstruct the target's cells; see `Task.run`."""
        if not isinstance(model, Reconstructs):
            raise ModelError(self.refusal)
        yield from self._correlations(model, target, rng)
        if isinstance(model, BoundsLikelihood):
            # Drawn last: what the correlations draw stays what it was.
            yield from likelihood_scores(model, target, seed=int(rng.integers(1 << 32)))

    def _correlations(self, model: Reconstructs, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        genes_V = most_variable(gene_moments(target), self.n_variable_genes)
        if len(genes_V) < 2:
            reason = f"only {len(genes_V)} genes vary over the {len(target)} cells of the target: no correlation"
            for unit in units(target):
                yield R2_LOG.score(unit, float("nan"), 0, reason, self._way)
                yield R2_LINEAR.score(unit, float("nan"), 0, reason, self._way)
            return
        linear_N, log_N = np.full(len(target), np.nan), np.full(len(target), np.nan)
        for rows, fractions_NG in model.expected_fractions(target, rng if self.posterior == "sample" else None):
            truth_NV = cp10k(target.counts(rows))[:, genes_V].toarray()
            predicted_NV = fractions_NG[:, genes_V].astype(np.float64) * TARGET_SUM
            linear_N[rows] = squared_pearson(truth_NV, predicted_NV)
            log_N[rows] = squared_pearson(np.log1p(truth_NV), np.log1p(predicted_NV))
        for unit, mask_N in units(target).items():
            yield _mean(R2_LOG, unit, log_N[mask_N])._replace(way=self._way)
            yield _mean(R2_LINEAR, unit, linear_N[mask_N])._replace(way=self._way)
        if self.per_cell:
            for name, value in zip(_names(target), log_N, strict=True):
                reason = "" if np.isfinite(value) else "constant over the variable genes, or expected to be"
                yield R2_LOG.score(f"cell={name}", float(value), 1, reason, self._way)


def _names(target: Corpus) -> list[str]:
    """Return a name of each cell of a target, the same whatever the corpus: its source and its row there."""
    cells = target.cells
    return [f"{source}:{row}" for source, row in zip(cells["source"], cells["row"], strict=True)]


def _mean(metric: Metric, unit: str, value_N: NDArray[np.float64]) -> Score:
    """Average over the cells that have a value, and say how many have none."""
    defined = np.isfinite(value_N)
    n_cells, n_defined = len(value_N), int(defined.sum())
    reason = ""
    if n_defined < n_cells:
        reason = f"{n_cells - n_defined} of {n_cells} cells are constant over the variable genes, or expected to be"
    value = float(value_N[defined].mean()) if n_defined else float("nan")
    return metric.score(unit, value, n_defined, reason)
