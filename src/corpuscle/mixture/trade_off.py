"""Trade-off: a front as tables and a sentence, which says what one output costs another, or that nothing is traded.

Axes: N candidates, D draws, O outputs that count, W ways of weighing them.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.front import Front
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.utility import in_own_units
from corpuscle.mixture.wording import in_words

# How sure it is that one output costs the other, as a share of draws, for each of the two.
SURE = 0.95
BALANCED = "balanced"


class TradeOff(NamedTuple):
    """What a front says.

    Attributes
    ----------
    advice
        In a sentence or two: what is traded, and the ends of the front; or that no trade-off is shown.
    table
        The front and whatever else is not shown to be dominated: ``best_for`` (``balanced``, an output, or nothing),
        ``on_front`` (the share of draws in which no other mixture of the table, and none that was run or given,
        is better in every output), of each output the expected score in its own unit with ``low`` and ``high`` (90 %
        of draws), and weights. The balanced mixture is first; then the ends, those that trade most before others.
    order
        Which candidates these are.
    traded
        The two outputs that trade most, and what the best mixture for each is called in the table; empty where no
        trade-off is shown.
    """

    advice: str
    table: pd.DataFrame
    order: NDArray[np.int64]
    traded: Mapping[str, str]


def trade_off(fitted: FittedMixture, found: Front, names: list[str], level: float = 0.9) -> TradeOff:
    """Say what a front is.

    Parameters
    ----------
    fitted
        What the front was found with.
    found
        The front.
    names
        What mixtures that were run or given are called.
    level
        Of the intervals, and of what is not shown to be dominated.
    """
    best_W, n_outputs = found.best_W, len(found.outputs)
    balanced, ends_O, between = int(best_W[0]), best_W[1 : 1 + n_outputs], best_W[1 + n_outputs :]
    pairs = _pairs(found, ends_O)
    first = [at for one, other, _ in pairs for at in (one, other)] + [*range(n_outputs)]
    called: dict[int, str] = {balanced: BALANCED}
    roles: dict[int, list[str]] = {balanced: [BALANCED]}
    for at in dict.fromkeys(first):
        called.setdefault(int(ends_O[at]), f"best for {found.outputs[at]}")
        roles.setdefault(int(ends_O[at]), []).append(found.outputs[at])
    is_open_N = found.open(level)
    # A point between that another point of the front is expected to beat is no point of it.
    points = np.unique(best_W)
    kept = [at for at in dict.fromkeys(between.tolist()) if pairs and not _beaten(found.mean_NO, at, points)]
    kept = sorted((at for at in kept if at not in called), key=lambda at: -found.mean_NO[at, pairs[0][0]])
    called |= {at: f"between {place + 1}" for place, at in enumerate(kept)}
    value_N = found.mean_NO @ found.ways_WO[0]
    others = sorted((at for at in range(found.n_named) if is_open_N[at]), key=lambda at: -value_N[at])
    order = np.array([*called, *(at for at in others if at not in called)], np.int64)
    index = [names[at] if at < found.n_named else called[at] for at in order]
    compared = np.unique(np.r_[order, np.arange(found.n_named)])
    chances = dict(zip(compared.tolist(), found.chances(compared).tolist(), strict=True))
    table = pd.concat(
        [
            pd.DataFrame({
                "best_for": [", ".join(roles.get(int(at), [])) for at in order],
                "on_front": [chances[int(at)] for at in order],
            }),
            _scores(fitted, found, order, level),
            pd.DataFrame(found.weights_NK[order], columns=list(fitted.table.sources)),
        ],
        axis=1,
    ).set_axis(index)  # fmt: skip
    place = {int(at): name for at, name in zip(order, index, strict=True)}
    traded = {found.outputs[at]: place[int(ends_O[at])] for at in pairs[0][:2]} if pairs else {}
    return TradeOff(_advice(fitted, found, ends_O, pairs), table, order, traded)


def _beaten(mean_NO: Array, at: int, points: NDArray[np.int64]) -> bool:
    others_NO = mean_NO[points]
    return bool(((others_NO >= mean_NO[at]).all(axis=1) & (others_NO > mean_NO[at]).any(axis=1)).any())


def _pairs(found: Front, ends_O: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return pairs of outputs of which each costs the other, with how much, in standard deviations; the most first."""
    pairs = []
    for one, other in combinations(range(len(ends_O)), 2):
        gain_D = found.draws_DNO[:, ends_O[one], one] - found.draws_DNO[:, ends_O[other], one]
        loss_D = found.draws_DNO[:, ends_O[other], other] - found.draws_DNO[:, ends_O[one], other]
        if min((gain_D > 0).mean(), (loss_D > 0).mean()) >= SURE:
            pairs.append((one, other, float(min(gain_D.mean(), loss_D.mean()))))
    return sorted(pairs, key=lambda pair: -pair[2])


def _scores(fitted: FittedMixture, found: Front, order: NDArray[np.int64], level: float) -> pd.DataFrame:
    """Return expected scores with intervals, in their own units."""
    ends = np.quantile(found.draws_DNO[:, order], [(1 - level) / 2, (1 + level) / 2], axis=0)
    counted = [fitted.table.outputs.index(name) for name in found.outputs]
    own = []
    for values_NO in (found.mean_NO[order], *ends):
        all_NO = np.zeros((len(order), len(fitted.table.outputs)))
        all_NO[:, counted] = values_NO
        own.append(in_own_units(fitted.table, all_NO)[:, counted])
    columns = {}
    for at, name in enumerate(found.outputs):
        columns[name] = own[0][:, at]
        columns[f"{name} low"] = np.minimum(own[1][:, at], own[2][:, at])
        columns[f"{name} high"] = np.maximum(own[1][:, at], own[2][:, at])
    return pd.DataFrame(columns)


def _advice(fitted: FittedMixture, found: Front, ends_O: NDArray[np.int64], pairs: list[tuple[int, int, float]]) -> str:
    """Say what the ends of the front are and what is traded, or that nothing is."""
    balanced = int(found.best_W[0])

    def said(at: int) -> str:
        return in_words(dict(zip(fitted.table.sources, found.weights_NK[at].tolist(), strict=True)))

    if not pairs:
        behind = [
            name
            for at, name in enumerate(found.outputs)
            if (found.draws_DNO[:, ends_O[at], at] > found.draws_DNO[:, balanced, at]).mean() >= SURE
        ]
        but = f", but for {', '.join(behind)}" if behind else ""
        return (
            f"Train on {said(balanced)}: no trade-off between {' and '.join(found.outputs[:5])} is shown; what is best "
            f"for one of them alone is not shown to be better in it{but}."
        )
    one, other, _ = pairs[0]
    rows = np.array([ends_O[one], ends_O[other], balanced])
    scores = _scores(fitted, found, rows, 0.9)
    shown = [
        ", ".join(f"{found.outputs[at]} {scores[found.outputs[at]].iloc[row]:.3g}" for at in (one, other))
        for row in range(3)
    ]
    n_pairs = len(ends_O) * (len(ends_O) - 1) // 2
    of = f", the most of {len(pairs)} pairs of scores that do, of {n_pairs}" if n_pairs > 1 else ""
    middle = "" if balanced in rows[:2].tolist() else f" Balanced: {said(balanced)} ({shown[2]})."
    names = found.outputs[one], found.outputs[other]
    return (
        f"{' and '.join(names)} trade off{of}. Best for {names[0]}: {said(int(rows[0]))} ({shown[0]}); best for "
        f"{names[1]}: {said(int(rows[1]))} ({shown[1]}).{middle}"
    )
