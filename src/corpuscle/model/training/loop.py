"""The one fit loop that torch models share: split, order of cells, Adam, stopping, history; every number from the seed.

The loop never waits for the device that computes: what its steps return is looked at now and then, many at once.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.core.randomness import generator, torch_seed
from corpuscle.model.data.batches import Batch, TrainingCounts
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.loader import Supply
from corpuscle.model.data.on_gpu import CPU, training_device
from corpuscle.model.model import HISTORY, Progress, no_history
from corpuscle.model.training.budget import Moment, Schedule, fewest_cells
from corpuscle.model.training.checkpoints import Checkpoint, Training
from corpuscle.model.training.optimiser import Adam
from corpuscle.model.training.stepping import RateSchedule, Stepping
from corpuscle.model.training.stopwatch import Stopwatch
from corpuscle.source.count_kinds import LARGEST_COUNT

# How many steps' losses are looked at together.
LOOKED_AT = 32
PROGRESS_SECONDS = 0.1
# What a curve in the making is, besides its points and sums.
NUMBERS = ("step", "best", "best_step", "names", "n_recent", "n_cells")

Precision = Literal["float32", "bf16"]


class Trainable(Protocol):
    """A torch module that this loop can fit.

    Terms are named parts of what is minimised, lower is better, such as ``"elbo"``; patience looks at the first.
    """

    def to(self, device: torch.device) -> Self:
        """Move it to a device."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Set its weights."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return its weights."""
        ...

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # torch's own signature
        """Turn training mode on or off."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters."""
        ...

    def modules(self) -> Iterator[torch.nn.Module]:
        """Yield the modules it is made of, itself too."""
        ...

    def loss(
        self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss to minimise at a moment (a mean per cell) and its terms, summed over the batch."""
        ...

    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> Mapping[str, Tensor]:
        """Return the terms of each cell, shape (B,), in evaluation mode."""
        ...


class Optimiser(NamedTuple):
    """Adam's settings, and how its steps are taken.

    Attributes
    ----------
    learning_rate, weight_decay, eps, decoupled, spares_vectors
        See `Adam`.
    stepping
        See `Stepping`.
    precision
        ``"bf16"``: on a GPU, losses are computed with matrix products in 16-bit floats (torch's autocast). Weights,
        gradients and steps, and the curve's held-out losses, are in 32 bits all the same.
    """

    learning_rate: float
    weight_decay: float
    eps: float
    decoupled: bool = False
    stepping: Stepping = Stepping()
    precision: Precision = "float32"
    spares_vectors: bool = False

    def spec(self) -> dict[str, Any]:
        """Return it as plain data."""
        return self._asdict() | {"stepping": asdict(self.stepping)}

    def of(self, network: Trainable | torch.nn.Module, schedule: Schedule) -> Adam:
        """Make the optimiser of a network's parameters, for a training."""
        how = self.stepping
        return Adam(
            network,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=self.eps,
            decoupled=self.decoupled,
            spares_vectors=self.spares_vectors,
            multiple=None if how.rate_schedule == RateSchedule() else how.rate_schedule.multiple(schedule),
            clip_norm=how.clip_norm,
            in_parts=how.accumulate > 1,
        )


def named_noise(seed: int, name: str, device: torch.device = CPU) -> torch.Generator:
    """Return a torch generator for one named purpose of a model's fit."""
    return torch.Generator(device).manual_seed(torch_seed(generator(seed, "model", name)))


def train(
    network: Trainable,
    table: TrainingCounts,
    schedule: Schedule,
    optimiser: Optimiser,
    *,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Fit a network to counts, on `training_device`; leaves it in evaluation mode, on the CPU.

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
        When there are too few cells to train on, none is held out where the budget has patience, or the precision
        needs a GPU that is not there.
    DivergedError
        When the loss or a weight is no longer a finite number.
    """
    if not schedule.steps_per_epoch:
        least = fewest_cells(schedule.validation_share)
        raise ModelError(f"expected at least {least:,} cells to train on, got {schedule.n_cells:,}; draw more cells")
    device, phases = training_device(), Stopwatch(table.seconds)
    sparse = getattr(network, "takes_sparse", False)
    if optimiser.precision == "bf16" and device.type != "cuda" and not sparse:
        raise ModelError(f'precision = "bf16" needs a GPU, and this training is on {device.type!r}; leave it out')
    network.to(device)
    with phases.timed("reading"):
        supply = Supply(table, schedule, seed, device, sparse=sparse)
    curve = _Curve(schedule, supply, seed, device, phases)
    noise, adam, reported = named_noise(seed, "noise", device), optimiser.of(network, schedule), time.monotonic()
    begins_with = asdict(schedule), optimiser.spec(), seed, table.times_N, table.total_N
    checkpoint = Checkpoint(Training(network, adam, noise, curve), *begins_with)
    n_taken = checkpoint.resume()
    network.train()
    with supply.batches(n_taken) as batches:
        for step in range(n_taken, schedule.n_steps):
            with phases.timed("batches"):
                batch = next(batches)
            with phases.timed("steps"):
                loss, terms = _with_gradients(network, batch, noise, schedule.at(step), optimiser=optimiser, adam=adam)
                adam.step()
                curve.add(loss, terms, len(batch))
                if curve.is_due and (bad := curve.first_not_finite()) is not None:
                    raise DivergedError(_diverged(bad, schedule, optimiser, table.largest))
            if curve.has_point:
                with phases.timed("validation"):
                    curve.add_point(network)
                if curve.has_converged:
                    break
            checkpoint.keep(step + 1)
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                progress((step + 1) / schedule.n_steps)
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise DivergedError(_diverged(curve.step, schedule, optimiser, table.largest))
    network.train(mode=False).to(CPU)
    progress(1.0)
    return curve.table()


def _with_gradients(
    network: Trainable,
    batch: Batch | DenseBatch,
    noise: torch.Generator,
    at: Moment,
    *,
    optimiser: Optimiser,
    adam: Adam,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Add up the gradients of a batch's parts in place of those there were; return its loss and terms."""
    size = optimiser.stepping.part_size(len(batch))
    parts = [batch] if size == len(batch) else [batch.part(slice(k, k + size)) for k in range(0, len(batch), size)]
    losses: list[Tensor] = []
    terms: list[Mapping[str, Tensor]] = []
    for part in parts:
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=optimiser.precision == "bf16"):
            loss, terms_of_part = network.loss(part, noise, at)
        # A loss is a mean per cell, and parts may differ in their number of cells.
        loss = loss if len(part) == len(batch) else loss * (len(part) / len(batch))
        if not losses:
            adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        terms.append(terms_of_part)
    if len(parts) == 1:
        return losses[0], terms[0]
    return torch.stack(losses).sum(0), {name: torch.stack([part[name] for part in terms]).sum(0) for name in terms[0]}


def _diverged(step: int, schedule: Schedule, optimiser: Optimiser, largest: float) -> str:
    place = f"training diverged at step {step} of {schedule.n_steps}"
    if step == 1 or largest > LARGEST_COUNT:
        return f"{place}: the counts are too large for 32-bit numbers (the largest is {largest:g})"
    return f"{place}: the learning rate {optimiser.learning_rate:g} is probably too high; try a tenth of it"


class _Curve:
    """Gathers a training curve, and says when to stop.

    Attributes
    ----------
    step
        How many steps were taken.
    """

    def __init__(self, schedule: Schedule, supply: Supply, seed: int, device: torch.device, phases: Stopwatch) -> None:
        self.schedule, self.supply, self.seed, self.device, self.phases = schedule, supply, seed, device, phases
        self.step, self.best, self.best_step = 0, math.inf, 0
        self.rows: list[tuple[int, float, str, float]] = []
        self.names: list[str] = []
        # Losses and terms of the last steps, on their device; sums of the terms since the last point.
        self.recent, self.n_recent = torch.empty(0), 0
        self.sums_T, self.n_cells = np.zeros(0), 0

    def add(self, loss: Tensor, terms: Mapping[str, Tensor], n_cells: int) -> None:
        """Take note of a step's loss and terms, without waiting for them."""
        if not self.names:
            self.names, self.sums_T = list(terms), np.zeros(len(terms))
            self.recent = torch.empty((LOOKED_AT, 1 + len(terms)), dtype=loss.dtype, device=loss.device)
        self.recent[self.n_recent] = torch.stack([loss.detach(), *terms.values()])
        self.n_recent, self.step, self.n_cells = self.n_recent + 1, self.step + 1, self.n_cells + n_cells

    @property
    def has_point(self) -> bool:
        """Return whether the curve gets a point at this step."""
        return self.step % self.schedule.record_every == 0 or self.step == self.schedule.n_steps

    @property
    def is_due(self) -> bool:
        """Return whether it is time to look at the last steps: there are many, or the curve gets a point."""
        return self.n_recent == LOOKED_AT or self.has_point

    def first_not_finite(self) -> int | None:
        """Look at the last steps, adding them up; return the first without a finite loss, counted from 1."""
        recent = self.recent[: self.n_recent].double().numpy(force=True)
        first, self.n_recent = self.step - self.n_recent + 1, 0
        bad = np.flatnonzero(~np.isfinite(recent).all(axis=1))
        if len(bad):
            return first + int(bad[0])
        for terms in recent[:, 1:]:
            self.sums_T += terms
        return None

    def add_point(self, network: Trainable) -> None:
        """Add a point to the curve."""
        self._add(self.names, "train", self.sums_T / self.n_cells)
        self.sums_T, self.n_cells = np.zeros_like(self.sums_T), 0
        if not len(self.supply.held):
            return
        names, means_T = self._validate(network)
        self._add(names, "validation", means_T)
        if means_T[0] < self.best - (self.schedule.budget.min_delta or 0.0):
            self.best, self.best_step = float(means_T[0]), self.step

    def _add(self, names: Sequence[str], part: str, means_T: NDArray[np.float64]) -> None:
        epoch = self.step / self.schedule.steps_per_epoch
        means = zip(names, means_T.tolist(), strict=True)
        self.rows += [(self.step, epoch, f"{name}_{part}", mean) for name, mean in means]

    @property
    def has_converged(self) -> bool:
        """Return whether the budget's patience is at its end."""
        return self.step - self.best_step >= self.schedule.patience_steps

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that steps change; see `Curve`."""
        facts = {name: getattr(self, name) for name in NUMBERS} | {"rows": self.rows, "seconds": self.phases.seconds}
        return {"recent": self.recent, "sums_T": torch.from_numpy(self.sums_T)}, facts

    def set_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.recent, self.sums_T = tensors["recent"].to(self.device), tensors["sums_T"].numpy()
        for name in NUMBERS:
            setattr(self, name, facts[name])
        self.rows = [(step, epoch, quantity, value) for step, epoch, quantity, value in facts["rows"]]
        for phase, seconds in facts["seconds"].items():
            self.phases.seconds[phase] = self.phases.seconds.get(phase, 0.0) + seconds

    def _validate(self, network: Trainable) -> tuple[list[str], NDArray[np.float64]]:
        """Return the mean of each term over the held-out cells' uses; the same noise each time, for a smooth curve."""
        network.train(mode=False)
        noise = named_noise(self.seed, "validation", self.device)
        scores = [network.score(batch, noise) for batch in self.supply.held_batches()]
        network.train()
        names, times_N = list(scores[0]), self.supply.held.times_N
        each = (torch.cat([score[name] for score in scores]).numpy(force=True) for name in names)
        return names, np.array([np.average(term_N, weights=times_N) for term_N in each], np.float64)

    def table(self) -> pd.DataFrame:
        """Return the curve in long form, with the time by phase."""
        table = pd.DataFrame(self.rows, columns=list(HISTORY)) if self.rows else no_history()
        table.attrs["seconds"] = self.phases.seconds
        return table
