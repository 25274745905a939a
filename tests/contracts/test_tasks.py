"""What every task keeps to: scores with a unit, a direction and, where there is no value, a reason."""

import inspect
import math
from typing import get_args, get_type_hints

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.core.errors import ModelError
from corpuscle.core.randomness import generator
from corpuscle.core.scores import Better, score_table
from corpuscle.evaluation.task import Task, answers, surely_lacks
from corpuscle.model.model import FittedModel, Model
from examples import example, small
from toy import MeanProfile

NAMES = components.names(Task)
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def data(make, request):
    """A training corpus, a target of other cells, and a model of the first that can answer the task `name`."""
    whole = make(30, obs={"donor": ["d1", "d2", None] * 10, "batch": ["b1"] * 30})
    train, target = whole.take(np.arange(15), "train"), whole.take(np.arange(15, 30), "target")
    name = request.node.callspec.params.get("name")
    return able(built(name), train) if name else MeanProfile().fit(train, 0), train, target


def able(task, train):
    """Fit the toy on a corpus, or the first built-in that can answer a task where the toy cannot."""
    models = (model for model in map(small, components.names(Model)) if not surely_lacks(model, task))
    fits = (model.fit(train, 0) for model in (MeanProfile(), *models))
    return next(fitted for fitted in fits if isinstance(fitted, task.needs))


def built(name):
    return components.build(Task, name, example(Task, name))


def run(name, data, seed=0):
    return list(built(name).run(*data, generator(seed, "test")))


@each
def test_every_score_is_a_whole_row(name, data):
    scores = run(name, data)
    assert scores
    for score in scores:
        assert score.metric
        assert score.unit == "all" or "=" in score.unit
        assert score.better in get_args(Better)
        assert score.version >= 1
        assert 0 <= score.n_cells <= 15
        assert isinstance(score.value, float)
        assert not math.isinf(score.value)
        assert math.isfinite(score.value) or score.reason
    rows = [(score.metric, score.way, score.unit) for score in scores]
    assert len(set(rows)) == len(rows)
    assert len(score_table(scores, corpus="c", model="m", seed=0, task=name, target="t")) == len(scores)


# What it measures differs from run to run.
MEASURING = "resources"


@each
def test_hangs_on_the_generator_alone(name, data):
    before = data[2].cells.copy()
    once, again = run(name, data), run(name, data)
    if name == MEASURING:
        once, again = ([score._replace(value=0.0) for score in scores] for scores in (once, again))
    assert str(once) == str(again)
    assert data[2].cells.equals(before)


# Every fitted model embeds cells; some tasks need more of it.
@pytest.mark.parametrize("name", [name for name in NAMES if components.find(Task, name).needs is not FittedModel])
def test_a_model_that_cannot_answer_is_told(name, data):
    class Mute:
        genes, history = (), None

    with pytest.raises(ModelError, match=f"task {name} cannot be asked of it"):
        run(name, (Mute(), *data[1:]))


@each
def test_a_model_that_cannot_answer_has_nan_with_the_reason_in_a_run(name, data):
    class Mute:
        genes, history = (), None

    task = built(name)
    (score,) = answers(task, Mute(), *data[1:], generator(0, "test"))
    assert math.isnan(score.value)
    assert score.reason == task.refusal
    assert f"task {name} cannot be asked of it" in task.refusal
    if task.needs is not FittedModel:
        assert (score.metric, score.better) in {(found.metric, found.better) for found in run(name, data)}
    # One that can is asked as it is.
    if name != MEASURING:
        assert str([*answers(task, *data, generator(0, "test"))]) == str(run(name, data))


@pytest.mark.parametrize("model", components.names(Model))
def test_what_a_model_will_not_answer_is_known_before_it_is_fitted(model, data):
    model = small(model)
    fitted = model.fit(data[1], 0)
    # A `fit` that promises any fitted model says nothing beforehand.
    says = not inspect.isabstract(get_type_hints(type(model).fit)["return"])
    for task in map(built, NAMES):
        assert surely_lacks(model, task) == (says and not isinstance(fitted, task.needs)), task.name


def test_some_models_reconstruct_and_some_do_not():
    lacking = {name for name in ("hvg", "ldvae", "pca", "scvi") if surely_lacks(small(name), built("residuals"))}
    assert lacking == {"hvg", "pca"}


@each
@pytest.mark.parametrize("n_cells", [1, 2])
def test_the_smallest_targets_have_scores_or_reasons(name, data, n_cells):
    model, train, target = data
    scores = run(name, (model, train, target.take(np.arange(n_cells))))
    assert all(math.isfinite(score.value) or score.reason for score in scores)


@each
def test_spec_rebuilds_an_equal_task(name):
    task = built(name)
    spec = task.spec()
    assert components.build(Task, spec.pop("name"), spec) == task
