"""Fits of mixtures: known laws are found, intervals hold what they say, any table is read right or refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from corpuscle.core.components import find, names
from corpuscle.core.errors import InputError
from corpuscle.mixture.fitting import SURROGATES, fit
from corpuscle.mixture.jackknife import jackknife_plus
from corpuscle.mixture.kernel_regression import LEVEL, NOISE_S, fit_kernels
from corpuscle.mixture.least_squares import Prior, _solve
from corpuscle.mixture.surrogate import Runs, Surrogate
from corpuscle.mixture.surrogates import log_linear, many_kinds, saturating
from corpuscle.mixture.surrogates.gaussian_process import matern
from corpuscle.mixture.table import laid_out
from repository import ROOT

REFERENCE = ROOT.parent / "shared" / "reference"
RNG = np.random.default_rng(0)
BUILT_INS = [name for name in names(Surrogate) if name != "trees"]


def mixtures(n: int, n_sources: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(n_sources), size=n)


def losses(weights: np.ndarray) -> np.ndarray:
    """Two outputs, each of which has a source that helps it most."""
    return np.column_stack([
        0.2 + (0.1 + weights @ [1.0, 0.5, 0.2, 0.0]) ** -0.5, 3 + np.exp(-2 * weights @ [0.0, 0.2, 0.5, 1.0])
    ])  # fmt: skip


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([stats.spearmanr(a, b).statistic for a, b in zip(one.T, other.T, strict=True)]))


@pytest.mark.parametrize("name", BUILT_INS)
def test_every_surrogate_ranks_what_is_smooth_and_survives_the_rest(name: str) -> None:
    weights, new = mixtures(30), mixtures(50, seed=1)
    scores = losses(weights)
    standard = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    used = np.ones((3, 30), bool)
    used[1, :5] = used[2, 20:] = False
    scores_RO = standard.copy()
    scores_RO[3, 0] = np.nan
    predict = find(Surrogate, name)().fit(Runs(weights, scores_RO, used))
    found = predict(new)
    assert found.shape == (3, 50, 2)
    assert np.isfinite(found).all()
    assert correlation(found[0], losses(new)) > 0.9
    assert np.array_equal(predict(new, 1), found[:1])
    # A fit without some runs is the fit of the others.
    alone = find(Surrogate, name)().fit(Runs(weights[used[2]], scores_RO[used[2]], np.ones((1, 20), bool)))
    assert np.allclose(alone(new)[0], found[2], atol=0.02)


def test_trees_without_lightgbm_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match=r"corpuscle\[trees\]"):
        fit(mixtures(8), losses(mixtures(8)), surrogates=["trees"])


def test_trees_predict_what_they_are_asked_for() -> None:
    pytest.importorskip("lightgbm")
    weights, new = mixtures(30), mixtures(20, seed=1)
    predict = find(Surrogate, "trees")().fit(Runs(weights, losses(weights), np.ones((2, 30), bool)))
    assert predict(new).shape == (2, 20, 2)
    assert correlation(predict(new, 1)[0], losses(new)) > 0.5


@pytest.mark.parametrize("module", [saturating, log_linear])
def test_a_laws_slopes_are_those_of_finite_differences(module) -> None:
    weights, n = mixtures(6), {saturating: 8, log_linear: 6}[module]
    parameters = 0.3 * np.random.default_rng(2).standard_normal((1, n))
    _, slopes = module._law(parameters, weights)
    for at in range(n):
        step = np.zeros((1, n))
        step[0, at] = 1e-6
        rise = module._law(parameters + step, weights)[0] - module._law(parameters - step, weights)[0]
        assert np.allclose(slopes[0, :, at], rise[0] / 2e-6, atol=1e-7)


def test_the_optimum_is_that_of_scipy() -> None:
    weights, noise = mixtures(20), 0.03
    above = losses(weights)[:, 0]
    above = (above - above.min()) / above.std()
    prior = Prior(np.r_[np.log(0.3), 0.5, np.zeros(4)], np.r_[1.0, 3.0, np.full(4, 5.0)])
    known = np.ones((1, 20))
    ours, _ = _solve(log_linear._law, prior, (weights, above[None], known), prior.means_P[None], noise)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        values = log_linear._law(parameters[None], weights)[0][0]
        return np.r_[values - above, np.sqrt(noise) * (parameters - prior.means_P) / prior.spreads_P]

    theirs = optimize.least_squares(residuals, prior.means_P, xtol=1e-12, ftol=1e-12)
    assert (residuals(ours[0]) ** 2).sum() == pytest.approx(2 * theirs.cost, rel=1e-4)


def test_the_gaussian_process_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, new = mixtures(15), mixtures(10, seed=1)
    scores = losses(weights)[:, :1]
    scores = (scores - scores.mean()) / scores.std()
    monkeypatch.setattr("corpuscle.mixture.kernel_regression.NOISE_S", NOISE_S[7:8])
    found = fit_kernels([lambda a, b: matern(a, b, 0.7)], Runs(weights, scores, np.ones((1, 15), bool)))(new)
    kernel = Matern(0.7, nu=2.5) + ConstantKernel(LEVEL) + WhiteKernel(NOISE_S[7])
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(weights, scores[:, 0]).predict(new)
    assert np.allclose(found[0, :, 0], theirs, atol=1e-8)


@pytest.mark.parametrize(("shape", "amount"), [(0.3, 3.0), (1.0, 30.0)])
def test_the_covariance_of_many_kinds_is_that_of_kinds_that_are_drawn(shape: float, amount: float) -> None:
    rng = np.random.default_rng(4)
    weights, others = mixtures(3, seed=1), mixtures(2, seed=2)
    kinds = rng.gamma(shape, amount / shape, (200_000, 4))
    equal = np.exp(-kinds.mean(axis=1))
    better, better_too = (equal - np.exp(-one @ kinds.T) for one in (weights, others))
    expected = better @ better_too.T / len(kinds)
    expected += many_kinds.ALIKE * np.outer(better.mean(axis=1), better_too.mean(axis=1))
    found = many_kinds._alike(weights, others, shape, amount, 1.0)
    assert np.allclose(found, expected, atol=2e-3)


def test_sources_that_teach_some_of_the_same_are_what_many_kinds_is_for() -> None:
    found: dict[str, list[float]] = {"many_kinds": [], "gaussian_process": [], "additive_powers": [], "saturating": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        taught, needed = rng.dirichlet(np.full(20, 0.3), 8), rng.dirichlet(np.full(20, 0.5), 3)
        weights, new = mixtures(32, 8, seed), mixtures(200, 8, 10 + seed)
        loss, loss_there = (-np.log1p(one @ taught / 0.02) @ needed.T for one in (weights, new))
        loss = (loss - loss.mean(axis=0)) / loss.std(axis=0)
        for name, values in found.items():
            predict = find(Surrogate, name)().fit(Runs(weights, loss, np.ones((1, 32), bool)))
            values.append(correlation(predict(new)[0], loss_there))
    mean = {name: np.mean(values) for name, values in found.items()}
    assert mean.pop("many_kinds") > max(mean.values()) + 0.02


def test_jackknife_plus_is_its_definition() -> None:
    rng = np.random.default_rng(3)
    left_out, residuals = rng.normal(size=(19, 4, 1)), np.abs(rng.normal(size=(19, 1)))
    low, high = jackknife_plus(left_out, residuals, np.ones((19, 1)), 0.9)
    assert np.allclose(high[:, 0], np.sort(left_out[:, :, 0] + residuals, axis=0)[17])
    assert np.allclose(low[:, 0], np.sort(left_out[:, :, 0] - residuals, axis=0)[1])
    assert np.isinf(jackknife_plus(left_out[:8], residuals[:8], np.ones((8, 1)), 0.9)[1]).all()
    # Runs of one mixture count as one.
    twice = [np.repeat(one, 2, axis=0) for one in (left_out, residuals)]
    assert np.allclose(jackknife_plus(*twice, np.full((38, 1), 0.5), 0.9)[1], high)


def test_intervals_hold_new_runs_as_often_as_they_say() -> None:
    held = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weights, new = mixtures(24, seed=seed), mixtures(60, seed=100 + seed)
        noise = 0.1 * losses(weights).std(axis=0)
        fitted = fit(weights, losses(weights) + noise * rng.standard_normal((24, 2)))
        _, low, high = fitted.predict(new)
        actual = losses(new) + noise * rng.standard_normal((60, 2))
        held.append(((low <= actual) & (actual <= high)).mean())
    assert 0.85 < np.mean(held) < 0.97


def test_it_is_the_same_whatever_the_order_unit_and_direction() -> None:
    weights, new = mixtures(16), mixtures(5, seed=1)
    scores = losses(weights)
    frame = pd.DataFrame(weights, columns=list("abcd")).assign(run=[f"r{at}" for at in range(16)])
    score_frame = pd.DataFrame(scores, columns=["x", "y"]).assign(run=frame["run"])
    mean = np.asarray(fit(frame, score_frame).predict(pd.DataFrame(new, columns=list("abcd"))).mean)
    turned = fit(frame[["d", "run", "b", "a", "c"]], score_frame.sample(frac=1, random_state=0))
    shuffled = np.asarray(turned.predict(pd.DataFrame(new, columns=list("abcd"))[["c", "a", "d", "b"]]).mean)
    assert np.allclose(shuffled, mean, atol=1e-3)
    other = fit(100 * weights, -1e6 * scores, better="higher").predict(100 * new).mean
    assert np.allclose(other / -1e6, mean, atol=1e-4)


def test_repeats_and_gaps_are_what_they_are() -> None:
    weights = np.repeat(mixtures(10), 2, axis=0)
    scores = losses(weights)
    scores[4, 0] = np.nan
    table = laid_out(weights, scores)
    assert table.n_mixtures == 10
    assert table.mixture_R.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert table.notes == ("1 of 20 scores of output 1 is missing",)
    fitted = fit(weights, scores)
    # Both runs of a mixture are left out together, and so predicted alike.
    assert np.allclose(fitted.left_out[::2], fitted.left_out[1::2])
    assert np.isfinite(fitted.left_out).all()


def test_more_sources_than_runs_constant_empty_and_huge_outputs() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(40, 0.2), size=14)
    scores = np.column_stack([weights[:, 0], np.full(14, 7.0), np.full(14, np.nan), 1e30 * weights[:, 1]])
    scores[:4, 2] = 1.0
    mean, low, high = fit(weights, scores).predict(weights)
    assert np.isnan(mean[:, 2]).all()
    assert (mean[:, 1] == 7).all()
    assert (low[:, 1] == 7).all()
    assert (high[:, 1] == 7).all()
    assert np.isfinite(mean[:, [0, 3]]).all()


GOOD = mixtures(8)
REFUSED = {
    "one source": (np.ones((8, 1)), GOOD[:, 0], "two sources"),
    "few mixtures": (np.repeat(GOOD[:4], 2, axis=0), GOOD[:, 0], "at least 5 different mixtures"),
    "no sum": (GOOD * 0.7, GOOD[:, 0], "sum to 0.7"),
    "one row": (np.vstack([GOOD[:7], 100 * GOOD[7:]]), GOOD[:, 0], "row 8"),
    "negative": (GOOD - [[0.5, -0.5, 0, 0]], GOOD[:, 0], "from 0 on"),
    "missing weight": (np.where(GOOD.max() == GOOD, np.nan, GOOD), GOOD[:, 0], "from 0 on"),
    "lengths": (GOOD, GOOD[:7, 0], "8 rows of weights and 7 of scores"),
    "infinite": (GOOD, np.r_[np.inf, np.ones(7)], "diverged"),
    "text": (GOOD, np.array(["a"] * 8), "expected a number"),
    "cube": (GOOD[None], GOOD[:, 0], "array of shape"),
    "no rows": (GOOD[:0], GOOD[:0, 0], "at least 5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_in_words(case: str) -> None:
    weights, scores, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        fit(weights, scores)


def test_names_that_do_not_match_are_refused() -> None:
    frame = pd.DataFrame(GOOD, columns=list("abcd"))
    scores = pd.DataFrame({"run": list("abcdefgh"), "x": GOOD[:, 0]})
    with pytest.raises(InputError, match="no row of weights with the same run"):
        fit(frame.assign(run=list("abcdefgx")), scores)
    with pytest.raises(InputError, match="names each mixture"):
        fit(frame.assign(run="a"), scores)
    with pytest.raises(InputError, match="no output 'z'"):
        fit(frame, scores[["x"]], better={"x": "lower", "z": "lower"})
    with pytest.raises(InputError, match="lower or higher"):
        fit(frame, scores[["x"]], better="best")
    with pytest.raises(InputError, match="no source 'e'"):
        fit(frame, scores[["x"]]).predict(pd.DataFrame({"e": [1.0]}))
    with pytest.raises(InputError, match="no surrogate"):
        fit(frame, scores[["x"]], surrogates=["lines"])


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published tables are not here")
def test_published_tables_are_ranked_from_few_runs() -> None:
    """One subset of the larger benchmark (`benchmarks/mixture.py`), whose thresholds hold for the mean of five."""
    folder: Path = REFERENCE / "regmix"
    tables = [pd.read_csv(folder / f"{kind}_1m.csv").drop(columns="index") for kind in (
        "train_mixture", "train_pile_loss", "test_mixture", "test_pile_loss")]  # fmt: skip
    rows = np.random.default_rng(0).choice(512, 32, replace=False)
    fitted = fit(tables[0].iloc[rows], tables[1].iloc[rows])
    mean, low, high = map(np.asarray, fitted.predict(tables[2]))
    actual = tables[3].to_numpy()
    assert correlation(mean, actual) > 0.945
    assert 0.85 < ((low <= actual) & (actual <= high)).mean() < 0.95
    assert set(fitted.shares) == set(SURROGATES)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published tables are not here")
def test_the_held_out_losses_of_sldbench_are_predicted() -> None:
    found, actual = [], []
    for parts in json.loads((REFERENCE / "sldbench_domain_mixture.json").read_text(encoding="utf-8")).values():
        if parts["eval"]:
            weights, scores, new, losses_there = (
                np.array([run[key] for run in parts[part]])
                for part in ("train", "eval")
                for key in ("proportions", "loss")
            )
            found.append(fit(weights, scores).predict(new).mean)
            actual.append(losses_there)
    known = np.concatenate(actual)
    assert 1 - ((np.concatenate(found) - known) ** 2).sum() / ((known - known.mean()) ** 2).sum() > 0.996


@pytest.mark.parametrize("seed", [None, -1, 0.5, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(InputError, match="seed: expected a whole number of 0 or more; got"):
        fit(mixtures(10), mixtures(10).sum(axis=1), seed=seed)
