"""Likelihood: how likely a model that reads genes one after the other finds the cells of a target.

Axes in names: N cells.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.embedding import draw_cells, reasons
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import FittedModel, HasLikelihood

COUNTS = Metric(
    "count_nll",
    "Negative log-likelihood of counts",
    "Of a cell's counts, per gene that has any, in nats; averaged over cells.",
    "lower",
    "positive",
)
GENES = Metric(
    "gene_nll",
    "Negative log-likelihood of genes",
    "Of which genes a cell has counts of, per gene, in nats; averaged over cells.",
    "lower",
    "positive",
)
PERPLEXITY = Metric(
    "perplexity",
    "Perplexity",
    "Among how many genes, all as likely, the model would be as unsure of the next one; e to the mean over cells.",
    "lower",
    "positive",
)


@component
class Likelihood(Task):
    """Ask a model that predicts a cell's genes and counts one after the other how likely a target's cells are to it.

    Likelihoods of one model can be compared between corpora and seeds, on one target in one gene space. Those of other
    kinds of models are of other things: the bound of a variational autoencoder is of all genes' counts at once.

    Parameters
    ----------
    max_cells
        Where the target has more cells, so many are drawn, the same for every model.

    Examples
    --------
    >>> Likelihood().max_cells
    2000
    """

    needs: ClassVar[type] = HasLikelihood
    ability: ClassVar[str] = "predict genes and counts one after the other"
    metrics: ClassVar[tuple[Metric, ...]] = (COUNTS, GENES, PERPLEXITY)

    max_cells: Annotated[int, Field(ge=1)] = 2000

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Ask for the likelihood of the target's cells; see `Task.run`."""
        if not isinstance(model, HasLikelihood):
            raise ModelError(self.refusal)
        cells = draw_cells(target, self.max_cells)
        note = f"{len(cells):,} of {len(target):,} cells drawn" if len(cells) < len(target) else ""
        found = model.negative_log_likelihood(cells)
        n_genes_N = found["n_genes"].to_numpy()
        per_gene = {name: found[name].to_numpy(float) / np.maximum(n_genes_N, 1) for name in ("counts", "genes")}
        for unit, mask_N in units(cells).items():
            read_N = mask_N & (n_genes_N > 0)
            yield _mean(COUNTS, unit, per_gene["counts"][read_N], mask_N, note)
            genes = _mean(GENES, unit, per_gene["genes"][read_N], mask_N, note)
            yield genes
            yield PERPLEXITY.score(unit, float(np.exp(genes.value)), genes.n_cells, genes.reason)


def _mean(metric: Metric, unit: str, value_N: NDArray[np.float64], mask_N: NDArray[np.bool_], note: str) -> Score:
    """Average over the cells that the model reads, and report how many it does not."""
    n_lost = int(mask_N.sum()) - len(value_N)
    few = f"{n_lost:,} of {mask_N.sum():,} cells have no gene that the model knows" if n_lost else ""
    value = float(value_N.mean()) if len(value_N) else float("nan")
    return metric.score(unit, value, len(value_N), reasons(few, note))
