"""What the variational autoencoders of counts share: their objective, fitting, answers and files.

scVI is Lopez et al. 2018, doi 10.1038/s41592-018-0229-2. Axes in names: N cells, B cells of a batch, G genes, K
latents, C covariates.
"""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model import checkpoint
from corpuscle.model.data.batches import Batch, CountTable, TrainingCounts, stream
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.on_disk import training_counts
from corpuscle.model.families.categories import Categories
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.model import Progress, silent
from corpuscle.model.nn.count_modules import LOG_LIBRARY_CEILING, Encoded, Encoder, draw_latents, posterior_moments
from corpuscle.model.nn.likelihoods import (
    Decoded,
    expected_fractions,
    log_likelihood,
    negative_log_likelihood,
)
from corpuscle.model.size import MOST_CELLS, MOST_UNITS
from corpuscle.model.training import fine_tuning
from corpuscle.model.training.budget import Budget, Moment, Schedule, ValidationShare, fewest_cells, published_as
from corpuscle.model.training.loop import Optimiser, named_noise, train
from corpuscle.model.training.timing import STEPS, random_counts, seconds_per_step

# Dense blocks (cells × genes) that leave the model have at most this many numbers: 64 MB.
DENSE_NUMBERS = 1 << 24
# The published schedule of both models, and how many epochs a budget in steps stands for where the loss needs to know.
RUN_EPOCHS = 250
PUBLISHED = Budget(epochs=RUN_EPOCHS)


class VariationalNetwork(nn.Module):
    """A variational autoencoder of counts: an encoder, and what a decoder says of latent positions.

    Attributes
    ----------
    encoder
        The encoders.
    kl_warmup_epochs
        Over how many epochs of its training the weight of z's divergence grows from 0 to 1.
    log_theta
        Log of the genes' inverse dispersion, shape (G,).
    """

    encoder: Encoder
    kl_warmup_epochs: int = 0
    log_theta: nn.Parameter
    standard: Tensor

    def __init__(self) -> None:
        super().__init__()
        # The prior of z in each dimension: mean and variance.
        self.register_buffer("standard", torch.tensor([0.0, 1.0]), persistent=False)

    @abstractmethod
    def library(
        self, batch: Batch | DenseBatch, encoded: Encoded, noise: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return each cell's log library size (B,), and its divergence from its prior, where it is drawn."""

    @abstractmethod
    def decoded(self, z_BK: Tensor, library_B: Tensor, covariates_BC: Tensor | None) -> Decoded:
        """Decode latent positions; in training the batch's own statistics normalise."""

    def _sampled(
        self, batch: Batch | DenseBatch, noise: torch.Generator, dropout: torch.Generator | None
    ) -> tuple[Decoded, Tensor, Tensor | None]:
        """Encode, draw and decode a batch; return also the divergences of z and of the library size."""
        encoded = self.encoder(batch, dropout)
        shape = len(encoded.z), encoded.z.shape[1] // 2
        noise_BK = torch.randn(shape, generator=noise, device=encoded.z.device)
        z_BK, kl_z_B = draw_latents(encoded.z, noise_BK, self.standard)
        library_B, kl_library_B = self.library(batch, encoded, noise)
        return self.decoded(z_BK, library_B, batch.covariates), kl_z_B, kl_library_B

    def loss(self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised (per cell, the divergence of z weighted) and its parts, summed over the batch."""
        kl_weight = warmed_up(at, self.kl_warmup_epochs)
        decoded, kl_z_B, kl_library_B = self._sampled(batch, noise, noise)
        reconstruction, kl_z = negative_log_likelihood(decoded, batch), kl_z_B.sum()
        kl_library = None if kl_library_B is None else kl_library_B.sum()
        loss = reconstruction + kl_weight * kl_z
        if kl_library is not None:
            loss = loss + kl_library
        return loss / len(batch), _terms(reconstruction, kl_z, kl_library)

    @torch.no_grad()
    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the parts of each cell's negative ELBO, shape (B,) each, from one sample of its posterior."""
        decoded, kl_z_B, kl_library_B = self._sampled(batch, noise, None)
        decoded = decoded._replace(library=decoded.library.clamp(max=LOG_LIBRARY_CEILING))
        return _terms(-log_likelihood(decoded, batch), kl_z_B, kl_library_B)


def warmed_up(at: Moment, epochs: int) -> float:
    """Return the weight of z's divergence at a moment of a training, from 0 to 1.

    Under a budget in epochs it is epoch / `epochs`, as in scvi-tools (the published 250 epochs end at 0.62 of 400).
    Under a budget in steps an epoch would be of different length for each corpus and so would be what is minimised;
    there, 1/250 of the run counts as an epoch: the published course, the same for all corpora.

    Examples
    --------
    >>> warmed_up(Moment(step=2749, n_steps=2750, epoch=249), 400), warmed_up(Moment(500, 1000, None), 400)
    (0.6225, 0.3125)
    """
    epoch: float = RUN_EPOCHS * at.step / at.n_steps if at.epoch is None else at.epoch
    return min(1.0, epoch / epochs) if epochs else 1.0


def _terms(reconstruction: Tensor, kl_z: Tensor, kl_library: Tensor | None) -> dict[str, Tensor]:
    """Name the parts of the negative ELBO (nats, lower is better); `elbo` is their sum, nothing weighted."""
    reconstruction, kl_z = reconstruction.detach(), kl_z.detach()
    kl_library = None if kl_library is None else kl_library.detach()
    kl = kl_z if kl_library is None else kl_z + kl_library
    terms = {"elbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
    return terms if kl_library is None else {**terms, "kl_z": kl_z, "kl_library": kl_library}


NEGATIVE_ELBO = Metric("elbo", "Negative ELBO", "Negative ELBO per cell, nats; lower is better.", "lower")


@component
class VariationalModel(checkpoint.LoadsSaved):
    """Settings of a variational autoencoder of counts; a model adds its own, and says which network they make.

    Parameters
    ----------
    n_latent
        Dimensions of the latent space.
    n_hidden
        Width of hidden layers.
    dropout
        Share of hidden units dropped in training.
    learning_rate, weight_decay, adam_eps
        Adam's settings.
    batch_size
        Cells per step. A last batch of one or two cells is left out.
    budget
        How long to train; see `Budget`.
    validation_share
        Share of the cells that is held out to follow the training; they are never trained on. Patience needs some.
    kl_warmup_epochs
        The weight of z's divergence grows from 0 to 1 over this many epochs; see `warmed_up` for what an epoch is under
        a budget in steps.
    """

    curves: ClassVar[tuple[Metric, ...]] = (NEGATIVE_ELBO,)

    n_latent: Annotated[int, Field(gt=0, le=MOST_UNITS)] = 10
    n_hidden: Annotated[int, Field(gt=0, le=MOST_UNITS)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    learning_rate: Annotated[float, Field(gt=0, le=1e30)]
    batch_size: Annotated[int, Field(gt=1, le=MOST_CELLS)] = 128
    budget: Annotated[Budget, published_as(None)]
    validation_share: ValidationShare = 0.1
    kl_warmup_epochs: Annotated[int, Field(ge=0)] = 400
    weight_decay: Annotated[float, Field(ge=0)] = 1e-6
    adam_eps: Annotated[float, Field(gt=0)] = 0.01

    fitted: ClassVar["type[FittedVariational]"]

    @abstractmethod
    def network(self, n_genes: int, n_categories: int, init: torch.Generator) -> VariationalNetwork:
        """Make an untrained network."""

    def adapt(self, network: Any, table: TrainingCounts) -> None:
        """Set what a network takes from the corpus before it is trained; nothing, unless a model has such."""

    @property
    def uses_gpu(self) -> bool:
        """True."""
        return True

    @property
    def fewest_cells(self) -> int:
        """How many cells leave two to train on."""
        return fewest_cells(self.validation_share)

    @property
    def covariate(self) -> str | None:
        """The label that the decoder is given for each cell."""
        return None

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedVariational":
        """Fit on a corpus, on `training_device`; on the CPU with one thread, the same to the bit for the same seed.

        A corpus that is larger than `memory_limit` is trained on from disk, which gives the same weights.
        """
        categories = self._categories(corpus)
        with training_counts(corpus, categories.rows(corpus) if categories else None) as table:
            network = self._untrained(corpus, table, categories, seed)
            schedule = self.schedule(corpus.n_cells)
            history = train(network, table, schedule, self.optimiser(), seed=seed, progress=progress)
        return self.fitted(self, corpus.space.ids, network, history, categories)

    def _categories(self, corpus: Corpus) -> Categories | None:
        return Categories.of(corpus, self.covariate) if self.covariate else None

    def _untrained(
        self, corpus: Corpus, table: TrainingCounts, categories: Categories | None, seed: int
    ) -> VariationalNetwork:
        if not table.largest:
            raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
        network = self.network(corpus.n_genes, len(categories or ()), named_noise(seed, "init"))
        network.kl_warmup_epochs = self.kl_warmup_epochs
        self.adapt(network, table)
        return network

    def restored(self, saved: checkpoint.Saved) -> "FittedVariational":
        """Return the network with the weights that were saved."""
        categories = Categories(**saved.facts["categories"]) if saved.facts["categories"] else None
        network = self.network(len(saved.genes), len(categories or ()), torch.Generator())
        checkpoint.set_state(network, saved.arrays)
        return self.fitted(self, saved.genes, network, saved.history, categories)

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 where they are too few to train on."""
        return self.schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the processor seconds of a step with 10 % of the counts nonzero: the median of five."""
        table = CountTable(random_counts(self.batch_size, n_genes))
        network = self.network(n_genes, 0, named_noise(0, "init"))
        schedule = Schedule(self.batch_size, Budget(steps=STEPS), self.batch_size, 0.0)
        return seconds_per_step(
            network.encoder, lambda: train(network, table, schedule, self.optimiser(), seed=0, progress=silent)
        )

    def schedule(self, n_cells: int) -> Schedule:
        """Return the steps that a corpus of this many cells gets."""
        return Schedule(n_cells, self.budget, self.batch_size, self.validation_share)

    def optimiser(self) -> Optimiser:
        """Return Adam's settings."""
        return Optimiser(self.learning_rate, self.weight_decay, self.adam_eps)


class FittedVariational(checkpoint.SavedModel):
    """A variational autoencoder with weights.

    Attributes
    ----------
    history
        The training curve: ``elbo_train``, ``elbo_validation`` (negative ELBO per cell in nats, lower is better) and
        their parts, ``reconstruction_…`` and ``kl_…``.
    categories
        The label that it is given for each cell, if any.
    """

    def __init__(
        self,
        settings: VariationalModel,
        genes: tuple[str, ...],
        network: Any,
        history: pd.DataFrame,
        categories: Categories | None = None,
    ) -> None:
        self.settings, self.genes, self.network, self.history = settings, genes, network, history
        self.categories = categories

    @torch.no_grad()
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the mean of each cell's posterior, shape (N, K)."""
        embedded_NK = np.empty((len(cells), self.settings.n_latent), np.float32)
        for rows, batch in self._stream(cells, BLOCK_CELLS):
            embedded_NK[rows] = posterior_moments(self.network.encoder(batch).z)[0].numpy()
        return embedded_NK

    @torch.no_grad()
    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the expected share of each gene, block by block; see `Reconstruction.expected_fractions`."""
        for rows, batch in self._stream(cells, max(1, min(BLOCK_CELLS, DENSE_NUMBERS // len(self.genes)))):
            z_BK, variance_BK = posterior_moments(self.network.encoder(batch).z)
            if samples is not None:
                noise_BK = torch.from_numpy(samples.standard_normal(z_BK.shape, np.float32))
                z_BK = z_BK + variance_BK.sqrt() * noise_BK
            decoded = self.network.decoded(z_BK, z_BK.new_zeros(len(z_BK)), batch.covariates)
            yield rows, expected_fractions(decoded, batch.unmeasured).numpy()

    def elbo(self, cells: Corpus, seed: int = 0) -> pd.DataFrame:
        """Return each cell's negative ELBO and its parts in nats (lower is better), from one posterior sample.

        Parameters
        ----------
        cells
            The cells, N of them.
        seed
            Names the sample; the same seed gives the same numbers.

        Returns
        -------
        One row per cell; columns ``elbo``, ``reconstruction``, ``kl`` and, where the library size is modelled, its
        parts ``kl_z`` and ``kl_library``.
        """
        noise = named_noise(seed, "elbo")
        scores = [self.network.score(batch, noise) for _, batch in self._stream(cells, BLOCK_CELLS)]
        blocks = [pd.DataFrame({name: term.numpy() for name, term in score.items()}) for score in scores]
        return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame({"elbo": []})

    def encoder(self) -> fine_tuning.TrainableEncoder:
        """Return a copy of the encoder of latent positions; see `corpuscle.model.training.fine_tuning.FineTunes`."""
        module = copy.deepcopy(self.network.encoder)

        def encode(batch: Batch, noise: torch.Generator | None) -> Tensor:
            return posterior_moments(module(batch, noise).z)[0]

        return fine_tuning.TrainableEncoder(module, encode, self.settings.n_latent)

    def parts(self) -> checkpoint.Parts:
        """Return the weights, and the values of the label that the network is given."""
        return checkpoint.state_of(self.network), {"categories": self.categories.spec() if self.categories else None}

    def _stream(self, cells: Corpus, n_cells: int) -> Iterator[tuple[slice, Batch]]:
        check_genes(cells, self.genes)
        return stream(cells, n_cells, self.categories.rows(cells) if self.categories else None)
