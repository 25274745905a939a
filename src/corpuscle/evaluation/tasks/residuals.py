"""Residuals: which genes a model expects too much or too little of, say in a cell type that it has never seen."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.gene_means import expected_mean, observed_mean
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel, Reconstructs
from corpuscle.source.genes import unique_labels

RELATIVE = Metric(
    "relative_residual",
    "Relative residual",
    "(Observed - expected) / observed mean expression of a gene; positive where the model expects too little.",
    "zero",
    figure="residual",
)
OBSERVED = Metric(
    "observed_cp10k",
    "Observed",
    "Mean counts of a gene per 10,000 over the target's cells.",
    "none",
    "positive",
    figure="observed",
)
PREDICTED = Metric(
    "predicted_cp10k", "Predicted", "What the model expects of the same.", "none", "positive", figure="expected"
)


@component
class Residuals(Task):
    """Per gene, what was counted and what the model expects, as means over the target's cells.

    One row per gene that the target measured (unit ``gene=SYMBOL``, or its id where several have the symbol) and
    metric: `OBSERVED`, `PREDICTED` and `RELATIVE`, the residual of Nadig et al. 2025, which is NaN for a gene with no
    count in the target.
    """

    needs: ClassVar[type] = Reconstructs
    ability: ClassVar[str] = "reconstruct counts"
    metrics: ClassVar[tuple[Metric, ...]] = (RELATIVE, OBSERVED, PREDICTED)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Compare expected and counted expression gene by gene; see `Task.run`."""
        if not isinstance(model, Reconstructs):
            raise ModelError(self.refusal)
        observed_G, predicted_G = observed_mean(target), expected_mean(model, target)
        n_cells, names = len(target), unique_labels(target.space)
        for gene in np.flatnonzero(target.measured_SG.any(axis=0)):
            unit = f"gene={names[gene]}"
            observed, predicted = observed_G[gene], predicted_G[gene]
            yield OBSERVED.score(unit, observed, n_cells)
            yield PREDICTED.score(unit, predicted, n_cells)
            if observed > 0:
                yield RELATIVE.score(unit, (observed - predicted) / observed, n_cells)
            else:
                yield RELATIVE.score(unit, float("nan"), n_cells, "no count of this gene in the target")
