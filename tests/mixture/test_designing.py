"""Designs, caps and baselines: within the caps always, better than random, refused where nothing fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle.core.errors import InputError
from corpuscle.mixture import baselines, caps_of, design
from corpuscle.mixture.designing import LEVEL, NOISE
from corpuscle.mixture.simplex import checked_caps, dirichlet, within
from corpuscle.mixture.surrogates.many_kinds import kernels

SOURCES = ["blood", "lung", "skin", "liver"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_what_is_brought_within_caps_is_a_mixture_within_them(seed: int, n_sources: int) -> None:
    rng = np.random.default_rng(seed)
    caps = rng.random(n_sources)
    caps = np.minimum(1, caps / caps.sum() * rng.uniform(1, 3))
    caps = caps if caps.sum() >= 1 else np.ones(n_sources)
    weights = np.vstack([rng.dirichlet(np.full(n_sources, 0.2), 20), np.eye(n_sources)])
    found = within(weights, caps)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    assert (found <= caps + 1e-6).all()
    assert np.allclose(within(found, caps), found, atol=1e-6)


def test_a_design_has_what_it_should() -> None:
    natural = {"blood": 6, "lung": 2, "skin": 1, "liver": 1}
    found = design(SOURCES, 16, rng=np.random.default_rng(0), natural=natural, n_held_out=5)
    assert found.runs.shape == (16, 4)
    assert found.held_out.shape == (5, 4)
    assert found.runs.loc["natural"].tolist() == pytest.approx([0.6, 0.2, 0.1, 0.1])
    assert found.runs.loc["uniform"].tolist() == pytest.approx([0.25] * 4)
    assert found.runs.index[:4].tolist() == ["natural", "uniform", "mixed 1", "mixed 2"]
    assert len(np.unique(found.runs.round(6), axis=0)) == 16
    again = design(SOURCES, 16, rng=np.random.default_rng(0), natural=natural, n_held_out=5)
    assert found.runs.equals(again.runs)


def test_a_design_has_as_many_mixtures_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpuscle.mixture.designing.N_CANDIDATES", 10)
    assert len(design(SOURCES, 40, rng=np.random.default_rng(0)).runs.drop_duplicates()) == 40


def test_a_capped_design_with_more_sources_than_runs() -> None:
    names = [f"s{at}" for at in range(30)]
    found = design(names, 12, rng=np.random.default_rng(0), caps=dict.fromkeys(names, 0.25))
    assert found.runs.shape == (12, 30)
    assert np.allclose(found.runs.sum(axis=1), 1)
    assert found.runs.to_numpy().max() <= 0.25 + 1e-6


def test_chosen_mixtures_say_more_than_random_ones() -> None:
    """By the variance that a Gaussian process of these covariances leaves, found at once, of other mixtures."""
    new = np.random.default_rng(9).dirichlet(np.ones(4), 500)
    covariances = kernels(new)

    def variance(weights: np.ndarray) -> float:
        among, across, own = (
            np.mean([one(a, b) for one in covariances], axis=0) + LEVEL
            for a, b in ((weights, weights), (new, weights), (new, new))
        )
        known = across @ np.linalg.inv(among + NOISE * np.eye(len(weights))) @ across.T
        return float(np.diag(own - known).mean())

    ours = variance(design(SOURCES, 12, rng=np.random.default_rng(0)).runs.to_numpy())
    random = [variance(dirichlet(np.random.default_rng(seed), 12, np.ones(4))) for seed in range(20)]
    assert ours < min(random)


def test_caps_without_a_mixture_are_refused() -> None:
    with pytest.raises(InputError, match="no mixture is within them"):
        design(["a", "b"], 8, rng=np.random.default_rng(0), caps={"a": 0.4, "b": 0.5})
    with pytest.raises(InputError, match="no mixture is within them"):
        caps_of({"a": 10, "b": 10}, n_cells=100, most_repeats=4)
    with pytest.raises(InputError, match="above 0"):
        caps_of({"a": 10, "b": 0}, n_cells=5)
    with pytest.raises(InputError, match="no source 'c'"):
        checked_caps({"c": 1.0}, ["a", "b"])
    with pytest.raises(InputError, match="from 0 to 1"):
        checked_caps([0.5, np.nan], ["a", "b"])
    with pytest.raises(InputError, match="none twice"):
        design(["a", "a"], 8, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="natural"):
        design(["a", "b"], 8, rng=np.random.default_rng(0), natural={"a": 1})


def test_unimax_gives_alike_what_caps_leave() -> None:
    found = baselines({"a": 900, "b": 80, "c": 20}, caps=caps_of({"a": 900, "b": 80, "c": 20}, 800, 2))
    assert found.loc["unimax"].tolist() == pytest.approx([0.75, 0.2, 0.05])
    assert found.loc["natural"].tolist() == pytest.approx([0.9, 0.08, 0.02])
    assert found.loc["temperature"].tolist() == pytest.approx([0.75, 0.2, 0.05])
    assert np.allclose(found.sum(axis=1), 1)
    with pytest.raises(InputError, match="temperature"):
        baselines({"a": 1, "b": 1}, temperature=0.5)
    with pytest.raises(InputError, match="cells"):
        baselines({"a": 1, "b": 0})
