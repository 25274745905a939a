"""Perturbation: a planted response is predicted from other lines; baselines see nothing of the held-out line's."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.evaluation.metrics.top_genes import among_top
from corpuscle.evaluation.tasks.perturbation import BASELINES, LEARNED, Line, Perturbation
from placed import Placed, run

LINES, N_EACH, N_GENES = ("A", "B", "C"), 40, 30
SETTINGS = {"condition": "batch", "control": "ctrl", "treated": "stim", "n_top": 5}
WAYS = (*LEARNED, *BASELINES)


@pytest.fixture
def cells(make):
    """Three lines, each control and treated; treatment raises genes 0-4 in all of them, and genes 5-7 in line C."""

    def made(**obs):
        rng = np.random.default_rng(0)
        line_N = np.repeat(LINES, 2 * N_EACH)
        treated_N = np.tile(np.repeat([False, True], N_EACH), len(LINES))
        base = {name: rng.gamma(4.0, 1.0, N_GENES) for name in LINES}
        mean_NG = np.array([base[name] for name in line_N])
        mean_NG[treated_N, :5] *= 8.0
        mean_NG[treated_N & (line_N == "C"), 5:8] *= 8.0
        labels = {"cell_type": line_N, "batch": np.where(treated_N, "stim", "ctrl"), "donor": ["d"] * len(line_N)}
        genes = [f"G{at:02}" for at in range(N_GENES)]
        return make(rng.poisson(mean_NG), obs={**labels, **obs}, genes=genes)

    return made


def placed():
    line = np.repeat(np.arange(len(LINES)), 2 * N_EACH)
    return np.eye(len(LINES))[line] + np.random.default_rng(0).normal(0, 0.1, (len(line), len(LINES)))


def test_what_all_lines_do_is_predicted_and_no_change_is_not(cells):
    scores = run(Perturbation(**SETTINGS), Placed(placed()), cells())
    of = {way: {name: scores[f"{name}, {way}", "all"].value
                for name in ("pearson_profile", "mse", "top_genes", "direction")} for way in WAYS}  # fmt: skip
    delta = {way: scores[f"pearson_delta, {way}", "cell_type=A"].value for way in WAYS}
    assert delta["mean change of the others"] > 0.8
    assert math.isnan(delta["no change"])
    assert of["no change"]["top_genes"] == of["no change"]["direction"] == 0
    # Treatment raises five genes in all lines: of the line that is left out, too.
    assert scores["direction, mean change of the others", "cell_type=A"].value == 1
    assert scores["top_genes, mean change of the others", "cell_type=A"].value >= 0.8
    assert of["mean change of the others"]["mse"] < of["no change"]["mse"]
    assert scores["mse, linear", "cell_type=C"].n_cells == N_EACH
    # What only the held-out line does cannot be known.
    assert (
        scores["mse, mean change of the others", "cell_type=C"].value
        > scores["mse, mean change of the others", "cell_type=A"].value
    )
    assert {unit for _, unit in scores} == {"all", *(f"cell_type={name}" for name in LINES)}


def test_no_prediction_sees_treated_cells_of_the_line_that_is_held_out(cells):
    # The same cells, but for what treatment does to line C: whatever is predicted for C is the same.
    target = cells()
    counts = target.counts().toarray()
    line_N, treated_N = target.labels("cell_type"), target.labels("batch") == "stim"
    changed = counts.copy()
    changed[(line_N == "C") & treated_N] *= 3
    held, *others = (
        Line(name, np.flatnonzero((line_N == name) & ~treated_N), np.flatnonzero((line_N == name) & treated_N))
        for name in ("C", "A", "B")
    )
    logs = [cp10k(csr_matrix(each)).log1p() for each in (counts, np.where(changed > 9, changed, counts))]
    task = Perturbation(**SETTINGS)
    seen = [dict(task._predictions(held, others, placed(), log, np.random.default_rng(0))) for log in logs]
    assert (logs[0] != logs[1]).nnz
    for way in WAYS:
        np.testing.assert_array_equal(seen[0][way], seen[1][way], err_msg=way)


class Together(Placed):
    """Puts each cell where the test says, less the mean of log counts of all cells that are embedded with it."""

    def embed(self, cells):
        return super().embed(cells) - np.log1p(cells.counts().mean())


@pytest.mark.parametrize("model", [Placed, Together])
def test_a_model_that_embeds_cells_together_does_not_see_them_either(cells, make, monkeypatch, model):
    target = cells()
    line_N, treated_N = target.labels("cell_type"), target.labels("batch") == "stim"
    counts = target.counts().toarray()
    there = (line_N == "C") & treated_N
    counts[there] = 50 * counts[there][:, ::-1]
    labels = {name: target.labels(name) for name in ("cell_type", "batch", "donor")}
    changed = make(counts, name="other", obs=labels, genes=[f"G{at:02}" for at in range(N_GENES)])
    seen = {}

    def keep(task, held, log_NG, predicted_G):
        seen.setdefault(held.name, []).append(np.array(predicted_G))
        return {metric.name: (0.0, "") for metric in task.metrics}

    monkeypatch.setattr(Perturbation, "_values", keep)
    asked = model(placed())
    scores = [run(Perturbation(**SETTINGS), asked, each) for each in (target, changed)]
    for before, after in zip(seen["C"][: len(WAYS)], seen["C"][len(WAYS) :], strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(seen["A"]) == 2 * len(WAYS)
    assert not np.array_equal(seen["A"][0], seen["A"][len(WAYS)]), "of others it may learn"
    assert ("embeds cells together" in scores[0]["mse, MLP", "cell_type=C"].reason) == (model is Together)
    # All cells, and a few alone; and where that differs, all but the treated ones of each of three lines.
    assert asked.times_asked == 2 * (2 if model is Placed else 5)
    assert "training corpus has 40 of this line's perturbed cells" in scores[0]["mse, MLP", "cell_type=C"].reason


def test_an_embedding_without_them_that_is_of_no_use_leaves_the_baselines(cells):
    class Broken(Together):
        def embed(self, cells):
            return super().embed(cells) * (np.nan if 16 < len(cells) < 240 else 1)

    scores = run(Perturbation(**SETTINGS), Broken(placed()), cells())
    assert math.isnan(scores["mse, MLP", "cell_type=C"].value)
    assert "is not finite" in scores["mse, MLP", "cell_type=C"].reason
    assert scores["mse, no change", "cell_type=C"].value > 0


def test_top_genes_are_those_that_change_wherever_they_stand_in_the_file(cells, make):
    target = cells()
    counts = target.counts().toarray()
    counts[:, 12:] = 0  # Of 30 genes, 12 are expressed.
    labels = {name: target.labels(name) for name in ("cell_type", "batch", "donor")}

    def found(order, n_top):
        genes = [f"G{at:02}" for at in range(N_GENES)]
        moved = make(counts[:, order], obs=labels, genes=genes)
        scores = run(Perturbation(**{**SETTINGS, "n_top": n_top}), Placed(placed()), moved)
        return {name: score for name, score in scores.items() if "linear" not in name[0] and "MLP" not in name[0]}

    first, last = found(np.arange(N_GENES), 8), found(np.arange(N_GENES)[::-1], 8)
    for name, score in first.items():
        np.testing.assert_allclose(score.value, last[name].value, rtol=1e-6, err_msg=str(name))
    assert 0.5 < first["top_genes, mean change of the others", "all"].value < 1
    few = found(np.arange(N_GENES), 20)["top_genes, mean change of the others", "cell_type=A"]
    assert math.isnan(few.value)
    assert "genes change, fewer than 20" in few.reason
    assert math.isnan(found(np.arange(N_GENES), 20)["direction, no change", "all"].value)


def test_the_expected_overlap_is_the_mean_over_random_orders_of_ties():
    rng = np.random.default_rng(0)
    truth, predicted = (np.array(each, float) for each in ([3, 1, 1, 1, 0, 0, 2], [0, 1, 1, 1, 1, 5, 1]))

    def drawn(strength):
        order = rng.permutation(len(strength))
        top = order[np.argsort(-strength[order], kind="stable")[:4]]
        return set(top[strength[top] > 0].tolist())

    overlaps = [len(drawn(truth) & drawn(predicted)) for _ in range(4000)]
    np.testing.assert_allclose(among_top(truth, 4) @ among_top(predicted, 4), np.mean(overlaps), atol=0.05)


@pytest.mark.parametrize(
    ("obs", "settings", "reason"),
    [
        ({"cell_type": ["A"] * 240}, {}, "1 of cell_type with 10 cells of 'ctrl' and 'stim'"),
        ({}, {"treated": "drug"}, "0 of cell_type with 10 cells"),
        ({}, {"n_top": 1000}, "the cells have 30 genes, too few"),
    ],
)
def test_what_cannot_be_predicted_is_nan_with_its_reason(cells, obs, settings, reason):
    scores = run(Perturbation(**{**SETTINGS, **settings}), Placed(placed()), cells(**obs))
    metrics = [metric.name for metric in Perturbation.metrics]
    assert set(scores) == {(f"{metric}, {way}", "all") for way in WAYS for metric in metrics}
    assert all(math.isnan(score.value) and reason in score.reason for score in scores.values())


def test_lines_seen_in_one_condition_are_left_out_and_named(cells):
    batch = np.tile(np.repeat(["ctrl", "stim"], N_EACH), 3)
    batch[:80] = "ctrl"
    scores = run(Perturbation(**SETTINGS), Placed(placed()), cells(batch=batch))
    assert "too few control or perturbed cells: A" in scores["mse, linear", "all"].reason
    assert ("mse, linear", "cell_type=A") not in scores


def test_control_and_treated_are_two_values():
    with pytest.raises(ValueError, match="the same value"):
        Perturbation(condition="batch", control="a", treated="a")
