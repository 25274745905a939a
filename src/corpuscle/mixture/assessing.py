"""Assess: whether a table of mixtures allows advice, what it is, and how good it was on mixtures that were left out.

Axes: R runs, M distinct mixtures, O outputs, N candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.core.text import shortened
from corpuscle.mixture.allowed import allowed
from corpuscle.mixture.credible import advice_of, credible_of, first_run
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.front import front
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.ranking import rank_correlation, rankings, reliability, unrankable
from corpuscle.mixture.rounds import contest
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import FEWEST_MIXTURES, Table
from corpuscle.mixture.trade_off import trade_off
from corpuscle.mixture.units import centre_and_unit
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
    front
        With `Utility.pareto`, the front: see `TradeOff.table`; the credible set has its mixtures, and the best is the
        balanced one. Empty otherwise.
    traded
        The two outputs that trade most, and the best mixture for each by its name in the front; empty where no
        trade-off is shown.
    notes
        What was asked for and is not in it, a sentence each.
    """

    advice: str
    abstains: bool
    scorecard: pd.DataFrame
    credible: pd.DataFrame
    ranges: pd.DataFrame
    regret: float
    fitted: FittedMixture
    front: pd.DataFrame = field(default_factory=pd.DataFrame)
    traded: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def assess(
    fitted: FittedMixture,
    utility: Utility | None = None,
    *,
    caps: Mapping[str, float] | ArrayLike | None = None,
    also: pd.DataFrame | None = None,
    seed: int = 0,
) -> Assessment:
    """Say what to train on and how sure that is, or that the table allows no advice.

    There is none where the utility's reliability is known and under 0.5, where fewer than eight mixtures have it,
    where left-out mixtures are not ranked by it beyond chance (Spearman's correlation, one-sided, at 1 %), or where
    caps leave no mixture of sources that were run: no advice has a source that no run has.

    Parameters
    ----------
    fitted
        What `fit` found.
    utility
        What is to be high; None: the mean of all outputs.
    caps
        The largest weight of each source; see `caps_of`.
    also
        Named mixtures to compare, such as `baselines`; those beyond the caps are left out, with a note.
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
    reason = str(scorecard.loc[UTILITY, "reason"])
    if utility.pareto:
        reason = _without_front(utility, fitted, scorecard)
    may = allowed(fitted, caps, also)
    reason, also, notes = reason or may.why_not, may.also, (*_same_for_all(fitted.table, utility), *may.notes)
    if reason:
        none = pd.DataFrame(columns=["utility", "low", "high", *fitted.table.sources])
        ranges = pd.DataFrame(columns=["best", "least", "most"])
        advice, nan = f"No advice: {reason}.", float("nan")
        return Assessment(advice, True, scorecard, none, ranges, nan, fitted, notes=notes)  # noqa: FBT003
    if utility.pareto:
        return replace(_of_front(fitted, utility, scorecard, caps, also, seed), notes=notes)
    notes = (*notes, *_not_ranked(fitted.table, utility, scorecard))
    found = contest(fitted, utility, rng=generator(seed, "mixture", "contest"), caps=caps, also=also)
    credible, ranges = credible_of(fitted.table, found, also, LEVEL)
    advice = advice_of(fitted.table, found, credible, LEVEL) + _lacking(fitted.table, utility)
    return Assessment(advice, False, scorecard, credible, ranges, found.regret(), fitted, notes=notes)  # noqa: FBT003


def _without_front(utility: Utility, fitted: FittedMixture, scorecard: pd.DataFrame) -> str:
    """Return why there is no front, in words; empty where there is one.

    Raises
    ------
    InputError
        When fewer than two outputs count.
    """
    table = fitted.table
    names = [*utility.counted(table), *utility.lacking(table), *utility.constant(table)]
    if len(names) < 2:
        raise InputError(
            f"utility: a front is of two outputs or more; got {', '.join(names)} alone: let others count, too, or ask "
            "for no front"
        )
    reasons = {name: str(scorecard.loc[name, "reason"]) for name in names}
    ranked = [name for name, reason in reasons.items() if not reason]
    if len(ranked) >= 2:
        return ""
    others = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    alone = f" but {ranked[0]}, which can be chosen by alone" if ranked else ""
    return f"a front needs two scores by which mixtures can be ranked; none can{alone} ({shortened(others, 400)})"


def _of_front(  # noqa: PLR0917
    fitted: FittedMixture,
    utility: Utility,
    scorecard: pd.DataFrame,
    caps: Mapping[str, float] | ArrayLike | None,
    also: pd.DataFrame | None,
    seed: int,
) -> Assessment:
    """Find the front of the outputs that can be ranked, and say what it is."""
    weights = dict(zip(fitted.table.outputs, utility.shares(fitted.table).tolist(), strict=True))
    ranked = {name: weight for name, weight in weights.items() if weight and not scorecard.loc[name, "reason"]}
    rng = generator(seed, "mixture", "front")
    found = front(fitted, Utility(ranked, pareto=True), rng=rng, caps=caps, also=also)
    names = [first_run(fitted.table, row) for row in found.weights_NK[: found.n_run]]
    names += [] if also is None else [str(name) for name in also.index]
    traded = trade_off(fitted, found, names, LEVEL)
    draws_DN = found.draws_DNO[:, traded.order] @ found.ways_WO[0]
    credible = pd.DataFrame(found.weights_NK[traded.order], traded.table.index, list(fitted.table.sources))
    low_N, high_N = np.quantile(draws_DN, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    mean_N = found.mean_NO[traded.order] @ found.ways_WO[0]
    for place, (name, values) in enumerate({"utility": mean_N, "low": low_N, "high": high_N}.items()):
        credible.insert(place, name, values, allow_duplicates=True)
    open_NK = found.weights_NK[found.open(LEVEL)]
    ranges = pd.DataFrame(
        {"best": found.weights_NK[traded.order[0]], "least": open_NK.min(axis=0), "most": open_NK.max(axis=0)},
        index=list(fitted.table.sources),
    )
    left = [name for name, weight in weights.items() if weight and name not in ranked]
    left += [*utility.lacking(fitted.table), *utility.constant(fitted.table)]
    advice = traded.advice + (f" Left out, as mixtures are not ranked by them: {', '.join(left)}." if left else "")
    return Assessment(
        advice, False, scorecard, credible, ranges, found.regret(), fitted, traded.table, traded.traded  # noqa: FBT003
    )  # fmt: skip


def _same_for_all(table: Table, utility: Utility) -> list[str]:
    """Say which outputs were to count and are the same for all mixtures."""
    names = utility.constant(table)
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [
        f"{shortened(', '.join(names), 200)} {verb} the same for all mixtures, with no better and worse: not counted"
    ]


def _not_ranked(table: Table, utility: Utility, scorecard: pd.DataFrame) -> list[str]:
    """Say which outputs count, though mixtures cannot be ranked by them alone; one wild score is enough for that."""
    shares = zip(table.outputs, utility.shares(table), strict=True)
    names = [name for name, share in shares if share > 0 and scorecard.loc[name, "reason"]]
    if not names:
        return []
    first = f"{shortened(names[0], 100)}: {scorecard.loc[names[0], 'reason']}"
    return [
        f"mixtures cannot be ranked by {shortened(', '.join(names), 200)} alone ({first}), which count all the same: "
        "look for runs that went wrong, and leave their scores empty, or let others count"
    ]


def _lacking(table: Table, utility: Utility) -> str:
    """Say which outputs were to count and don't; empty where there are none."""
    names = utility.lacking(table)
    if not names:
        return ""
    return (
        f" It does not count {shortened(', '.join(names), 200)}, of which fewer than {FEWEST_MIXTURES} mixtures have "
        "a score."
    )


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
        _unrankable(fitted, utility, int(known_M.sum()), reliable, p),
    ]  # fmt: skip
    return card.join(_tested(fitted, utility, seed))


def _unrankable(fitted: FittedMixture, utility: Utility, n_mixtures: int, reliable: float, p: float) -> str:
    """Return why mixtures cannot be ranked by the utility, in words; empty where they can."""
    _, unit_O = centre_and_unit(fitted.table.means_MO(fitted.table.scores_RO))
    if not unit_O[utility.shares(fitted.table) > 0].any():
        return "all scores that count are equal"
    return unrankable(n_mixtures, reliable, p)


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
