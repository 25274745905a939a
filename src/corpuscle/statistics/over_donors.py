"""Scores of donors: laid out as runs × donors, and estimated for new runs and new donors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.statistics.crossed import complete, fits_of, mean_of_runs
from corpuscle.statistics.intervals import is_same, widening
from corpuscle.statistics.two_way import FEWEST_DONORS, two_way

# The columns of an estimate.
ESTIMATE = ("mean", "error", "df", "n_seeds", "n_donors", "same", "uneven")


class DonorScores(NamedTuple):
    """One score of every run and donor.

    Attributes
    ----------
    key
        Values of the columns that it was grouped by.
    values
        A row per (corpus, seed), a column per donor; NaN where a run has no value of one.
    fits
        How many fits each draw has, where runs are draws × fits; see `corpuscle.statistics.crossed`.
    """

    key: tuple[object, ...]
    values: pd.DataFrame
    fits: int = 1

    @property
    def corpora(self) -> list[str]:
        """The corpora that have any."""
        return list(dict.fromkeys(self.values.index.get_level_values("corpus")))

    def of(self, corpus: str) -> pd.DataFrame:
        """Return seeds × donors of one corpus."""
        return self.values.loc[corpus]


def donor_scores(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[DonorScores]:
    """Lay the scores of donors out, those that have any. A run without any value is left out."""
    fits = fits_of(frame)
    rows = frame[frame["unit"].str.startswith("donor=")]
    for key, here in rows.groupby(list(keys), sort=False, dropna=False, observed=True):
        wide = here.pivot(index=["corpus", "seed"], columns="unit", values="value")
        wide = wide.dropna(how="all").dropna(axis="columns", how="all")
        if wide.size:
            yield DonorScores(key if isinstance(key, tuple) else (key,), wide, fits)


def estimates(scores: DonorScores, overlaps: Mapping[str, float]) -> pd.DataFrame:
    """Estimate every corpus' mean over donors: a row per corpus with the columns `ESTIMATE`.

    Means that stand next to each other are over the same donors: those that all runs have a value of.
    """
    known_D = scores.values.notna().to_numpy().all(axis=0)
    values = {}
    for corpus in scores.corpora:
        here = scores.of(corpus)
        part = Part(np.ones(len(here), bool), known_D, uneven=not known_D.all())
        if known_D.any():
            values[corpus] = pd.DataFrame(part.cut(here.to_numpy()), index=here.index), overlaps.get(corpus, 0.0), part
    return _table(values, scores.fits)


class Part(NamedTuple):
    """Which of two corpora's runs and donors are compared, so that none is missing.

    Attributes
    ----------
    runs, donors
        Masks over both's runs and all donors.
    uneven
        Whether one of the two lacks a donor that the other has: scores over all cells are then of other donors.
    """

    runs: NDArray[np.bool_]
    donors: NDArray[np.bool_]
    uneven: bool

    @classmethod
    def of(cls, after_RD: NDArray[np.float64], before_RD: NDArray[np.float64]) -> "Part":
        """Choose.

        Donors that a run lacks are left out; where fewer than `FEWEST_DONORS` would be left, and leaving out runs keeps
        as many, runs are left out in their place: a lost value is no reason to be silent about other donors.
        """
        has, had = np.isfinite(after_RD), np.isfinite(before_RD)
        known_RD, any_D = has & had, np.asarray((has | had).any(axis=0))
        some_R = np.asarray(known_RD.any(axis=1))
        donors_D: NDArray[np.bool_] = np.asarray(known_RD[some_R].all(axis=0) & any_D)
        runs_R: NDArray[np.bool_] = np.asarray(some_R & (known_RD | ~any_D).all(axis=1))
        uneven = bool((has.any(axis=0) != had.any(axis=0)).any() or (has != had)[some_R].any())
        if donors_D.sum() < FEWEST_DONORS <= any_D.sum() and runs_R.sum() > 1:
            return cls(runs_R, any_D, uneven=False)
        return cls(some_R, donors_D, uneven)

    def cut(self, values_RD: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of these runs and donors; of too few and uneven donors, each run's mean over them."""
        here = values_RD[np.ix_(self.runs, self.donors)]
        if self.uneven and 0 < here.shape[1] < FEWEST_DONORS:
            here = here.mean(axis=1, keepdims=True)
        return np.asarray(here)


def contrasts(
    scores: DonorScores,
    base: str,
    change: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    overlaps: Mapping[str, float],
) -> pd.DataFrame:
    """Estimate every other corpus' mean change from a corpus, paired by seed and donor; columns as `estimates`.

    Each is over the donors that it and the other have: what a third corpus lacks is of no account.
    """
    if base not in scores.corpora:
        return pd.DataFrame(columns=list(ESTIMATE))
    before, found = scores.of(base), {}
    for corpus in scores.corpora:
        after = scores.of(corpus)
        seeds = after.index.intersection(before.index)
        if corpus != base and len(seeds):
            values = after.loc[seeds].to_numpy(), before.loc[seeds].to_numpy()
            part = Part.of(*values)
            changed = part.cut(change(*values))
            overlap = max(overlaps.get(corpus, 0.0), overlaps.get(base, 0.0))
            found[corpus] = pd.DataFrame(changed, index=seeds[part.runs]), overlap, part
    return _table(found, scores.fits)


def _table(values: Mapping[str, tuple[pd.DataFrame, float, Part]], fits: int) -> pd.DataFrame:
    rows = {}
    for corpus, (here, overlap, part) in values.items():
        values_RD = here.to_numpy()
        if fits > 1:
            values_RD = values_RD[complete(here.index, fits)]
        n_donors = int(part.donors.sum())
        uneven = part.uneven and n_donors < FEWEST_DONORS
        if not values_RD.size:
            # Nothing that both have: nothing is compared, whatever the scores over all cells are.
            if uneven:
                rows[corpus] = (np.nan, np.nan, np.nan, 0, 0, False, True)
            continue
        wide = float(widening(len(values_RD) // fits, overlap))
        found = mean_of_runs(values_RD, fits, wide) if fits > 1 else two_way(values_RD, wide)
        error, df = float(found.error), float(found.df)
        spread = np.ptp(values_RD, axis=0).max()
        same = len(values_RD) > 1 and bool(is_same(spread, np.abs(values_RD).max()))
        if n_donors < FEWEST_DONORS and uneven and fits == 1:
            # Of so few donors, runs alone are what an interval can be about.
            n_runs = len(values_RD)
            error = float(values_RD.std(ddof=1) / np.sqrt(n_runs)) * wide if n_runs > 1 else np.nan
            df = n_runs - 1.0 if n_runs > 1 else np.nan
        error = np.nan if same or (n_donors < FEWEST_DONORS and not uneven) else error
        rows[corpus] = (float(found.mean), error, df, len(values_RD), n_donors, same, uneven)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(ESTIMATE))
