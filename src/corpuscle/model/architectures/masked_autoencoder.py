"""The masked autoencoder: a self-supervised model that learns to predict a cell's hidden genes from those it is shown.

Richter et al. 2025, doi 10.1038/s42256-024-00934-3, as DenAdel et al. 2026 (doi 10.1038/s41592-026-03120-y) train it.
Axes in names: N cells, B cells of a block, G genes, K latents.
"""

import copy
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel, set_state, state_of
from corpuscle.model.data.batches import CountTable, stream
from corpuscle.model.data.on_disk import training_counts
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.model import Progress, silent
from corpuscle.model.nn.masked_network import MaskedNetwork
from corpuscle.model.size import MOST_CELLS, MOST_LAYERS, MOST_UNITS, training_bytes
from corpuscle.model.training.budget import Budget, Schedule, ValidationShare, fewest_cells, published_as
from corpuscle.model.training.fine_tuning import TrainableEncoder
from corpuscle.model.training.loop import Optimiser, Precision, named_noise, train
from corpuscle.model.training.stepping import RateSchedule, Stepping
from corpuscle.model.training.timing import STEPS, random_counts, seconds_per_step

# As torch's AdamW has it; the published code leaves it there.
ADAM_EPS = 1e-8
PUBLISHED = Budget(epochs=100)


Units = Annotated[int, Field(gt=0, le=MOST_UNITS)]


MASKED_ERROR = Metric(
    "masked_error",
    "Squared error of masked genes",
    "Mean squared error of log1p counts per 10,000 over masked genes, per cell; lower is better.",
    "lower",
)


@component
class MaskedAutoencoder(Stepping, LoadsSaved):
    """An autoencoder that is shown some of a cell's genes and scored on the others.

    It sees log1p counts per 10,000. Layers, activation (SELU), masks and optimiser are the published ones. What is
    not: the output is linear, as log1p counts per 10,000 go to 9 (the published code ends in a sigmoid by default);
    the error is averaged over the hidden genes, not over all; the batch is 128 cells in place of 16,384, as on a CPU.
    By default the learning rate stays constant and gradients are not clipped; published are
    ``rate_schedule = { decay = "stepwise", factor = 0.9, epochs = 2 }`` and ``clip_norm = 1.0``. Genes that a cell's
    source did not measure count as absent and are neither hidden nor scored.

    Parameters
    ----------
    widths
        Units of the encoder's layers, the last being the latents; the decoder is its mirror image.
    mask_share
        Share of a cell's genes that is hidden in training; what is shown is scaled up accordingly.
    dropout
        Share of hidden units dropped in training.
    learning_rate, weight_decay
        AdamW's settings.
    batch_size
        Cells per step.
    budget
        How long to train; ``"published"`` is ``{ epochs = 100 }``. See `Budget`.
    validation_share
        Share of the cells that is held out to follow the training; they are never trained on. Patience needs some.

    rate_schedule, clip_norm, accumulate
        How steps are taken; see `Stepping`.
    precision
        ``"bf16"``: the training's matrix products are of 16-bit floats, on a GPU; without one, an error.

    Examples
    --------
    >>> MaskedAutoencoder(budget={"steps": 20_000}).n_steps(n_cells=3000)
    20000
    """

    curves: ClassVar[tuple[Metric, ...]] = (MASKED_ERROR,)

    widths: Annotated[list[Units], Field(min_length=2, max_length=MOST_LAYERS)] = Field(
        default_factory=lambda: [512, 512, 256, 256, 64]
    )
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Annotated[int, Field(gt=1, le=MOST_CELLS)] = 128
    budget: Annotated[Budget, published_as(PUBLISHED)] = PUBLISHED
    validation_share: ValidationShare = 0.1
    precision: Precision = "float32"

    @property
    def uses_gpu(self) -> bool:
        """True."""
        return True

    @property
    def fewest_cells(self) -> int:
        """How many cells leave two to train on."""
        return fewest_cells(self.validation_share)

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedMaskedAutoencoder":
        """Fit on `training_device`; from disk where the corpus is larger than `memory_limit`, with the same weights."""
        with training_counts(corpus) as table:
            if not table.largest:
                raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
            network = self._network(corpus.n_genes, named_noise(seed, "init"))
            schedule = self._schedule(corpus.n_cells)
            history = train(network, table, schedule, self._optimiser(), seed=seed, progress=progress)
        return FittedMaskedAutoencoder(self, corpus.space.ids, network, history)

    def restored(self, saved: Saved) -> "FittedMaskedAutoencoder":
        """Return the network with the weights that were saved."""
        network = self._network(len(saved.genes), torch.Generator())
        set_state(network, saved.arrays)
        return FittedMaskedAutoencoder(self, saved.genes, network, saved.history)

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 where they are too few to train on."""
        return self._schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the processor seconds of a step with 10 % of the counts nonzero."""
        network = self._network(n_genes, named_noise(0, "init"))
        table = CountTable(random_counts(self.batch_size, n_genes))
        schedule = Schedule(self.batch_size, Budget(steps=STEPS), self.batch_size, 0.0)
        optimiser = replace(self, rate_schedule=RateSchedule())._optimiser()  # another is none for so few steps
        return seconds_per_step(
            network.first, lambda: train(network, table, schedule, optimiser, seed=0, progress=silent)
        )

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes; see `corpuscle.model.size.TakesMemory`."""
        return training_bytes(
            [[n_genes, *self.widths, *reversed(self.widths[:-1]), n_genes]], self.part_size(self.batch_size)
        )

    def _network(self, n_genes: int, init: torch.Generator) -> MaskedNetwork:
        return MaskedNetwork(n_genes, self.widths, dropout=self.dropout, mask_share=self.mask_share, init=init)

    def _schedule(self, n_cells: int) -> Schedule:
        return Schedule(n_cells, self.budget, self.batch_size, self.validation_share)

    def _optimiser(self) -> Optimiser:
        settings = self.learning_rate, self.weight_decay, ADAM_EPS
        return Optimiser(*settings, decoupled=True, stepping=self, precision=self.precision)


class FittedMaskedAutoencoder(SavedModel):
    """A masked autoencoder with weights; its whole network can be fine-tuned (`FineTunes`).

    Attributes
    ----------
    history
        The training curve: ``masked_error_train`` and ``masked_error_validation``, the mean squared error of log1p
        counts per 10,000 over hidden genes, per cell (lower is better).
    """

    def __init__(
        self, settings: MaskedAutoencoder, genes: tuple[str, ...], network: MaskedNetwork, history: pd.DataFrame
    ) -> None:
        self.settings, self.genes, self.network, self.history = settings, genes, network, history

    @torch.no_grad()
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the latents of whole cells, nothing hidden, shape (N, K)."""
        check_genes(cells, self.genes)
        embedded_NK = np.empty((len(cells), self.settings.widths[-1]), np.float32)
        for rows, batch in stream(cells, BLOCK_CELLS):
            embedded_NK[rows] = self.network.encode(batch).numpy()
        return embedded_NK

    def encoder(self) -> TrainableEncoder:
        """Return a copy of the network, its decoder idle; see `FineTunes`."""
        network = copy.deepcopy(self.network)
        network.decoder = torch.nn.ModuleList()
        return TrainableEncoder(network, network.encode, self.settings.widths[-1])

    def parts(self) -> Parts:
        """Return the weights."""
        return state_of(self.network), {}
