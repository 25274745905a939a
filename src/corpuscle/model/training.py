"""The one fit loop that torch models share: budget, split, order of cells, Adam, history; every number from the seed.

Axes in names: N cells of the corpus; a "use" is one appearance of a cell in an epoch (`times` in the corpus' table).
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, Self

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


def budget_of(value: Any) -> Any:
    """Make a `Budget` of a study file's table; a validator of the settings that have one.

    Examples
    --------
    >>> budget_of({"epochs": 5})
    Budget(epochs=5, steps=None)
    """
    return Budget(**value) if isinstance(value, dict) else value


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
    def n_validation(self) -> int:
        """How many uses are held out at most; none where no share is asked for."""
        return self.n_cells - self.n_train if self.validation_share else 0

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


class Trainable(Protocol):
    """A torch module that this loop can fit. Terms are named parts of what is minimised, such as ``"elbo"``."""

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # torch's own signature
        """Turn training mode on or off."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters."""
        ...

    def loss(self, batch: Batch, noise: torch.Generator, kl_weight: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss to minimise (a mean per cell) and its terms, summed over the batch."""
        ...

    def score(self, batch: Batch, noise: torch.Generator) -> Mapping[str, Tensor]:
        """Return the terms of each cell, shape (B,), in evaluation mode."""
        ...


class Optimiser(NamedTuple):
    """Adam's settings; torch's defaults for the rest."""

    learning_rate: float
    weight_decay: float
    eps: float

    def of(self, network: Trainable) -> torch.optim.Optimizer:
        """Make the optimiser of a network's parameters. Fused, it reads and writes each number once a step."""
        return torch.optim.Adam(
            network.parameters(),
            lr=self.learning_rate,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


def named_noise(seed: int, name: str) -> torch.Generator:
    """Return a torch generator for one named purpose of a model's fit."""
    return torch.Generator().manual_seed(torch_seed(generator(seed, "model", name)))


def train(
    network: Trainable,
    table: CountTable,
    schedule: Schedule,
    optimiser: Optimiser,
    *,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Fit a network to counts in memory; leaves it in evaluation mode.

    Returns
    -------
    The training curve (see `HISTORY`): each of the network's terms per cell in nats (lower is better), as
    ``<term>_train``, the mean over the steps since the point before (as the network was in training), and
    ``<term>_validation``, over held-out cells in evaluation mode.

    Raises
    ------
    ModelError
        When there are too few cells to train on.
    DivergedError
        When the loss or a weight is no longer a finite number.
    """
    if not schedule.n_steps:
        raise ModelError(f"{schedule.n_cells} cells are too few to train on: batch-norm needs at least 2 in training")
    held = hold_out(table.times_N, schedule.n_validation, generator(seed, "model", "split"))
    batches = _batches(table, held, schedule, generator(seed, "model", "order"))
    noise, adam = named_noise(seed, "noise"), optimiser.of(network)
    history = _History(schedule, table, held[:VALIDATION_CELLS], seed)
    told = time.monotonic()
    network.train()
    for step in range(schedule.n_steps):
        batch = next(batches)
        loss, terms = network.loss(batch, noise, schedule.kl_weight(step))
        if not math.isfinite(loss.item()):
            raise DivergedError(_diverged(step, schedule, optimiser, table))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        history.add(step + 1, network, terms, len(batch))
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            progress((step + 1) / schedule.n_steps)
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise DivergedError(_diverged(schedule.n_steps - 1, schedule, optimiser, table))
    network.train(mode=False)
    progress(1.0)
    return history.table()


def _diverged(step: int, schedule: Schedule, optimiser: Optimiser, table: CountTable) -> str:
    place = f"training diverged at step {step + 1} of {schedule.n_steps}"
    if step == 0:
        return f"{place}: the counts are too large for 32-bit numbers (the largest is {table.counts_NG.data.max():g})"
    return f"{place}: the learning rate {optimiser.learning_rate:g} is probably too high; try a tenth of it"


def hold_out(times_N: NDArray[np.int64], n_uses: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose cells for validation, in random order, with at most this many uses together.

    A cell is held out with all its uses, so that none is trained on and validated on.

    Examples
    --------
    >>> hold_out(np.array([1, 5, 1, 1]), 2, np.random.default_rng(0))
    array([2, 0])
    """
    held = []
    for cell in rng.permutation(len(times_N)):
        if n_uses <= 0:
            break
        if times_N[cell] <= n_uses:
            held.append(cell)
            n_uses -= int(times_N[cell])
    return np.array(held, np.int64)


def _batches(
    table: CountTable, held: NDArray[np.int64], schedule: Schedule, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches for ever, a fresh order each epoch.

    Repeated cells can leave a use or two more than an epoch has; those are left out by chance, others each epoch.
    """
    times_N = table.times_N.copy()
    times_N[held] = 0
    uses = np.repeat(np.arange(len(table)), times_N)
    while True:
        order = rng.permutation(uses)[: schedule.n_train]
        for start in range(0, len(order), schedule.batch_size):
            yield table.batch(order[start : start + schedule.batch_size])


class _History:
    """Gathers the training curve."""

    def __init__(self, schedule: Schedule, table: CountTable, held: NDArray[np.int64], seed: int) -> None:
        self.schedule, self.counts, self.held, self.seed = schedule, table, np.sort(held), seed
        self.rows: list[tuple[int, float, str, float]] = []
        self.sums: dict[str, float] = {}
        self.n_cells = 0

    def add(self, step: int, network: Trainable, terms: Mapping[str, Tensor], n_cells: int) -> None:
        """Take note of a step's terms; now and then, of the curve's next point."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item()
        self.n_cells += n_cells
        if step % self.schedule.record_every and step != self.schedule.n_steps:
            return
        epoch = step / self.schedule.steps_per_epoch
        self.rows += [(step, epoch, f"{name}_train", value / self.n_cells) for name, value in self.sums.items()]
        self.rows += [(step, epoch, f"{name}_validation", value) for name, value in self._validate(network).items()]
        self.sums, self.n_cells = {}, 0

    def _validate(self, network: Trainable) -> dict[str, float]:
        """Return the mean of each term over the held-out cells' uses; the same noise each time, for a smooth curve."""
        if not len(self.held):
            return {}
        network.train(mode=False)
        noise, size = named_noise(self.seed, "validation"), self.schedule.batch_size
        scores = [
            network.score(self.counts.batch(self.held[start : start + size]), noise)
            for start in range(0, len(self.held), size)
        ]
        network.train()
        weights = self.counts.times_N[self.held]
        return {
            name: float(np.average(torch.cat([score[name] for score in scores]).numpy(), weights=weights))
            for name in scores[0]
        }

    def table(self) -> pd.DataFrame:
        """Return the curve in long form."""
        return pd.DataFrame(self.rows, columns=list(HISTORY))
