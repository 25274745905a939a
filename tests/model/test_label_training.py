"""Learning labels: the losses' known answers, the split, equal steps whatever the remedy, stopping."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.model.nn.layers import Linear
from corpuscle.model.nn.perceptron import Perceptron
from corpuscle.model.training import supervised
from corpuscle.model.training.class_losses import (
    SCALE,
    balanced_weights,
    cross_entropy,
    focal,
    label_loss,
    ldam,
    margins,
)
from corpuscle.model.training.supervised import Codes, LabelTraining, split_by_label, train_labels

REMEDIES = ["none", "resampling", "class_weights", "focal", "ldam"]
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0], [-3.0, 1.0, 4.0]])
CODES = torch.tensor([0, 2, 1])
COUNTS = np.array([100, 20, 5])


def probability(row: int) -> float:
    exponentials = [math.exp(logit) for logit in LOGITS[row].tolist()]
    return exponentials[int(CODES[row])] / sum(exponentials)


def test_cross_entropy_by_hand():
    np.testing.assert_allclose(
        cross_entropy(LOGITS, CODES), [-math.log(probability(row)) for row in range(3)], rtol=1e-6
    )


def test_class_weights_are_sklearns_and_the_loss_torchs():
    from sklearn.utils.class_weight import compute_class_weight

    code_N = np.repeat(np.arange(3), COUNTS)
    weight_C = balanced_weights(COUNTS)
    np.testing.assert_allclose(weight_C, compute_class_weight("balanced", classes=np.arange(3), y=code_N), rtol=1e-6)
    assert float(weight_C[code_N].mean()) == pytest.approx(1)
    ours = label_loss("class_weights", COUNTS)(LOGITS, CODES)
    theirs = functional.cross_entropy(LOGITS, CODES, weight=weight_C, reduction="none")
    torch.testing.assert_close(ours, theirs)


def test_focal_loss_by_hand():
    by_hand = [-((1 - probability(row)) ** 2) * math.log(probability(row)) for row in range(3)]
    np.testing.assert_allclose(focal(LOGITS, CODES), by_hand, rtol=1e-5)
    torch.testing.assert_close(label_loss("focal", COUNTS)(LOGITS, CODES), focal(LOGITS, CODES))
    # A cell that is known for certain has no gradient, not one that is no number.
    sure = torch.tensor([[200.0, -200.0]], requires_grad=True)
    focal(sure, torch.tensor([0])).sum().backward()
    torch.testing.assert_close(sure.grad, torch.zeros(1, 2))


def test_ldam_by_hand():
    # Margins go with n^(-1/4), the rarest label's being 0.5.
    np.testing.assert_allclose(margins(COUNTS), 0.5 * (5 / COUNTS) ** 0.25, rtol=1e-6)
    cosine_BC = torch.tensor([[0.9, 0.1, -0.3], [0.2, 0.5, 0.4]])
    by_hand = []
    for cosines, code in zip(cosine_BC.tolist(), (0, 2), strict=True):
        own = math.exp(30 * (cosines[code] - 0.5 * (5 / COUNTS[code]) ** 0.25))
        others = sum(math.exp(30 * cosine) for at, cosine in enumerate(cosines) if at != code)
        by_hand.append(-math.log(own / (own + others)))
    found = ldam(SCALE * cosine_BC, torch.tensor([0, 2]), margins(COUNTS))
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(label_loss("ldam", COUNTS)(SCALE * cosine_BC, torch.tensor([0, 2])), found)
    assert found[1] > cross_entropy(SCALE * cosine_BC, torch.tensor([0, 2]))[1] + 10


@pytest.mark.parametrize("remedy", ["none", "resampling"])
def test_what_is_no_loss_minimises_the_cross_entropy(remedy):
    torch.testing.assert_close(label_loss(remedy, COUNTS)(LOGITS, CODES), cross_entropy(LOGITS, CODES))


def test_a_cosine_perceptron_gives_cosines_times_30():
    init = torch.Generator().manual_seed(0)
    network = Perceptron(Linear(4, 6, init), 6, 3, dropout=0.0, cosine=True, init=init)
    cells = torch.randn(50, 4, generator=init)
    logit_BC = network(cells)
    hidden_BH = network.hidden(cells)
    oracle = 30 * functional.cosine_similarity(hidden_BH[:, None], network.last.weight[None], dim=2)
    torch.testing.assert_close(logit_BC, oracle)
    assert "last.bias" not in network.state_dict()


def test_a_perceptron_drops_units_out_only_with_a_generator():
    init = torch.Generator().manual_seed(0)
    network = Perceptron(Linear(4, 600, init), 600, 3, dropout=0.5, cosine=False, init=init)
    cells = torch.randn(5, 4, generator=init)
    torch.testing.assert_close(network(cells), network.last(torch.relu(network.first(cells))))
    noises = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    one, again, other = (network(cells, noise) for noise in noises)
    torch.testing.assert_close(one, again)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("n_held", [0, 1, 12, 30, 1000])
def test_the_split_is_in_proportion_and_leaves_one_of_each_label(n_held):
    code_N = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [80, 30, 10, 1]))
    held, trained = split_by_label(code_N, n_held, np.random.default_rng(1))
    assert sorted([*held, *trained]) == list(range(121))
    assert len(held) == min(n_held, 117)
    assert set(code_N[trained]) == {0, 1, 2, 3}
    expected = np.array([79, 29, 9, 0]) / 117 * len(held)
    assert np.abs(np.bincount(code_N[held], minlength=4) - expected).max() <= 1
    again, _ = split_by_label(code_N, n_held, np.random.default_rng(1))
    np.testing.assert_array_equal(held, again)


def clouds(sizes, spread=0.3):
    """Cells around the corners of a triangle, as many at each as told."""
    rng = np.random.default_rng(0)
    code_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    corners = np.array([[2, 0], [-1, 2], [-1, -2]], np.float32)[: len(sizes)]
    points = corners[code_N] + spread * rng.standard_normal((len(code_N), 2)).astype(np.float32)
    return torch.from_numpy(points), code_N


def fit(points, code_N, seed=0, times_N=None, **settings):
    training = LabelTraining(**{"n_hidden": 16, "batch_size": 16, "learning_rate": 0.01} | settings)
    init = torch.Generator().manual_seed(seed)
    cosine, n_labels = training.remedy == "ldam", int(code_N.max()) + 1
    network = Perceptron(Linear(2, 16, init), 16, n_labels, dropout=training.dropout, cosine=cosine, init=init)
    seen, times_N = [], np.ones(len(code_N), np.int64) if times_N is None else times_N

    def inputs(positions):
        if network.training:
            seen.append(positions)
        return points[positions]

    history = train_labels(network, inputs, Codes(code_N, times_N), training, seed=seed, progress=lambda _: None)
    return network, history, seen


@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_remedy_learns_in_the_same_number_of_steps(remedy):
    points, code_N = clouds([90, 40, 20])
    network, history, seen = fit(points, code_N, remedy=remedy, budget={"steps": 200})
    assert len(seen) == 200
    assert history["step"].max() == 200
    assert set(history["quantity"]) == {"cross_entropy_train", "cross_entropy_validation"}
    assert not network.training
    assert (network(points).argmax(1).numpy() == code_N).mean() > 0.97
    again, same, _ = fit(points, code_N, remedy=remedy, budget={"steps": 200})
    assert history.equals(same)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_resampling_draws_each_label_as_often_and_others_draw_each_cell_once():
    points, code_N = clouds([200, 40, 10])
    settings = {"budget": {"epochs": 40}, "validation_share": 0.0}
    _, _, resampled = fit(points, code_N, remedy="resampling", **settings)
    share_C = np.bincount(code_N[np.concatenate(resampled)]) / (250 * 40)
    np.testing.assert_allclose(share_C, 1 / 3, atol=0.02)
    _, _, plain = fit(points, code_N, remedy="focal", **settings)
    assert [len(cells) for cells in plain] == [len(cells) for cells in resampled]
    drawn_N = np.bincount(np.concatenate(plain))
    assert (drawn_N == 40).all()


@pytest.mark.parametrize("remedy", ["resampling", "class_weights"])
def test_a_remedy_finds_more_of_a_rare_label(remedy):
    # Two clouds that overlap, one of them rare: by the cross-entropy it is best to forget it.
    points, code_N = clouds([400, 12], spread=2.2)
    recalled = {}
    for name in ("none", remedy):
        network, _, _ = fit(points, code_N, remedy=name, budget={"steps": 300}, dropout=0.0)
        recalled[name] = float((network(points).argmax(1).numpy() == 1)[code_N == 1].mean())
    assert recalled[remedy] > recalled["none"] + 0.15


def test_held_out_cells_are_never_trained_on():
    points, code_N = clouds([60, 60, 60])
    _, history, seen = fit(points, code_N, budget={"epochs": 5}, validation_share=0.25)
    assert len(np.unique(np.concatenate(seen))) == 135
    assert (history["quantity"] == "cross_entropy_validation").any()


@pytest.mark.parametrize("remedy", ["none", "resampling"])
def test_a_cell_that_counts_often_is_drawn_as_often_and_held_out_as_a_whole(remedy):
    points, code_N = clouds([60, 60])
    times_N = np.where(np.arange(120) % 4 == 0, 5, 1)
    settings = {"times_N": times_N, "remedy": remedy, "budget": {"epochs": 30}, "validation_share": 0.25}
    _, history, seen = fit(points, code_N, **settings)
    drawn_N = np.bincount(np.concatenate(seen), minlength=120)
    assert sum(len(cells) for cells in seen) == 30 * 180  # three quarters of 240 uses
    held = drawn_N == 0
    assert 40 < times_N[held].sum() <= 60
    assert (history["quantity"] == "cross_entropy_validation").any()
    ratio = drawn_N[~held & (times_N == 5)].mean() / drawn_N[~held & (times_N == 1)].mean()
    assert ratio == pytest.approx(5, rel=0.1)


def test_patience_ends_a_training_that_brings_nothing_more():
    points, code_N = clouds([60, 60], spread=2.5)
    _, history, seen = fit(points, code_N, budget={"epochs": 400, "patience": 10}, learning_rate=0.05)
    assert len(seen) == history["step"].max() < 0.5 * 400 * 7
    curve = history[history["quantity"] == "cross_entropy_validation"].set_index("epoch")["value"]
    assert curve.index[-1] - curve.idxmin() >= 10


def test_what_cannot_be_trained_on_is_one_clear_error():
    points, code_N = clouds([1, 1])
    with pytest.raises(ModelError, match="2 labelled cells are too few"):
        fit(points, code_N, budget={"steps": 5}, validation_share=0.5)
    points, code_N = clouds([2, 2])
    with pytest.raises(ModelError, match="patience needs held-out cells; of 4 cells none"):
        fit(points, code_N, budget={"steps": 5, "patience": 2})
    points, code_N = clouds([30, 30])
    points[7] = math.nan
    with pytest.raises(DivergedError, match="an input is no finite number"):
        fit(points, code_N, budget={"epochs": 5}, validation_share=0.0)


def test_a_curve_looks_at_some_held_out_cells_evenly(monkeypatch):
    monkeypatch.setattr(supervised, "VALIDATION_CELLS", 5)
    np.testing.assert_array_equal(supervised._some(np.arange(0, 90, 10)), [0, 20, 40, 60, 80])
    np.testing.assert_array_equal(supervised._some(np.array([3, 4])), [3, 4])
    assert len(supervised._some(np.array([], np.int64))) == 0
