"""Maximum mean discrepancy: how far two sets of cells are apart as distributions, with a Gaussian kernel.

Axes in names: N, M cells, K dimensions.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book
from corpuscle.measures.view import View

# Cells whose kernel is computed at once: as many × 10,000 in float64 are 41 MB.
BLOCK_CELLS = 512
# The median distance is known well enough from the pairs of this many cells.
MEDIAN_CELLS = 1000
# Time grows with the square of the number of cells.
MOST_CELLS = 2000
SQUARED_MMD = Metric(
    "squared_mmd", "Squared MMD", "Distance of the distributions of corpus and target cells.", "lower", "real"
)


@component
class MMD(Measure):
    """Squared maximum mean discrepancy of a corpus and each target, at equal numbers of cells."""

    needs_targets = True
    metrics = (SQUARED_MMD,)

    def measure(self, view: View, book: Book) -> None:
        """Compare with a kernel as wide as the target's cells are apart: one width for all corpora."""
        some_VK = view.profile.drawn(min(view.study.n_equal, MOST_CELLS))
        for target in view.study.targets:
            with book.row(SQUARED_MMD, min(view.study.n_equal, MOST_CELLS), target=target.name, size="equal") as row:
                target_TK = target.profile.drawn(MOST_CELLS)
                width = median_distance(target_TK, np.random.default_rng(0))
                row.value = squared_mmd(some_VK, target_TK, width)


def median_distance(points_NK: NDArray[np.floating], rng: np.random.Generator) -> float:
    """Return the median distance between cells: the kernel's usual width.

    Parameters
    ----------
    points_NK
        The cells; of more than 1,000, as many are drawn.
    rng
        Decides which are drawn.

    Raises
    ------
    MeasureError
        When more than half of the pairs of cells coincide, or coordinates are NaN or infinite.

    Examples
    --------
    >>> median_distance(np.array([[0.0], [1.0], [3.0]]), np.random.default_rng(0))
    2.0
    """
    if len(points_NK) < 2 or not np.isfinite(points_NK).all():
        raise MeasureError("the distance between cells needs two of them, with finite coordinates")
    if len(points_NK) > MEDIAN_CELLS:
        points_NK = points_NK[rng.choice(len(points_NK), MEDIAN_CELLS, replace=False)]
    median = float(np.median(pdist(points_NK.astype(np.float64))))
    if median == 0:
        raise MeasureError("more than half of the pairs of cells coincide, so there is no kernel width")
    return median


def squared_mmd(points_NK: NDArray[np.floating], others_MK: NDArray[np.floating], width: float) -> float:
    """Estimate the squared maximum mean discrepancy without bias (Gretton et al. 2012, JMLR 13:723, lemma 6).

    With the kernel exp(-d² / 2 width²): the mean over different cells of the one set, plus that of the other, less
    twice the mean between them. 0 on average for two draws of one distribution, and so also below 0; at most 2.
    Lower is nearer. Exact, in bounded memory.

    Raises
    ------
    MeasureError
        When a set has fewer than two cells, coordinates are NaN or infinite, or the width is not positive.

    Examples
    --------
    >>> round(squared_mmd(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]), 1.0), 4)
    -0.3935
    """
    if min(len(points_NK), len(others_MK)) < 2:
        raise MeasureError("the discrepancy needs at least two cells on either side")
    if not (np.isfinite(points_NK).all() and np.isfinite(others_MK).all()):
        raise MeasureError("coordinates hold NaN or infinite values")
    if not (np.isfinite(width) and width > 0):
        raise MeasureError(f"the kernel's width must be positive (it is {width})")
    n, m = len(points_NK), len(others_MK)
    # A cell is as like itself as can be: these n and m ones are not part of the means.
    own = (_kernel_sum(points_NK, points_NK, width) - n) / (n * (n - 1))
    other = (_kernel_sum(others_MK, others_MK, width) - m) / (m * (m - 1))
    return own + other - 2 * _kernel_sum(points_NK, others_MK, width) / (n * m)


def _kernel_sum(points_NK: NDArray[np.floating], others_MK: NDArray[np.floating], width: float) -> float:
    total = 0.0
    for start in range(0, len(points_NK), BLOCK_CELLS):
        square_BM = cdist(points_NK[start : start + BLOCK_CELLS], others_MK, "sqeuclidean")
        square_BM *= -0.5 / width**2
        total += float(np.exp(square_BM, out=square_BM).sum())
    return total
