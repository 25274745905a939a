"""Surrogates of mixtures on public tables: ours next to a linear model and LightGBM (extra `trees`).

    python benchmarks/mixture.py --tables ../shared/reference            # all of it: a quarter of an hour on a core
    python benchmarks/mixture.py --tables ../shared/reference --only regmix
    python benchmarks/mixture.py --only permuted worlds others           # worlds need no tables
    OMP_NUM_THREADS=1 python benchmarks/mixture.py --only moments        # the moment proxy: made-up cells, one thread

Prints, for random subsets of runs, Spearman's correlation with held-out runs (mean over outputs), the share of held-out
runs within their 90 % intervals, and seconds of processor time for a fit with intervals; then whether tables whose
scores were permuted lead to abstention, how good the choice is after rounds in made-up worlds, also in worlds of other
laws, overlaps and numbers of targets than those that settings were chosen in (`others`), how often a trade-off is found
where there is one and where there is none, and how long the moment proxy of a mixture takes.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.measures.built_ins.moment_proxy import basis, forecast
from corpuscle.measures.mixed_moments import MixedMoments
from corpuscle.measures.summary import Moments
from corpuscle.mixture import Utility, assess, contest, design, fit, front, next_runs
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.ranking import ALPHA, rank_correlation

PARTS = ("regmix", "olmix", "sldbench", "permuted", "worlds", "others", "fronts", "moments")
REFERENCES = ("saturating", "log_linear", "additive_powers", "gaussian_process", "many_kinds", "linear", "trees")
# How more of a thing helps less and less; sources have 0.05 of each in the mean.
LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half at 0.05": lambda there: there / (there + 0.05),
    "exponential": lambda there: 1 - np.exp(-there / 0.05),
    "logarithm": lambda there: np.log1p(there / 0.02),
    "power": lambda there: (there + 0.01) ** 0.3,
}


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([stats.spearmanr(a, b).statistic for a, b in zip(one.T, other.T, strict=True)]))


def regmix(tables: Path, n: int, subset: int) -> list[np.ndarray]:
    names = ("train_mixture", "train_pile_loss", "test_mixture", "test_pile_loss")
    found = [pd.read_csv(tables / "regmix" / f"{name}_1m.csv").iloc[:, 1:].to_numpy() for name in names]
    rows = np.random.default_rng(subset).choice(len(found[0]), n, replace=False)
    return [found[0][rows], found[1][rows], found[2], found[3]]


def olmix(tables: Path, n: int, subset: int) -> list[np.ndarray]:
    ratios, metrics = (pd.read_csv(tables / "olmix_dclm" / f"{name}.csv").iloc[:, 1:] for name in ("ratios", "metrics"))
    joined = ratios.merge(metrics.drop(columns=["name", "index"]), on="run").drop(columns=["run", "name", "index"])
    values, order = joined.to_numpy(float), np.random.default_rng(subset).permutation(len(joined))
    k = ratios.shape[1] - 3
    return [values[order[:n], :k], values[order[:n], k:], values[order[n:], :k], values[order[n:], k:]]


def ranked(tables: Path, name: str, sizes: tuple[int, ...], subsets: int) -> None:
    draw = {"regmix": regmix, "olmix": olmix}[name]
    for n in sizes:
        rows = []
        for subset in range(subsets):
            weights, scores, new, actual = draw(tables, n, subset)
            started = time.process_time()
            fitted = fit(weights, scores)
            seconds = time.process_time() - started
            mean, low, high = fitted.predict(new)
            held = ((low <= actual) & (actual <= high)).mean(axis=0)
            row = {"average": correlation(mean, actual), "held": held.mean(), "seconds": seconds}
            rows.append(row | {one: alone(one, weights, scores, new, actual) for one in REFERENCES})
        print(name, n, "runs,", subsets, "subsets:", pd.DataFrame(rows).mean().round(3).to_dict(), flush=True)


def whole(name: str, weights: np.ndarray, scores: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the predictions of one surrogate, fitted once to all runs."""
    from corpuscle.core.components import find
    from corpuscle.mixture.surrogate import Runs, Surrogate

    centre, unit = scores.mean(axis=0), scores.std(axis=0)
    weights, new = (one / one.sum(axis=1, keepdims=True) for one in (weights, new))
    runs = Runs(weights, (scores - centre) / unit, np.ones((1, len(weights)), bool))
    return np.asarray(find(Surrogate, name)().fit(runs)(new)[0] * unit + centre)


def alone(name: str, weights: np.ndarray, scores: np.ndarray, new: np.ndarray, actual: np.ndarray) -> float:
    try:
        return correlation(whole(name, weights, scores, new), actual)
    except InputError:
        return float("nan")


def sldbench(tables: Path) -> None:
    sizes = json.loads((tables / "sldbench_domain_mixture.json").read_text(encoding="utf-8"))
    found: dict[str, list[np.ndarray]] = {}
    for parts in sizes.values():
        if not parts["eval"]:
            continue
        weights, scores, new, actual = (
            np.array([run[key] for run in parts[part]]) for part in ("train", "eval") for key in ("proportions", "loss")
        )
        found.setdefault("actual", []).append(actual.ravel())
        found.setdefault("average", []).append(fit(weights, scores).predict(new).mean.ravel())
        for name in REFERENCES:
            try:
                found.setdefault(name, []).append(whole(name, weights, scores, new).ravel())
            except InputError:
                found.setdefault(name, []).append(np.full(actual.size, np.nan))
    pooled = {name: np.concatenate(values) for name, values in found.items()}
    actual = pooled.pop("actual")
    spread = ((actual - actual.mean()) ** 2).sum()
    r2 = {name: round(1 - ((values - actual) ** 2).sum() / spread, 5) for name, values in pooled.items()}
    print("sldbench, pooled R² over", len(actual), "held-out losses:", r2, flush=True)


def ranks(weights: np.ndarray, scores: np.ndarray) -> float:
    """Return the p value by which the advice is given or not."""
    posterior = Posterior(fit(weights, scores), Utility())
    table = posterior.fitted.table
    left_out, actual = (table.means_MO(one[:, None])[:, 0] for one in (posterior.left_out_R, posterior.utility_R))
    return rank_correlation(left_out, actual)[1]


def permuted(tables: Path, trials: int) -> None:
    for n in (16, 32):
        true, false = [], []
        for trial in range(trials):
            weights, scores, _, _ = regmix(tables, n, trial)
            true.append(ranks(weights, scores) <= ALPHA)
            false.append(ranks(weights, scores[np.random.default_rng(trial).permutation(n)]) <= ALPHA)
        print(f"regmix, {n} runs, {trials} tables: advice on {np.mean(true):.0%}, on permuted {np.mean(false):.1%}")


class World:
    """Sources overlap in what they teach, targets need some of it, and more of one thing helps less and less."""

    def __init__(
        self,
        seed: int,
        n_sources: int = 8,
        *,
        n_targets: int = 5,
        n_things: int = 20,
        overlap: float = 0.3,
        law: str = "half at 0.05",
    ) -> None:
        rng = np.random.default_rng(seed)
        self.sources = [f"source {at + 1}" for at in range(n_sources)]
        self.law = LAWS[law]
        self.taught = rng.dirichlet(np.full(n_things, overlap), n_sources)
        by_sources = rng.dirichlet(np.full(n_sources, 0.5), n_targets) @ self.taught
        self.needed = 0.6 * by_sources + 0.4 * rng.dirichlet(np.full(n_things, 0.3), n_targets)
        self.spread = self.scores(rng.dirichlet(np.ones(n_sources), 500)).std(axis=0)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Return true scores; higher is better."""
        return np.asarray(self.law(weights @ self.taught) @ self.needed.T)

    def run(self, weights: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
        """Return scores as runs give them; noise in standard deviations over mixtures."""
        scores = self.scores(weights)
        return np.asarray(scores + noise * self.spread * rng.standard_normal(scores.shape))

    def utility(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of true scores, each over its spread."""
        return np.asarray((self.scores(weights) / self.spread).mean(axis=1))

    def best_and_median(self, rng: np.random.Generator) -> tuple[float, float]:
        pool = np.vstack([rng.dirichlet(np.full(len(self.sources), strength), 20_000) for strength in (0.3, 1)])
        values = self.utility(pool)
        best = pool[values.argmax()]
        for _ in range(40):
            near = np.maximum(best + 0.03 * rng.standard_normal((500, len(best))), 0)
            near = np.vstack([best, near / near.sum(axis=1, keepdims=True)])
            best = near[self.utility(near).argmax()]
        return float(self.utility(best[None])[0]), float(np.median(values))


def searched(world: World, noise: float, rounds: tuple[int, ...], rng: np.random.Generator) -> tuple[float, float]:
    """Return the regrets of the choice after a design of 16 and rounds, and of random search at the same cost."""
    weights = design(world.sources, 16, rng=rng).runs.to_numpy()
    scores = world.run(weights, noise, rng)
    for n in rounds:
        more = next_runs(fit(weights, scores, better="higher"), n, rng=rng).to_numpy()
        weights, scores = np.vstack([weights, more]), np.vstack([scores, world.run(more, noise, rng)])
    found = contest(fit(weights, scores, better="higher"), rng=rng)
    best, median = world.best_and_median(rng)
    drawn = rng.dirichlet(np.ones(len(world.sources)), len(weights))
    luckiest = drawn[(world.run(drawn, noise, rng) / world.spread).mean(axis=1).argmax()]
    pair = world.utility(np.stack([found.weights_NK[found.best], luckiest]))
    return tuple(((best - pair) / (best - median)).tolist())


def regrets(name: str, made: Callable[[int], World], noise: float, rounds: tuple[int, ...], n_worlds: int) -> None:
    # Settings were chosen on the worlds 0 to 60: these are others.
    seeds = range(100, 100 + n_worlds)
    found = np.array([searched(made(seed), noise, rounds, generator(seed, "world")) for seed in seeds])
    shares = [f"at most {most} in {(found[:, 0] <= most).mean():.0%}" for most in (0.05, 0.1)]
    print(
        f"{n_worlds} worlds of {name}, noise {noise} SD, 16 runs and rounds of {rounds}:",
        f"regret {found[:, 0].mean():.3f}, {', '.join(shares)}; random search {found[:, 1].mean():.3f}",
        flush=True,
    )


def worlds(n_worlds: int, rounds: tuple[int, ...]) -> None:
    for n_sources, noise in ((8, 0.1), (5, 0.1), (8, 0.3)):
        regrets(f"{n_sources} sources", partial(World, n_sources=n_sources), noise, rounds, n_worlds)


def others(n_worlds: int, rounds: tuple[int, ...]) -> None:
    varied: list[dict[str, Any]] = [{"law": law} for law in list(LAWS)[1:]]
    varied += [{"overlap": 0.1}, {"overlap": 1.0}, {"n_targets": 1}, {"n_targets": 10}]
    for one in varied:
        regrets(f"8 sources, {one}", partial(World, **one), 0.1, rounds, n_worlds)


# The quickest surrogates: fronts are found many times.
QUICK = ("additive_powers", "gaussian_process")


def traded(seed: int, noise: float, n_outputs: int, *, opposed: bool) -> str:
    """Say what a table of 16 mixtures of four sources, run twice, is answered with."""
    rng = np.random.default_rng(seed)
    weights = np.repeat(rng.dirichlet(np.ones(4), 16), 2, axis=0)
    rooted = np.sqrt(weights)
    scores = rooted[:, :n_outputs] if opposed else np.tile(rooted[:, :2].sum(axis=1), (n_outputs, 1)).T
    scores = scores + noise * scores.std(axis=0) * rng.standard_normal(scores.shape)
    found = assess(fit(weights, scores, better="higher", surrogates=QUICK), Utility(pareto=True))
    return "no advice" if found.abstains else "trade-off" if found.traded else "no trade-off"


def front_searched(seed: int, noise: float, n_sources: int, n_targets: int, *, pareto: bool) -> list[float]:
    """Return the regret of the front after a design of 16 and two rounds: of any weights, of the worst end."""
    world, rng = World(seed, n_sources, n_targets=n_targets), generator(seed, "front")
    weights = design(world.sources, 16, rng=rng).runs.to_numpy()
    scores = world.run(weights, noise, rng)
    for n in (8, 8):
        fitted = fit(weights, scores, better="higher", surrogates=QUICK)
        more = next_runs(fitted, n, Utility(pareto=pareto), rng=rng).to_numpy()
        weights, scores = np.vstack([weights, more]), np.vstack([scores, world.run(more, noise, rng)])
    found = front(fit(weights, scores, better="higher", surrogates=QUICK), rng=rng)
    ways = np.vstack([np.eye(n_targets), np.random.default_rng(2).dirichlet(np.ones(n_targets), 100)])
    pool = np.vstack([np.random.default_rng(1).dirichlet(np.full(n_sources, one), 20_000) for one in (0.1, 0.3, 1)])
    values = world.scores(pool) / world.spread @ ways.T
    middle = np.median(values, axis=0)
    for step in range(12):
        top = pool[values.argmax(axis=0)]
        moved = np.repeat(top, 60, axis=0)
        near = np.maximum(moved + 0.03 * np.random.default_rng(step).standard_normal(moved.shape), 0)
        pool = np.vstack([top, near / near.sum(axis=1, keepdims=True)])
        values = world.scores(pool) / world.spread @ ways.T
    got = (world.scores(found.weights_NK[found.best_W]) / world.spread @ ways.T).max(axis=0)
    regret = (values.max(axis=0) - got) / (values.max(axis=0) - middle)
    return [float(regret.mean()), float(regret[:n_targets].max())]


def fronts(n_worlds: int) -> None:
    for opposed in (True, False):
        for noise, n_outputs in ((0.1, 2), (0.5, 2), (0.1, 4), (0.5, 4)):
            said = pd.Series([traded(seed, noise, n_outputs, opposed=opposed) for seed in range(2 * n_worlds)])
            kind = "opposed" if opposed else "alike"
            print(f"{n_outputs} {kind} scores, noise {noise} SD:", said.value_counts().to_dict(), flush=True)
    for n_sources, n_targets, noise in ((8, 5, 0.1), (8, 2, 0.3)):
        for pareto in (True, False):
            found = np.array([
                front_searched(200 + seed, noise, n_sources, n_targets, pareto=pareto) for seed in range(n_worlds)
            ])  # fmt: skip
            mean, error = found.mean(axis=0), found.std(axis=0) / np.sqrt(n_worlds)
            print(
                f"{n_worlds} worlds of {n_sources} sources and {n_targets} targets, noise {noise} SD, rounds of "
                f"{'the front' if pareto else 'the mean'}: regret {mean[0]:.3f} ± {error[0]:.3f}, of the worst end "
                f"{mean[1]:.3f} ± {error[1]:.3f}",
                flush=True,
            )


def moments(n_mixtures: int, n_genes: int, n_sources: int = 8, n_cells: int = 2000, n_target: int = 5000) -> None:
    """Time the moment proxy of mixtures, and compare it with the measure on moments in float64, its cells all made."""
    rng, n_things = np.random.default_rng(0), 40
    taught = rng.gamma(0.3, 1.0, (n_things, n_genes))
    logs = []
    for n in [n_cells] * n_sources + [n_target]:
        mean = rng.dirichlet(np.full(n_things, 0.1), n) @ taught
        logs.append(np.log1p(rng.poisson(mean * 2)).astype(np.float32))
    *sources, target = logs
    known = {f"s{at}": Moments(one.mean(axis=0, dtype=float), one.T @ one / len(one)) for at, one in enumerate(sources)}
    found = MixedMoments(known, {"target": target})
    plain = [Moments(one.mean_H, one.second_HH.astype(float)) for one in known.values()]
    times, reference, apart = [], [], []
    for at, weights in enumerate(rng.dirichlet(np.full(n_sources, 0.5), n_mixtures)):
        started = time.process_time()
        value = found.forecast(weights)[0]
        times.append(time.process_time() - started)
        if at < 10:
            started = time.process_time()
            mixed = (sum(w * one[part] for w, one in zip(weights, plain, strict=True)) for part in (0, 1))
            truth = float(np.nanmean(forecast(basis(Moments(*mixed)), target)))
            reference.append(time.process_time() - started)
            apart.append(abs(value - truth))
    print(
        f"moment proxy, {n_sources} sources, {n_genes:,} genes, a target of {n_target:,} cells, {n_mixtures} mixtures: "
        f"{1e3 * np.median(times):.0f} ms of processor time (median; 90 % quantile "
        f"{1e3 * np.quantile(times, 0.9):.0f}), in float64 with cells {1e3 * np.median(reference):.0f} ms; at most "
        f"{max(apart):.1e} apart",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=Path(__file__).parents[2] / "shared" / "reference")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--rounds", type=int, nargs="*", default=[8, 8])
    given = parser.parse_args()
    if "regmix" in given.only:
        ranked(given.tables, "regmix", (24, 32, 64), given.subsets)
    if "olmix" in given.only:
        ranked(given.tables, "olmix", (32, 64), given.subsets)
    if "sldbench" in given.only:
        sldbench(given.tables)
    if "permuted" in given.only:
        permuted(given.tables, given.trials)
    if "worlds" in given.only:
        worlds(given.worlds, tuple(given.rounds))
    if "fronts" in given.only:
        fronts(given.worlds)
    if "others" in given.only:
        others(given.worlds, tuple(given.rounds))
    if "moments" in given.only:
        for n_genes in (1000, 2000):
            moments(50, n_genes)


if __name__ == "__main__":
    main()
