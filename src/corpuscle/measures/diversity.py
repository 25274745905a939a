"""Diversity of labels: entropies, Hill numbers, how complete a sample is, and what fewer cells would show.

Every function takes counts along the last axis, so that many draws are measured at once. Axes in names: L labels,
D donors, Q orders. Higher is more diverse, everywhere.

References
----------
Hill (1973), Diversity and evenness, https://doi.org/10.2307/1934352. Chao et al. (2014), Rarefaction and extrapolation
with Hill numbers, https://doi.org/10.1890/13-0133.1. Chao & Jost (2012), Coverage-based rarefaction,
https://doi.org/10.1890/11-1952.1. Chao (1984), https://www.jstor.org/stable/4615964.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, gammaln

from corpuscle.core.errors import MeasureError


def shares(counts_L: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each label.

    Raises
    ------
    MeasureError
        When a count is negative, NaN or infinite, or all are 0.
    """
    counts: NDArray[np.float64] = np.asarray(counts_L, np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise MeasureError("numbers of cells must be finite and not negative")
    total = counts.sum(axis=-1, keepdims=True)
    if not counts.shape[-1] or (total == 0).any():
        raise MeasureError("there are no cells")
    return np.asarray(counts / total)


def shannon(counts_L: ArrayLike, base: float = math.e) -> NDArray[np.float64]:
    """Return the Shannon entropy -Σ p log p, from 0 (one label) to log L: in nats, or with base 2 in bits.

    Examples
    --------
    >>> float(shannon([5, 5, 5, 5], base=2))
    2.0
    """
    return np.asarray(entr(shares(counts_L)).sum(axis=-1) / math.log(base))


def inverse_simpson(counts_L: ArrayLike) -> NDArray[np.float64]:
    """Return 1 / Σp²: how many equally frequent labels are as diverse, from 1 to L.

    Examples
    --------
    >>> float(inverse_simpson([5, 5, 0]))
    2.0
    """
    return np.asarray(1 / (shares(counts_L) ** 2).sum(axis=-1))


def gini_simpson(counts_L: ArrayLike) -> NDArray[np.float64]:
    """Return 1 - Σp²: how likely two cells, drawn with replacement, differ in label; from 0 to 1 - 1/L.

    Examples
    --------
    >>> float(gini_simpson([5, 5]))
    0.5
    """
    return np.asarray(1 - (shares(counts_L) ** 2).sum(axis=-1))


def hill(counts_L: ArrayLike, order: float) -> NDArray[np.float64]:
    """Return the Hill number (Σ pᵠ)^(1/(1-q)): the effective number of labels, from 1 to L.

    Order 0 is the number of labels, 1 the exponential of Shannon's entropy in nats, 2 the inverse Simpson index,
    infinity the inverse of the largest share. It never rises with the order.

    Raises
    ------
    MeasureError
        When the order is negative or NaN, or there are no cells.

    Examples
    --------
    >>> [round(float(hill([6, 2, 2], order)), 3) for order in (0, 1, 2, np.inf)]
    [3.0, 2.586, 2.273, 1.667]
    """
    share_L = shares(counts_L)
    if not order >= 0:
        raise MeasureError(f"the order of a Hill number is at least 0 (it is {order})")
    if order == 1:
        return np.asarray(np.exp(entr(share_L).sum(axis=-1)))
    if math.isinf(order):
        return np.asarray(1 / share_L.max(axis=-1))
    powers_L = np.where(share_L > 0, share_L, 1) ** order * (share_L > 0)
    return np.asarray(powers_L.sum(axis=-1) ** (1 / (1 - order)))


def hill_profile(counts_L: ArrayLike, orders_Q: Sequence[float]) -> NDArray[np.float64]:
    """Return the Hill numbers of several orders, shape (..., Q)."""
    return np.stack([hill(counts_L, order) for order in orders_Q], axis=-1)


def completeness(counts_L: ArrayLike) -> float:
    """Estimate which share of the sampled population's cells have a label that the sample has; from 0 to 1.

    With n cells and f₁, f₂ labels of one and of two cells: 1 - f₁/n · (n-1)f₁ / ((n-1)f₁ + 2f₂); where f₂ is 0,
    1 - f₁/n · (n-1)(f₁-1) / ((n-1)(f₁-1) + 2) (Chao & Jost 2012).

    Examples
    --------
    >>> round(completeness([5, 3, 1, 1]), 3), completeness([5, 5])
    (0.836, 1.0)
    """
    counts = np.asarray(counts_L)
    shares(counts)
    once, twice = int(np.sum(counts == 1)), int(np.sum(counts == 2))
    return _completeness(once, twice, int(counts.sum()), int(counts.sum()))


def donor_completeness(cells_DL: ArrayLike) -> float:
    """Estimate completeness with donors as the units that were sampled: which share of (donor, label) pairs is seen.

    With Q₁, Q₂ labels found in one and in two of T donors and U pairs of a donor and a label that it has:
    1 - Q₁/U · (T-1)Q₁ / ((T-1)Q₁ + 2Q₂) (Chao et al. 2014).

    Raises
    ------
    MeasureError
        When there are fewer than two donors.

    Examples
    --------
    >>> donor_completeness([[5, 1], [3, 2]])
    1.0
    >>> round(donor_completeness([[5, 1, 0, 0], [3, 0, 1, 2], [1, 0, 0, 2]]), 3)
    0.81
    """
    present_L = (np.asarray(cells_DL) > 0).sum(axis=0)
    n_donors = len(np.asarray(cells_DL))
    if n_donors < 2:
        raise MeasureError("donors as units of sampling need at least 2 donors")
    once, twice = int(np.sum(present_L == 1)), int(np.sum(present_L == 2))
    return _completeness(once, twice, n_donors, int(present_L.sum()))


def _completeness(once: int, twice: int, units: int, total: int) -> float:
    if once == 0:
        return 1.0
    seen, unseen = ((units - 1) * once, 2 * twice) if twice else ((units - 1) * (once - 1), 2)
    return 1 - once / total * seen / (seen + unseen)


def chao1(counts_L: ArrayLike) -> float:
    """Estimate, from below, how many labels the sampled population has (Chao 1984).

    L + (n-1)/n · f₁²/(2f₂); where f₂ is 0, L + (n-1)/n · f₁(f₁-1)/2.

    Examples
    --------
    >>> chao1([5, 2, 1, 1])
    5.777777777777778
    """
    counts = np.asarray(counts_L)
    shares(counts)
    n, once, twice = int(counts.sum()), int(np.sum(counts == 1)), int(np.sum(counts == 2))
    unseen = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    return int(np.sum(counts > 0)) + (n - 1) / n * unseen


def rarefied_hill(counts_L: ArrayLike, n_cells: int, order: float) -> float:
    """Return the Hill number that a draw of fewer cells would have (Chao et al. 2014), exactly, without drawing.

    From the expected number of labels with k of the drawn cells, for k = 1 … n: Hill's formula over these.

    Parameters
    ----------
    counts_L
        Cells of each label, whole numbers.
    n_cells
        How many cells to draw without replacement.
    order
        0, 1 or any other finite order.

    Raises
    ------
    MeasureError
        When more cells are to be drawn than there are, or none.

    Examples
    --------
    >>> round(rarefied_hill([2, 1, 1], 2, 0), 4)
    1.8333
    """
    counts = np.asarray(counts_L, np.int64)
    total = int(counts.sum())
    if not 1 <= n_cells <= total:
        raise MeasureError(f"{n_cells:,} cells cannot be drawn from {total:,}")
    if math.isinf(order) or not order >= 0:
        raise MeasureError(f"rarefaction needs a finite order of at least 0 (it is {order})")
    if order == 0:
        return float(rarefied_richness(counts, [n_cells])[0])
    moment = 0.0
    # Labels of equal counts have equal expectations.
    for count, n_labels in zip(*np.unique(counts[counts > 0], return_counts=True), strict=True):
        # Further than this from its mean, a hypergeometric number has no mass that float64 would see.
        mean = n_cells * count / total
        reach = 14 * math.sqrt(mean + 1) + 30
        first = max(1, n_cells - (total - count), math.floor(mean - reach))
        k = np.arange(first, min(count, n_cells, math.ceil(mean + reach)) + 1)
        ways = _log_choose(count, k) + _log_choose(total - count, n_cells - k) - _log_choose(total, n_cells)
        share = k / n_cells
        each = entr(share) if order == 1 else share**order
        moment += n_labels * float(np.exp(ways) @ each)
    return math.exp(moment) if order == 1 else float(moment ** (1 / (1 - order)))


def rarefied_richness(counts_L: ArrayLike, sizes: ArrayLike) -> NDArray[np.float64]:
    """Return how many labels draws of several sizes would have (Hurlbert 1971): Σ 1 - C(N-Nᵢ, n) / C(N, n).

    Examples
    --------
    >>> rarefied_richness([2, 1, 1], [1, 4]).round(6).tolist()
    [1.0, 3.0]
    """
    counts, size_Z = np.asarray(counts_L, np.int64), np.asarray(sizes, np.int64)
    total, counts = int(counts.sum()), counts[counts > 0]
    if size_Z.min() < 1 or size_Z.max() > total:
        raise MeasureError(f"{size_Z.min():,} to {size_Z.max():,} cells cannot be drawn from {total:,}")
    missed_ZL = _log_choose(total - counts, size_Z[:, None]) - _log_choose(total, size_Z)[:, None]
    return np.asarray((1 - np.exp(missed_ZL)).sum(axis=1))


def _log_choose(n: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """Return log C(n, k); -inf where k > n."""
    n, k = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(k, np.float64))
    possible = k <= n
    rest = np.where(possible, n - k, 0)
    return np.where(possible, gammaln(n + 1) - gammaln(k + 1) - gammaln(rest + 1), -np.inf)
