"""Output values: Banzhaf and Shapley values and interactions of sources, for one output.

Axes: R runs, S subsets, K sources.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from corpuscle.core.errors import InputError
from corpuscle.core.text import shortened
from corpuscle.mixture.ranking import rank_correlation
from corpuscle.mixture.subset_law import Law, banzhaf_of, interactions_of, shapley_of, subset_law
from corpuscle.mixture.subset_runs import SubsetRuns
from corpuscle.mixture.surrogate import Array
from corpuscle.statistics.corrections import holm

LEVEL = 0.95
FOLDS = 8


@dataclass(frozen=True)
class OutputValues:
    """One output: means of subsets, and the noise of a mean."""

    runs: SubsetRuns
    mean_S: Array
    n_S: Array
    noise: float
    df: float

    @classmethod
    def of(cls, runs: SubsetRuns, at: int) -> "OutputValues":
        """Take the means of one output; `at` is which."""
        value_R, n_subsets = runs.scores_RO[:, at], len(runs.subset_SK)
        known_R = np.isfinite(value_R)
        subset_R, seed_R, value_R = runs.subset_R[known_R], runs.seed_R[known_R], value_R[known_R]
        n_S = np.bincount(subset_R, minlength=n_subsets).astype(float)
        ends_S = runs.subset_SK.all(axis=1) | ~runs.subset_SK.any(axis=1)
        if not n_S[ends_S].all():
            raise InputError(
                f"scores: {shortened(runs.outputs[at])} has none of all sources, or none of nothing (the untrained "
                "model): values are shares of their difference; run these again"
            )
        mean_S, noise, df = _two_way(subset_R, seed_R, value_R, n_subsets)
        return cls(runs, mean_S, n_S, noise, df)

    @property
    def main_S(self) -> NDArray[np.bool_]:
        """The subsets of the two-level design that have a score."""
        return np.asarray(self.runs.main_S & (self.n_S > 0))

    @property
    def is_whole(self) -> bool:
        """Whether all subsets of the sources have a score: values are sums over them, and only noise is uncertain."""
        return self.runs.is_all and bool((self.n_S > 0).all())

    @cached_property
    def law(self) -> Law:
        """The law that takes out most of what sources do together."""
        known_S = self.n_S > 0
        return subset_law(self.runs.subset_SK[known_S], self.mean_S[known_S])

    def values(self) -> pd.DataFrame:
        """Return Banzhaf and Shapley values, a row for each source."""
        table = pd.DataFrame({"source": self.runs.sources})
        for name, (value_K, variance_K, df) in (("banzhaf", self._banzhaf()), ("shapley", self._shapley())):
            se_K = np.sqrt(variance_K)
            half_K = stats.t.ppf((1 + LEVEL) / 2, df) * se_K if df > 0 else np.full(len(table), np.nan)
            table[name], table[f"{name}_se"] = value_K, se_K
            table[f"{name}_low"], table[f"{name}_high"] = value_K - half_K, value_K + half_K
        return table

    def fit(self) -> dict[str, float]:
        """Return how well sums of values predict subsets that were left out."""
        known = np.flatnonzero(self.n_S > 0)
        # A subset and its complement are left out together: one tells the other under an additive law.
        half_S = np.where(self.runs.subset_SK[:, :1], self.runs.subset_SK, ~self.runs.subset_SK)
        _, pair = np.unique(half_S[known], axis=0, return_inverse=True)
        predicted_S = np.full(len(known), np.nan)
        for fold in range(FOLDS):
            out = pair.ravel() % FOLDS == fold
            design = _main(self.runs.subset_SK[known])
            if out.any() and np.linalg.matrix_rank(design[~out]) == design.shape[1]:
                predicted_S[out] = design[out] @ np.linalg.lstsq(design[~out], self.mean_S[known][~out], rcond=None)[0]
        score, p = rank_correlation(predicted_S, self.mean_S[known])
        return {
            "n_subsets": len(known), "n_missing": int((self.n_S == 0).sum()), "noise": self.noise,
            "datamodel_score": score, "p": p,
        }  # fmt: skip

    def interactions(self) -> pd.DataFrame:
        """Return the interaction of every two sources: as main effects are found, from products of their columns."""
        main_S = self.main_S
        subset_SK, mean_S = self.runs.subset_SK[main_S], self.mean_S[main_S]
        pairs = list(combinations(range(subset_SK.shape[1]), 2))
        if self.is_whole:
            solve = np.linalg.pinv(_with_pairs(subset_SK))[-len(pairs) :]
            # In a coding of −1 and 1, a product's coefficient is a quarter of the difference of differences.
            found, variance, df = 4 * solve @ mean_S, 16 * (solve**2) @ self._noise(main_S), self.df
        else:
            left_S, scatter, df = self._left(main_S)
            signs_SK = np.where(subset_SK, 1.0, -1.0)
            products_PS = np.array([signs_SK[:, one] * signs_SK[:, two] for one, two in pairs])
            found = interactions_of(self.law, pairs, subset_SK.shape[1]) + 4 * products_PS @ left_S / len(left_S)
            variance = np.full(len(pairs), 16 * scatter / len(left_S))
        names, se = self.runs.sources, np.sqrt(variance)
        half = stats.t.ppf((1 + LEVEL) / 2, df) * se if df > 0 else np.full(len(pairs), np.nan)
        p_holm = holm(2 * stats.t.sf(np.abs(found / se), df)) if df > 0 else np.full(len(pairs), np.nan)
        kind = np.where(p_holm < 1 - LEVEL, np.where(found < 0, "redundant", "complementary"), "")
        return pd.DataFrame(
            {
                "source": [names[one] for one, _ in pairs], "other": [names[two] for _, two in pairs],
                "interaction": found, "se": se, "low": found - half, "high": found + half, "p_holm": p_holm,
                "meaning": kind,
            }
        )  # fmt: skip

    def _left(self, main_S: NDArray[np.bool_]) -> tuple[Array, float, float]:
        """Return what the law leaves of subsets, the variance of what main effects leave of that, and its df."""
        left_S = self.mean_S[main_S] - self.law(self.runs.subset_SK[main_S])
        design = _main(self.runs.subset_SK[main_S])
        df = float(len(left_S) - design.shape[1])
        rest_S = left_S - design @ (np.linalg.pinv(design) @ left_S)
        return left_S, float(rest_S @ rest_S) / df if df > 0 else float("nan"), df

    def _banzhaf(self) -> tuple[Array, Array, float]:
        """Return main effects, their variances, and degrees of freedom.

        Of all subsets, the means are what the values are, and only noise is uncertain. Of some, main effects hold what
        sources do in threes. A law of diminishing returns has most of that: its own values are added to the effects of
        what it leaves (a control variate), and what these leave counts as noise.
        """
        main_S = self.main_S
        subset_SK, mean_S = self.runs.subset_SK[main_S], self.mean_S[main_S]
        solve = np.linalg.pinv(_main(subset_SK))
        if self.is_whole:
            return 2 * (solve @ mean_S)[1:], 4 * ((solve**2) @ self._noise(main_S))[1:], self.df
        left_S, scatter, df = self._left(main_S)
        value_K = banzhaf_of(self.law, subset_SK.shape[1]) + 2 * (solve @ left_S)[1:]
        return value_K, 4 * ((solve**2).sum(axis=1) * scatter)[1:], df

    def _noise(self, rows_S: NDArray[np.bool_]) -> Array:
        """Return the variance of subsets' means; NaN where no subset has several runs."""
        return np.asarray(self.noise**2 / np.maximum(self.n_S[rows_S], 1))

    def _shapley(self) -> tuple[Array, Array, float]:
        """Return Shapley values, their variances, and degrees of freedom."""
        if self.runs.is_all:
            return self._exact_shapley()
        return self._sampled_shapley()

    def _exact_shapley(self) -> tuple[Array, Array, float]:
        subset_SK = self.runs.subset_SK
        k, size_S = subset_SK.shape[1], subset_SK.sum(axis=1)
        mean_S, variance_S, df = self.mean_S.copy(), self._noise(np.ones(len(subset_SK), bool)), self.df
        if not self.is_whole:
            # What is missing is as the law and main effects of what that leaves predict it, with the error of that;
            # `Ledger.fit` says how many are missing.
            known_S, design = self.n_S > 0, _main(subset_SK)
            left_S, scatter, df = self._left(known_S)
            solve = np.linalg.pinv(design[known_S])
            predicted_S = self.law(subset_SK) + design @ (solve @ left_S)
            leverage_S = ((design @ solve) ** 2).sum(axis=1)
            mean_S = np.where(known_S, mean_S, predicted_S)
            variance_S = np.where(known_S, variance_S, scatter * (1 + leverage_S))
        weights_KS = np.zeros((k, len(subset_SK)))
        for at in range(k):
            inside_S = subset_SK[:, at]
            weights_KS[at, inside_S] = [1 / (k * comb(k - 1, size - 1)) for size in size_S[inside_S]]
            weights_KS[at, ~inside_S] = [-1 / (k * comb(k - 1, size)) for size in size_S[~inside_S]]
        return weights_KS @ mean_S, (weights_KS**2) @ variance_S, df

    def _sampled_shapley(self) -> tuple[Array, Array, float]:
        """Return Shapley values by regression on the drawn pairs, under the law that they sum up to all − nothing."""
        subset_SK = self.runs.subset_SK
        k, size_S = subset_SK.shape[1], subset_SK.sum(axis=1)
        drawn_S = (self.n_S > 0) & ~self.main_S & (size_S > 0) & (size_S < k)
        full, empty = int(np.flatnonzero(size_S == k)[0]), int(np.flatnonzero(size_S == 0)[0])
        n_drawn = int(drawn_S.sum())
        if n_drawn < 2 * k:
            return np.full(k, np.nan), np.full(k, np.nan), 0.0
        # A subset's weight in the regression over the probability of its draw, 1 / C(k, size), is 1 / (s (k − s)).
        root_S = 1 / np.sqrt((size_S * (k - size_S))[drawn_S])
        spread_SK = (subset_SK[drawn_S] - size_S[drawn_S, None] / k) * root_S[:, None]
        mean_S = self.mean_S - self.law(subset_SK)
        base_S = mean_S[empty] + size_S[drawn_S] / k * (mean_S[full] - mean_S[empty])
        left_S = (mean_S[drawn_S] - base_S) * root_S
        solve_KS = np.linalg.pinv(spread_SK)
        value_K = solve_KS @ left_S
        df = float(n_drawn - (k - 1))
        scatter = float(((left_S - spread_SK @ value_K) ** 2).sum()) / df
        variance_K = (solve_KS**2).sum(axis=1) * scatter
        if np.isfinite(self.noise):
            # The ends are two runs or few: each source has a share of their noise.
            share_S = size_S[drawn_S] / k
            ends_K2 = np.stack([-1 / k - solve_KS @ (root_S * (1 - share_S)), 1 / k - solve_KS @ (root_S * share_S)], 1)
            variance_K = variance_K + (ends_K2**2) @ (self.noise**2 / self.n_S[[empty, full]])
        return shapley_of(self.law, k) + (mean_S[full] - mean_S[empty]) / k + value_K, variance_K, df


def _main(subset_SK: NDArray[np.bool_]) -> Array:
    """Return the columns of mean and main effects, in −1 and 1."""
    return np.column_stack([np.ones(len(subset_SK)), np.where(subset_SK, 1.0, -1.0)])


def _with_pairs(subset_SK: NDArray[np.bool_]) -> Array:
    main = _main(subset_SK)
    return np.column_stack([main, *(main[:, a] * main[:, b] for a, b in combinations(range(1, main.shape[1]), 2))])


def _two_way(
    subset_R: NDArray[np.int64], seed_R: NDArray[np.int64], value_R: Array, n_subsets: int
) -> tuple[Array, float, float]:
    """Return subsets' means at the mean seed, the standard deviation of a run about subset + seed, and its df.

    A seed draws the same cells and the same initialisation for all subsets: what it does to all is no noise of a
    difference. Seeds of one run each have none in common.
    """
    n_runs = len(value_R)
    n_S = np.bincount(subset_R, minlength=n_subsets)
    common = np.bincount(seed_R).max() > 1
    seeds = np.unique(seed_R)
    design = np.zeros((n_runs, n_subsets + (len(seeds) if common else 0)))
    design[np.arange(n_runs), subset_R] = 1
    if common:
        design[np.arange(n_runs), n_subsets + np.searchsorted(seeds, seed_R)] = 1
    coefficient = np.linalg.lstsq(design, value_R, rcond=None)[0]
    df = n_runs - int(np.linalg.matrix_rank(design))
    left_R = value_R - design @ coefficient
    mean_S = np.where(n_S > 0, coefficient[:n_subsets], np.nan)
    if common:
        mean_S = mean_S + coefficient[n_subsets:].mean()
    return mean_S, float(np.sqrt(left_R @ left_R / df)) if df > 0 else np.nan, float(df)
