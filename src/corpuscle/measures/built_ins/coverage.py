"""Coverage: whether a corpus has cells where a target has them, by exact nearest neighbours.

With r_k(t) the distance of a target's cell to its k-th nearest other cell of the target:

- k-NN distance: mean over target cells of the mean distance to the k nearest cells of the corpus; lower is better.
- coverage: share of target cells with a cell of the corpus within r_k (Naeem et al. 2020, arXiv 2002.09797).
- density: how many target cells' balls a cell of the corpus lies in, over k; may exceed 1 (Naeem et al. 2020).
- precision: share of corpus cells that lie in some target cell's ball (Kynkäänniemi et al. 2019, arXiv 1904.06991).
- recall: share of target cells that lie in some corpus cell's ball, of radius r_k within the corpus (the same).

"Within" includes the edge: where cells coincide, a strict comparison would find nothing. All of them grow or shrink
with the number of cells: compare corpora at equal numbers. Axes in names: T target cells, S corpus cells, K dimensions.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.corpus.expression.neighbours import neighbours, square_radii
from corpuscle.measures.donor_bootstrap import mean_interval
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book, attempt, demand
from corpuscle.measures.view import MOST_PAIRED, Target, View

K_NEAREST = 5
COVERAGE = Metric(
    "coverage",
    "Coverage",
    "Share of the target's cells with a corpus cell within their 5th neighbour's distance.",
    "higher",
    "share",
    figure="reach",
)
KNN_DISTANCE = Metric(
    "knn_distance",
    "Distance to the 5 nearest",
    "Of the target's cells to cells of the corpus, in principal components.",
    "lower",
    "positive",
)
RECALL = Metric("recall", "Recall", "Share of the target's cells within the reach of the corpus.", "higher", "share")
DENSITY = Metric("density", "Density", "How crowded the corpus is where the target is.", "higher", "positive")
PRECISION = Metric("precision", "Precision", "Share of the corpus that lies where the target does.", "none", "share")


@dataclass(frozen=True, eq=False)
class Coverage:
    """What each cell of a target and of a corpus has to say; the measures are the means of these.

    Attributes
    ----------
    distance_T
        Mean distance of each target cell to its k nearest cells of the corpus, in units of the coordinates.
    covered_T
        Whether a cell of the corpus is within the radius.
    recalled_T
        Whether it lies in a corpus cell's ball.
    density_S
        In how many target cells' balls each cell of the corpus lies, over k.
    precise_S
        Whether it lies in any.
    """

    distance_T: NDArray[np.float64]
    covered_T: NDArray[np.bool_]
    recalled_T: NDArray[np.bool_]
    density_S: NDArray[np.float64]
    precise_S: NDArray[np.bool_]


@component
class TargetCoverage(Measure):
    """How a corpus covers each target, at equal numbers of cells and at its own size, up to 5,000 cells."""

    needs_targets = True
    metrics = (COVERAGE, KNN_DISTANCE, RECALL, DENSITY, PRECISION)

    def measure(self, view: View, book: Book) -> None:
        """Find nearest neighbours of corpus and target in each other."""
        equal_VK, own_VK = view.profile.drawn(view.study.n_equal), view.profile.drawn(MOST_PAIRED)
        for target in view.study.targets:
            equal = attempt(partial(cover, equal_VK, target.profile.points_UK))
            # The smallest corpus is at equal size already.
            is_equal = len(own_VK) == len(equal_VK)
            own = equal if is_equal else attempt(partial(cover, own_VK, target.profile.points_UK))
            _add_rows(book, equal, target, "equal")
            _add_rows(book, own, target, "own")


def _add_rows(book: Book, found: Coverage | MeasureError, target: Target, size: str) -> None:
    """Add a row for each metric; those that are means over the target's cells have intervals."""
    n_cells = 0 if isinstance(found, MeasureError) else len(found.density_S)
    equal = size == "equal"
    for metric, of in ((COVERAGE, "covered_T"), (KNN_DISTANCE, "distance_T"), (RECALL, "recalled_T")):
        # What all cells of a corpus cover is shown, too: it is what a larger corpus is for.
        shown = equal or metric is COVERAGE
        with book.row(metric, n_cells, target=target.name, size=size, headline=shown) as row:
            value_T = getattr(demand(found), of)
            row.value = float(value_T.mean())
            row.low, row.high = mean_interval(value_T, target.profile.donors)
    for metric, of in ((DENSITY, "density_S"), (PRECISION, "precise_S")):
        with book.row(metric, n_cells, target=target.name, size=size, headline=equal) as row:
            row.value = float(getattr(demand(found), of).mean())


def cover(corpus_SK: NDArray[np.floating], target_TK: NDArray[np.floating], k: int = K_NEAREST) -> Coverage:
    """Measure how a corpus covers a target; exact, in O(S T K + S² K + T² K) time and O(S + T) memory.

    Parameters
    ----------
    corpus_SK, target_TK
        The cells' coordinates in one space.
    k
        How many nearest neighbours.

    Raises
    ------
    MeasureError
        When either has not more than k cells, or coordinates are NaN, infinite or of different dimensions.

    Examples
    --------
    >>> found = cover(np.array([[0.0], [1.0], [9.0]]), np.array([[0.0], [2.0]]), k=1)
    >>> found.covered_T, found.distance_T, found.precise_S
    (array([ True,  True]), array([0., 1.]), array([ True,  True, False]))
    """
    target_radius_T, corpus_radius_S = square_radii(target_TK, k), square_radii(corpus_SK, k)
    found = neighbours(target_TK, corpus_SK, k, target_radius_T)
    reached = neighbours(corpus_SK, target_TK, 1, corpus_radius_S)
    return Coverage(
        distance_T=np.sqrt(found.square_Tk.astype(np.float64)).mean(axis=1),
        covered_T=found.square_Tk[:, 0] <= target_radius_T,
        recalled_T=reached.balls_S > 0,
        density_S=found.balls_S / k,
        precise_S=found.balls_S > 0,
    )
