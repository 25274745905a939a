"""Label scores: how right an annotator's answer is, the same for every task that asks for cell types.

Axes in names: N cells, Q query cells, L labels.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.scores import Metric, Score, declared
from corpuscle.evaluation.annotators import Answer
from corpuscle.evaluation.embedding import reasons
from corpuscle.evaluation.metrics import classification

SUMMARIES = declared(
    Metric(
        "macro_f1",
        "Macro-F1",
        "Mean F1 over the cell types that cells have or are given; one that none has counts as 0, as in scikit-learn.",
        "higher",
        "share",
    ),
    Metric("accuracy", "Accuracy", "Share of cells that are given their type.", "higher", "share"),
    Metric("micro_f1", "Micro-F1", "The same number as accuracy.", "higher", "share"),
    Metric("balanced_accuracy", "Balanced accuracy", "Mean recall over cell types.", "higher", "share"),
    Metric(
        "calibration_error",
        "Calibration error",
        "By how much confidence and accuracy differ, in 15 bins.",
        "lower",
        "share",
    ),
    Metric("unseen_share", "Unseen share", "Share of cells whose type no reference cell has.", "none", "share"),
)
PER_TYPE = declared(
    Metric("f1", "F1", "Harmonic mean of precision and recall of a type.", "higher", "share"),
    Metric("precision", "Precision", "Share of the cells that are given a type which have it.", "higher", "share"),
    Metric("recall", "Recall", "Share of a type's cells that are given it.", "higher", "share"),
)


def label_scores(
    truth_Q: NDArray[np.str_],
    masks: Mapping[str, NDArray[np.bool_]],
    answer: Answer,
    note: str,
    problem: str,
) -> Iterator[Score]:
    """Score one annotator's answer: `SUMMARIES` of each unit, and `PER_TYPE`.

    Parameters
    ----------
    truth_Q
        The cells' types.
    masks
        Which cells belong to each unit.
    answer
        What the annotator says of them.
    note
        What is to be said next to every score.
    problem
        Why there is nothing to score; empty where there is.
    """
    unseen_Q = ~np.isin(truth_Q, answer.labels)
    unseen = sorted(set(truth_Q[unseen_Q]))
    absent = f"types that no reference cell has count as not found: {', '.join(unseen)}" if unseen else ""
    predicted_Q = truth_Q if problem else answer.given()
    for unit, mask_Q in masks.items():
        n_cells = int(mask_Q.sum())
        if problem:
            values = dict.fromkeys(SUMMARIES, float("nan"))
        else:
            values = _summaries(truth_Q[mask_Q], predicted_Q[mask_Q], answer.probability_QL[mask_Q], answer.labels)
            values["unseen_share"] = float(unseen_Q[mask_Q].mean())
        reason = reasons(problem, note, answer.note, absent if not problem and unseen_Q[mask_Q].any() else "")
        for name, metric in SUMMARIES.items():
            yield metric.score(unit, values[name], n_cells, reason, answer.way)
    yield from _type_scores(truth_Q, predicted_Q, answer, reasons(problem, note, answer.note), problem)


def _summaries(
    truth_N: NDArray[np.str_],
    predicted_N: NDArray[np.str_],
    probability_NL: NDArray[np.floating],
    labels: NDArray[np.str_],
) -> dict[str, float]:
    share = classification.accuracy(truth_N, predicted_N)
    return {
        "macro_f1": classification.macro_f1(truth_N, predicted_N),
        "accuracy": share,
        "micro_f1": share,
        "balanced_accuracy": classification.balanced_accuracy(truth_N, predicted_N),
        "calibration_error": classification.calibration_error(truth_N, probability_NL, labels),
    }


def _type_scores(
    truth_Q: NDArray[np.str_], predicted_Q: NDArray[np.str_], answer: Answer, reason: str, problem: str
) -> Iterator[Score]:
    types = np.unique(truth_Q)
    if not len(types):
        return
    found = classification.per_type(truth_Q, predicted_Q, types)
    size_of = dict(zip(answer.labels.tolist(), answer.size_L.tolist(), strict=True))
    for at, label in enumerate(types.tolist()):
        size = size_of.get(label, 0)
        why = "unseen: no reference cell has this type" if not size else ""
        if 0 < size < answer.least:
            why = f"only {size} reference cells have this type, fewer than k = {answer.least}"
        never = "no cell is given this type" if np.isnan(found.precision[at]) else ""
        for name, metric in PER_TYPE.items():
            value = float("nan") if problem else float(getattr(found, name)[at])
            said = reason if problem else reasons(reason, why, never if name == "precision" else "")
            yield metric.score(f"cell_type={label}", value, int(found.support[at]), said, answer.way)
