"""The fit loop's bookkeeping: budgets, split, order, progress, history."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from corpuscle.core.components import build
from corpuscle.core.errors import ComponentError, ModelError
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.data.batches import CountTable
from corpuscle.model.data.epoch_order import hold_out
from corpuscle.model.families.variational import warmed_up
from corpuscle.model.model import Model
from corpuscle.model.training.budget import Budget, Schedule


def schedule(n_cells: int, **changes) -> Schedule:
    values = {"budget": Budget(epochs=10), "batch_size": 16, "validation_share": 0.1}
    return Schedule(n_cells, **(values | changes))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"epochs": 1, "steps": 1},
        {"epochs": 0},
        {"steps": -3},
        {"epochs": 2.5},
        {"epoch": 3},
        7,
        [1],
        {"steps": "9"},
    ],
    ids=str,
)
def test_a_wrong_budget_is_refused(wrong):
    with pytest.raises(ValidationError):
        LDVAE(budget=wrong)
    with pytest.raises(ComponentError, match=r"budget|epoch|steps"):
        build(Model, "ldvae", {"budget": wrong})


def test_a_budget_from_a_study_file_survives_its_spec():
    model = build(Model, "ldvae", {"budget": {"steps": 7}, "n_latent": 3, "dropout": 0})
    spec = model.spec()
    assert spec.pop("name") == "ldvae"
    assert build(Model, "ldvae", spec) == model
    assert LDVAE().budget == Budget(epochs=250)


@pytest.mark.parametrize(
    "changes",
    [{"n_latent": 0}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"batch_size": 1}, {"validation_share": 1.0}],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(changes):
    with pytest.raises(ValidationError):
        LDVAE(**changes)


@pytest.mark.parametrize(
    ("n_cells", "n_train", "steps_per_epoch"),
    [(1, 1, 0), (2, 2, 1), (3, 3, 1), (17, 16, 1), (20, 16, 1), (21, 19, 2), (22, 20, 2), (100, 90, 6), (107, 96, 6)],
)
def test_an_epoch_has_no_batch_too_small_for_batch_norm(n_cells, n_train, steps_per_epoch):
    plan = schedule(n_cells)
    assert (plan.n_train, plan.steps_per_epoch) == (n_train, steps_per_epoch)
    assert plan.n_steps == 10 * steps_per_epoch
    assert plan.n_train + plan.n_validation == n_cells


def test_steps_per_epoch_without_validation():
    plan = schedule(33, validation_share=0.0)
    assert (plan.n_train, plan.n_validation, plan.steps_per_epoch) == (32, 0, 2)


def test_the_divergences_weight_follows_epochs_or_the_share_of_the_run():
    by_epochs = schedule(90, validation_share=0.0, budget=Budget(epochs=500))
    found = [warmed_up(by_epochs.at(step), 400) for step in (0, 5, 6, 6 * 200, 6 * 499)]
    assert found == [0, 0, 1 / 400, 0.5, 1]
    small, large = (schedule(n_cells, budget=Budget(steps=1000)) for n_cells in (50, 5000))
    assert warmed_up(small.at(400), 400) == warmed_up(large.at(400), 400) == 0.25
    assert warmed_up(small.at(0), 0) == 1


@pytest.mark.parametrize("n_epochs", [1, 19, 20, 50, 250, 1000])
def test_a_curve_has_neither_few_nor_many_points(n_epochs):
    plan = schedule(1500, budget=Budget(epochs=n_epochs))
    points = plan.n_steps / plan.record_every
    assert 20 <= points <= 125
    assert n_epochs < 20 or plan.record_every % plan.steps_per_epoch == 0


def test_repeated_cells_are_held_out_whole_and_an_epoch_has_its_size():
    rng = np.random.default_rng(0)
    times_N = rng.integers(1, 6, 40)
    plan = schedule(int(times_N.sum()))
    held = hold_out(times_N, plan.n_validation, rng)
    assert 0 < times_N[held].sum() <= plan.n_validation
    table = CountTable(csr_matrix(np.eye(40, dtype=np.float32)), times_N=times_N)
    batches = table.batches(table.layout.windows(held, plan.n_train, rng), plan.batch_size)
    for _ in range(3):
        seen = np.concatenate([next(batches).genes.numpy() for _ in range(plan.steps_per_epoch)])
        assert len(seen) == plan.n_train
        used_N = np.bincount(seen, minlength=40)
        assert (used_N <= times_N).all()
        assert not used_N[held].any()


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf], ids=str)
def test_values_that_are_no_counts_are_refused(bad):
    with pytest.raises(ModelError, match="counts must be"):
        CountTable(csr_matrix(np.array([[1.0, bad]], np.float32)))
