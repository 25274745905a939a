"""What a new source adds is predicted from what known ones add, and the interval says how sure."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import InputError
from corpuscle.mixture.marginal import left_out, marginal


def world(seed: int, n_sources: int = 7, n_outputs: int = 5, follows: float = 0.8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values that follow a feature, but for what a source does to all outputs and each output alone."""
    rng = np.random.default_rng(seed)
    nearer = rng.gamma(1, 1, (n_sources, n_outputs))
    own = rng.normal(0, 0.2, (n_sources, 1)) + rng.normal(0, 0.2, (n_sources, n_outputs))
    truth = (follows * nearer + own) * np.logspace(-2, 0, n_outputs)
    se = np.broadcast_to(0.1 * np.logspace(-2, 0, n_outputs), truth.shape)
    index = pd.MultiIndex.from_product(
        [[f"s{at}" for at in range(n_sources)], [f"o{at}" for at in range(n_outputs)]], names=["source", "output"]
    )
    known = pd.DataFrame({"value": (truth + se * rng.normal(size=truth.shape)).ravel(), "se": se.ravel()}, index)
    features = pd.DataFrame({"nearer": nearer.ravel(), "noise": rng.normal(size=nearer.size)}, index)
    known = known.reset_index()
    return known.assign(metric=known["output"]), features.reset_index()


def test_left_out_sources_are_predicted_with_the_right_sign_and_within_their_intervals() -> None:
    within, right = [], []
    for seed in range(12):
        found = left_out(*world(seed))
        within.append((found["low"] <= found["value"]) & (found["value"] <= found["high"]))
        sure = found[np.abs(found["value"]) > 2 * found["se"]]
        right.append(np.sign(sure["predicted"]) == np.sign(sure["value"]))
    assert 0.85 <= np.concatenate(within).mean() <= 0.99
    assert np.concatenate(right).mean() >= 0.9


def test_features_that_say_nothing_leave_a_wide_interval_about_what_sources_add_on_average() -> None:
    known, features = world(3, follows=0.0)
    new = features[features["source"] == "s0"].assign(source="new")
    found = marginal(known, features, new)
    assert (found.values["low"] < 0).all()
    assert (found.values["high"] > 0).all()
    assert np.abs(found.slopes).max() < 0.5
    followed = marginal(*world(3), new)
    assert followed.slopes["nearer"] > 0.5 > abs(followed.slopes["noise"])


def test_what_cannot_be_learnt_from_is_refused() -> None:
    known, features = world(0)
    new = features[features["source"] == "s0"].assign(source="new")
    with pytest.raises(InputError, match=r"at least 3 known sources.*got 2 sources"):
        marginal(known[known["source"].isin(["s1", "s2"])], features, new)
    with pytest.raises(InputError, match="'noise'"):
        marginal(known, features, new.assign(noise=np.nan))
    with pytest.raises(InputError, match="no known source has a value of the output 'other'"):
        marginal(known, features, new.assign(output="other"))


def test_a_source_that_alone_is_near_a_target_is_not_taken_for_an_enormous_one() -> None:
    rng = np.random.default_rng(0)
    # Each target has one source that is its own; the others bring nothing but noise.
    nearer = 0.01 * rng.normal(size=(6, 5)) + np.eye(6, 5)
    index = pd.MultiIndex.from_product([list("abcdef"), list("vwxyz")], names=["source", "output"])
    value = 0.1 * nearer + 0.002 * rng.normal(size=nearer.shape)
    known = pd.DataFrame({"value": value.ravel(), "se": 0.002, "metric": "r2"}, index).reset_index()
    features = pd.DataFrame({"nearer": nearer.ravel()}, index).reset_index()
    found = left_out(known, features)
    own = found[found["value"] > 0.05]
    assert len(own) == 5
    assert np.abs(own["predicted"] - own["value"]).max() < 0.03
    assert ((own["low"] <= own["value"]) & (own["value"] <= own["high"])).all()
