"""When training stops: patience, presets, divergence; and what is told of it."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.core.components import Component, build, component
from corpuscle.core.errors import ComponentError, DivergedError, ModelError
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.data.batches import CountTable
from corpuscle.model.model import Model
from corpuscle.model.training.budget import Budget, Schedule, TrainingBudget
from corpuscle.model.training.loop import LOOKED_AT, Optimiser, train
from corpuscle.model.training.supervised import LabelTraining

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 16}
OPTIMISER = Optimiser(learning_rate=1e-3, weight_decay=0.0, eps=1e-8)


class Told(nn.Module):
    """A network whose losses, in training and of held-out cells, are told beforehand; it learns nothing."""

    def __init__(self, losses=(), scores=()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses, self.scores = iter(losses), iter(scores)

    def loss(self, batch, noise, at):
        value = self.weight * 0 + next(self.losses, 1.0)
        return value, {"elbo": value.detach() * len(batch)}

    def score(self, batch, noise):
        return {"elbo": torch.full((len(batch),), next(self.scores, 1.0))}


def run(network: Told, budget: dict, n_cells: int = 100, validation_share: float = 0.1) -> pd.DataFrame:
    """Train on 90 of 100 cells, 6 steps an epoch; the 10 held out are one batch."""
    schedule = Schedule(n_cells, Budget(**budget), 16, validation_share)
    table = CountTable(csr_matrix(np.ones((n_cells, 3), np.float32)))
    return train(network, table, schedule, OPTIMISER, seed=0, progress=lambda _: None)


FALLING = [10.0, 9.0, 8.0, 7.5, 7.6, 7.7, 7.4999, 7.8]


@pytest.mark.parametrize(
    ("budget", "last"),
    [
        pytest.param({"epochs": 40, "patience": 3}, 10 * 6, id="epochs"),
        pytest.param({"epochs": 40, "patience": 2}, 6 * 6, id="too little"),
        pytest.param({"epochs": 40, "patience": 3, "min_delta": 0.01}, 7 * 6, id="a new minimum that is none"),
        pytest.param({"epochs": 40}, 40 * 6, id="none"),
        pytest.param({"steps": 240, "patience": 25}, 7 * 6 + 30, id="steps"),  # at a curve's point: each 6 steps
    ],
)
def test_training_stops_when_patience_is_at_its_end(budget, last):
    history = run(Told(scores=[*FALLING, *[9.0] * 50]), budget)
    assert history["step"].max() == last
    assert history["epoch"].max() == pytest.approx(last / 6)
    assert (history["quantity"] == "elbo_validation").sum() == len(history["step"].unique())


def test_a_fit_with_patience_takes_at_most_the_steps_announced_and_says_how_many(make_corpus, draw_counts, steps_taken):
    corpus, told = make_corpus(draw_counts(60, 20)), []
    model = LDVAE(**SMALL, budget={"epochs": 400, "patience": 20}, learning_rate=0.02)
    fitted = model.fit(corpus, 0, told.append)
    taken = fitted.history["step"].max()
    assert taken < model.n_steps(60) == 400 * 4
    # The weights are the last step's.
    assert len(steps_taken) == taken
    validation = fitted.history[fitted.history["quantity"] == "elbo_validation"].set_index("step")["value"]
    assert validation.idxmin() <= taken - 20 * 4
    assert told[-1] == 1.0
    pd.testing.assert_frame_equal(model.fit(corpus, 0).history, fitted.history)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ldvae", {"epochs": 250}),
        ("scvi", {"epochs": 250}),
        ("masked_autoencoder", {"epochs": 100}),
        ("contrastive", {"steps": 50_000}),
        ("mlp_classifier", {"epochs": 500, "patience": 20}),
    ],
)
def test_published_is_each_models_own_schedule(name, published):
    assert build(Model, name, {"budget": "published"}) == build(Model, name, {"budget": published})


def test_fine_tuning_is_published_as_the_classifiers_are():
    assert LabelTraining(budget="published").budget == Budget(epochs=500, patience=20)


def test_a_model_without_a_published_schedule_says_so():
    @component
    class Own(Component):
        budget: TrainingBudget

    assert Own(budget={"steps": 3}).budget == Budget(steps=3)
    with pytest.raises(ValidationError, match="this model has no published schedule"):
        Own(budget="published")


def test_published_is_written_so():
    assert build(Model, "ldvae", {"budget": "published"}).n_steps(1500) == 250 * 11
    with pytest.raises(
        ComponentError, match=r"budget should be a table, such as .*, or \"published\" \(it is 'publish'\)"
    ):
        build(Model, "ldvae", {"budget": "publish"})


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"budget": {"epochs": 9, "patience": 0}}, ("budget", "patience"), "greater than 0"),
        ({"budget": {"epochs": 9, "min_delta": 0.1}}, ("budget",), "min_delta is for a budget with patience"),
        ({"budget": {"patience": 3}}, ("budget",), "exactly one of epochs and steps"),
        (
            {"budget": {"epochs": 9, "patience": 3}, "validation_share": 0},
            ("validation_share",),
            "validation_share should be above 0, as the budget's patience looks at held-out cells",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told_where_it_stands(parameters, path, message):
    with pytest.raises(ComponentError) as caught:
        build(Model, "ldvae", parameters)
    ((found_path, found),) = caught.value.faults
    assert found_path == path
    assert message in found
    with pytest.raises(ValidationError):
        LDVAE(**parameters)


def test_a_budget_with_patience_survives_its_spec():
    model = LDVAE(budget={"steps": 900, "patience": 100, "min_delta": 0.5})
    spec = model.spec()
    assert build(Model, spec.pop("name"), spec) == model


def test_patience_without_a_held_out_cell_is_one_clear_error(make_corpus, draw_counts):
    with pytest.raises(ModelError, match="patience needs held-out cells; of 2 cells none"):
        LDVAE(**SMALL, budget={"epochs": 9, "patience": 3}).fit(make_corpus(draw_counts(2, 20) + 1), 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("step", [1, 2, LOOKED_AT, LOOKED_AT + 1, 97])
def test_a_diverging_run_names_its_step_though_steps_are_looked_at_together(step, bad):
    losses = [1.0] * (step - 1) + [bad] * 200
    cause = "counts are too large" if step == 1 else "learning rate 0.001 is probably too high"
    with pytest.raises(DivergedError, match=f"diverged at step {step} of 200: the {cause}"):
        run(Told(losses), {"steps": 200}, validation_share=0.0)


def test_a_diverging_run_stops_soon():
    taken = []
    network = Told()
    network.loss = lambda batch, *_: (taken.append(1), Told([math.nan]).loss(batch, None, 0))[1]
    with pytest.raises(DivergedError):
        run(network, {"steps": 10_000}, validation_share=0.0)
    assert len(taken) <= LOOKED_AT


def test_weights_that_are_no_numbers_in_the_end_are_an_error():
    network = Told()
    network.weight.data.fill_(math.nan)
    network.loss = lambda batch, *_: (torch.ones((), requires_grad=True), {"elbo": torch.ones(())})
    with pytest.raises(DivergedError, match="at step 3 of 3"):
        run(network, {"steps": 3})


def test_the_loop_does_not_wait_for_the_device_at_each_step(monkeypatch):
    """What takes a number off a device waits until it has computed it."""
    waits = []
    for name in ("item", "tolist", "numpy", "__bool__", "__float__"):
        true = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *args, true=true, **kwargs: (waits.append(1), true(*args, **kwargs))[1]
        )
    run(Told(), {"steps": 20 * LOOKED_AT}, n_cells=20 * LOOKED_AT * 16, validation_share=0.0)
    assert 0 < len(waits) <= 2 * 20


def test_a_curve_is_the_mean_over_the_cells_since_its_last_point():
    losses = [float(step) for step in range(1, 241)]
    history = run(Told(losses), {"epochs": 40}, validation_share=0.0).set_index("step")["value"]
    # Of 100 cells, six batches of 16 and one of 4.
    sizes = np.array([16] * 6 + [4])
    np.testing.assert_allclose(history[7], np.average(losses[:7], weights=sizes))
    np.testing.assert_allclose(history[14], np.average(losses[7:14], weights=sizes))


def test_the_seconds_of_each_phase_are_kept_with_the_model_but_are_no_part_of_its_curve(corpus, tmp_path):
    model = LDVAE(**SMALL, budget={"epochs": 3})
    fitted = model.fit(corpus, 0)
    seconds = fitted.history.attrs["seconds"]
    assert set(seconds) == {"reading", "batches", "steps", "validation"}
    assert all(value > 0 for value in seconds.values())
    fitted.save(tmp_path)
    assert model.load_fitted(tmp_path).history.attrs["seconds"] == seconds
    assert not any(re.search("second", quantity) for quantity in fitted.history["quantity"])
