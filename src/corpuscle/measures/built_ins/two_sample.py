"""Two-sample test by a classifier: how well can cells of a corpus be distinguished from a target's.

Axes in names: S corpus cells, T target cells, K dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book
from corpuscle.measures.view import View

N_FOLDS = 5
CLASSIFIER_AUC = Metric(
    "classifier_auc",
    "Classifier's AUC",
    "0.5: no plane can tell corpus and target cells apart; 1: one always can.",
    "lower",
    "share",
)


@component
class TwoSample(Measure):
    """How well a classifier can tell a corpus from each target, at equal numbers of cells."""

    needs_targets = True
    metrics = (CLASSIFIER_AUC,)

    def measure(self, view: View, book: Book) -> None:
        """Train and test a linear discriminant in folds."""
        equal_VK = view.profile.drawn(view.study.n_equal)
        for target in view.study.targets:
            with book.row(CLASSIFIER_AUC, view.study.n_equal, target=target.name, size="equal") as row:
                rng = view.rng("against", target.name)
                row.value = two_sample_auc(equal_VK, target.profile.points_UK, rng)


def two_sample_auc(corpus_SK: NDArray[np.floating], target_TK: NDArray[np.floating], rng: np.random.Generator) -> float:
    """Return the cross-fitted area under the ROC curve of a linear discriminant that separates target from corpus.

    Each fold's cells are scored by a discriminant (covariance shrunk as Ledoit and Wolf do) that never saw them; the
    mean over folds is returned (Lopez-Paz & Oquab 2017, arXiv 1610.06545; the area, unlike the accuracy, does not
    depend on the sizes).
    0.5: they cannot be distinguished by a plane; 1: they can, always. Lower (down to 0.5) is nearer; a little below
    0.5 is chance. Linear in the coordinates: a difference in spread alone is seen by the other measures.

    Parameters
    ----------
    corpus_SK, target_TK
        The cells' coordinates in one space.
    rng
        Decides the folds.

    Raises
    ------
    MeasureError
        When either has fewer cells than folds, coordinates are NaN or infinite, or none of them varies.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> points = rng.normal(size=(200, 3))
    >>> round(two_sample_auc(points[:100], points[100:] + 9, rng), 3)
    1.0
    """
    # A second to import, which only this measure needs.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    if min(len(corpus_SK), len(target_TK)) < N_FOLDS:
        raise MeasureError(f"a classifier in {N_FOLDS} folds needs as many cells on either side")
    points_NK = np.concatenate([corpus_SK, target_TK]).astype(np.float64)
    if not np.isfinite(points_NK).all():
        raise MeasureError("coordinates hold NaN or infinite values")
    if not np.ptp(points_NK, axis=0).any():
        raise MeasureError("no coordinate varies, so there is nothing to distinguish cells by")
    is_target_N = np.repeat([0, 1], [len(corpus_SK), len(target_TK)])
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    areas = []
    for train, test in folds.split(points_NK, is_target_N):
        # Closed form: where the two are far apart, a logistic regression would still be converging.
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model.fit(points_NK[train], is_target_N[train])
        areas.append(float(roc_auc_score(is_target_N[test], model.decision_function(points_NK[test]))))
    return float(np.mean(areas))
