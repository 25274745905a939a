"""Fronts: ends and middle are found where scores need different sources; else it is said that nothing is traded."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import InputError
from corpuscle.mixture import Utility, assess, fit, front, next_runs
from corpuscle.mixture.assessing import Assessment
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.surrogate import Array

QUICK = ("additive_powers", "gaussian_process")
FRONT = Utility(pareto=True)
SOURCES = ["blood", "lung", "skin"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few candidates."""
    for name, number in (("N_WIDE", 400), ("N_NEAR", 200), ("N_DRAWN", 80)):
        monkeypatch.setattr(f"corpuscle.mixture.candidates.{name}", number)


def table(kind: str, seed: int = 0, noise: float = 0.02) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two runs each of 16 mixtures; higher is better in A, lower in B."""
    rng = np.random.default_rng(seed)
    weights = np.repeat(rng.dirichlet(np.ones(3), 16), 2, axis=0)
    blood, lung, _ = weights.T
    scores: dict[str, list[Array]] = {
        "opposed": [blood**0.5, lung**0.5],
        "exactly opposed": [blood, -blood],
        "alike": [blood**0.5 + lung**0.5, 3 * (blood**0.5 + lung**0.5)],
        "noise": [*rng.normal(size=(2, 32))],
        "half noise": [blood**0.5, 10 * rng.normal(size=32)],
    }
    found = np.column_stack(scores[kind]) + noise * rng.standard_normal((32, 2))
    return pd.DataFrame(weights, columns=SOURCES), pd.DataFrame(found * [1, -1], columns=["A", "B"])


def fitted(kind: str, seed: int = 0) -> FittedMixture:
    return fit(*table(kind, seed), better={"A": "higher", "B": "lower"}, surrogates=QUICK)


def assessed(kind: str, seed: int = 0) -> Assessment:
    return assess(fitted(kind, seed), FRONT)


def test_both_ends_and_the_middle_are_found() -> None:
    found = assessed("opposed")
    assert found.advice.startswith("A and B trade off. Best for A: ")
    assert found.traded.keys() == {"A", "B"}
    assert found.front.loc[found.traded["A"], "blood"] > 0.85
    assert found.front.loc[found.traded["B"], "lung"] > 0.85
    assert found.front.loc["balanced", ["blood", "lung"]].tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    # In their own units, of which the second is better where it is lower.
    assert found.front.loc["balanced", ["A", "B"]].tolist() == pytest.approx([0.7, -0.7], abs=0.08)
    for name in ("A", "B"):
        assert (found.front[f"{name} low"] <= found.front[name]).all()
        assert (found.front[name] <= found.front[f"{name} high"]).all()
    assert (found.front["skin"].iloc[:3] < 0.1).all()
    assert found.front["on_front"].between(0, 1).all()
    between = found.front[found.front.index.str.startswith("between")]
    assert between["A"].is_monotonic_decreasing
    assert between["B"].is_monotonic_decreasing
    assert list(found.credible.index) == list(found.front.index)
    assert found.ranges["best"].tolist() == found.front.loc["balanced", SOURCES].tolist()


def test_what_trades_exactly_leaves_nothing_to_rank_in_the_mean_and_has_a_front() -> None:
    known = fitted("exactly opposed")
    assert assess(known).abstains
    found = assess(known, FRONT)
    assert not found.abstains
    assert found.front.loc[found.traded["A"], "blood"] > 0.9
    assert found.front.loc[found.traded["B"], "blood"] < 0.1


def test_one_mixture_that_is_best_in_all_is_said_to_be() -> None:
    for seed in range(3):
        found = assessed("alike", seed)
        assert found.advice.startswith("Train on ")
        assert "no trade-off between A and B is shown" in found.advice
        assert found.traded == {}
        assert found.front.loc["balanced", ["blood", "lung"]].tolist() == pytest.approx([0.5, 0.5], abs=0.12)


def test_without_two_scores_that_can_be_ranked_there_is_no_front() -> None:
    for seed in range(3):
        found = assessed("noise", seed)
        assert found.abstains
        assert found.advice.startswith("No advice: a front needs two scores")
        assert found.front.empty
        half = assessed("half noise", seed)
        assert half.abstains
        assert "but A, which can be chosen by alone" in half.advice


def test_a_score_that_cannot_be_ranked_is_left_out_of_the_front_and_named() -> None:
    weights, scores = table("opposed")
    scores["C"] = np.random.default_rng(1).normal(size=32)
    found = assess(fit(weights, scores, better={"A": "higher", "B": "lower", "C": "lower"}, surrogates=QUICK), FRONT)
    assert found.advice.endswith("Left out, as mixtures are not ranked by them: C.")
    assert "C" not in found.front.columns


def test_rounds_look_at_all_of_the_front() -> None:
    more = next_runs(fitted("opposed"), 8, FRONT, rng=np.random.default_rng(0), repeats=2)
    assert more.index.tolist()[5:] == ["new 6", "again 1", "again 2"]
    assert np.allclose(more.sum(axis=1), 1)
    assert np.ptp(more["blood"].to_numpy()[:6]) > 0.5
    pd.testing.assert_frame_equal(
        more, next_runs(fitted("opposed"), 8, FRONT, rng=np.random.default_rng(0), repeats=2)
    )  # fmt: skip


def test_the_front_of_candidates_is_that_of_the_truth() -> None:
    found = front(fitted("opposed"), rng=np.random.default_rng(0), caps={"blood": 0.6})
    best_NK = found.weights_NK[found.best_W]
    assert best_NK[:, 0].max() <= 0.6 + 1e-6
    assert best_NK[:, 0].max() > 0.5
    # What has a third of skin is dominated by the same without it.
    is_open = found.open()
    assert not is_open[found.weights_NK[:, 2] > 0.4].any()
    assert is_open[found.best_W].all()
    assert 0 < found.regret() < 0.5


def test_what_too_few_mixtures_have_is_no_front_and_is_named_in_advice() -> None:
    weights, scores = table("opposed")
    scores.loc[8:, "B"] = np.nan
    known = fit(weights, scores, better={"A": "higher", "B": "lower"}, surrogates=QUICK)
    assert "B: 4 different mixtures have a score" in assess(known, FRONT).advice
    alone = assess(known)
    assert alone.advice.startswith("Train on ")
    assert alone.advice.endswith("It does not count B, of which fewer than 5 mixtures have a score.")


def test_a_front_needs_two_scores_and_is_not_of_the_worst() -> None:
    known = fitted("opposed")
    with pytest.raises(InputError, match="two outputs or more"):
        assess(known, Utility({"A": 1.0}, pareto=True))
    with pytest.raises(InputError, match="two outputs or more"):
        front(known, Utility({"A": 1.0}, pareto=True), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="choose one"):
        Utility(worst=True, pareto=True)


def test_the_command_prints_and_writes_the_front(tmp_path: Path) -> None:
    weights, scores = table("opposed")
    weights.to_csv(tmp_path / "w.csv", index=False)
    scores.to_csv(tmp_path / "s.csv", index=False)
    given = ["mixture", str(tmp_path / "w.csv"), str(tmp_path / "s.csv"), "--except", "A", "--pareto"]
    done = CliRunner().invoke(app, [*given, "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "not shown to be dominated" in done.output
    assert "A and B trade off" in done.output
    assert pd.read_csv(tmp_path / "out" / "front.csv")["mixture"].iloc[0] == "balanced"
    both = CliRunner().invoke(app, [*given, "--worst"])
    assert isinstance(both.exception, InputError)
