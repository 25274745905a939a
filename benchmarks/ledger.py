"""Values of sources in made-up worlds: how many are within two standard errors of the truth.

    python benchmarks/ledger.py                 # some minutes on a core
    python benchmarks/ledger.py --worlds 5

Sources teach 20 things, some of them the same; three targets need some of each, and more of one helps less and less.
Each subset is run with two seeds; noise has a tenth of the subsets' standard deviation. The truth is the mean over all
subsets, or over 20,000 of them and 4,000 orders.
"""

import argparse
import itertools

import numpy as np
import pandas as pd

from corpuscle.mixture import coalitions, ledger

SIZES = ((5, 64), (8, 256), (10, 64), (15, 64), (20, 128), (31, 64))


class World:
    """Sources, targets, and the true score of any subset."""

    def __init__(self, seed: int, n_sources: int) -> None:
        rng = np.random.default_rng(seed)
        self.k = n_sources
        self.teaches_KT = rng.gamma(0.3, 1, (n_sources, 20))
        self.needs_OT = rng.dirichlet(np.full(20, 0.3), 3)

    def scores(self, members: np.ndarray) -> np.ndarray:
        return np.log1p(3 * np.asarray(members, float) @ self.teaches_KT) @ self.needs_OT.T

    def subsets(self) -> np.ndarray:
        if self.k <= 10:
            return np.array(list(itertools.product([False, True], repeat=self.k)))
        return np.random.default_rng(99).random((20_000, self.k)) < 0.5

    def banzhaf(self) -> np.ndarray:
        return np.array([(self._with({at: 1}) - self._with({at: 0})).mean(axis=0) for at in range(self.k)])

    def interactions(self) -> np.ndarray:
        return np.array([
            (self._with({a: 1, b: 1}) - self._with({a: 1, b: 0}) - self._with({a: 0, b: 1}) + self._with({a: 0, b: 0}))
            .mean(axis=0) for a, b in itertools.combinations(range(self.k), 2)
        ])  # fmt: skip

    def shapley(self) -> np.ndarray:
        rng, found, n = np.random.default_rng(5), np.zeros((self.k, 3)), 20_000 if self.k <= 10 else 4000
        for _ in range(n):
            order, members = rng.permutation(self.k), np.zeros((self.k + 1, self.k))
            for at, source in enumerate(order):
                members[at + 1 :, source] = 1
            found[order] += np.diff(self.scores(members), axis=0)
        return found / n

    def _with(self, members: dict[int, int]) -> np.ndarray:
        found = self.subsets()
        for at, inside in members.items():
            found[:, at] = inside
        return self.scores(found)


def held(table: pd.DataFrame, kind: str, se: str, truth: np.ndarray) -> list[bool]:
    found = [table[table["output"] == str(at)] for at in range(3)]
    return [
        bool(one) for at, rows in enumerate(found) if rows[kind].notna().all()
        for one in np.abs(rows[kind].to_numpy() - truth[:, at]) <= 2 * rows[se].to_numpy()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--only", type=int, default=0, help="number of sources")
    given = parser.parse_args()
    n_worlds = given.worlds
    for k, n in [size for size in SIZES if given.only in {0, size[0]}]:
        parts: dict[str, list[bool]] = {"banzhaf": [], "shapley": [], "interaction": []}
        scores: list[float] = []
        for seed in range(n_worlds):
            world, rng = World(seed, k), np.random.default_rng(seed)
            members = coalitions([f"s{at}" for at in range(k)], n, rng=rng)
            value = world.scores(members)
            runs = [
                value + 0.2 * value.std(axis=0) * rng.standard_normal(3)
                + 0.1 * value.std(axis=0) * rng.standard_normal(value.shape) for _ in range(2)
            ]  # fmt: skip
            found = ledger(pd.concat([members] * 2), np.vstack(runs), seeds=np.repeat([0, 1], len(members)))
            parts["banzhaf"] += held(found.values, "banzhaf", "banzhaf_se", world.banzhaf())
            parts["shapley"] += held(found.values, "shapley", "shapley_se", world.shapley())
            if k <= 20 and seed < 5:
                parts["interaction"] += held(found.interactions, "interaction", "se", world.interactions())
            scores += found.fit["datamodel_score"].tolist()
        shown = " | ".join(f"{100 * np.mean(part):.0f} %" if part else "" for part in parts.values())
        print(f"| {k} | {len(members)} | {shown} | {np.mean(scores):.2f} |", flush=True)


if __name__ == "__main__":
    main()
