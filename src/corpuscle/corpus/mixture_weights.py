"""Mixing: which share each source has of a mixture."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import MeasureError


def mixture_shares(weights_S: ArrayLike, n_sources: int) -> NDArray[np.float64]:
    """Scale the weights of a mixture's sources to a sum of 1.

    Raises
    ------
    MeasureError
        When weights are not one per source, finite, not negative and of a positive sum.

    Examples
    --------
    >>> mixture_shares([1, 3], 2).tolist()
    [0.25, 0.75]
    """
    weight_S = np.asarray(weights_S, np.float64)
    if weight_S.shape != (n_sources,) or not np.isfinite(weight_S).all() or (weight_S < 0).any():
        raise MeasureError(f"a mixture needs a weight of at least 0 for each of its {n_sources} sources")
    if not weight_S.sum() > 0:
        raise MeasureError("a mixture needs a source with a positive weight")
    return np.asarray(weight_S / weight_S.sum())
