"""What everything that a study can name keeps to: it is documented, field by field."""

import dataclasses
import inspect
import re

import pytest

from corpuscle.core import components
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.sampler import Sampler
from corpuscle.evaluation.task import Task
from corpuscle.measures.measure import Measure
from corpuscle.mixture.surrogate import Surrogate
from corpuscle.model.model import Model
from corpuscle.source.reader import Reader

BUILT_INS = [
    components.find(kind, name)
    for kind in (Reader, Sampler, Alteration, Measure, Model, Surrogate, Task)
    for name in components.names(kind)
]
each = pytest.mark.parametrize("cls", BUILT_INS, ids=lambda cls: cls.__module__.removeprefix("corpuscle."))


@each
def test_every_field_is_documented_and_nothing_else(cls):
    assert inspect.getmodule(cls).__doc__
    section = re.split(r"\n\w+\n-+\n", inspect.getdoc(cls).partition("Parameters\n----------\n")[2])[0]
    told = [name for line in section.splitlines() if line[:1].strip() for name in line.split(", ")]
    assert sorted(told) == sorted(field.name for field in dataclasses.fields(cls))


@each
def test_it_cannot_be_changed(cls):
    assert cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))
