"""The fit loop of what learns labels: stratified split, remedies for rare labels, stopping, history.

It is not the loop of `corpuscle.model.training.loop`, which feeds cells without labels and each as often as the next.
Axes in names: N cells, C labels.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.core.randomness import generator
from corpuscle.model.data.loader import VALIDATION_CELLS
from corpuscle.model.model import HISTORY, Progress, no_history
from corpuscle.model.size import MOST_CELLS, MOST_UNITS
from corpuscle.model.training.budget import Budget, Schedule, ValidationShare, published_as
from corpuscle.model.training.checkpoints import Checkpoint, Training
from corpuscle.model.training.class_losses import Remedy, cross_entropy, label_loss
from corpuscle.model.training.loop import PROGRESS_SECONDS, Optimiser, named_noise
from corpuscle.model.training.stepping import Stepping

ADAM_EPS = 1e-8
PUBLISHED = Budget(epochs=500, patience=20)

# Of the positions of some cells, what a network is given.
Inputs = Callable[[NDArray[np.int64]], Any]


class Codes(NamedTuple):
    """What is to be learned.

    Attributes
    ----------
    code_N
        Each cell's label, from 0; every label has a cell.
    times_N
        How often each cell counts.
    """

    code_N: NDArray[np.int64]
    times_N: NDArray[np.int64]


@component
class TrainingSettings(Stepping):
    """How long and how fast labels are learned, whatever the remedy; the defaults are the published study's.

    Parameters
    ----------
    n_hidden, dropout
        Hidden units, and the share of them dropped in training.
    learning_rate, weight_decay
        Adam's settings.
    batch_size
        Cells per step.
    budget
        How long; ``"published"`` is ``{ epochs = 500, patience = 20 }``. See `Budget`. Patience looks at the
        cross-entropy of held-out cells. To compare remedies at equal steps, give it in steps and without patience.
    validation_share
        Share of the cells of each label that is held out to follow the training. One cell of each is always trained
        on.
    rate_schedule, clip_norm, accumulate
        How steps are taken; see `Stepping`.
    """

    n_hidden: Annotated[int, Field(gt=0, le=MOST_UNITS)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    batch_size: Annotated[int, Field(gt=1, le=MOST_CELLS)] = 128
    budget: Annotated[Budget, published_as(PUBLISHED)] = PUBLISHED
    validation_share: ValidationShare = 0.1

    def schedule(self, n_cells: int) -> Schedule:
        """Return what the budget comes to for so many cells."""
        return Schedule(n_cells, self.budget, self.batch_size, self.validation_share)

    def optimiser(self) -> Optimiser:
        """Return Adam's settings."""
        return Optimiser(self.learning_rate, self.weight_decay, ADAM_EPS, stepping=self)


@component
class LabelTraining(TrainingSettings):
    """How labels are learned: as `TrainingSettings` say, with a remedy.

    Parameters
    ----------
    remedy
        What is done about labels of unequal frequency: ``"none"``; ``"resampling"`` (each step draws labels that are
        all as likely, then cells of them, with replacement); ``"class_weights"`` (a cell counts as one over its
        label's frequency); ``"focal"`` or ``"ldam"`` (losses; see `label_losses`).
    """

    remedy: Remedy = "none"


def train_labels(
    network: nn.Module,
    inputs: Inputs,
    codes: Codes,
    settings: LabelTraining,
    *,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Fit a network to labels, where it is; leaves it in evaluation mode.

    Parameters
    ----------
    network
        Called with what `inputs` gives and a generator for its dropout (None: none), it returns logits.
    inputs
        What the network is given of some cells.
    codes
        The cells' labels.
    settings
        How it is trained.
    seed
        Where all random numbers come from.
    progress
        Called now and then with which share is done.

    Returns
    -------
    The training curve (see `HISTORY`): ``cross_entropy_train`` and ``cross_entropy_validation`` per cell in nats
    (lower is better), whatever loss the remedy minimises.

    Raises
    ------
    ModelError
        When there are too few cells to train on, or none is held out where the budget has patience.
    DivergedError
        When the loss is no longer a finite number.
    """
    code_N, n_uses = codes.code_N, int(codes.times_N.sum())
    schedule = settings.schedule(n_uses)
    if not schedule.steps_per_epoch:
        raise ModelError(f"{n_uses} labelled cells are too few to train on")
    held, trained = _split(codes, schedule.n_validation, generator(seed, "labels", "split"))
    if settings.budget.patience is not None and not len(held):
        raise ModelError(f"a budget with patience needs held-out cells; of {n_uses} cells none could be held")
    curve, device = _Curve(network, inputs, codes, _some(held), schedule), device_of(network)
    loss_of = label_loss(settings.remedy, np.bincount(code_N[trained]))
    noise, order = named_noise(seed, "labels", device), generator(seed, "labels", "order")
    adam = settings.optimiser().of(network, schedule)
    batches = _batches(trained, code_N, schedule, order, balanced=settings.remedy == "resampling")
    checkpoint = Checkpoint(Training(network, adam, noise, curve), asdict(settings), seed, *codes)
    n_taken = checkpoint.resume()
    reported = time.monotonic()
    network.train()
    for step, cells in enumerate(islice(batches, n_taken, schedule.n_steps), n_taken + 1):
        size = settings.part_size(len(cells))
        for first in range(0, len(cells), size):
            part = cells[first : first + size]
            logit_BC, code_B = network(inputs(part), noise), torch.from_numpy(code_N[part]).to(device)
            loss = loss_of(logit_BC, code_B).mean()
            if not first:
                adam.zero_grad()
            loss = loss if size == len(cells) else loss * (len(part) / len(cells))
            loss.backward()  # type: ignore[no-untyped-call]
            curve.add(cross_entropy(logit_BC.detach(), code_B))
        adam.step()
        if curve.has_converged(step):
            break
        checkpoint.keep(step)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            progress(step / schedule.n_steps)
    network.eval()
    progress(1.0)
    return curve.table()


def _split(codes: Codes, n_held: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out cells with at most so many uses; return them, and the uses of the others.

    A cell is held out with all its uses, so that none is trained on and validated on.
    """
    n_cells = round(n_held * len(codes.code_N) / int(codes.times_N.sum()))
    held, _ = split_by_label(codes.code_N, n_cells, rng)
    held = rng.permutation(held)
    held = np.sort(held[np.cumsum(codes.times_N[held]) <= n_held])
    trained = np.setdiff1d(np.arange(len(codes.code_N)), held)
    return held, np.repeat(trained, codes.times_N[trained])


def split_by_label(
    code_N: NDArray[np.int64], n_held: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out cells of each label in proportion; one cell of each label is always left to train on.

    Returns
    -------
    The cells held out, at most `n_held`, and the others.

    Examples
    --------
    >>> held, trained = split_by_label(np.array([0, 0, 0, 0, 0, 0, 1]), 3, np.random.default_rng(0))
    >>> len(held), 6 in trained
    (3, True)
    """
    shuffled = rng.permutation(len(code_N))
    by_label = shuffled[np.argsort(code_N[shuffled], kind="stable")]
    _, first = np.unique(code_N[by_label], return_index=True)
    free = np.delete(by_label, first)
    n_held = min(n_held, len(free))
    # At equal distances among cells that are sorted by label, so that each label gives its share.
    held = free[((np.arange(n_held) + 0.5) * len(free) / max(n_held, 1)).astype(np.int64)]
    return np.sort(held), np.setdiff1d(np.arange(len(code_N)), held)


def _some(held: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take at most as many held-out cells as keep the curve cheap, evenly."""
    return held[np.unique(np.linspace(0, len(held) - 1, VALIDATION_CELLS).astype(np.int64))] if len(held) else held


def _batches(
    trained: NDArray[np.int64],
    code_N: NDArray[np.int64],
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    balanced: bool,
) -> Iterator[NDArray[np.int64]]:
    """Yield the cells of each step for ever, an epoch of equal length after the other, whatever the remedy."""
    by_label = [trained[code_N[trained] == code] for code in range(code_N.max() + 1)]
    while True:
        if balanced:
            code_M = rng.integers(len(by_label), size=schedule.n_train)
            share_M = rng.random(schedule.n_train)
            cells = np.array([by_label[c][int(u * len(by_label[c]))] for c, u in zip(code_M, share_M, strict=True)])
        else:
            cells = rng.permutation(trained)
        for step in range(schedule.steps_per_epoch):
            yield cells[: schedule.n_train][step * schedule.batch_size : (step + 1) * schedule.batch_size]


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's weights are."""
    return next(network.parameters()).device


class _Curve:
    """Gathers the training curve, and says from it when to stop."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        codes: Codes,
        held: NDArray[np.int64],
        schedule: Schedule,
    ) -> None:
        self.network, self.inputs, self.codes, self.held, self.schedule = network, inputs, codes, held, schedule
        self.device = device_of(network)
        self.rows: list[tuple[int, float, str, float]] = []
        self.recent: list[Tensor] = []
        self.best, self.best_step = math.inf, 0

    def add(self, entropy_B: Tensor) -> None:
        """Take note of a step's cross-entropies."""
        self.recent.append(entropy_B)

    def has_converged(self, step: int) -> bool:
        """Add a point to the curve where it is time; return whether the budget's patience is at its end."""
        if step % self.schedule.record_every and step != self.schedule.n_steps:
            return False
        mean = float(torch.cat(self.recent).mean())
        if not math.isfinite(mean):
            raise DivergedError(
                f"label training diverged by step {step} of {self.schedule.n_steps}: an input is no finite number, or "
                "the learning rate is too high; try a tenth of it"
            )
        self.recent.clear()
        epoch = step / self.schedule.steps_per_epoch
        self.rows.append((step, epoch, "cross_entropy_train", mean))
        if not len(self.held):
            return False
        score = self._validate()
        self.rows.append((step, epoch, "cross_entropy_validation", score))
        if score < self.best - (self.schedule.budget.min_delta or 0.0):
            self.best, self.best_step = score, step
        return step - self.best_step >= self.schedule.patience_steps

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that steps change; see `Curve`."""
        facts = {"rows": self.rows, "best": self.best, "best_step": self.best_step}
        return {"recent": torch.cat(self.recent).cpu() if self.recent else torch.empty(0)}, facts

    def set_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.recent, self.rows = [tensors["recent"].to(self.device)], [tuple(row) for row in facts["rows"]]
        self.best, self.best_step = facts["best"], facts["best_step"]

    def table(self) -> pd.DataFrame:
        """Return the curve in long form."""
        return pd.DataFrame(self.rows, columns=list(HISTORY)) if self.rows else no_history()

    @torch.no_grad()
    def _validate(self) -> float:
        self.network.eval()
        size = self.schedule.batch_size
        parts = [self.held[start : start + size] for start in range(0, len(self.held), size)]
        code_N, times_N = self.codes
        labels = [torch.from_numpy(code_N[part]).to(self.device) for part in parts]
        logits = [self.network(self.inputs(part), None) for part in parts]
        self.network.train()
        losses = torch.cat([cross_entropy(logit_BC, code_B) for logit_BC, code_B in zip(logits, labels, strict=True)])
        return float(np.average(losses.cpu(), weights=times_N[self.held]))
