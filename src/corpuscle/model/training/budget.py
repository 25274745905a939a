"""How long to train, as published or as a study says, and what that comes to for a corpus of a given size."""

import math
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from corpuscle.core.components import component

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


def published_as(published: Budget | None) -> BeforeValidator:
    """Return what makes a `Budget` of what a study file says: a table, or ``"published"``.

    Parameters
    ----------
    published
        The model's own published schedule; None: it has none, so that only a table will do.

    Examples
    --------
    >>> budget_of = published_as(Budget(epochs=100, patience=5)).func
    >>> budget_of({"epochs": 5}).epochs, budget_of("published").epochs
    (5, 100)
    """

    def budget_of(value: Any) -> Any:
        if value == "published" and published is not None:
            return published
        if isinstance(value, str):
            also = ', or "published"' if published else "; this model has no published schedule"
            raise ValueError(f"should be a table, such as {{ epochs = 250 }}{also}")  # noqa: TRY004  # pydantic's kind
        return Budget(**value) if isinstance(value, dict) else value

    legal = Budget | Literal["published"] if published else Budget
    return BeforeValidator(budget_of, json_schema_input_type=legal)


def _can_stop(validation_share: float, info: ValidationInfo) -> float:
    budget = info.data.get("budget")
    if isinstance(budget, Budget) and budget.patience is not None and not validation_share:
        raise ValueError("should be above 0, as the budget's patience looks at held-out cells; try 0.1")
    return validation_share


# The fields of a model that is trained by a budget, in this order: `validation_share` is checked against `budget`.
# A model with a published schedule has `Annotated[Budget, published_as(...)]` in place of `TrainingBudget`.
TrainingBudget = Annotated[Budget, published_as(None)]
ValidationShare = Annotated[float, Field(ge=0, lt=1), AfterValidator(_can_stop)]


class Moment(NamedTuple):
    """Where in a training a step is: what a loss may depend on besides its batch.

    Attributes
    ----------
    step, n_steps
        The step, from 0, and how many there are at most.
    epoch
        Which pass through the corpus it is in, from 0; None under a budget in steps, where passes are of different
        length for each corpus, so that no loss should depend on them.
    """

    step: int
    n_steps: int
    epoch: int | None


def fewest_cells(validation_share: float) -> int:
    """Return how many cells a corpus needs so that two are left to train on: of one, nothing can be learned.

    Examples
    --------
    >>> [fewest_cells(share) for share in (0.0, 0.1, 0.5, 0.9)]
    [2, 2, 3, 11]
    """
    likely = max(2, int(1 / (1 - validation_share)))
    return next(n_cells for n_cells in count(likely) if math.ceil((1 - validation_share) * n_cells) > 1)


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

    Examples
    --------
    >>> schedule = Schedule(1500, Budget(epochs=250), batch_size=128, validation_share=0.1)
    >>> schedule.n_train, schedule.steps_per_epoch, schedule.n_steps
    (1350, 11, 2750)
    >>> schedule.at(2749)
    Moment(step=2749, n_steps=2750, epoch=249)
    """

    n_cells: int
    budget: Budget
    batch_size: int
    validation_share: float

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

    def at(self, step: int) -> Moment:
        """Return where in the training a step is, counted from 0."""
        return Moment(step, self.n_steps, None if self.budget.epochs is None else step // self.steps_per_epoch)

    @property
    def record_every(self) -> int:
        """After how many steps the history gets a point: whole epochs where they give enough of them."""
        fewest, most = CURVE_POINTS
        every = self.steps_per_epoch * math.ceil(self.n_steps / self.steps_per_epoch / most)
        return every if self.n_steps >= fewest * every else max(1, self.n_steps // fewest)
