"""Intervals by donor: donors are drawn anew, with replacement, because cells of one donor are not independent.

Donors are drawn within each source: how many cells each source gives is the recipe's choice, not chance.
Axes in names: N cells, D donors, R draws.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.corpus import Corpus

N_DRAWS = 400
LEVEL = 0.95
# With fewer, what other donors would show cannot be distinguished from these.
MIN_DONORS = 5


class Donors(NamedTuple):
    """The donors of N cells, and how often each was drawn.

    Attributes
    ----------
    code_N
        Each cell's donor, 0 … D - 1. Cells without one are a donor of their own, in each source.
    draws_RD
        How often each donor is in each draw.
    """

    code_N: NDArray[np.int64]
    draws_RD: NDArray[np.float64]


def donor_codes(source_N: NDArray[np.str_], donor_N: NDArray[np.str_]) -> tuple[NDArray[np.int64], list[str]]:
    """Give the donors of each source a number, and return each cell's number and each donor's source.

    Examples
    --------
    >>> code_N, sources = donor_codes(np.array(["a", "a", "b"]), np.array(["1", "2", "1"]))
    >>> code_N.tolist(), sources
    ([0, 1, 2], ['a', 'a', 'b'])
    """
    pairs, code_N = np.unique(np.stack([source_N.astype(str), donor_N.astype(str)]), axis=1, return_inverse=True)
    return code_N.ravel().astype(np.int64), pairs[0].tolist()


def draw_donors(source_N: NDArray[np.str_], donor_N: NDArray[np.str_], rng: np.random.Generator) -> Donors:
    """Draw donors with replacement, within each source as many as it has.

    Raises
    ------
    MeasureError
        When a source has fewer than five donors.
    """
    code_N, source_D = donor_codes(source_N, donor_N)
    draws_RD = np.zeros((N_DRAWS, len(source_D)))
    for source in sorted(set(source_D)):
        here = np.flatnonzero(np.array(source_D) == source)
        if len(here) < MIN_DONORS:
            known = len(set(donor_N[source_N == source].tolist()) - {""})
            raise MeasureError(f"interval: needs {MIN_DONORS} donors in each source, and {source} has {known}")
        draws_RD[:, here] = rng.multinomial(len(here), np.full(len(here), 1 / len(here)), N_DRAWS)
    return Donors(code_N, draws_RD)


def donors_of(cells: Corpus, rng: np.random.Generator) -> Donors:
    """Draw the donors of a corpus' cells; see `draw_donors`."""
    return draw_donors(cells.cells["source"].to_numpy(str), cells.labels("donor"), rng)


def interval(value: float, values_R: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a measure from its values over draws of donors.

    Draws repeat donors, so they are less diverse than the donors themselves: their quantiles alone can lie below the
    measure. Only their spread is used: they are moved to have the measure as their mean.

    Parameters
    ----------
    value
        The measure of the donors themselves.
    values_R
        The measure of each draw; draws without one are left out.
    level
        The coverage aimed at, 0 to 1.

    Examples
    --------
    >>> interval(60.0, np.arange(101.0), 0.5)
    (35.0, 85.0)
    """
    values = np.asarray(values_R, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) - values.mean() + value
    return float(low), float(high)


def mean_interval(value_N: NDArray[np.floating], donors: Donors) -> tuple[float, float]:
    """Return the interval of a mean over cells; cells without a value are left out."""
    known = np.isfinite(value_N)
    n_donors = donors.draws_RD.shape[1]
    sum_D = np.bincount(donors.code_N[known], value_N[known].astype(np.float64), n_donors)
    n_D = np.bincount(donors.code_N[known], minlength=n_donors)
    total_R, sum_R = donors.draws_RD @ n_D, donors.draws_RD @ sum_D
    mean_R = np.divide(sum_R, total_R, out=np.full(len(total_R), np.nan), where=total_R > 0)
    return interval(float(value_N[known].mean()), mean_R)
