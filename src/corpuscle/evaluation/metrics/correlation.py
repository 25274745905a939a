"""Correlation of what a model expects of a cell with what was counted."""

import numpy as np
from numpy.typing import NDArray


def squared_pearson(truth_NG: NDArray[np.float64], predicted_NG: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared Pearson correlation of each row of one array with the same row of the other.

    Parameters
    ----------
    truth_NG, predicted_NG
        N cells × G genes, the same shape.

    Returns
    -------
    Shape (N,), from 0 to 1, higher is better; NaN where a row is constant. The sign is lost, as in the published
    studies: a prediction that is the wrong way round scores as well as the right one.

    Examples
    --------
    >>> squared_pearson(np.array([[1.0, 2, 3], [1, 1, 1]]), np.array([[2.0, 4, 6], [1, 2, 3]]))
    array([ 1., nan])
    """
    truth = truth_NG - truth_NG.mean(axis=1, keepdims=True)
    predicted = predicted_NG - predicted_NG.mean(axis=1, keepdims=True)
    cross = np.einsum("ng,ng->n", truth, predicted)
    spread = np.einsum("ng,ng->n", truth, truth) * np.einsum("ng,ng->n", predicted, predicted)
    # Rounding leaves a constant row a spread of about eps² of its size, not 0.
    scale = np.einsum("ng,ng->n", truth_NG, truth_NG) * np.einsum("ng,ng->n", predicted_NG, predicted_NG)
    defined = spread > scale * 1e-24
    squared = np.divide(cross**2, spread, out=np.full(len(cross), np.nan), where=defined)
    within: NDArray[np.float64] = np.minimum(squared, 1.0)
    return within
