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
ESTIMATE = ("mean", "error", "df", "n_seeds", "n_donors", "same")


class DonorScores(NamedTuple):
    """One score of every run and donor.

    Attributes
    ----------
    key
        Values of the columns that it was grouped by.
    values
        A row per (corpus, seed), a column per donor that all of these rows have a value of.
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
    """Lay the scores of donors out, those that have any.

    A run without any value is left out, and so is a donor that another run has no value of: all means are then over
    the same donors.
    """
    fits = fits_of(frame)
    rows = frame[frame["unit"].str.startswith("donor=")]
    for key, here in rows.groupby(list(keys), sort=False, dropna=False, observed=True):
        wide = here.pivot(index=["corpus", "seed"], columns="unit", values="value")
        wide = wide.dropna(how="all").dropna(axis="columns")
        if wide.size:
            yield DonorScores(key if isinstance(key, tuple) else (key,), wide, fits)


def estimates(scores: DonorScores, overlaps: Mapping[str, float]) -> pd.DataFrame:
    """Estimate every corpus' mean over donors: a row per corpus with the columns `ESTIMATE`."""
    values = {corpus: (scores.of(corpus), overlaps.get(corpus, 0.0)) for corpus in scores.corpora}
    return _table(values, scores.fits)


def contrasts(
    scores: DonorScores,
    base: str,
    change: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    overlaps: Mapping[str, float],
) -> pd.DataFrame:
    """Estimate every other corpus' mean change from a corpus, paired by seed and donor; columns as `estimates`."""
    if base not in scores.corpora:
        return pd.DataFrame(columns=list(ESTIMATE))
    before, found = scores.of(base), {}
    for corpus in scores.corpora:
        after = scores.of(corpus)
        seeds = after.index.intersection(before.index)
        if corpus != base and len(seeds):
            changed = change(after.loc[seeds].to_numpy(), before.loc[seeds].to_numpy())
            overlap = max(overlaps.get(corpus, 0.0), overlaps.get(base, 0.0))
            found[corpus] = pd.DataFrame(changed, index=seeds), overlap
    return _table(found, scores.fits)


def _table(values: Mapping[str, tuple[pd.DataFrame, float]], fits: int) -> pd.DataFrame:
    rows = {}
    for corpus, (here, overlap) in values.items():
        values_RD = here.to_numpy()
        if fits > 1:
            values_RD = values_RD[complete(here.index, fits)]
        if not len(values_RD):
            continue
        wide = float(widening(len(values_RD) // fits, overlap))
        found = mean_of_runs(values_RD, fits, wide) if fits > 1 else two_way(values_RD, wide)
        spread = np.ptp(values_RD, axis=0).max()
        same = len(values_RD) > 1 and bool(is_same(spread, np.abs(values_RD).max()))
        n_runs, n_donors = values_RD.shape
        error = np.nan if same or n_donors < FEWEST_DONORS else float(found.error)
        rows[corpus] = (float(found.mean), error, float(found.df), n_runs, n_donors, same)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(ESTIMATE))
