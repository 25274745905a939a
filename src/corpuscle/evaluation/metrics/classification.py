"""Classification: how well cells are given their types.

Axes in names: N cells, L labels, Q query cells, J neighbours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_fscore_support

N_BINS = 15


def vote(label_QJ: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """Return the share of each label among a cell's neighbours, shape (Q, L).

    The largest share is the answer of a k-nearest-neighbours classifier; on a tie, the first label's.

    Parameters
    ----------
    label_QJ
        The label of each neighbour, as a position among the labels.
    n_labels
        How many labels there are.

    Examples
    --------
    >>> vote(np.array([[0, 1, 1, 2]]), 3).tolist()
    [[0.25, 0.5, 0.25]]
    """
    n_cells, n = label_QJ.shape
    flat = label_QJ + np.arange(n_cells)[:, None] * n_labels
    counted: NDArray[np.float64] = (
        np.bincount(flat.ravel(), minlength=n_cells * n_labels).reshape(n_cells, n_labels) / n
    )
    return counted


def weighted_vote(label_QJ: NDArray[np.int64], distance_QJ: NDArray[np.float64], n_labels: int) -> NDArray[np.float64]:
    """Return the share of each label among a cell's neighbours, each counting as one over its distance, shape (Q, L).

    Neighbours at the cell's own place, where there are such, vote alone, as in scikit-learn.

    Parameters
    ----------
    label_QJ
        The label of each neighbour, as a position among the labels.
    distance_QJ
        How far each is.
    n_labels
        How many labels there are.

    Examples
    --------
    >>> weighted_vote(np.array([[0, 1, 1]]), np.array([[1.0, 2.0, 2.0]]), 2).tolist()
    [[0.5, 0.5]]
    """
    here_QJ = distance_QJ == 0
    with np.errstate(divide="ignore"):
        weight_QJ = np.where(here_QJ.any(axis=1, keepdims=True), here_QJ, 1 / distance_QJ)
    weight_QJ = weight_QJ / weight_QJ.sum(axis=1, keepdims=True)
    flat_QJ = label_QJ + np.arange(len(label_QJ))[:, None] * n_labels
    counted: NDArray[np.float64] = np.bincount(
        flat_QJ.ravel(), weights=weight_QJ.ravel(), minlength=len(label_QJ) * n_labels
    )  # type: ignore[assignment]  # numpy's type of it is without the weights
    return counted.reshape(len(label_QJ), n_labels)


def accuracy(truth_N: NDArray[np.str_], predicted_N: NDArray[np.str_]) -> float:
    """Return the share of cells whose type is right; higher is better. Micro-F1 is the same number."""
    return float(np.mean(truth_N == predicted_N))


def macro_f1(truth_N: NDArray[np.str_], predicted_N: NDArray[np.str_]) -> float:
    """Return the mean of the F1 scores of all types that a cell has or is given; 0 to 1, higher is better.

    A type that is given to a cell and that no cell has counts as 0, as in scikit-learn and the published studies.

    Examples
    --------
    >>> macro_f1(np.array(["B", "B", "T"]), np.array(["B", "B", "NK"]))
    0.333...
    """
    return float(f1_score(truth_N, predicted_N, average="macro", zero_division=0))


def balanced_accuracy(truth_N: NDArray[np.str_], predicted_N: NDArray[np.str_]) -> float:
    """Return the mean over the types that cells have of the share of their cells that is found; higher is better.

    Examples
    --------
    >>> balanced_accuracy(np.array(["B", "B", "B", "T"]), np.array(["B"] * 4))
    0.5
    """
    return float(np.mean([np.mean(predicted_N[truth_N == label] == label) for label in np.unique(truth_N)]))


class TypeScores(NamedTuple):
    """What is found of each type, shape (L,) each: `precision` is NaN for a type that is never given."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def per_type(truth_N: NDArray[np.str_], predicted_N: NDArray[np.str_], labels: NDArray[np.str_]) -> TypeScores:
    """Return precision, recall and F1 (0 to 1, higher is better) of some types, and how many cells have each.

    Examples
    --------
    >>> per_type(np.array(["B", "B", "T"]), np.array(["B", "T", "T"]), np.array(["B", "T"])).recall
    array([0.5, 1. ])
    """
    precision, recall, _, support = precision_recall_fscore_support(
        truth_N, predicted_N, labels=labels, zero_division=np.nan
    )
    # A type that some cell has and no cell is given has an F1 of 0: none of it was found.
    f1 = precision_recall_fscore_support(truth_N, predicted_N, labels=labels, zero_division=0)[2]
    return TypeScores(precision, recall, f1, support)


def calibration_error(
    truth_N: NDArray[np.str_], probability_NL: NDArray[np.floating], labels: NDArray[np.str_]
) -> float:
    """Return the expected calibration error: by how much confidence and accuracy differ.

    Cells are binned by the probability of their most probable label into `N_BINS` bins of one width,
    ((b - 1) / B, b / B]; the error is Σ_b n_b / N · abs(accuracy_b - mean confidence_b).

    Parameters
    ----------
    truth_N
        The types that the cells have.
    probability_NL
        The probability of each label.
    labels
        The labels, L of them.

    Returns
    -------
    From 0 to 1; lower is better.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, equation 3, https://arxiv.org/abs/1706.04599.

    Examples
    --------
    >>> sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> calibration_error(np.array(["B", "T"]), sure, np.array(["B", "T"]))
    0.5
    """
    confidence_N = probability_NL.max(axis=1).astype(np.float64)
    right_N = labels[probability_NL.argmax(axis=1)] == truth_N
    bin_N = np.clip(np.ceil(confidence_N * N_BINS - 1e-9).astype(int) - 1, 0, N_BINS - 1)
    gap_B = np.bincount(bin_N, weights=right_N - confidence_N, minlength=N_BINS)
    return float(np.abs(gap_B).sum() / len(truth_N))
