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

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.neighbours import neighbours, square_radii

K_NEAREST = 5


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

    @property
    def knn_distance(self) -> float:
        """Mean distance to the k nearest; lower is better."""
        return float(self.distance_T.mean())

    @property
    def coverage(self) -> float:
        """Share of the target's cells that are covered, 0 to 1; higher is better."""
        return float(self.covered_T.mean())

    @property
    def density(self) -> float:
        """Mean number of balls over k; higher is nearer to where the target is dense."""
        return float(self.density_S.mean())

    @property
    def precision(self) -> float:
        """Share of the corpus that looks like the target, 0 to 1; higher is more alike."""
        return float(self.precise_S.mean())

    @property
    def recall(self) -> float:
        """Share of the target's cells within the corpus' reach, 0 to 1; higher is better."""
        return float(self.recalled_T.mean())


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
    >>> found.coverage, found.density, round(found.precision, 3), found.recall, found.knn_distance
    (1.0, 1.3333333333333333, 0.667, 1.0, 0.5)
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
