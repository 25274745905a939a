"""Units: what is usual of each output, and how much it differs, by which outputs are made comparable."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Scores whose range is so small a part of their size are the same: the rest is rounding.
SAME = 1e-9


def centre_and_unit(scores_NO: Array) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of each output, shapes (O,), of what is known.

    The second is 0 for an output that is the same for all, to within rounding: it has no better and worse. Both are 0
    where nothing is known.

    Examples
    --------
    >>> centre_and_unit(np.array([[1.0, 0.3], [3.0, 0.1 + 0.2], [np.nan, 0.3]]))
    (array([2. , 0.3]), array([1., 0.]))
    """
    known_NO = np.isfinite(scores_NO)
    n_O = np.maximum(known_NO.sum(axis=0), 1)
    centre_O = np.where(known_NO, scores_NO, 0).sum(axis=0) / n_O
    off_NO = np.subtract(scores_NO, centre_O, out=np.zeros(known_NO.shape), where=known_NO)
    unit_O = np.sqrt((off_NO**2).sum(axis=0) / n_O)
    unit_O[unit_O <= SAME * np.abs(centre_O)] = 0
    return np.asarray(centre_O), np.asarray(unit_O)
