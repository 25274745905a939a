"""How steps are taken: the learning rate's course, clipped gradients, batches in parts, 16-bit floats."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.core.components import build
from corpuscle.core.errors import ComponentError, ModelError
from corpuscle.evaluation.tasks.annotation import Annotation
from corpuscle.model.architectures.masked_autoencoder import MaskedAutoencoder
from corpuscle.model.architectures.mlp_classifier import MlpClassifier
from corpuscle.model.data.batches import CountTable
from corpuscle.model.model import Model
from corpuscle.model.nn.count_modules import SparseLinear
from corpuscle.model.nn.layers import Linear
from corpuscle.model.nn.masked_network import MaskedNetwork
from corpuscle.model.nn.perceptron import Perceptron
from corpuscle.model.training.budget import Budget, Schedule
from corpuscle.model.training.loop import Optimiser, _with_gradients, train
from corpuscle.model.training.stepping import RateSchedule, Stepping
from corpuscle.model.training.supervised import Codes, LabelTraining, train_labels

# 90 of 100 cells are trained on, 6 steps an epoch.
SCHEDULE = Schedule(100, Budget(epochs=10), 16, 0.1)


def rates(schedule: RateSchedule, n_steps: int = 60) -> list[float]:
    multiple = schedule.multiple(SCHEDULE)
    return [multiple(step) for step in range(n_steps)]


def torchs_rates(scheduler, n_steps: int = 60, every: int = 1, **settings) -> list[float]:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    course, found = scheduler(optimiser, **settings), []
    for step in range(1, n_steps + 1):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step % every == 0:
            course.step()
    return found


def test_rates_without_warm_up_are_torchs():
    from torch.optim import lr_scheduler

    line = torchs_rates(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=60)
    np.testing.assert_allclose(rates(RateSchedule(decay="linear")), line, atol=1e-12)
    cosine = torchs_rates(lr_scheduler.CosineAnnealingLR, T_max=60)
    np.testing.assert_allclose(rates(RateSchedule(decay="cosine")), cosine, atol=1e-12)
    stepwise = torchs_rates(lr_scheduler.StepLR, step_size=2, gamma=0.9, every=6)
    np.testing.assert_allclose(rates(RateSchedule(decay="stepwise", factor=0.9, epochs=2)), stepwise)
    assert set(rates(RateSchedule())) == {1.0}


@pytest.mark.parametrize("warmup", [12, 0.2, 0.19], ids=["steps", "share", "a share rounds up"])
def test_warm_up_is_a_line_from_nothing_and_what_follows_has_the_other_steps(warmup):
    for decay in ("none", "linear", "cosine"):
        found = rates(RateSchedule(warmup=warmup, decay=decay))
        np.testing.assert_allclose(found[:12], np.arange(12) / 12)
        assert found[12] == 1
    assert rates(RateSchedule(warmup=warmup, decay="linear"))[36] == pytest.approx(0.5)
    assert rates(RateSchedule(warmup=warmup, decay="cosine"))[48] == pytest.approx((1 - 0.5**0.5) / 2)


def test_a_training_shorter_than_its_warm_up_is_reported(caplog):
    assert rates(RateSchedule(warmup=120, decay="linear"))[-1] == 59 / 120
    assert "it has 60 steps, and warm-up takes 120" in caplog.text
    assert RateSchedule(warmup=60).doubt(60)
    assert not any(RateSchedule(warmup=warmup).doubt(60) for warmup in (0, 0.9, 59))
    assert not RateSchedule(warmup=60).doubt(0)


def test_the_few_steps_that_are_timed_for_an_estimate_are_no_reason_to_warn(caplog):
    table = {"rate_schedule": {"warmup": 500, "decay": "linear"}}
    assert MlpClassifier(**table).seconds_per_step(50) > 0
    assert MaskedAutoencoder(widths=[8, 4], **table).seconds_per_step(50) > 0
    assert not caplog.records


@pytest.mark.parametrize(
    ("wrong", "path", "message"),
    [
        ({"rate_schedule": {"warmup": 1.5}}, ("rate_schedule", "warmup"), "a whole number of steps, such as 500, or a"),
        ({"rate_schedule": {"warmup": -1}}, ("rate_schedule", "warmup"), "greater than or equal to 0"),
        ({"rate_schedule": {"decay": "linaer"}}, ("rate_schedule", "decay"), "'linear'"),
        ({"rate_schedule": {"factor": 0.9}}, ("rate_schedule",), 'are for decay = "stepwise"'),
        ({"rate_schedule": {"decay": "stepwise", "factor": 0.9}}, ("rate_schedule",), "it needs both"),
        ({"rate_schedule": 3}, ("rate_schedule",), "should be a table"),
        ({"clip_norm": 0.0}, ("clip_norm",), "greater than 0"),
        ({"accumulate": 0}, ("accumulate",), "greater than 0"),
        ({"precision": "fp16"}, ("precision",), "'float32' or 'bf16'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_reported_where_it_stands(wrong, path, message):
    with pytest.raises(ComponentError) as caught:
        build(Model, "masked_autoencoder", wrong)
    ((found_path, found),) = caught.value.faults
    assert found_path == path
    assert message in found


def test_settings_survive_their_spec_and_reach_what_learns_labels():
    table = {"rate_schedule": {"warmup": 0.1, "decay": "cosine"}, "clip_norm": 1.0, "accumulate": 4}
    for name in ("masked_autoencoder", "mlp_classifier"):
        spec = build(Model, name, table).spec()
        assert build(Model, spec.pop("name"), spec).rate_schedule == RateSchedule(warmup=0.1, decay="cosine")
    assert Annotation(fine_tune=["whole"], training=table).training.accumulate == 4
    assert MlpClassifier(**table)._training().clip_norm == 1.0
    with pytest.raises(ValidationError):
        LabelTraining(precision="bf16")  # labels are learned on the CPU
    # A batch in parts takes the memory of one.
    whole, parts = MaskedAutoencoder(batch_size=4096), MaskedAutoencoder(batch_size=4096, accumulate=32)
    assert parts.memory(2000) == MaskedAutoencoder(batch_size=128).memory(2000) < whole.memory(2000)


class Squares(nn.Module):
    """A sparse layer and another; what is minimised has nothing random."""

    def __init__(self) -> None:
        super().__init__()
        init = torch.Generator().manual_seed(0)
        self.first, self.second, self.sizes = SparseLinear(12, 8, init), Linear(8, 3, init), []

    def loss(self, batch, noise, at):
        self.sizes.append(len(batch))
        error_B = (self.second(torch.tanh(self.first(batch))) - 1).square().sum(1)
        return error_B.mean(), {"error": error_B.detach().sum()}

    def score(self, batch, noise):
        return {"error": (self.second(torch.tanh(self.first(batch))) - 1).square().sum(1).detach()}


def trained(stepping: Stepping) -> tuple[Squares, np.ndarray]:
    counts = np.random.default_rng(0).poisson(1.0, (100, 12)).astype(np.float32)
    network, how = Squares(), Optimiser(0.01, 0.0, 1e-3, stepping=stepping)
    curve = train(network, CountTable(csr_matrix(counts)), SCHEDULE, how, seed=0, progress=lambda _: None)
    return network, curve["value"].to_numpy()


def test_a_batch_in_parts_takes_the_same_step():
    (whole, curve), (parts, same) = trained(Stepping()), trained(Stepping(accumulate=3))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curve, same, rtol=1e-4)
    # An epoch is five batches of 16, and one of 10.
    assert parts.sizes[:18] == [*[6, 6, 4] * 5, 4, 4, 2]


def test_clipping_and_a_falling_rate_change_what_is_learned():
    (plain, _), (clipped, _) = trained(Stepping()), trained(Stepping(clip_norm=1e-6))
    (falling, _) = trained(Stepping(rate_schedule={"decay": "stepwise", "factor": 0.01, "epochs": 1}))
    start = Squares()

    def moved(network):
        pairs = zip(network.parameters(), start.parameters(), strict=True)
        return sum(float((one - other).detach().abs().sum()) for one, other in pairs)

    # Adam undoes a common factor of all gradients, but not where they are small next to its epsilon.
    assert 0 < moved(clipped) < 0.3 * moved(plain)
    assert 0 < moved(falling) < 0.5 * moved(plain)


def test_labels_are_learned_with_the_same_steps_in_parts_and_with_others_clipped():
    rng = np.random.default_rng(0)
    points, code_N = torch.from_numpy(rng.standard_normal((100, 5)).astype(np.float32)), np.arange(100) % 3

    def fit(**settings):
        training = LabelTraining(batch_size=16, budget={"epochs": 5}, learning_rate=0.01, **settings)
        init, seen = torch.Generator().manual_seed(0), []
        network = Perceptron(Linear(5, 8, init), 8, 3, dropout=0.0, cosine=False, init=init)

        def inputs(part):
            seen.append(len(part))
            return points[part]

        codes = Codes(code_N, np.ones(100, np.int64))
        curve = train_labels(network, inputs, codes, training, seed=0, progress=lambda _: None)
        return nn.utils.parameters_to_vector(network.parameters()).detach(), curve["value"], seen

    whole, curve, _ = fit()
    parts, same, seen = fit(accumulate=3)
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curve, same, rtol=1e-4)
    assert seen[:3] == [6, 6, 4]
    assert not torch.allclose(fit(clip_norm=1e-6)[0], whole)
    assert not torch.allclose(fit(rate_schedule={"warmup": 0.5})[0], whole)


def test_16_bit_floats_need_a_gpu(corpus):
    with pytest.raises(ModelError, match="precision = \"bf16\" needs a GPU, and this training is on 'cpu'"):
        MaskedAutoencoder(widths=[8, 4], precision="bf16", budget={"steps": 2}).fit(corpus, 0)


def test_losses_in_16_bit_floats_are_nearly_those_in_32(draw_counts):
    batch = CountTable(csr_matrix(draw_counts(40, 20))).batch(slice(None)).dense()
    found = {}
    for precision in ("float32", "bf16"):
        network = MaskedNetwork(20, [16, 8], dropout=0.1, mask_share=0.5, init=torch.Generator().manual_seed(0))
        how, noise = Optimiser(0.01, 0.0, 1e-8, precision=precision), torch.Generator().manual_seed(1)
        adam = how.of(network, SCHEDULE)
        loss, terms = _with_gradients(network, batch, noise, SCHEDULE.at(0), optimiser=how, adam=adam)
        assert all(each.dtype == torch.float32 for each in (loss, terms["masked_error"], network.first.weight.grad))
        found[precision] = float(loss)
    assert found["bf16"] != found["float32"]
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_16_bit_floats_learn_about_as_well(corpus):
    errors = {}
    for precision in ("float32", "bf16"):
        model = MaskedAutoencoder(
            widths=[32, 16], precision=precision, budget={"steps": 200}, clip_norm=1.0, accumulate=2
        )
        curve = model.fit(corpus, 0).history
        errors[precision] = curve[curve["quantity"] == "masked_error_train"]["value"].iloc[-5:].mean()
    assert errors["bf16"] == pytest.approx(errors["float32"], rel=0.1)
