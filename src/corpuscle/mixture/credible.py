"""Credible: the mixtures that cannot be told from the best, as tables and a sentence."""

import numpy as np
import pandas as pd

from corpuscle.mixture.allowed import SLACK
from corpuscle.mixture.rounds import Contest
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.table import Table
from corpuscle.mixture.wording import in_words


def credible_of(
    table: Table, found: Contest, also: pd.DataFrame | None, level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the credible set's named mixtures, best first, and the weights in all of it."""
    tied_N = found.tied(level)
    n_named = found.n_run + (0 if also is None else len(also))
    names = [first_run(table, row) for row in found.weights_NK[: found.n_run]]
    names += [] if also is None else [str(name) for name in also.index]
    kept = [at for at in range(n_named) if tied_N[at]]
    order = sorted(kept, key=lambda at: -found.mean_N[at])
    if found.best >= n_named:
        order, names = [found.best, *order], [*names, *["best new"] * (len(found.mean_N) - n_named)]
    low_N, high_N = np.quantile(found.draws_DN, [(1 - level) / 2, (1 + level) / 2], axis=0)
    frame = pd.DataFrame(found.weights_NK[order], [names[at] for at in order], list(table.sources))
    columns = {"utility": found.mean_N[order], "low": low_N[order], "high": high_N[order]}
    for place, (name, values) in enumerate(columns.items()):
        frame.insert(place, name, values, allow_duplicates=True)
    tied_NK = found.weights_NK[tied_N]
    best_K = found.weights_NK[found.best]
    ranges = {"best": best_K, "least": tied_NK.min(axis=0), "most": tied_NK.max(axis=0)}
    return frame, pd.DataFrame(ranges, index=list(table.sources))


def first_run(table: Table, weights_K: Array) -> str:
    """Name a mixture by the first run of it, counted from 1."""
    return f"run {int(np.abs(table.weights_RK - weights_K).max(axis=1).argmin()) + 1}"


def advice_of(table: Table, found: Contest, credible: pd.DataFrame, level: float) -> str:
    """Say in a sentence what to train on, and what ties with it."""
    best = in_words(dict(zip(table.sources, found.weights_NK[found.best].tolist(), strict=True)))
    tied = [str(name) for name in credible.index if name != credible.index[0]]
    if len(found.weights_NK) > 1 and np.ptp(found.weights_NK, axis=0).max() < SLACK:
        return f"Train on {best}: the limits allow no other mixture."
    share = found.tied(level).mean()
    others = f", among them {', '.join(tied[:5])}{' and others' if len(tied) > 5 else ''}" if tied else ""
    return f"Train on {best}; {100 * share:.0f} % of {len(found.mean_N):,} candidates cannot be told from it{others}."
