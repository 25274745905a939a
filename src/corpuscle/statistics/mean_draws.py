"""Draws of means over runs: a bootstrap that stays true with few seeds, paired where points share their seeds.

Axes: R runs (rows of a table; where points share seeds, a row is a seed), P points, D donors, B draws.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
# With fewer, a sample of donors says nothing of other donors.
FEWEST_DONORS = 5


class Runs(NamedTuple):
    """The values behind the means.

    Attributes
    ----------
    values
        One per run and point, NaN where there is none, shape (R, P).
    shared
        Whether a row is one seed at all points, so that points vary together.
    donors
        Mean over runs of each donor at each point, shape (D, P); None: donors are not known, or stay as they are.
    """

    values: Floats
    shared: bool
    donors: Floats | None = None

    @property
    def n(self) -> NDArray[np.int64]:
        """How many runs each point has."""
        return np.asarray(np.isfinite(self.values).sum(axis=0))

    @property
    def means(self) -> Floats:
        """Mean of each point."""
        return np.asarray(np.nanmean(self.values, axis=0))

    @property
    def within(self) -> float:
        """Sum of squares of the runs about their points' means."""
        return float(np.nansum((self.values - self.means) ** 2))


def deviations(runs: Runs, level: float, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draw how far means may be from the truth, shape (B, P).

    Runs are drawn with replacement: whole seeds where points share them, so that what a seed adds to all points stays
    together; else the runs of each point by themselves. Donors, where they are known, are drawn as well, the same for
    all points, and their deviations added (both ways of a two-way bootstrap; what is of a run and a donor together is
    counted in both). A bootstrap of n values has the variance with n in place of n - 1, and normal tails: deviations
    are multiplied by sqrt(n / (n - 1)) and by the ratio of Student's t to the normal quantile, with n - 1 degrees of
    freedom where rows are drawn together, and a third of those of all runs where each point has its own, as points do
    not count alike. `benchmarks/learning_curves.py` measures the coverage that this has.

    Parameters
    ----------
    runs
        The values; at least two of each point.
    level
        The coverage of the intervals that the draws are for: it sets the quantile.
    """
    n_P = runs.n
    if runs.shared:
        drawn, freedom = _drawn_together(runs.values, n_draws, rng), float(n_P.min() - 1)
    else:
        drawn, freedom = _drawn_apart(runs.values, n_draws, rng), float((n_P - 1).sum() / 3)
    found = drawn * _stretch(n_P, freedom, level)
    if runs.donors is not None:
        n_donors = len(runs.donors)
        found = found + _drawn_together(runs.donors, n_draws, rng) * _stretch(n_donors, n_donors - 1.0, level)
    return np.asarray(found)


def _stretch(n: NDArray[np.int64] | int, freedom: float, level: float) -> Floats:
    quantile = (1 + level) / 2
    return np.asarray(np.sqrt(n / (np.asarray(n) - 1)) * (stats.t.ppf(quantile, freedom) / stats.norm.ppf(quantile)))


def _drawn_together(values_RP: Floats, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draw rows; a point that has none of the drawn rows stays where it is."""
    n_rows = len(values_RP)
    times_BR = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), n_draws).astype(float)
    there_RP = np.isfinite(values_RP)
    off_RP = np.where(there_RP, values_RP - np.nanmean(values_RP, axis=0), 0.0)
    return np.asarray((times_BR @ off_RP) / np.maximum(times_BR @ there_RP, 1.0))


def _drawn_apart(values_RP: Floats, n_draws: int, rng: np.random.Generator) -> Floats:
    columns = [column[np.isfinite(column)][:, None] for column in values_RP.T]
    return np.concatenate([_drawn_together(column, n_draws, rng) for column in columns], axis=1)
