"""Latents are compared with a reference's; loadings with the target's expression."""

import math

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.usage import Usage
from corpuscle.corpus.expression.variable_genes import gene_moments
from corpuscle.evaluation.tasks.latents import Latents
from corpuscle.evaluation.tasks.resources import Resources
from corpuscle.model.model import Cost
from placed import Placed, run


def compared(z, other, target):
    scores = Latents(reference_corpus="x").compare(Placed(z), Placed(other), target, target, np.random.default_rng(0))
    return {(score.metric, score.unit): score for score in scores}


def test_a_rotation_is_all_there_and_noise_is_not(typed):
    target, _ = typed(120)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(120, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    same, noise = compared(z, 2 * z @ turn, target), compared(z, rng.normal(size=(120, 3)), target)
    for metric, best, chance in (("latent_r2", 1, 0.2), ("cka", 1, 0.2), ("knn_overlap", 1, 0.25)):
        assert same[metric, "all"].value == pytest.approx(best, abs=1e-4)
        assert noise[metric, "all"].value < chance
    assert same["procrustes", "all"].value == pytest.approx(0, abs=1e-6)
    assert noise["procrustes", "all"].value > 0.8
    assert {unit for metric, unit in same if metric == "latent_r2"} == {"all", "latent=Z_0", "latent=Z_1", "latent=Z_2"}
    assert {unit for metric, unit in same if metric == "knn_overlap"} == {
        "all",
        "batch=b1",
        "batch=b2",
        "half=1",
        "half=2",
    }


def test_trouble_with_the_reference_is_said(typed):
    target, _ = typed(60)
    found = compared(np.random.default_rng(0).normal(size=(60, 2)), np.zeros((60, 2)), target)
    assert all(math.isnan(score.value) for score in found.values())
    assert all("reference: the embedding is the same for all cells" in score.reason for score in found.values())


class Loaded(Placed):
    """A model with loadings."""

    def loadings(self):
        return self.table


def test_loadings_are_correlated_with_mean_expression(typed):
    target, _ = typed(60)
    mean = np.log1p(gene_moments(target).mean_G)
    noise = np.random.default_rng(0).normal(size=len(mean))
    model = Loaded(np.zeros((60, 3)))
    model.table = pd.DataFrame({"Z_0": 3 - mean, "Z_1": noise, "Z_2": 1.0}, index=list(target.space.ids))
    scores = run(Latents(), model, target)
    assert scores["loading_correlation", "latent=Z_0"].value == pytest.approx(-1)
    assert scores["loading_correlation", "latent=Z_1"].value == pytest.approx(np.corrcoef(mean, noise)[0, 1])
    assert "do not vary" in scores["loading_correlation", "latent=Z_2"].reason
    assert scores["loading_correlation", "all"].value == pytest.approx(1)
    assert "reference_corpus" in scores["cka", "all"].reason


def test_resources_tell_what_the_run_measured(typed):
    target, _ = typed(60)
    model = Placed(np.zeros((60, 3)))
    assert "not fitted by this run" in run(Resources(), model, target)["fit_seconds", "all"].reason
    model.cost = Cost(Usage(2.5, 2.0, 3_000_000_000), 42)
    scores = run(Resources(), model, target)
    told = [scores[name, "all"].value for name in ("fit_seconds", "fit_cpu_seconds", "fit_peak_gb", "n_parameters")]
    assert told == [2.5, 2.0, 3.0, 42]
    assert scores["embed_seconds_per_1000_cells", "all"].value > 0
