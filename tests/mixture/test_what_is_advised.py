"""What advice may be about: mixtures within the caps, of sources that some run has, by outputs that differ."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import InputError
from corpuscle.mixture import Utility, assess, contest, fit, next_runs
from corpuscle.mixture.effects import effects
from corpuscle.mixture.gate import merit

SOURCES = ["blood", "lung", "skin", "never"]
QUICK = ("additive_powers",)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("N_WIDE", 300), ("N_NEAR", 150), ("N_DRAWN", 60)):
        monkeypatch.setattr(f"corpuscle.mixture.candidates.{name}", number)


@pytest.fixture
def weights() -> pd.DataFrame:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 10)
    return pd.DataFrame(np.column_stack([rows, np.zeros(10)]), columns=SOURCES)


def loss(weights: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"loss": 1 / (0.1 + weights.to_numpy() @ [1.0, 0.5, 0.2, 0.0])})


@pytest.mark.parametrize("pareto", [False, True])
def test_a_source_that_no_run_has_is_in_no_advice(weights: pd.DataFrame, *, pareto: bool) -> None:
    scores = loss(weights).assign(other=1 / (0.1 + weights["skin"]))
    fitted = fit(weights, scores, surrogates=QUICK)
    also = pd.DataFrame([[0.25] * 4, [0.5, 0.5, 0, 0]], ["natural", "plain"], SOURCES)
    utility = Utility(None if pareto else {"loss": 1.0}, pareto=pareto)
    found = assess(fitted, utility, also=also)
    assert not found.abstains, found.advice
    assert found.ranges.loc["never"].tolist() == [0, 0, 0]
    assert (found.credible["never"] == 0).all()
    assert "never" not in found.advice
    assert "natural" not in found.credible.index
    assert any("natural" in note for note in found.notes)
    assert (next_runs(fitted, 3, utility, rng=np.random.default_rng(0))["never"] == 0).all()


def test_caps_that_ask_for_a_source_that_no_run_has_leave_no_advice(weights: pd.DataFrame) -> None:
    fitted = fit(weights, loss(weights), surrogates=QUICK)
    caps = {"blood": 0.2, "lung": 0.2, "skin": 0.2}
    found = assess(fitted, caps=caps)
    assert found.abstains
    assert found.advice.startswith("No advice: no mixture within the caps is without never")
    with pytest.raises(InputError, match="without never"):
        contest(fitted, rng=np.random.default_rng(0), caps=caps)


def test_caps_that_allow_one_mixture_are_said(weights: pd.DataFrame) -> None:
    caps = dict.fromkeys(SOURCES[:3], 1 / 3) | {"never": 0.0}
    found = assess(fit(weights, loss(weights), surrogates=QUICK), caps=caps)
    assert found.advice == "Train on 33 % blood, 33 % lung, 33 % skin: the limits allow no other mixture."


def test_nothing_is_known_of_what_a_source_does_that_no_run_has(weights: pd.DataFrame) -> None:
    fitted = fit(weights, loss(weights), surrogates=QUICK)
    _, low, high = map(np.asarray, fitted.predict([[0.5, 0.2, 0.3, 0.0], [0.5, 0.2, 0.2, 0.1]]))
    assert np.isfinite([low[0, 0], high[0, 0]]).all()
    assert (low[1, 0], high[1, 0]) == (-np.inf, np.inf)
    changes = effects(fitted, Utility(), {"blood": 0.5, "lung": 0.5})
    assert changes.loc["never"].isna().all()
    assert changes["more"].drop("never").notna().all()


def test_given_mixtures_beyond_the_caps_are_not_advised(weights: pd.DataFrame) -> None:
    fitted = fit(weights, loss(weights), surrogates=QUICK)
    also = pd.DataFrame([[1.0, 0, 0, 0], [0.2, 0.8, 0, 0]], ["all blood", "within"], SOURCES)
    found = assess(fitted, caps={"blood": 0.2}, also=also)
    assert found.ranges.loc["blood", "most"] <= 0.2 + 1e-6
    assert "all blood" not in found.credible.index
    assert "within" in found.credible.index
    assert any("all blood" in note for note in found.notes)
    assert assess(fitted, caps={"blood": 0.2}, also=also.iloc[:1]).ranges.loc["blood", "most"] <= 0.2 + 1e-6


def test_the_command_says_what_it_does_not_compare(weights: pd.DataFrame, tmp_path: Path) -> None:
    one, other = tmp_path / "weights.csv", tmp_path / "scores.csv"
    weights.to_csv(one, index=False)
    loss(weights).to_csv(other, index=False)
    cells = [f"--cells={name}=100" for name in SOURCES]
    caps = [f"--cap={name}=0.2" for name in SOURCES[:3]]
    done = CliRunner().invoke(app, ["mixture", str(one), str(other), *cells, *caps], catch_exceptions=False)
    assert "Note: not compared" in done.output
    assert "No advice: no mixture within the caps" in " ".join(done.output.split())


@pytest.mark.parametrize("worst", [False, True])
@pytest.mark.parametrize("constant", [[7.0] * 10, [0.3, 0.1 + 0.2] * 5], ids=["equal", "rounded"])
def test_an_output_that_is_the_same_for_all_does_not_count(
    weights: pd.DataFrame, constant: list[float], *, worst: bool
) -> None:
    scores = loss(weights)
    both = fit(weights, scores.assign(same=constant), surrogates=QUICK)
    alone = fit(weights, scores, surrogates=QUICK)
    utility = Utility(worst=worst)
    assert utility.counted(both.table) == ["loss"]
    assert utility.constant(both.table) == ["same"]
    assert utility.lacking(both.table) == []
    assert np.allclose(utility.of(both.table, both.table.scores_RO), utility.of(alone.table, alone.table.scores_RO))
    found = assess(both, utility)
    assert any("same is the same for all mixtures" in note for note in found.notes)
    assert np.allclose(found.ranges, assess(alone, utility).ranges)
    better, ones = {"loss": "lower", "same": "lower"}, {"loss": 1.0, "same": 1.0}
    trials = scores.assign(same=constant, mixture=range(10))
    assert np.allclose(merit(trials, better, ones, worst=worst), merit(trials, better, {"loss": 1.0}, worst=worst))


def test_a_weight_of_0_for_all_is_said(weights: pd.DataFrame) -> None:
    fitted = fit(weights, loss(weights), surrogates=QUICK)
    with pytest.raises(InputError, match="no output has a weight above 0"):
        assess(fitted, Utility({"loss": 0.0}))
    with pytest.raises(InputError, match="from 0 on"):
        assess(fitted, Utility({"loss": "much"}))  # type: ignore[dict-item]
