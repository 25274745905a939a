"""Rank reconstruction: how well a model that reads a cell's genes by rank gives the ranks back.

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
from corpuscle.model.model import FittedModel, RanksGenes

HIDDEN = Metric(
    "rank_correlation_hidden",
    "Rank correlation, hidden genes",
    "Correlation of true and predicted ranks over places of a cell whose gene was hidden, averaged over cells.",
    "higher",
    "correlation",
)
WHOLE = Metric(
    "rank_correlation",
    "Rank correlation, cells shown whole",
    "Correlation of the ranks of a cell's genes with the model's, the cell being shown whole, so that copying is "
    "rewarded; averaged over cells. As published.",
    "higher",
    "correlation",
)
BASELINE = Metric(
    "rank_correlation_baseline",
    "Rank correlation of mean ranks",
    "The same correlation, of a guess by each gene's mean rank over the cells, which looks at no cell.",
    "higher",
    "correlation",
)
FOUND = Metric(
    "hidden_genes_found",
    "Hidden genes found",
    "Share of a cell's hidden genes that the model holds for the likeliest at their place, averaged over cells.",
    "higher",
    "share",
)
NLL = Metric(
    "hidden_nll",
    "Negative log-likelihood of hidden genes",
    "Mean negative log-likelihood of a cell's hidden genes in nats, averaged over cells; e to it is the perplexity.",
    "lower",
    "positive",
)


@component
class RankReconstruction(Task):
    """Ask a model that reads genes by rank, such as Geneformer, for the genes at the places of a cell.

    As published (Nadig et al. 2025; zero-shot-scfoundation), cells are shown whole, and the model's likeliest gene at
    each place is taken; a baseline guesses each gene's mean rank. That rewards copying, so the headline is the negative
    log-likelihood of genes that were hidden: 15 % of a cell's. The published correlation over hidden places alone is
    below 0 as long as few of them are found, since genes that were guessed in vain have a rank in the guess and none in
    the cell.

    Parameters
    ----------
    max_cells
        Where the target has more cells, so many are drawn, the same for every model; 500 as published.

    Examples
    --------
    >>> RankReconstruction().max_cells
    500
    """

    needs: ClassVar[type] = RanksGenes
    ability: ClassVar[str] = "read genes by rank"
    metrics: ClassVar[tuple[Metric, ...]] = (NLL, FOUND, HIDDEN, WHOLE, BASELINE)

    max_cells: Annotated[int, Field(ge=2)] = 500

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Ask for the ranks of the target's cells; see `Task.run`."""
        if not isinstance(model, RanksGenes):
            raise ModelError(self.refusal)
        cells = draw_cells(target, self.max_cells)
        note = f"{len(cells):,} of {len(target):,} cells drawn" if len(cells) < len(target) else ""
        found = model.ranks(cells, seed=int(rng.integers(1 << 32)))
        values = (found.nll, found.found, found.hidden, found.whole, found.whole_baseline)
        for unit, mask_N in units(cells).items():
            for metric, value_N in zip(self.metrics, values, strict=True):
                yield _mean(metric, unit, value_N[mask_N], note)


def _mean(metric: Metric, unit: str, value_N: NDArray[np.float64], note: str) -> Score:
    """Average over the cells that have a value, and report how many have none."""
    defined_N = np.isfinite(value_N)
    n_defined = int(defined_N.sum())
    n_lost = len(value_N) - n_defined
    few = f"{n_lost:,} of {len(value_N):,} cells have too few genes, or all guesses are alike" if n_lost else ""
    value = float(value_N[defined_N].mean()) if n_defined else float("nan")
    return metric.score(unit, value, n_defined, reasons(few, note))
