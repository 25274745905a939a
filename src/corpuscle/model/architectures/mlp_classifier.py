"""A perceptron on variable genes: the plain neural network that says a cell's type.

Axes in names: N cells, B cells of a block, G genes of the study, H variable genes, C cell types.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import vstack

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel, set_state, state_of
from corpuscle.model.data.batches import Batch, CountTable
from corpuscle.model.families.log_expression import check_genes, repeated, scaled_blocks, variable_genes
from corpuscle.model.labels import cell_types
from corpuscle.model.model import Progress, silent
from corpuscle.model.nn.count_modules import SparseLinear
from corpuscle.model.nn.perceptron import Perceptron
from corpuscle.model.size import training_bytes
from corpuscle.model.training.budget import Budget
from corpuscle.model.training.loop import named_noise
from corpuscle.model.training.stepping import RateSchedule
from corpuscle.model.training.supervised import Codes, LabelTraining, train_labels
from corpuscle.model.training.timing import STEPS, random_counts, seconds_per_step

# More cell types than an atlas has: for an estimate of memory.
MOST_TYPES = 1000


CROSS_ENTROPY = Metric(
    "cross_entropy", "Cross-entropy", "Cross-entropy of the cell type per cell, nats; lower is better.", "lower"
)


@component
class MlpClassifier(LabelTraining, LoadsSaved):
    """A perceptron of one hidden layer that says the cell type by variable genes.

    It sees log1p counts per 10,000, and learns from the corpus' cells that have a ``cell_type``; their counts of the
    variable genes are held in memory, sparse. A gene that a target's source did not measure counts as absent.

    Parameters
    ----------
    n_genes
        How many variable genes, chosen as `HVG` does.
    n_hidden, dropout, learning_rate, weight_decay, batch_size, budget, validation_share, remedy
        See `LabelTraining`.
    rate_schedule, clip_norm, accumulate
        How steps are taken; see `Stepping`.

    Examples
    --------
    >>> MlpClassifier(remedy="ldam", budget={"steps": 500}).n_steps(n_cells=3000)
    500
    """

    learns: ClassVar[tuple[str, ...]] = ("cell_type",)
    curves: ClassVar[tuple[Metric, ...]] = (CROSS_ENTROPY,)

    n_genes: Annotated[int, Field(gt=0)] = 2000

    @property
    def fewest_cells(self) -> int:
        """One of each of two types."""
        return 2

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedMlpClassifier":
        """Fit on the labelled cells, on the CPU.

        Raises
        ------
        ModelError
            When there are not two cell types, too few cells, or no gene varies.
        """
        known = cell_types(corpus)
        genes_H = variable_genes(repeated(known.cells), self.n_genes, silent)
        table = CountTable(vstack([scaled_BH for _, scaled_BH in scaled_blocks(known.cells, genes_H)], format="csr"))
        network = self._network(len(genes_H), len(known.labels), named_noise(seed, "init"))
        history = train_labels(
            network,
            table.batch,
            Codes(known.code_N, known.times_N),
            self._training(),
            seed=seed,
            progress=progress,
        )
        return FittedMlpClassifier(
            self, corpus.space.ids, known.labels, genes_H, network, history=history, n_unlabelled=known.n_unlabelled
        )

    def restored(self, saved: Saved) -> "FittedMlpClassifier":
        """Return the network with the weights that were saved."""
        arrays, labels = dict(saved.arrays), tuple(saved.facts["labels"])
        genes_H = arrays.pop("genes_H")
        network = self._network(len(genes_H), len(labels), torch.Generator())
        set_state(network, arrays)
        n_unlabelled, history = saved.facts["n_unlabelled"], saved.history
        return FittedMlpClassifier(
            self, saved.genes, labels, genes_H, network, history=history, n_unlabelled=n_unlabelled
        )

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many labelled cells gets, at most."""
        return self._training().schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the processor seconds of a step with 10 % of the counts nonzero."""
        n_genes = min(n_genes, self.n_genes)
        table = CountTable(random_counts(self.batch_size, n_genes))
        codes = Codes(np.arange(self.batch_size) % 2, np.ones(self.batch_size, np.int64))
        network = self._network(n_genes, 2, named_noise(0, "init"))
        few = Budget(steps=STEPS)
        settings = self._training(budget=few, validation_share=0.0, rate_schedule=RateSchedule())
        return seconds_per_step(
            network.first, lambda: train_labels(network, table.batch, codes, settings, seed=0, progress=silent)
        )

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes; see `corpuscle.model.size.TakesMemory`."""
        return training_bytes(
            [[min(n_genes, self.n_genes), self.n_hidden, MOST_TYPES]], self.part_size(self.batch_size)
        )

    def _network(self, n_genes: int, n_labels: int, init: torch.Generator) -> Perceptron:
        first, cosine = SparseLinear(n_genes, self.n_hidden, init), self.remedy == "ldam"
        return Perceptron(first, self.n_hidden, n_labels, dropout=self.dropout, cosine=cosine, init=init)

    def _training(self, **other: Any) -> LabelTraining:
        own = {field.name: getattr(self, field.name) for field in fields(LabelTraining)}
        return LabelTraining(**own | other)


class FittedMlpClassifier(SavedModel):
    """A perceptron with weights; it annotates (`Annotates`).

    Attributes
    ----------
    labels
        The cell types, sorted, length C.
    genes_H
        Positions of the variable genes, sorted.
    history
        The training curve: ``cross_entropy_train`` and ``cross_entropy_validation`` per cell in nats (lower is
        better), whatever the remedy.
    n_unlabelled
        How many cells of the corpus had no label and were left out.
    """

    def __init__(  # noqa: PLR0913
        self,
        settings: MlpClassifier,
        genes: tuple[str, ...],
        labels: tuple[str, ...],
        genes_H: NDArray[np.int64],
        network: Perceptron,
        *,
        history: pd.DataFrame,
        n_unlabelled: int,
    ) -> None:
        self.settings, self.genes, self.labels, self.genes_H = settings, genes, labels, genes_H
        self.network, self.history, self.n_unlabelled = network, history, n_unlabelled

    @torch.no_grad()
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the hidden layer after its ReLU, shape (N, number of hidden units)."""
        embedded_NK = np.empty((len(cells), self.settings.n_hidden), np.float32)
        for rows, batch in self._batches(cells):
            embedded_NK[rows] = self.network.hidden(batch).numpy()
        return embedded_NK

    @torch.no_grad()
    def label_probabilities(self, cells: Corpus) -> NDArray[np.float32]:
        """Return each type's probability, shape (N, C)."""
        probability_NC = np.empty((len(cells), len(self.labels)), np.float32)
        for rows, batch in self._batches(cells):
            probability_NC[rows] = self.network(batch).softmax(1).numpy()
        return probability_NC

    def parts(self) -> Parts:
        """Return the weights and genes; the labels, and how many cells had none."""
        facts = {"labels": list(self.labels), "n_unlabelled": self.n_unlabelled}
        return state_of(self.network) | {"genes_H": self.genes_H}, facts

    def _batches(self, cells: Corpus) -> Iterator[tuple[slice, Batch]]:
        check_genes(cells, self.genes)
        for rows, scaled_BH in scaled_blocks(cells, self.genes_H):
            yield rows, CountTable(scaled_BH).batch(slice(None))
