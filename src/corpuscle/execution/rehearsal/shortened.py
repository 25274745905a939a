"""Shortened: a model or a task with short trainings, so that it can be tried out; the rest of it is as in the study."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from corpuscle.core.components import Component, build, guarded
from corpuscle.core.errors import CorpuscleError
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model

K = TypeVar("K", bound=Component)

# Trainings of models are as short as can be: how long a step takes is measured by itself.
STEPS_OF_MODEL = 2
# Those in tasks are of two lengths, whose difference is the time of an epoch or a step.
LENGTHS = {"epochs": (1, 4), "steps": (2, 22)}
BUDGET, HELD_OUT = "budget", "validation_share"


class Length(NamedTuple):
    """How long the trainings in a task are: the number, and what it is of; of a task without one, 0.

    Attributes
    ----------
    number
        How many.
    unit
        ``"epochs"``, ``"steps"``, or nothing.
    """

    number: int = 0
    unit: str = ""


def short_model(model: Model) -> Model:
    """Return a model with a budget of a few steps; itself, where it has none."""
    spec = _settings(model)
    return model if _length(spec) is None else _built(Model, model, _cut(spec, {"steps": STEPS_OF_MODEL})) or model


def length_of(task: Task) -> Length:
    """Return how long a task's own trainings are, at most."""
    return _length(_settings(task)) or Length()


def short_tasks(task: Task) -> Iterator[tuple[Length, Task]]:
    """Yield a task with trainings of two lengths, each with its length; a task without trainings as it is."""
    spec = _settings(task)
    if (whole := _length(spec)) is None:
        yield Length(), task
        return
    for number in sorted({min(number, whole.number) for number in LENGTHS[whole.unit]}):
        if (built := _built(type(task), task, _cut(spec, {whole.unit: number}))) is not None:
            yield Length(number, whole.unit), built


def _settings(one: Component) -> dict[str, Any]:
    with guarded(one):
        return {key: value for key, value in one.spec().items() if key != "name"}


def _built(kind: type[K], one: K, settings: Mapping[str, Any]) -> K | None:
    """Build a component with other settings; None where they do not go together."""
    home = Model if isinstance(one, Model) else Task
    try:
        found = build(home, one.name, settings)
    except CorpuscleError:
        return None
    return found if isinstance(found, kind) else None


def _length(settings: Any) -> Length | None:
    """Return the longest budget within some settings."""
    # A task that may fine-tune, and is asked for no way to, trains nothing, whatever its budget.
    if not isinstance(settings, Mapping) or settings.get("fine_tune") == []:
        return None
    found = [length for value in settings.values() if (length := _length(value)) is not None]
    if isinstance(budget := settings.get(BUDGET), Mapping):
        found += [Length(int(budget[unit]), unit) for unit in LENGTHS if budget.get(unit)]
    return max(found, default=None)


def _cut(settings: Mapping[str, Any], budget: Mapping[str, int]) -> dict[str, Any]:
    """Return settings with other budgets, wherever they have one; none needs held-out cells to know when to stop."""
    found = {key: _cut(value, budget) if isinstance(value, Mapping) else value for key, value in settings.items()}
    if isinstance(settings.get(BUDGET), Mapping):
        found[BUDGET] = dict(budget)
        if HELD_OUT in settings:
            found[HELD_OUT] = 0.0
    return found
