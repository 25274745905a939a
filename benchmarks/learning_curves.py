"""How often intervals of learning curves contain the truth, and how often a verdict is false.

    nice python benchmarks/learning_curves.py                  # ten minutes on one core: the tables of the docs
    nice python benchmarks/learning_curves.py --ladders 100    # a rough look

Ladders are simulated from curves that are known: y(N) = y_inf - b (N / first)^(-a), a score of 0.5 at the smallest
size that ends at 0.88, of a metric that cannot be above 1. Noise is normal, of one standard deviation at all sizes, or
falling from the smallest to the largest as in published runs; seeds are each size's own, or shared by all sizes, with a
correlation of 0.6. Intervals are nominal 90 %. `shown` is the share of ladders whose N95 has an interval; coverage is
of those. A point beyond ten times the largest size counts as infinite, as in what is shown.
"""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.statistics.exchange import exchange_rates
from corpuscle.statistics.mean_draws import Runs
from corpuscle.statistics.saturation import FURTHEST, Ladder, Learned, Settings, learn

SIZES = {"published": np.array([1, 10, 25, 50, 75]) * 1000.0, "even in log": np.geomspace(1, 100, 5) * 1000}
NOISE = {"0.02": (0.02, 0.02), "0.06 to 0.015": (0.06, 0.015)}
FIRST, TOP, START = 0.5, 0.88, 0.4


class World(NamedTuple):
    """What is true, and what is measured of it."""

    sizes: np.ndarray
    exponent: float
    noise: tuple[float, float] = (0.02, 0.02)
    n_seeds: int = 5
    shared: bool = False
    started: bool = False
    turned: bool = False
    n_donors: int = 0
    exponential: bool = False

    @property
    def means(self) -> np.ndarray:
        times = self.sizes / self.sizes[0]
        if self.exponential:
            # As much is learned per decade in the middle as of the power law, and then nothing.
            return TOP - (TOP - FIRST) * np.exp(-(times - 1) * self.exponent)
        return TOP - (TOP - FIRST) * times**-self.exponent

    @property
    def n95(self) -> tuple[float, float]:
        """Of the gain, and of the asymptote."""
        gain = TOP - (START if self.started else FIRST)
        level = 1 - TOP if self.turned else TOP
        gaps = np.array([0.05 * gain, 0.05 * level]) / (TOP - FIRST)
        times = 1 - np.log(gaps) / self.exponent if self.exponential else gaps ** (-1 / self.exponent)
        found = np.maximum(self.sizes[0] * times, self.sizes[0])
        return tuple(np.where(found > FURTHEST * self.sizes[-1], np.inf, found))

    def ladder(self, rng: np.random.Generator) -> Ladder:
        n, n_points = self.n_seeds, len(self.sizes) + self.started
        sd = np.geomspace(*self.noise, len(self.sizes))
        means = self.means
        if self.started:
            means, sd = np.append(means, START), np.append(sd, self.noise[0])
        common = 0.6 if self.shared else 0.0
        noise = np.sqrt(1 - common) * rng.standard_normal((n, n_points))
        values = means + sd * (noise + np.sqrt(common) * rng.standard_normal((n, 1)))
        donors = None
        if self.n_donors:
            # Donors differ in their level by 0.05, and by 0.02 from size to size; runs see the same donors.
            off = 0.05 * rng.standard_normal((self.n_donors, 1))
            off = off + 0.02 * rng.standard_normal((self.n_donors, n_points))
            values, donors = values + off.mean(axis=0), off + values.mean(axis=0)
        # An error of 1 - y falls: lower is better, and 0 is the least that there can be.
        values = values - self.turned
        ladder_runs = Runs(values, self.shared, donors)
        sign, ceiling = (-1, 0.0) if self.turned else (1, 1.0)
        return Ladder(self.sizes, ladder_runs, sign, ceiling, "untrained" if self.started else "")


class Tally(NamedTuple):
    """Of many ladders of one world: shares."""

    shown: float
    n95: float
    n95_of_asymptote: float
    gain: float
    curve: float
    statuses: dict[str, float]
    misfit: float
    falsely_equivalent: float


def tally(world: World, n_ladders: int, n_draws: int, seed: int = 0) -> Tally:
    rng = np.random.default_rng([seed, world.n_seeds, round(100 * world.exponent)])
    found = [learn(world.ladder(rng), rng, Settings(n_draws=n_draws)) for _ in range(n_ladders)]
    shown = [one for one in found if not np.isnan(one.n95.low)]
    truth, truth_of_asymptote = world.n95
    gain = world.means[-1] - (START if world.started else FIRST)
    low_high = [one.band(world.sizes, 0.9) for one in found]
    value = world.means - world.turned
    inside = [((low <= one_sign * value) & (one_sign * value <= high)).mean()
              for (low, high), one_sign in zip(low_high, [one.ladder.sign for one in found], strict=True)]  # fmt: skip
    n95s = ((one.n95, truth) for one in shown)
    n95s_of_asymptote = ((one.n95_of_asymptote, truth_of_asymptote) for one in shown)
    return Tally(
        len(shown) / n_ladders,
        *(float(np.mean([here.low <= true <= here.high for here, true in pairs])) if shown else np.nan
          for pairs in (n95s, n95s_of_asymptote)),
        float(np.mean([one.gain.low <= gain <= one.gain.high for one in found])),
        float(np.mean(inside)),
        {name: float(np.mean([one.status == name for one in found]))
         for name in ("saturated", "not saturated", "censored", "undetermined")},
        float(np.mean([one.misfit < 0.01 for one in found])),
        float(np.mean([_falsely_equivalent(one, world, gain) for one in found])),
    )  # fmt: skip


def _falsely_equivalent(one: Learned, world: World, gain: float) -> bool:
    """Return whether a size was called equivalent to the largest that is further from it than the margin."""
    if np.isnan(one.equivalent_from):
        return False
    return bool(world.means[-1] - world.means[world.sizes == one.equivalent_from][0] > 0.05 * gain)


def worlds() -> Iterator[tuple[str, World]]:
    for place, sizes in SIZES.items():
        for exponent in (0.3, 0.7, 1.2):
            for noise, ends in NOISE.items():
                for shared in (False, True):
                    name = f"{place}, a = {exponent}, noise {noise}, seeds {'shared' if shared else 'own'}"
                    yield name, World(sizes, exponent, ends, shared=shared)
    log = SIZES["even in log"]
    for exponent in (0.3, 0.7, 1.2):
        yield f"from untrained models, a = {exponent}", World(log, exponent, shared=True, started=True)
        yield f"an error, lower is better, a = {exponent}", World(log, exponent, shared=True, turned=True)
        yield f"5 donors, a = {exponent}", World(log, exponent, shared=True, n_donors=5)
        yield f"20 donors, a = {exponent}", World(log, exponent, shared=True, n_donors=20)
        yield f"3 seeds, a = {exponent}", World(log, exponent, n_seeds=3, shared=True)
        yield f"10 seeds, a = {exponent}", World(log, exponent, n_seeds=10, shared=True)
    for rate in (0.05, 0.3):
        for sd in (0.02, 0.06):
            world = World(log, rate, (sd, sd), shared=True, exponential=True)
            yield f"no power law: exponential, rate {rate}, noise {sd}", world


def exchanges(n_ladders: int, n_draws: int) -> Iterator[tuple[str, str]]:
    """Yield for ladders at two depths the coverage of what halving depth is worth, and how often nothing is said."""
    sizes, rng = SIZES["even in log"], np.random.default_rng(1)
    size, depth = np.tile(np.repeat(sizes, 5), 2), np.repeat([1.0, 0.5], 25)
    for exponent in (0.3, 0.7):
        for times in (1.0, 2.0, 5.0):
            found = []
            for _ in range(n_ladders):
                means = TOP - (TOP - FIRST) * (size / np.where(depth < 1, times, 1) / sizes[0]) ** -exponent
                values = means + 0.02 * rng.standard_normal(50)
                table = pd.DataFrame({"metric": "f1", "seed": range(50), "value": values, "scale": "share"})
                found.append(exchange_rates(table, size, depth, settings=Settings(n_draws=n_draws)))
            rows = pd.concat(found)
            said = rows.dropna(subset="fewer_low")
            inside = ((said["fewer_low"] <= times) & (times <= said["fewer_high"])).mean()
            width = (said["fewer_high"] / said["fewer_low"]).median()
            yield f"a = {exponent}, {times:g} times fewer", f"{len(said) / len(rows):.0%} | {inside:.0%} | {width:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladders", type=int, default=300)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    options = parser.parse_args()
    columns = ("ladders", "true N95", "shown", "N95", "N95 of the asymptote", "gain", "curve",
               "saturated / not / censored / undetermined", "falsely equivalent", "misfit")  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for name, world in worlds():
        if options.only not in name:
            continue
        found = tally(world, options.ladders, options.draws)
        n95 = "beyond" if np.isinf(world.n95[0]) else f"{world.n95[0] / world.sizes[-1]:.2g} × largest"
        verdicts = " / ".join(f"{share:.0%}" for share in found.statuses.values())
        shares = (found.shown, found.n95, found.n95_of_asymptote, found.gain, found.curve)
        shown = " | ".join("none" if np.isnan(share) else f"{share:.0%}" for share in shares)
        print(f"| {name} | {n95} | {shown} | {verdicts} | {found.falsely_equivalent:.1%} | {found.misfit:.1%} |",
              flush=True)  # fmt: skip
    print("\n| half the depth is worth | said | covered | upper end over lower, median |\n|---|---|---|---|")
    for name, shares in exchanges(options.ladders, options.draws):
        print(f"| {name} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
