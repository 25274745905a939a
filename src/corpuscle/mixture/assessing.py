"""Assess: whether a table of mixtures allows advice, what it is, and how good it was on mixtures that were left out.

Axes: R runs, M distinct mixtures, O outputs, N candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.randomness import generator
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.ranking import rank_correlation, rankings, reliability, unrankable
from corpuscle.mixture.rounds import Contest, contest
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import Table
from corpuscle.mixture.utility import Utility

# Parts of the mixtures, each left out once to test intervals and choices.
N_PARTS = 4
# Without so many mixtures to learn from, and as many to choose among, a test says nothing.
FEWEST_TO_TEST = 12
LEVEL = 0.9


@dataclass(frozen=True)
class Assessment:
    """What a table of mixtures says.

    Attributes
    ----------
    advice
        One sentence: what to train on, or why there is no advice.
    abstains
        Whether there is none.
    scorecard
        A row per output and one for the utility: see `rankings`; with ``coverage``, the share of left-out runs within
        their 90 % intervals, ``regret`` of the mixture that is expected to be best when a quarter was left out, and
        ``random_regret`` of the best of those learnt from, which random search at the same cost would take; 0 is the
        best mixture of the table, 1 the median one.
    credible
        Mixtures that are not shown to be worse than the best: those that were run or given by name, and the best new
        one first; expected utility, its interval, and weights. Empty where there is no advice.
    ranges
        For each source, its weight in the best mixture and the least and most in the credible set.
    regret
        How much utility the best may lack, as the 90 % quantile over draws; NaN where there is no advice.
    fitted
        What predicts.
    """

    advice: str
    abstains: bool
    scorecard: pd.DataFrame
    credible: pd.DataFrame
    ranges: pd.DataFrame
    regret: float
    fitted: FittedMixture


def assess(
    fitted: FittedMixture,
    utility: Utility | None = None,
    *,
    caps: Mapping[str, float] | ArrayLike | None = None,
    also: pd.DataFrame | None = None,
    seed: int = 0,
) -> Assessment:
    """Say what to train on and how sure that is, or that the table allows no advice.

    There is none where the utility's reliability is known and under 0.5, where fewer than eight mixtures have it, or
    where left-out mixtures are not ranked by it beyond chance (Spearman's correlation, one-sided, at 1 %).

    Parameters
    ----------
    fitted
        What `fit` found.
    utility
        What is to be high; None: the mean of all outputs.
    caps
        The largest weight of each source; see `caps_of`.
    also
        Named mixtures to compare, such as `baselines`.
    seed
        Of candidates, draws and the parts that are left out.

    Examples
    --------
    >>> from corpuscle.mixture.fitting import fit
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.dirichlet(np.ones(3), size=16)
    >>> found = assess(fit(weights, rng.normal(size=16)))
    >>> found.advice
    'No advice: left-out mixtures are not ranked better than by chance.'
    """
    utility = utility or Utility()
    posterior = Posterior(fitted, utility)
    scorecard = _scorecard(fitted, posterior, utility, seed)
    row = scorecard.loc[UTILITY]
    reason = unrankable(int(row["n_mixtures"]), float(row["reliability"]), float(row["p"]))
    if reason:
        none = pd.DataFrame(columns=["utility", "low", "high", *fitted.table.sources])
        ranges = pd.DataFrame(columns=["best", "least", "most"])
        return Assessment(f"No advice: {reason}.", True, scorecard, none, ranges, float("nan"), fitted)  # noqa: FBT003
    found = contest(fitted, utility, rng=generator(seed, "mixture", "contest"), caps=caps, also=also)
    credible, ranges = _credible(fitted.table, found, also)
    advice = _advice(fitted.table, found, credible)
    return Assessment(advice, False, scorecard, credible, ranges, found.regret(), fitted)  # noqa: FBT003


# The scorecard's row of what is to be high.
UTILITY = "(utility)"


def _scorecard(fitted: FittedMixture, posterior: Posterior, utility: Utility, seed: int) -> pd.DataFrame:
    """Return rankings of outputs and of the utility, with what parts that were left out say."""
    table = fitted.table
    card = rankings(fitted)
    actual_M, predicted_M = (_means(table, one) for one in (posterior.utility_R, posterior.left_out_R))
    known_M = np.isfinite(actual_M) & np.isfinite(predicted_M)
    found, p = rank_correlation(predicted_M, actual_M)
    reliable = reliability(table, posterior.utility_R)
    ceiling = np.sqrt(reliable)
    variance = float(actual_M[known_M].var()) if known_M.any() else 0.0
    error = float(((actual_M - predicted_M)[known_M] ** 2).mean()) if known_M.any() else float("nan")
    card.loc[UTILITY] = [
        int(known_M.sum()), int(np.isnan(utility.of(table, table.scores_RO)).sum()), found, p, p, reliable, ceiling,
        found / ceiling if ceiling > 0 else float("nan"), 1 - error / variance if variance else float("nan"),
        unrankable(int(known_M.sum()), reliable, p),
    ]  # fmt: skip
    return card.join(_tested(fitted, utility, seed))


def _tested(fitted: FittedMixture, utility: Utility, seed: int) -> pd.DataFrame:
    """Leave out a part of the mixtures at a time; see what intervals hold, and how good the choice of the best is."""
    table, names = fitted.table, [*fitted.table.outputs, UTILITY]
    result = pd.DataFrame(np.nan, pd.Index(names, name="output"), ["coverage", "regret", "random_regret"])
    if table.n_mixtures < FEWEST_TO_TEST:
        return result
    part_M = generator(seed, "mixture", "parts").permutation(np.arange(table.n_mixtures) % N_PARTS)
    values_RO = np.column_stack([_better(table, table.scores_RO), utility.of(table, table.scores_RO)])
    means_MO, covered, regrets = table.means_MO(values_RO), [], []
    for part in range(N_PARTS):
        out_R = (part_M == part)[table.mixture_R]
        fewer = FittedMixture(_rows(table, ~out_R), list(fitted.shares), seed)
        _, low_RO, high_RO = map(np.asarray, fewer.predict(table.weights_RK[out_R], LEVEL))
        actual_RO = table.scores_RO[out_R]
        held_RO = (low_RO <= actual_RO) & (actual_RO <= high_RO)
        covered.append(np.where(np.isfinite(actual_RO) & np.isfinite(low_RO), held_RO, np.nan))
        mean_MO = fewer.means(table.mixtures_MK)
        expected_MO = np.column_stack([_better(table, mean_MO), utility.of(table, mean_MO)])
        regrets.append(_regrets(expected_MO, means_MO, part_M != part))
    result.loc[list(table.outputs), "coverage"] = _known_mean(np.vstack(covered))
    result["regret"], result["random_regret"] = (_known_mean(np.stack(one)) for one in zip(*regrets, strict=True))
    return result


def _regrets(expected_MO: Array, actual_MO: Array, learnt_M: np.ndarray) -> tuple[Array, Array]:
    """Return the regret of the mixture that is expected to be best, and of the best of those that were learnt from.

    The second is random search at the same cost. 0 is the best mixture of the table, 1 the median one.
    """
    n_outputs = actual_MO.shape[1]
    regret_O, random_O = np.full(n_outputs, np.nan), np.full(n_outputs, np.nan)
    for at in range(n_outputs):
        known_M = np.isfinite(actual_MO[:, at]) & np.isfinite(expected_MO[:, at])
        if not (known_M & learnt_M).any():
            continue
        actual_M = actual_MO[known_M, at]
        best, middle = actual_M.max(), np.median(actual_M)
        if best > middle:
            regret_O[at] = (best - actual_M[int(expected_MO[known_M, at].argmax())]) / (best - middle)
            random_O[at] = (best - actual_MO[known_M & learnt_M, at].max()) / (best - middle)
    return regret_O, random_O


def _better(table: Table, scores_NO: pd.DataFrame | Array) -> Array:
    """Return scores turned so that higher is better."""
    return np.asarray(np.where(table.lower_O, -1.0, 1.0) * np.asarray(scores_NO))


def _rows(table: Table, keep_R: np.ndarray) -> Table:
    """Return the table without some runs."""
    _, mixture_R = np.unique(table.mixture_R[keep_R], return_inverse=True)
    return Table(
        table.sources, table.outputs, table.weights_RK[keep_R], table.scores_RO[keep_R], table.lower_O,
        np.asarray(mixture_R.ravel(), np.int64),
    )  # fmt: skip


def _means(table: Table, values_R: Array) -> Array:
    return table.means_MO(values_R[:, None])[:, 0]


def _known_mean(values_NO: Array) -> Array:
    """Return the mean of what is known of each column; NaN where nothing is."""
    known_NO = np.isfinite(values_NO)
    n_O = known_NO.sum(axis=0)
    return np.asarray(np.where(n_O > 0, np.where(known_NO, values_NO, 0).sum(axis=0) / np.maximum(n_O, 1), np.nan))


def _credible(table: Table, found: Contest, also: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the credible set's named mixtures, best first, and the weights in all of it."""
    tied_N = found.tied(LEVEL)
    n_named = found.n_run + (0 if also is None else len(also))
    names = [_first_run(table, row) for row in found.weights_NK[: found.n_run]]
    names += [] if also is None else [str(name) for name in also.index]
    kept = [at for at in range(n_named) if tied_N[at]]
    order = sorted(kept, key=lambda at: -found.mean_N[at])
    if found.best >= n_named:
        order, names = [found.best, *order], [*names, *["best new"] * (len(found.mean_N) - n_named)]
    low_N, high_N = np.quantile(found.draws_DN, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    frame = pd.DataFrame(found.weights_NK[order], [names[at] for at in order], list(table.sources))
    columns = {"utility": found.mean_N[order], "low": low_N[order], "high": high_N[order]}
    for place, (name, values) in enumerate(columns.items()):
        frame.insert(place, name, values, allow_duplicates=True)
    tied_NK = found.weights_NK[tied_N]
    best_K = found.weights_NK[found.best]
    ranges = {"best": best_K, "least": tied_NK.min(axis=0), "most": tied_NK.max(axis=0)}
    return frame, pd.DataFrame(ranges, index=list(table.sources))


def _first_run(table: Table, weights_K: Array) -> str:
    """Name a mixture by the first run of it, counted from 1."""
    return f"run {int(np.abs(table.weights_RK - weights_K).max(axis=1).argmin()) + 1}"


def _advice(table: Table, found: Contest, credible: pd.DataFrame) -> str:
    """Say in a sentence what to train on, and what ties with it."""
    best_K = found.weights_NK[found.best]
    parts = [f"{100 * best_K[at]:.0f} % {table.sources[at]}" for at in np.argsort(-best_K) if best_K[at] >= 0.005]
    tied = [str(name) for name in credible.index if name != credible.index[0]]
    share = found.tied(LEVEL).mean()
    others = f", among them {', '.join(tied[:5])}{' and others' if len(tied) > 5 else ''}" if tied else ""
    mixture = ", ".join(parts[:8]) + (" and less of others" if len(parts) > 8 else "")
    return (
        f"Train on {mixture}; {100 * share:.0f} % of {len(found.mean_N):,} candidates cannot be told from it{others}."
    )
