"""Which trainings were still getting better: by more than noise, and by more than seeds scatter."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.statistics.convergence import convergence


def curve(values, *, corpus="A", seed=0, model="m", quantity="elbo_validation"):
    steps = np.arange(1, len(values) + 1) * 10
    place = {"corpus": corpus, "model": model, "seed": seed, "quantity": quantity}
    return pd.DataFrame({**place, "step": steps, "epoch": steps / 10, "value": values})


def falling(total, *, noise=0.0, seed=0, level=1000.0, n=50, **place):
    """Fall steadily, by `total` over the last fifth, to a level."""
    left = total * 5 * (1 - np.arange(1, n + 1) / n)
    return curve(level + left + np.random.default_rng(seed).normal(0, noise, n), seed=seed, **place)


def test_a_steady_fall_has_not_converged_and_a_flat_curve_has() -> None:
    table = convergence(pd.concat([falling(50, noise=1), falling(0, noise=1, corpus="B")])).set_index("corpus")
    assert table["converged"].to_dict() == {"A": False, "B": True}
    assert table.loc["A", "fall"] == pytest.approx(50, abs=3)
    assert table["scatter"].isna().all()


def test_a_fall_within_the_scatter_of_seeds_counts_as_converged() -> None:
    # Seeds end 20 apart: a standard deviation of 20.
    def three(total):
        return pd.concat([falling(total, noise=0.5, seed=seed, level=1000 + 20 * seed) for seed in range(3)])

    small, large = convergence(three(10)), convergence(three(40))
    assert small["scatter"].to_numpy() == pytest.approx(20, rel=0.1)
    assert small["converged"].all()
    assert not large["converged"].any()
    assert small["fall"].to_numpy() == pytest.approx(10, abs=2)


def test_one_seed_that_went_astray_does_not_hide_the_others() -> None:
    corpora = [
        falling(40, seed=seed, level=1000 + seed + (5000 if (corpus, seed) == ("A", 2) else 0), corpus=corpus)
        for corpus in "ABC"
        for seed in range(3)
    ]
    table = convergence(pd.concat(corpora))
    assert table["scatter"].to_numpy() == pytest.approx(1)
    assert not table["converged"].any()


def test_noise_is_rarely_taken_for_a_fall() -> None:
    runs = [falling(0, noise=5, seed=seed, corpus=f"{seed}") for seed in range(400)]
    flagged = (~convergence(pd.concat(runs))["converged"]).mean()
    assert flagged < 0.06


def test_a_model_is_judged_by_its_first_quantity_on_held_out_cells() -> None:
    curves = pd.concat(
        [
            falling(50, quantity="elbo_train"),
            falling(0, quantity="elbo_validation"),
            falling(50, quantity="kl_validation"),
            falling(50, model="label", quantity="cross_entropy_validation", level=1),
            falling(50, model="no validation", quantity="elbo_train"),
            curve([3.0, 2.0, 1.0], model="few points"),
        ]
    )
    table = convergence(curves)
    assert table[["model", "quantity", "converged"]].to_numpy().tolist() == [
        ["m", "elbo", True],
        ["label", "cross_entropy", False],
    ]


def test_no_curves_no_rows() -> None:
    empty = convergence(curve([]))
    assert len(empty) == 0
    assert {"corpus", "model", "seed", "quantity", "fall", "noise", "scatter", "converged"} == set(empty)
