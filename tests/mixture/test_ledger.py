"""The ledger: values are those of worlds in which they are known, with errors as large as they say."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import InputError
from corpuscle.mixture import coalitions, ledger
from corpuscle.mixture.coalitions import fold_over, orders
from corpuscle.mixture.surrogate import Array


class World:
    """Sources teach things, some of them the same; targets need some of each, and more of one helps less and less."""

    def __init__(self, seed: int, n_sources: int) -> None:
        rng = np.random.default_rng(seed)
        self.sources = [f"source {at}" for at in range(n_sources)]
        self.teaches_KT = rng.gamma(0.3, 1, (n_sources, 20))
        self.needs_OT = rng.dirichlet(np.full(20, 0.3), 3)

    def scores(self, members: Array) -> Array:
        """Return the true score of subsets."""
        return np.log1p(3 * members.astype(float) @ self.teaches_KT) @ self.needs_OT.T

    def banzhaf(self) -> Array:
        """Return the mean over all subsets of what each source adds."""
        subsets = np.array(list(product([0, 1], repeat=len(self.sources))))
        value = self.scores(subsets)
        return np.stack([value[row == 1].mean(axis=0) - value[row == 0].mean(axis=0) for row in subsets.T])

    def shapley(self) -> Array:
        """Return the mean over all orders of what each source adds."""
        k, found = len(self.sources), np.zeros((len(self.sources), 3))
        orders = list(permutations(range(k)))
        for order in orders:
            members = np.zeros((k + 1, k))
            for at, source in enumerate(order):
                members[at + 1 :, source] = 1
            found[list(order)] += np.diff(self.scores(members), axis=0)
        return found / len(orders)

    def run(self, members: pd.DataFrame, seeds: int, noise: float = 0.1) -> tuple[pd.DataFrame, Array, Array]:
        """Train on each subset with each seed: a seed's own luck is the same for all subsets."""
        rng = np.random.default_rng(7)
        value = self.scores(members.to_numpy())
        luck = 0.2 * rng.standard_normal((seeds, 3)) * value.std(axis=0)
        scores = np.vstack([
            value + one + noise * value.std(axis=0) * rng.standard_normal(value.shape) for one in luck
        ])  # fmt: skip
        return pd.concat([members] * seeds), scores, np.repeat(np.arange(seeds), len(members))


def held(table: pd.DataFrame, kind: str, truth: Array) -> Array:
    """Return which values are within two standard errors of the truth."""
    found = [table[table["output"] == str(at)] for at in range(truth.shape[1])]
    off = [np.abs(one[kind] - truth[:, at]) <= 2 * one[f"{kind}_se"] for at, one in enumerate(found)]
    return np.concatenate(off)


def test_of_all_subsets_values_are_exact() -> None:
    world = World(0, 5)
    members = coalitions(world.sources, rng=np.random.default_rng(0))
    assert len(members) == 32
    found = ledger(members, world.scores(members.to_numpy()))
    for kind, truth in (("banzhaf", world.banzhaf()), ("shapley", world.shapley())):
        got = found.values.pivot_table(index="source", columns="output", values=kind).loc[world.sources]
        np.testing.assert_allclose(got, truth, atol=1e-12)
    # Without repeats, nothing is known of noise.
    assert found.values["banzhaf_se"].isna().all()
    assert found.values.groupby("output")["shapley"].sum().to_numpy() == pytest.approx(
        np.diff(world.scores(np.array([[0] * 5, [1] * 5])), axis=0)[0]
    )


@pytest.mark.parametrize(("n_sources", "n"), [(5, 64), (11, 128)])
def test_values_are_within_two_standard_errors_of_the_truth(n_sources: int, n: int) -> None:
    within = []
    for seed in range(4 if n_sources == 5 else 2):
        world = World(seed, n_sources)
        members = coalitions(world.sources, n, rng=np.random.default_rng(seed))
        runs, scores, seeds = world.run(members, 2)
        found = ledger(runs, scores, seeds=seeds)
        within.append(held(found.values, "banzhaf", world.banzhaf()))
        assert found.fit["datamodel_score"].min() > 0.8
        if n_sources == 5:
            within.append(held(found.values, "shapley", world.shapley()))
        else:
            assert found.values["shapley_se"].gt(0).all()
    assert np.mean(np.concatenate(within)) >= 0.9


def test_a_source_that_is_there_twice_is_redundant_and_one_that_does_nothing_is_worth_nothing() -> None:
    members = coalitions(["a", "copy of a", "b", "noise"], rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    truth = 0.5 * (members["a"] | members["copy of a"]) + 0.3 * members["b"]
    runs = pd.concat([members, members])
    scores = np.concatenate([truth, truth]) + 0.01 * rng.standard_normal(32)
    found = ledger(runs, pd.DataFrame({"loss": -scores}), seeds=np.repeat([0, 1], 16), better="lower")
    pairs = found.interactions.set_index(["source", "other"])["meaning"]
    assert pairs["a", "copy of a"] == "redundant"
    assert (pairs.drop(("a", "copy of a")) == "").all()
    value = found.values.set_index("source")
    assert value.loc["a", "banzhaf"] == pytest.approx(0.25, abs=0.02)
    assert value.loc["noise", "banzhaf_low"] < 0 < value.loc["noise", "banzhaf_high"]


@pytest.mark.parametrize("k", [2, 9, 12, 23, 31])
def test_main_effects_of_a_design_are_orthogonal(k: int) -> None:
    for order in orders(k):
        signs = np.where(fold_over(k, order), 1, -1)
        assert (signs.T @ signs == 2 * order * np.eye(k)).all()
        assert (signs.sum(axis=0) == 0).all()
        assert (signs == 1).all(axis=1).any()
        assert (signs == -1).all(axis=1).any()
        # No main effect is aliased with a product of two.
        products = np.array([signs[:, a] * signs[:, b] for a in range(k) for b in range(a)]).T
        assert (signs.T @ products == 0).all()


@pytest.mark.parametrize("k", range(2, 32))
def test_no_subset_stands_twice_and_each_source_is_in_half_of_them(k: int) -> None:
    names = [f"s{at}" for at in range(k)]
    for n in (16, 40, 64, 128, 200):
        if n < 2 * next(iter(orders(k)), 2):
            with pytest.raises(InputError, match="need at least"):
                coalitions(names, n, rng=np.random.default_rng(0))
            continue
        found = coalitions(names, n, rng=np.random.default_rng(0))
        assert found.index.is_unique
        assert len(found) <= min(n, 2**k)
        assert not found.duplicated().any()
        assert (found.mean() == 0.5).all()


def test_failed_runs_are_missing_and_counted() -> None:
    world = World(1, 4)
    members = coalitions(world.sources, rng=np.random.default_rng(0))
    runs, scores, seeds = world.run(members, 3)
    whole = ledger(runs, scores, seeds=seeds).values
    scores[5, 0] = scores[6 + 16, 0] = np.nan
    found = ledger(runs, scores, seeds=seeds)
    assert found.notes == ("2 of 48 runs have no 0: they count as missing",)
    assert found.values["banzhaf"].to_numpy() == pytest.approx(whole["banzhaf"].to_numpy(), abs=0.05)
    of_all = scores.copy()
    of_all[[5, 22]] = np.nan
    assert ledger(runs, of_all, seeds=seeds).notes == ("2 of 48 runs have no score: they count as missing",)
    # A subset of which all runs failed.
    scores[[5, 21, 37], 0] = np.nan
    without = ledger(runs, scores, seeds=seeds)
    assert without.fit.loc[0, "n_missing"] == 1
    assert np.isfinite(without.values["banzhaf"]).all()


def test_without_some_of_all_subsets_values_are_as_sure_as_they_say() -> None:
    within = []
    for seed in range(8):
        world = World(seed, 5)
        rows, scores, seeds = world.run(coalitions(world.sources, rng=np.random.default_rng(0)), 2, 0.02)
        n = len(rows) // 2
        inner = np.flatnonzero((rows.sum(axis=1).iloc[:n] > 0) & (rows.sum(axis=1).iloc[:n] < 5))
        gone = np.random.default_rng(seed).choice(inner, 2, replace=False)
        scores[gone] = scores[gone + n] = np.nan
        values = ledger(rows, scores, seeds=seeds).values
        within.append([held(values, "banzhaf", world.banzhaf()), held(values, "shapley", world.shapley())])
    assert np.mean(within) >= 0.85


def test_what_no_value_can_be_learnt_from_is_refused() -> None:
    members = coalitions(["a", "b", "c"], rng=np.random.default_rng(0))
    scores = np.arange(8.0)
    with pytest.raises(InputError, match="expected a row of scores for each row of members"):
        ledger(members, scores[:5])
    with pytest.raises(InputError, match="not run: nothing"):
        ledger(members.drop("nothing"), scores[1:])
    with pytest.raises(InputError, match="leave a run that diverged empty"):
        ledger(members, np.where(scores == 3, np.inf, scores))
    with pytest.raises(InputError, match="none of all sources"):
        ledger(members, np.where(scores == 7, np.nan, scores))
    with pytest.raises(InputError, match="True and False"):
        ledger(members * 0.5, scores)
    with pytest.raises(InputError, match="need at least 24 subsets"):
        coalitions([f"s{at}" for at in range(9)], 16, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="expected 2 to 31"):
        coalitions(["a", "a"], rng=np.random.default_rng(0))
