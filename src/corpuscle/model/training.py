"""The one fit loop that torch models share: split, order of cells, Adam, stopping, history; every number from the seed.

The loop never waits for the device that computes: what its steps return is looked at now and then, many at once.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple, Protocol, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.core.randomness import generator, torch_seed
from corpuscle.model.adam import Adam
from corpuscle.model.batches import Batch, CountTable, TrainingCounts
from corpuscle.model.model import HISTORY, Progress, no_history
from corpuscle.model.order import hold_out
from corpuscle.model.phases import Phases
from corpuscle.model.schedule import Schedule

# Each point of a curve is from at most this many held-out cells, so that it stays cheap.
VALIDATION_CELLS = 2048
# How many steps' losses are looked at together.
LOOKED_AT = 32
# From here on, not every whole number is a 32-bit float; as a count of molecules it is no such thing.
LARGEST_COUNT = 2**24
PROGRESS_SECONDS = 0.1


class Trainable(Protocol):
    """A torch module that this loop can fit.

    Terms are named parts of what is minimised, lower is better, such as ``"elbo"``; patience looks at the first.
    """

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # torch's own signature
        """Turn training mode on or off."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters."""
        ...

    def modules(self) -> Iterator[torch.nn.Module]:
        """Yield the modules it is made of, itself too."""
        ...

    def loss(self, batch: Batch, noise: torch.Generator, kl_weight: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss to minimise (a mean per cell) and its terms, summed over the batch."""
        ...

    def score(self, batch: Batch, noise: torch.Generator) -> Mapping[str, Tensor]:
        """Return the terms of each cell, shape (B,), in evaluation mode."""
        ...


class Optimiser(NamedTuple):
    """Adam's settings; `decoupled` makes it AdamW."""

    learning_rate: float
    weight_decay: float
    eps: float
    decoupled: bool = False

    def of(self, network: Trainable) -> Adam:
        """Make the optimiser of a network's parameters."""
        return Adam(network, **self._asdict())


def named_noise(seed: int, name: str) -> torch.Generator:
    """Return a torch generator for one named purpose of a model's fit."""
    return torch.Generator().manual_seed(torch_seed(generator(seed, "model", name)))


def train(
    network: Trainable,
    table: TrainingCounts,
    schedule: Schedule,
    optimiser: Optimiser,
    *,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Fit a network to counts; leaves it in evaluation mode.

    Returns
    -------
    The training curve (see `HISTORY`): each of the network's terms per cell in nats (lower is better), as
    ``<term>_train``, the mean over the steps since the point before (as the network was in training), and
    ``<term>_validation``, over held-out cells in evaluation mode. Its last step is the last that was taken. In its
    ``attrs``, ``seconds`` has the time by phase: ``reading`` (and ``writing``, to disk), cutting ``batches``,
    ``steps`` and ``validation``.

    Raises
    ------
    ModelError
        When there are too few cells to train on, or none is held out where the budget has patience.
    DivergedError
        When the loss or a weight is no longer a finite number.
    """
    if not schedule.steps_per_epoch:
        raise ModelError(f"{schedule.n_cells} cells are too few to train on: batch-norm needs at least 2 in training")
    held = hold_out(table.times_N, schedule.n_validation, generator(seed, "model", "split"))
    if schedule.budget.patience is not None and not len(held):
        raise ModelError(f"a budget with patience needs held-out cells; of {schedule.n_cells} cells none could be held")
    phases = Phases(table.seconds)
    with phases.timed("reading"):
        held_cells = table.take(np.sort(held[:VALIDATION_CELLS]))
    curve = _Curve(schedule, held_cells, seed)
    noise, adam, told = named_noise(seed, "noise"), optimiser.of(network), time.monotonic()
    windows = table.layout.windows(held, schedule.n_train, generator(seed, "model", "order"))
    network.train()
    with closing(table.batches(windows, schedule.batch_size)) as batches:
        for step in range(schedule.n_steps):
            with phases.timed("batches"):
                batch = next(batches)
            with phases.timed("steps"):
                loss, terms = network.loss(batch, noise, schedule.kl_weight(step))
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                curve.add(loss, terms, len(batch))
                if curve.is_due and (bad := curve.first_not_finite()) is not None:
                    raise DivergedError(_diverged(bad, schedule, optimiser, table))
            if curve.has_point:
                with phases.timed("validation"):
                    curve.add_point(network)
                if curve.has_converged:
                    break
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                progress((step + 1) / schedule.n_steps)
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise DivergedError(_diverged(curve.step, schedule, optimiser, table))
    network.train(mode=False)
    progress(1.0)
    return curve.table(phases)


def _diverged(step: int, schedule: Schedule, optimiser: Optimiser, table: TrainingCounts) -> str:
    place = f"training diverged at step {step} of {schedule.n_steps}"
    if step == 1 or table.largest > LARGEST_COUNT:
        return f"{place}: the counts are too large for 32-bit numbers (the largest is {table.largest:g})"
    return f"{place}: the learning rate {optimiser.learning_rate:g} is probably too high; try a tenth of it"


class _Curve:
    """Gathers the training curve, and says from it when to stop."""

    def __init__(self, schedule: Schedule, held: CountTable, seed: int) -> None:
        self.schedule, self.held, self.seed, self.step = schedule, held, seed, 0
        self.rows: list[tuple[int, float, str, float]] = []
        self.best, self.best_step = math.inf, 0
        self.names: list[str] = []
        # Losses and terms of the last steps, on their device; sums of the terms since the last point.
        self.recent, self.n_recent = torch.empty(0), 0
        self.sums, self.n_cells = np.zeros(0), 0

    def add(self, loss: Tensor, terms: Mapping[str, Tensor], n_cells: int) -> None:
        """Take note of a step's loss and terms, without waiting for them."""
        if not self.names:
            self.names, self.sums = list(terms), np.zeros(len(terms))
            self.recent = torch.empty((LOOKED_AT, 1 + len(terms)), dtype=loss.dtype, device=loss.device)
        self.recent[self.n_recent] = torch.stack([loss.detach(), *terms.values()])
        self.n_recent, self.step, self.n_cells = self.n_recent + 1, self.step + 1, self.n_cells + n_cells

    @property
    def has_point(self) -> bool:
        """Say whether the curve gets a point at this step."""
        return self.step % self.schedule.record_every == 0 or self.step == self.schedule.n_steps

    @property
    def is_due(self) -> bool:
        """Say whether it is time to look at the last steps: there are many, or the curve gets a point."""
        return self.n_recent == LOOKED_AT or self.has_point

    def first_not_finite(self) -> int | None:
        """Look at the last steps, adding them up; return the first without a finite loss, counted from 1."""
        recent = self.recent[: self.n_recent].double().numpy(force=True)
        first, self.n_recent = self.step - self.n_recent + 1, 0
        bad = np.flatnonzero(~np.isfinite(recent).all(axis=1))
        if len(bad):
            return first + int(bad[0])
        for terms in recent[:, 1:]:
            self.sums += terms
        return None

    def add_point(self, network: Trainable) -> None:
        """Add a point to the curve."""
        epoch, means = self.step / self.schedule.steps_per_epoch, (self.sums / self.n_cells).tolist()
        self.rows += [(self.step, epoch, f"{name}_train", mean) for name, mean in zip(self.names, means, strict=True)]
        self.sums, self.n_cells = np.zeros(len(self.names)), 0
        if not len(self.held):
            return
        scores = self._validate(network)
        self.rows += [(self.step, epoch, f"{name}_validation", score) for name, score in scores.items()]
        if scores[self.names[0]] < self.best - (self.schedule.budget.min_delta or 0.0):
            self.best, self.best_step = scores[self.names[0]], self.step

    @property
    def has_converged(self) -> bool:
        """Say whether the budget's patience is at its end."""
        return self.step - self.best_step >= self.schedule.patience_steps

    def _validate(self, network: Trainable) -> dict[str, float]:
        """Return the mean of each term over the held-out cells' uses; the same noise each time, for a smooth curve."""
        network.train(mode=False)
        noise, size = named_noise(self.seed, "validation"), self.schedule.batch_size
        starts = range(0, len(self.held), size)
        scores = [network.score(self.held.batch(slice(start, start + size)), noise) for start in starts]
        network.train()
        return {
            name: float(np.average(torch.cat([score[name] for score in scores]).cpu(), weights=self.held.times_N))
            for name in scores[0]
        }

    def table(self, phases: Phases) -> pd.DataFrame:
        """Return the curve in long form, with the time by phase."""
        table = pd.DataFrame(self.rows, columns=list(HISTORY)) if self.rows else no_history()
        table.attrs["seconds"] = phases.seconds
        return table
