"""How steps are taken: the learning rate over a training, clipped gradients, batches worked through in parts."""

import logging
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.model.size import MOST_CELLS
from corpuscle.model.training.budget import MOST_STEPS, Schedule

_log = logging.getLogger(__name__)


def _steps_or_share(warmup: float) -> float:
    if warmup >= 1 and warmup != int(warmup):
        raise ValueError("should be a whole number of steps, such as 500, or a share of all steps below 1, such as 0.1")
    return warmup


@component
class RateSchedule:
    """The learning rate over a training: it rises from 0, then stays or falls.

    Linear and cosine are those of the library transformers, which trained Geneformer and scGPT; stepwise is torch's
    ``StepLR``.

    Parameters
    ----------
    warmup
        Over how many steps the rate rises, along a line: a number of steps, or below 1 a share of all steps. A number
        is the same for corpora of every size, so that training on a small one may end before the rate is reached.
    decay
        What the rate does then. ``"none"``: it stays. ``"linear"``, ``"cosine"``: it falls to 0 at the end of the
        budget, along a line or half a cosine. ``"stepwise"``: it is multiplied by `factor` after each `epochs` epochs.
    factor, epochs
        See `decay`.

    Examples
    --------
    >>> from corpuscle.model.training.budget import Budget
    >>> schedule = Schedule(1000, Budget(steps=8), batch_size=100, validation_share=0.0)
    >>> multiple = RateSchedule(warmup=2, decay="linear").multiple(schedule)
    >>> [round(multiple(step), 2) for step in range(8)]
    [0.0, 0.5, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17]
    """

    warmup: Annotated[float, Field(ge=0, le=MOST_STEPS), AfterValidator(_steps_or_share)] = 0
    decay: Literal["none", "linear", "cosine", "stepwise"] = "none"
    factor: Annotated[float, Field(gt=0, le=1)] | None = None
    epochs: Annotated[int, Field(gt=0, le=MOST_STEPS)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = (self.factor is not None, self.epochs is not None)
        if given != (self.decay == "stepwise",) * 2:
            raise ValueError(
                'factor and epochs are for decay = "stepwise", and it needs both: '
                '{ decay = "stepwise", factor = 0.9, epochs = 1 }'
            )
        return self

    def multiple(self, schedule: Schedule) -> Callable[[int], float]:
        """Return what the learning rate is multiplied by at a step of a training, counted from 0."""
        n_steps = schedule.n_steps
        warmup = int(self.warmup) if self.warmup >= 1 else math.ceil(self.warmup * n_steps)
        if doubt := self.doubt(n_steps):
            _log.warning(doubt)

        def multiple(step: int) -> float:
            if step < warmup:
                return step / warmup
            left = (n_steps - step) / max(1, n_steps - warmup)
            match self.decay:
                case "linear":
                    return left
                case "cosine":
                    return 0.5 * (1 + math.cos(math.pi * (1 - left)))
                case "stepwise":
                    assert self.factor is not None, "it was checked"
                    assert self.epochs is not None, "it was checked"
                    return float(self.factor ** (step // schedule.steps_per_epoch // self.epochs))
                case _:
                    return 1.0

        return multiple

    def doubt(self, n_steps: int) -> str | None:
        """Return what is legal and likely not meant in a training of so many steps; None: nothing."""
        if not self.warmup >= n_steps > 0:
            return None
        return (
            f"training ends before its learning rate is reached: it has {n_steps:,} steps, and warm-up takes "
            f"{self.warmup:,.0f}; give warmup as a share of the steps, such as 0.1"
        )


@runtime_checkable
class ChoosesRate(Protocol):
    """A model whose learning rate has a course of its own where none is given."""

    def rate_on(self, n_cells: int) -> RateSchedule:
        """Return the course of the learning rate on a corpus of so many cells."""
        ...


def rate_schedule_of(value: Any) -> Any:
    """Return what a study file's table says; what is no table stays."""
    return RateSchedule(**value) if isinstance(value, dict) else value


@component
class Stepping:
    """How an optimiser's steps are taken; what learns in steps has these parameters among its own.

    Parameters
    ----------
    rate_schedule
        The learning rate over the training; constant by default. See `RateSchedule`.
    clip_norm
        The norm, of all gradients together, above which they are scaled down to it; no limit by default.
    accumulate
        How many parts a step's batch is worked through in, one after the other, their gradients added up: the step is
        the same but for the random numbers of each cell, and takes the memory of one part.

    Examples
    --------
    >>> Stepping(rate_schedule={"warmup": 0.1, "decay": "cosine"}, clip_norm=1.0, accumulate=4).part_size(130)
    33
    """

    rate_schedule: Annotated[RateSchedule, BeforeValidator(rate_schedule_of)] = RateSchedule()
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    accumulate: Annotated[int, Field(gt=0, le=MOST_CELLS)] = 1

    def part_size(self, n_cells: int) -> int:
        """Return how many cells of a batch are worked through at once, at most."""
        return math.ceil(n_cells / self.accumulate)
