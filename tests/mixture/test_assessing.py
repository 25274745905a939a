"""Advice: what is good is found and ties are named; where a table says nothing, there is no advice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle.cli import app
from corpuscle.core.errors import InputError
from corpuscle.mixture import Utility, assess, contest, fit, next_runs
from corpuscle.mixture.ranking import rank_correlation, rankings, reliability
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import laid_out
from repository import ROOT

REGMIX = ROOT.parent / "shared" / "reference" / "regmix"
SOURCES = ["blood", "lung", "skin"]
BEST = np.array([0.6, 0.4, 0.0])
# The quickest surrogates: what is tested here doesn't depend on which.
QUICK = ("additive_powers", "gaussian_process")


def scores(weights: Array, noise: float = 0.02, seed: int = 0) -> Array:
    """Higher is better, best at `BEST`; the second output is noise."""
    rng = np.random.default_rng(seed)
    good = 0.8 - ((weights - BEST) ** 2).sum(axis=1) + noise * rng.standard_normal(len(weights))
    return np.column_stack([good, rng.standard_normal(len(weights))])


@pytest.fixture(scope="module")
def weights() -> pd.DataFrame:
    rows = np.vstack([np.eye(3), np.full((1, 3), 1 / 3), np.random.default_rng(0).dirichlet(np.ones(3), 6)])
    found = pd.DataFrame(rows, columns=SOURCES)
    return pd.concat([found, found])


def test_the_best_is_found_and_its_ties_are_named(weights: pd.DataFrame) -> None:
    table = pd.DataFrame(scores(weights.to_numpy()), weights.index, ["good", "noise"])
    fitted = fit(weights.reset_index(drop=True), table.reset_index(drop=True), better="higher", surrogates=QUICK)
    also = pd.DataFrame([BEST, [0.0, 0.0, 1.0]], ["truth", "bad"], SOURCES)
    found = assess(fitted, Utility({"good": 1.0}), also=also)
    assert not found.abstains
    assert found.advice.startswith("Train on ")
    assert "truth" in found.credible.index
    assert "bad" not in found.credible.index
    assert np.abs(found.ranges["best"] - BEST).max() < 0.2
    assert (
        (found.ranges["least"] <= found.ranges["best"] + 1e-9) & (found.ranges["best"] <= found.ranges["most"] + 1e-9)
    ).all()
    card = found.scorecard
    assert card.loc["good", "rank_correlation"] > 0.8
    assert card.loc["good", "reliability"] > 0.9
    assert card.loc["good", "of_ceiling"] == pytest.approx(
        card.loc["good", "rank_correlation"] / card.loc["good", "ceiling"]
    )
    assert card.loc["good", "reason"] == ""
    assert card.loc["noise", "reason"] != ""
    assert card.loc["(utility)", "rank_correlation"] == pytest.approx(card.loc["good", "rank_correlation"])
    # What the cap forbids is not advised.
    capped = assess(fitted, Utility({"good": 1.0}), caps={"blood": 0.3})
    assert capped.ranges.loc["blood", "most"] <= 0.3 + 1e-6


def test_an_output_that_ranks_nothing_and_counts_is_named(weights: pd.DataFrame) -> None:
    good = scores(weights.to_numpy())[:, 0]
    wild = good.copy()
    wild[3] += 10 * good.std()
    table = pd.DataFrame({"good": good, "calm": good, "wild": wild})
    found = assess(fit(weights.reset_index(drop=True), table, better="higher", surrogates=QUICK))
    assert not found.abstains
    assert [note for note in found.notes if "cannot be ranked by wild alone" in note]
    assert not assess(fit(weights.reset_index(drop=True), table[["good", "calm"]], better="higher")).notes


def test_noise_leads_to_no_advice() -> None:
    advised = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fitted = fit(rng.dirichlet(np.ones(4), 20), rng.normal(size=(20, 2)), surrogates=QUICK)
        table = rankings(fitted)
        advised += int((table["reason"] == "").any())
    # At 1 % for all outputs of a table together, two of ten are one in two hundred.
    assert advised <= 1


def test_what_repeats_cannot_tell_apart_gives_no_advice() -> None:
    mixtures = np.repeat(np.random.default_rng(0).dirichlet(np.ones(3), 12), 3, axis=0)
    noisy = mixtures[:, 0] + 2 * np.random.default_rng(1).standard_normal(36)
    found = assess(fit(mixtures, noisy, surrogates=QUICK))
    assert found.abstains
    assert "reliability" in found.advice
    assert found.credible.empty
    few = assess(fit(mixtures[::3][:6], mixtures[::3][:6], surrogates=QUICK))
    assert "6 different mixtures" in few.advice


def test_reliability_is_the_share_that_is_not_noise() -> None:
    rng = np.random.default_rng(0)
    mixtures = np.repeat(rng.dirichlet(np.ones(3), 400), 3, axis=0)
    truth = np.repeat(rng.standard_normal(400), 3)
    table = laid_out(mixtures, truth + rng.standard_normal(1200))
    # Of means of three runs with noise as large as the truth: 1 / (1 + 1/3).
    assert reliability(table, table.scores_RO[:, 0]) == pytest.approx(0.75, abs=0.05)
    assert np.isnan(reliability(laid_out(mixtures[::3], truth[::3]), truth[::3]))


def test_rank_correlations_of_few_or_equal_are_unknown() -> None:
    assert np.isnan(rank_correlation(np.arange(7.0), np.arange(7.0))[0])
    assert np.isnan(rank_correlation(np.ones(9), np.arange(9.0))[0])
    assert rank_correlation(np.arange(9.0), np.r_[np.arange(8.0), np.nan]) == pytest.approx((1, 0), abs=1e-6)


def test_rounds_come_nearer_to_the_best(weights: pd.DataFrame) -> None:
    mixtures = weights.to_numpy()
    fitted = fit(mixtures, scores(mixtures)[:, :1], better="higher", surrogates=QUICK)
    more = next_runs(fitted, 5, rng=np.random.default_rng(0), repeats=2)
    assert more.index.tolist() == ["new 1", "new 2", "new 3", "again 1", "again 2"]
    assert np.allclose(more.sum(axis=1), 1)
    assert np.abs(more.to_numpy()[:3] - BEST).max(axis=1).min() < 0.15
    far = np.abs(more.to_numpy()[3:, None] - mixtures[None]).max(axis=2).min(axis=1)
    assert (far < 1e-6).all()
    one = contest(fitted, rng=np.random.default_rng(0))
    all_runs = np.vstack([mixtures, more.to_numpy()])
    all_scores = np.r_[scores(mixtures)[:, 0], scores(more.to_numpy(), seed=5)[:, 0]]
    refitted = fit(all_runs, all_scores, better="higher", surrogates=QUICK)
    two = contest(refitted, rng=np.random.default_rng(0))
    assert two.regret() < one.regret()
    assert two.tied()[two.best]
    with pytest.raises(InputError, match="repeats"):
        next_runs(fitted, 2, rng=np.random.default_rng(0), repeats=3)


def test_the_worst_output_counts_where_it_is_to() -> None:
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    table = laid_out(mixtures, np.column_stack([mixtures[:, 0], mixtures[:, 1]]), better="higher")
    mean, worst = Utility().of(table, table.scores_RO), Utility(worst=True).of(table, table.scores_RO)
    standard = (table.scores_RO - table.scores_RO.mean(axis=0)) / table.scores_RO.std(axis=0)
    assert np.allclose(mean, standard.mean(axis=1))
    assert np.allclose(worst, standard.min(axis=1))
    with pytest.raises(InputError, match="no output 'x'"):
        Utility({"x": 1.0}).of(table, table.scores_RO)
    with pytest.raises(InputError, match="from 0 on"):
        Utility({"output 1": -1.0}).of(table, table.scores_RO)
    with pytest.raises(InputError, match="no output has a weight above 0"):
        Utility({"output 1": 0.0}).of(table, table.scores_RO)


def test_the_command_says_it_and_writes_it(weights: pd.DataFrame, tmp_path: Path) -> None:
    one, other, folder = tmp_path / "weights.csv", tmp_path / "scores.parquet", tmp_path / "out"
    named = weights.reset_index(drop=True).assign(run=[f"r{at}" for at in range(len(weights))])
    (100 * named[SOURCES]).assign(run=named["run"]).to_csv(one)
    table = pd.DataFrame(scores(weights.to_numpy()), columns=["=good", "\x1b[31mnoise"]).assign(run=named["run"])
    table.sample(frac=1, random_state=0).to_parquet(other)
    arguments = ["mixture", str(one), str(other), "--better", "higher", "--of", "=good=1", "-o", str(folder)]
    cells = [f"--cells={name}={n}" for name, n in zip(SOURCES, (600, 400, 100), strict=True)]
    done = CliRunner().invoke(app, [*arguments, *cells], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Train on" in done.output
    assert "natural" in done.output
    assert "weights are percentages" in done.output
    assert "\x1b" not in done.output
    assert set(pd.read_csv(folder / "scorecard.csv")["output"]) == {"'=good", "\\x1b[31mnoise", "(utility)"}
    assert (folder / "advice.txt").read_text().startswith("Train on")
    assert pd.read_csv(folder / "credible_set.csv").columns[1:4].tolist() == ["utility", "low", "high"]


@pytest.mark.parametrize("text", ["", "a,b\n1\n0,1,2,3\n", "a,a\n1,0\n", "\x00\x01"])
def test_files_that_are_no_tables_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(text)
    done = CliRunner().invoke(app, ["mixture", str(path), str(path)])
    assert isinstance(done.exception, InputError)


def test_missing_scores_of_one_output_do_not_cost_the_runs(weights: pd.DataFrame) -> None:
    mixtures = weights.to_numpy()
    table = np.column_stack([scores(mixtures)[:, 0], scores(mixtures, seed=1)[:, 0]])
    table[::2, 0], table[1::2, 1], table[3] = np.nan, np.nan, np.nan
    found = assess(fit(mixtures, table, better="higher", surrogates=QUICK))
    assert not found.abstains
    assert found.scorecard.loc["(utility)", "n_missing"] == len(mixtures)
    assert np.abs(found.ranges["best"] - BEST).max() < 0.25


def test_equal_scores_give_no_advice() -> None:
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    found = assess(fit(mixtures, np.full((12, 2), 3.0)))
    assert found.abstains
    assert found.scorecard.loc["output 1", "reason"] == "all scores are equal"


@pytest.mark.skipif(not REGMIX.exists(), reason="the published tables are not here")
def test_permuted_scores_give_no_advice_and_published_ones_do() -> None:
    rows = np.random.default_rng(0).choice(512, 32, replace=False)
    mixtures, losses = (
        pd.read_csv(REGMIX / f"train_{name}_1m.csv").iloc[rows, 1:].to_numpy() for name in ("mixture", "pile_loss")
    )
    assert not assess(fit(mixtures, losses, surrogates=QUICK)).abstains
    for seed in range(3):
        permuted = losses[np.random.default_rng(seed).permutation(32)]
        found = assess(fit(mixtures, permuted, surrogates=QUICK))
        assert found.abstains
        assert found.scorecard["reason"].ne("").all()
