"""What everything that a study can name keeps to: no number makes it allocate, hang or crash."""

import contextlib
import dataclasses
import math
import types
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import pytest

from corpuscle.core import components
from corpuscle.core.errors import ComponentError
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.model.data.memory import machine_memory
from corpuscle.model.model import Model
from corpuscle.model.size import TakesMemory, memory_of
from examples import example

KINDS = (Sampler, Alteration, Model, Task)
WHOLE = [10**9, 10**18, 10**30, -1, 0]
EXTREME = [*WHOLE, float("nan"), float("inf"), -1.0, 1e308]


def plain(hint):
    """Strip bounds and None from a type."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return plain(next(part for part in get_args(hint) if part is not type(None)))
    return hint


def numbers(cls, prefix=()):
    """Where numbers stand in the parameters of a component: keys, and 0 where it is in a list."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue
        kind = plain(hint)
        if kind in (int, float):
            yield (*prefix, name)
        elif get_origin(kind) is list and plain(get_args(kind)[0]) in (int, float):
            yield (*prefix, name, 0)
        elif dataclasses.is_dataclass(kind):
            yield from numbers(kind, (*prefix, name))


CASES = [
    pytest.param(kind, name, path, id=f"{name}-{'.'.join(map(str, path))}")
    for kind in KINDS
    for name in components.names(kind)
    for path in numbers(components.find(kind, name))
]


def placed(path, value, parameters):
    """Write a value at its path; a list is filled up with it, a table holds it alone."""
    key, *rest = path
    made = ([value] * 3 if rest == [0] else placed(rest, value, {})) if rest else value
    return {**parameters, key: made}


@pytest.mark.parametrize(("kind", "name", "path"), CASES)
def test_an_extreme_number_is_refused_or_fits_this_machine(kind, name, path):
    for value in EXTREME:
        try:
            made = components.build(kind, name, placed(path, value, example(kind, name)))
        except ComponentError as error:
            told = [str(part) for place, _ in error.faults for part in place]
            assert path[0] in told, str(error)
            continue
        assert math.isfinite(value) and value not in (10**18, 10**30), f"{value} was taken"
        if isinstance(made, Model):
            # To ask what it takes is quick and allocates nothing; a study refuses what the machine does not have.
            assert memory_of(made, 20_000) >= 0
            assert made.n_steps(1000) >= 0


@pytest.mark.parametrize("name", components.names(Model))
def test_the_estimate_grows_with_what_is_asked_for(name):
    small = components.build(Model, name, example(Model, name))
    if not isinstance(small, TakesMemory):
        pytest.skip("this model says of no setting how much memory it takes")
    before, found = memory_of(small, 2000), []
    assert 0 < before < machine_memory()
    for path in numbers(type(small)):
        with contextlib.suppress(ComponentError):
            large = components.build(Model, name, placed(path, 10**6, example(Model, name)))
            found.append(memory_of(large, 2000))
    assert not found or max(found) > 100 * before
