"""The one fit loop that torch models share: budget, split, order of cells, Adam, history; every number from the seed.

Axes in names: N cells of the corpus; a "use" is one appearance of a cell in an epoch (`times` in the corpus' table).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from corpuscle.core.components import component
from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.core.randomness import generator, torch_seed
from corpuscle.model.batches import Batch, CountTable
from corpuscle.model.model import HISTORY, Progress

# The schedule of the published study; a budget in steps follows its course of the divergence's weight.
PUBLISHED_EPOCHS = 250
# A last batch with fewer cells than this is not trained on: batch-norm over one cell is undefined, over two useless.
SMALLEST_BATCH = 3
# A curve has about this many points at most, each from at most this many held-out cells, so that it stays cheap.
CURVE_POINTS = (20, 125)
VALIDATION_CELLS = 2048
PROGRESS_SECONDS = 0.1


@component
class Budget:
    """How long to train: in epochs, or in steps (equal compute for corpora of different sizes).

    Examples
    --------
    >>> Budget(steps=20_000)
    Budget(epochs=None, steps=20000)
    >>> Budget(epochs=5, steps=5)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...give exactly one of epochs and steps...
    """

    epochs: Annotated[int, Field(gt=0)] | None = None
    steps: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps, such as { epochs = 250 }")
        return self


@dataclass(frozen=True)
class Schedule:
    """What a budget comes to for a corpus of a given size.

    Attributes
    ----------
    n_cells
        How many uses of cells the corpus has (`Corpus.n_cells`).
    budget, batch_size
        How long, and how many cells a step sees.
    validation_share
        Share held out of training, to follow it; what is left is rounded up.
    kl_warmup_epochs
        Over how many epochs the weight of z's divergence grows from 0 to 1.

    Examples
    --------
    >>> schedule = Schedule(1500, Budget(epochs=250), batch_size=128, validation_share=0.1, kl_warmup_epochs=400)
    >>> schedule.n_train, schedule.steps_per_epoch, schedule.n_steps
    (1350, 11, 2750)
    >>> schedule.kl_weight(2749)
    0.6225
    """

    n_cells: int
    budget: Budget
    batch_size: int
    validation_share: float
    kl_warmup_epochs: int

    @property
    def n_train(self) -> int:
        """How many uses an epoch has. As in scvi-tools, a rest too small for batch-norm is left to validation."""
        n_train = math.ceil((1 - self.validation_share) * self.n_cells)
        rest = n_train % self.batch_size
        return n_train - rest if rest < SMALLEST_BATCH and n_train > self.batch_size else n_train

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has; 0 where there are too few cells to train on."""
        return math.ceil(self.n_train / self.batch_size) if self.n_train > 1 else 0

    @property
    def n_steps(self) -> int:
        """How many steps the whole training has."""
        if self.budget.epochs is not None:
            return self.budget.epochs * self.steps_per_epoch
        return self.budget.steps or 0 if self.steps_per_epoch else 0

    def kl_weight(self, step: int) -> float:
        """Return the weight of z's divergence at a step, from 0 to 1.

        Under a budget in epochs it is epoch / `kl_warmup_epochs`, as in scvi-tools (the published 250 epochs end at
        0.62). Under a budget in steps an epoch would be of different length for each corpus and so would be what is
        minimised; there, 1/250 of the run counts as an epoch: the published course, the same for all corpora.
        """
        if self.budget.epochs is not None:
            epoch: float = step // self.steps_per_epoch
        else:
            epoch = PUBLISHED_EPOCHS * step / self.n_steps
        return min(1.0, epoch / self.kl_warmup_epochs) if self.kl_warmup_epochs else 1.0

    @property
    def record_every(self) -> int:
        """After how many steps the history gets a point: whole epochs where they give enough of them."""
        fewest, most = CURVE_POINTS
        every = self.steps_per_epoch * math.ceil(self.n_steps / self.steps_per_epoch / most)
        return every if self.n_steps >= fewest * every else max(1, self.n_steps // fewest)


class Terms(Protocol):
    """Parts of a loss in nats, by name; the history shows their sum as the negative ELBO."""

    reconstruction: Tensor

    def _asdict(self) -> dict[str, Tensor]: ...


class Trainable(Protocol):
    """A torch module that this loop can fit."""

    def train(self, mode: bool = True) -> Self: ...  # noqa: FBT001, FBT002  # torch's own signature
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def loss(self, batch: Batch, noise: torch.Generator, kl_weight: float) -> tuple[Tensor, Terms]: ...
    def score(self, batch: Batch, noise: torch.Generator) -> Terms: ...


class Optimiser(NamedTuple):
    """Adam's settings; torch's defaults for the rest."""

    learning_rate: float
    weight_decay: float
    eps: float

    def of(self, network: Trainable) -> torch.optim.Optimizer:
        """Make the optimiser of a network's parameters. Fused, it reads and writes each number once a step."""
        return torch.optim.Adam(
            network.parameters(), lr=self.learning_rate, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )


def named_noise(seed: int, *names: str) -> torch.Generator:
    """Return a torch generator for one named purpose of a model's fit."""
    return torch.Generator().manual_seed(torch_seed(generator(seed, "model", *names)))


def hold_out(times_N: NDArray[np.int64], n_uses: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose cells for validation, at random, with at most this many uses together; returns a mask, shape (N,).

    A cell is held out with all its uses, so that none is trained on and validated on.
    """
    held_N = np.zeros(len(times_N), bool)
    for cell in rng.permutation(len(times_N)):
        if n_uses <= 0:
            break
        if times_N[cell] <= n_uses:
            held_N[cell] = True
            n_uses -= int(times_N[cell])
    return held_N


def take_step(network: Trainable, optimiser: torch.optim.Optimizer, batch: Batch, **loss: object) -> Terms:
    """Do one optimisation step; returns the terms, summed over the batch."""
    optimiser.zero_grad()
    value, terms = network.loss(batch, **loss)  # type: ignore[arg-type]
    if not math.isfinite(value.item()):
        raise DivergedError(f"the loss is {value.item()}")
    value.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return terms


def train(
    network: Trainable,
    table: CountTable,
    times_N: NDArray[np.int64],
    schedule: Schedule,
    optimiser: Optimiser,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    ...
