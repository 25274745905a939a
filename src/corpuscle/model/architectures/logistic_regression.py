"""Logistic regression on variable genes: the label model that foundation models are to beat.

Axes in names: N cells, B cells of a block, G genes of the study, H variable genes, C cell types.
"""

import warnings
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import vstack
from scipy.special import log_softmax

from corpuscle.core.components import component
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel
from corpuscle.model.families.log_expression import check_genes, repeated, scaled_blocks, variable_genes
from corpuscle.model.labels import cell_types
from corpuscle.model.model import Progress, WithoutSteps, no_history, silent


@component
class LogisticRegression(LoadsSaved, WithoutSteps):
    """Multinomial logistic regression of the cell type on variable genes.

    scikit-learn fits it, on log1p counts per 10,000. The defaults are the published baseline's. It learns from the
    corpus' cells that have a ``cell_type``. Counts of the variable genes are held in memory, sparse. A gene that a
    target's source did not measure counts as absent.

    Parameters
    ----------
    penalty
        ``"l1"`` (fitted by SAGA) or ``"l2"`` (by L-BFGS).
    C
        One over the penalty's weight: smaller is stronger.
    class_weights
        ``"balanced"``: a cell counts as one over its type's frequency, so that types count as much; ``"none"``: cells
        count as much.
    max_rounds
        How often the data are gone through at most. SAGA is rarely done after the published 100, though more rounds
        change little; whether it was is what `FittedLogisticRegression.converged` says.
    n_genes
        How many variable genes, chosen as `HVG` does.

    Examples
    --------
    >>> LogisticRegression(penalty="l2", class_weights="balanced").n_steps(n_cells=3000)
    0
    """

    learns: ClassVar[tuple[str, ...]] = ("cell_type",)

    penalty: Literal["l1", "l2"] = "l1"
    C: Annotated[float, Field(gt=0, le=1e12)] = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    max_rounds: Annotated[int, Field(gt=0, le=1_000_000)] = 100
    n_genes: Annotated[int, Field(gt=0)] = 2000

    @property
    def uses_seed(self) -> bool:
        """Whether a fit depends on its seed: SAGA sees the cells in a random order, L-BFGS all at once."""
        return self.penalty == "l1"

    @property
    def fewest_cells(self) -> int:
        """One of each of two types."""
        return 2

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedLogisticRegression":
        """Fit on the labelled cells; the seed is for the order in which SAGA sees them.

        Raises
        ------
        ModelError
            When there are not two cell types, or no gene varies.
        """
        from sklearn import linear_model
        from sklearn.exceptions import ConvergenceWarning

        known = cell_types(corpus)
        cells = repeated(known.cells)
        genes_H = variable_genes(cells, self.n_genes, lambda share: progress(share / 2))
        logged_NH = vstack([scaled_BH.log1p() for _, scaled_BH in scaled_blocks(cells, genes_H)], format="csr")
        regression = linear_model.LogisticRegression(
            l1_ratio=1.0 if self.penalty == "l1" else 0.0,
            solver="saga" if self.penalty == "l1" else "lbfgs",
            C=self.C,
            class_weight=None if self.class_weights == "none" else "balanced",
            max_iter=self.max_rounds,
            random_state=random_state(seed),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is reported by `converged`
            regression.fit(logged_NH, np.repeat(known.code_N, known.times_N))
        progress(1.0)
        rule = Rule(genes_H, *_one_row_a_type(regression.coef_, regression.intercept_))
        converged = bool(regression.n_iter_.max() < self.max_rounds)
        return FittedLogisticRegression(
            self, corpus.space.ids, known.labels, rule, n_unlabelled=known.n_unlabelled, converged=converged
        )

    def restored(self, saved: Saved) -> "FittedLogisticRegression":
        """Return the rule that was saved."""
        rule = Rule(**{name: saved.arrays[name] for name in Rule._fields})
        facts = dict(saved.facts)
        return FittedLogisticRegression(self, saved.genes, tuple(facts.pop("labels")), rule, **facts)


def random_state(seed: int) -> int:
    """Return scikit-learn's seed for the order in which SAGA sees the cells."""
    return int(generator(seed, "model", "order").integers(2**31))


class Rule(NamedTuple):
    """A linear rule.

    Attributes
    ----------
    genes_H
        Positions of the variable genes, sorted.
    weight_CH, bias_C
        The logit of a type is its bias, and its weights times log1p counts per 10,000.
    """

    genes_H: NDArray[np.int64]
    weight_CH: NDArray[np.float64]
    bias_C: NDArray[np.float64]


def _one_row_a_type(
    weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give both of two types a row; scikit-learn gives the second's only, the first's being zero."""
    if len(weight) > 1:
        return weight, bias
    return np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros(1), bias])


class FittedLogisticRegression(SavedModel):
    """A logistic regression with weights; it annotates (`Annotates`).

    Attributes
    ----------
    labels
        The cell types, sorted, length C.
    rule
        The weights.
    n_unlabelled
        How many cells of the corpus had no label and were left out.
    converged
        Whether the fit was done before its rounds were.
    """

    def __init__(
        self,
        settings: LogisticRegression,
        genes: tuple[str, ...],
        labels: tuple[str, ...],
        rule: Rule,
        *,
        n_unlabelled: int,
        converged: bool,
    ) -> None:
        self.settings, self.genes, self.labels, self.rule = settings, genes, labels, rule
        self.n_unlabelled, self.converged, self.history = n_unlabelled, converged, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the logarithm of each type's probability, shape (N, C)."""
        check_genes(cells, self.genes)
        log_NC = np.empty((len(cells), len(self.labels)), np.float32)
        for rows, scaled_BH in scaled_blocks(cells, self.rule.genes_H):
            log_NC[rows] = log_softmax(scaled_BH.log1p() @ self.rule.weight_CH.T + self.rule.bias_C, axis=1)
        return log_NC

    def label_probabilities(self, cells: Corpus) -> NDArray[np.float32]:
        """Return each type's probability, shape (N, C)."""
        return np.exp(self.embed(cells))

    def parts(self) -> Parts:
        """Return the rule; its labels, and what is known of the fit."""
        facts = {"labels": list(self.labels), "n_unlabelled": self.n_unlabelled, "converged": self.converged}
        return self.rule._asdict(), facts
