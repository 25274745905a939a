"""What a target's cells leave open: known answers by simulation and by hand."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.statistics.noise_ceiling import noise_ceilings


def rows(value_SMRH, corpora):
    """Score rows of an array: corpora × models × seeds × halves."""
    found = [
        {"corpus": corpora[c], "model": f"m{m}", "seed": s, "unit": f"half={half + 1}", "value": value, "task": "t"}
        for (c, m, s, half), value in np.ndenumerate(value_SMRH)
    ]
    return pd.DataFrame(found)


def test_noise_is_the_standard_error_that_a_targets_cells_give_a_difference():
    # Per-cell scores whose means are known: the standard error of a paired difference is deviation / sqrt(n cells).
    rng = np.random.default_rng(0)
    n_cells, n_targets, deviation = 100, 400, 0.3
    found = []
    for _ in range(n_targets):
        difference_N = rng.normal(0.05, deviation, n_cells)
        base_N = rng.normal(0.5, 1.0, n_cells)
        values_CN = np.array([base_N, base_N + difference_N])
        halves = values_CN.reshape(2, 2, n_cells // 2).mean(2)[:, None, None, :]
        found.append(noise_ceilings(rows(halves, ["Blood", "Lung"]), ["task"], "Blood")["noise"].iloc[0])
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(deviation / np.sqrt(n_cells), rel=0.1)


def test_reliability_is_that_of_the_whole_by_spearman_and_brown():
    rng = np.random.default_rng(1)
    truth_C = rng.normal(0, 1, 3000)
    # Halves with noise of variance 1: the whole has half of it, so that reliability is 1 / (1 + 0.5).
    value = truth_C[:, None] + rng.normal(0, 1, (3000, 2))
    found = noise_ceilings(rows(value[:, None, None, :], [f"c{i}" for i in range(3000)]), ["task"])
    assert found["reliability"].iloc[0] == pytest.approx(2 / 3, abs=0.03)
    assert found["ceiling"].iloc[0] == pytest.approx(np.sqrt(2 / 3), abs=0.03)
    # Without a baseline, differences are from the mean of all: each has nearly its own noise, of variance one half.
    assert found["noise"].iloc[0] == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_what_cannot_be_known_is_nan():
    few = noise_ceilings(rows(np.arange(4.0).reshape(2, 1, 1, 2), ["A", "B"]), ["task"], "A")
    assert few[["n_scores", "noise"]].to_numpy().tolist() == [[2, 0.0]]
    assert few[["reliability", "ceiling"]].isna().all(axis=None)
    alone = noise_ceilings(rows(np.arange(2.0).reshape(1, 1, 1, 2), ["A"]), ["task"], "A")
    assert alone["noise"].isna().all()
    absent = noise_ceilings(rows(np.arange(4.0).reshape(2, 1, 1, 2), ["A", "B"]), ["task"], "Z")
    assert absent["noise"].isna().all()
    whole = rows(np.zeros((2, 1, 1, 2)), ["A", "B"]).assign(unit="all")
    assert noise_ceilings(whole, ["task"], "A").empty
    assert noise_ceilings(rows(np.zeros((2, 1, 1, 1)), ["A", "B"]), ["task"], "A").empty


def test_halves_that_disagree_have_no_reliability_and_models_are_compared_each_with_its_own_baseline():
    value = np.array([0.0, 1, 2, 3])[:, None] * np.array([1.0, -1.0])
    found = noise_ceilings(rows(value[:, None, None, :], list("ABCD")), ["task"], "A")
    assert found[["reliability", "ceiling"]].to_numpy().tolist() == [[0.0, 0.0]]
    # Model 1 is far from model 0; the corpora of each differ by as much in both halves.
    of_models = np.zeros((2, 2, 1, 2)) + np.array([0.0, 5.0])[None, :, None, None]
    of_models[1] += 0.5
    assert noise_ceilings(rows(of_models, ["A", "B"]), ["task"], "A")["noise"].iloc[0] == 0
