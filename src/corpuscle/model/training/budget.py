"""How long to train, and what that comes to for a corpus of a given size."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from corpuscle.core.components import component

# The schedule of the published study; a budget in steps follows its course of the divergence's weight.
PUBLISHED_EPOCHS = 250
# A last batch with fewer cells than this is not trained on: batch-norm over one cell is undefined, over two useless.
SMALLEST_BATCH = 3
# More than this is a slip of the finger: it would take years.
MOST_STEPS = 1_000_000_000
# A curve has about this many points, so that it stays cheap.
CURVE_POINTS = (20, 125)


@component
class Budget:
    """How long to train: in epochs, or in steps (equal compute for corpora of different sizes), and when to stop early.

    Parameters
    ----------
    epochs, steps
        How many at most; give one of the two. No step at all leaves the model as it is initialised.
    patience
        Stop when what is minimised (the negative ELBO, or a model's own) has had no new minimum on held-out cells for
        this many epochs, or steps if the budget is in steps. It is looked at at the points of the training curve, 20
        to 125 in a whole run. The weights are those of the last step, as in scvi-tools, not of the minimum: they have
        seen the steps that are recorded.
    min_delta
        By how much, per cell, a new minimum must be lower (nats, for an ELBO); 0 by default.

    Examples
    --------
    >>> Budget(steps=20_000)
    Budget(epochs=None, steps=20000, patience=None, min_delta=None)
    >>> Budget(epochs=5, steps=5)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...give exactly one of epochs and steps...
    """

    epochs: Annotated[int, Field(gt=0, le=MOST_STEPS)] | None = None
    steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] | None = None
    patience: Annotated[int, Field(gt=0)] | None = None
    min_delta: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps, such as { epochs = 250 }")
        if self.min_delta is not None and self.patience is None:
            raise ValueError("min_delta is for a budget with patience, such as { epochs = 400, patience = 45 }")
        return self


def budget_of(value: Any) -> Any:
    """Make a `Budget` of what a study file says: a table, or ``"published"``.

    Examples
    --------
    >>> budget_of({"epochs": 5}).epochs, budget_of("published").epochs
    (5, 250)
    """
    if isinstance(value, str):
        if value != "published":
            raise ValueError('should be a table, such as { epochs = 250 }, or "published"')
        return Budget(epochs=PUBLISHED_EPOCHS)
    return Budget(**value) if isinstance(value, dict) else value


def _can_stop(validation_share: float, info: ValidationInfo) -> float:
    budget = info.data.get("budget")
    if isinstance(budget, Budget) and budget.patience is not None and not validation_share:
        raise ValueError("should be above 0, as the budget's patience looks at held-out cells; try 0.1")
    return validation_share


# The fields of a model that is trained by a budget, in this order: `validation_share` is checked against `budget`.
TrainingBudget = Annotated[Budget, BeforeValidator(budget_of)]
ValidationShare = Annotated[float, Field(ge=0, lt=1), AfterValidator(_can_stop)]


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
        """How many steps the training has; at most, where the budget has patience."""
        if self.budget.epochs is not None:
            return self.budget.epochs * self.steps_per_epoch
        return self.budget.steps or 0 if self.steps_per_epoch else 0

    @property
    def patience_steps(self) -> float:
        """After how many steps without a new minimum to stop; never, where the budget has no patience."""
        if self.budget.patience is None:
            return math.inf
        return self.budget.patience * (1 if self.budget.epochs is None else self.steps_per_epoch)

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
