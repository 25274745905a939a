"""Vendi score: the effective number of distinct cells, from the spectrum of their similarities.

The score of n cells with the similarity matrix K is the exponential of the entropy of the eigenvalues of K / n
(Friedman & Dieng 2023, arXiv 2210.02410; orders: Pasarkar & Dieng 2024, arXiv 2310.12952). With cosine similarity these
are, apart from zeros, the eigenvalues of the d × d Gram matrix of the cells' directions: exact in O(n d²), and the Gram
matrix of several donors is the mean of theirs, weighted by cells, so that a draw of donors touches no cell.

Higher is more diverse: from 1 (all cells point one way) to d. Axes in names: N cells, K dimensions, D donors.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.donor_bootstrap import Donors, interval
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book, attempt, demand
from corpuscle.measures.view import View

# Cells turned into directions at once: as many × 50 dimensions in float64 are 6.5 MB.
BLOCK_CELLS = 16384
ORDERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, math.inf)
VENDI = Metric(
    "vendi", "Vendi score", "Effective number of directions that cells have from the sources' mean.", "none", "positive"
)


@component
class Vendi(Measure):
    """The Vendi score of a corpus' cells, and its curve over orders."""

    metrics = (VENDI,)

    def measure(self, view: View, book: Book) -> None:
        """Measure all cells, with an interval over donors, and as many as the smallest corpus has."""
        points_UK = view.profile.points_UK
        whole = attempt(lambda: gram(points_UK))
        with book.row(VENDI, len(points_UK), headline=False) as row:
            row.value = vendi(demand(whole))
            row.low, row.high = interval(row.value, _over_draws(points_UK, view.profile.donors))
        if not isinstance(whole, MeasureError):
            book.curve("vendi", ORDERS, [vendi(whole, order) for order in ORDERS])
        equal_VK = view.profile.drawn(view.study.n_equal)
        with book.row(VENDI, len(equal_VK), size="equal") as row:
            row.value = vendi(gram(equal_VK))


def _over_draws(points_UK: NDArray[np.float32], donors: Donors) -> NDArray[np.float64]:
    """Draw donors by mixing their Gram matrices: no cell is touched again."""
    grams_D = [gram(points_UK[donors.code_N == at]) for at in range(donors.draws_RD.shape[1])]
    sum_DKK = np.stack([found.gram_KK * found.n_cells for found in grams_D])
    return scores_of(np.tensordot(donors.draws_RD, sum_DKK, axes=1))


class Gram(NamedTuple):
    """What the Vendi score of some cells depends on.

    Attributes
    ----------
    gram_KK
        Mean of the outer products of the cells' directions (coordinates divided by their length).
    n_cells
        How many cells it is of.
    """

    gram_KK: NDArray[np.float64]
    n_cells: int


def gram(points_NK: NDArray[np.floating]) -> Gram:
    """Compute the Gram matrix of cells' directions; memory on top of the cells is that of a block.

    Parameters
    ----------
    points_NK
        The cells' features.

    Raises
    ------
    MeasureError
        When there are no cells, a feature is NaN or infinite, or a cell has all features 0 and so no direction.
    """
    total_KK, n_cells = np.zeros((points_NK.shape[1],) * 2), len(points_NK)
    for start in range(0, len(points_NK), BLOCK_CELLS):
        block_BK = points_NK[start : start + BLOCK_CELLS].astype(np.float64)
        square_B = np.einsum("bk,bk->b", block_BK, block_BK)
        if not np.isfinite(square_B).all():
            raise MeasureError("features hold NaN or infinite values")
        if not square_B.all():
            raise MeasureError("a cell has all features 0, and so no direction that could be compared")
        block_BK *= np.sqrt(1 / square_B)[:, None]
        total_KK += block_BK.T @ block_BK
    if not n_cells:
        raise MeasureError("there are no cells")
    return Gram(total_KK / n_cells, n_cells)


def vendi(found: Gram, order: float = 1.0) -> float:
    """Return the Vendi score of any order: Hill's number of the Gram matrix' eigenvalues.

    Parameters
    ----------
    found
        The Gram matrix of the cells.
    order
        0 counts the dimensions that are there at all, 1 is the published score, infinity looks at the largest
        eigenvalue only. The score never rises with the order.

    Raises
    ------
    MeasureError
        When the order is negative or NaN.

    Examples
    --------
    >>> [round(vendi(gram(np.eye(3)), order), 6) for order in (0, 1, 2, np.inf)]
    [3.0, 3.0, 3.0, 3.0]
    >>> round(vendi(gram(np.array([[1.0, 0.0], [2.0, 0.0]]))), 6)
    1.0
    """
    return float(scores_of(found.gram_KK, order))


def scores_of(gram_KK: NDArray[np.float64], order: float = 1.0) -> NDArray[np.float64]:
    """Return the Vendi scores of a stack of Gram matrices, shape (..., K, K); see `vendi`."""
    if not order >= 0:
        raise MeasureError(f"the order of a Vendi score is at least 0 (it is {order})")
    values_K = np.linalg.eigvalsh(gram_KK)
    # What is this small compared with the largest is rounding: an order below 1 would count it.
    values_K = np.where(values_K > 1e-12 * values_K[..., -1:], values_K, 0)
    values_K /= values_K.sum(axis=-1, keepdims=True)
    if math.isinf(order):
        return np.asarray(1 / values_K.max(axis=-1))
    safe_K = np.where(values_K > 0, values_K, 1)
    if order == 1:
        return np.asarray(np.exp(-(values_K * np.log(safe_K)).sum(axis=-1)))
    return np.asarray((safe_K**order * (values_K > 0)).sum(axis=-1) ** (1 / (1 - order)))
