"""Depth and complexity: how many counts cells have, and in how many genes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class Quantiles(NamedTuple):
    """The values below which shares of the cells lie.

    Attributes
    ----------
    levels
        The shares, 0 to 1.
    values
        The value at each.
    """

    levels: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return self.values[self.levels.index(0.5)]


def quantiles(
    value_N: NDArray[np.floating], times_N: NDArray[np.int64] | None = None, levels: tuple[float, ...] = LEVELS
) -> Quantiles:
    """Return the quantiles of counts per cell (depth) or of genes with a count per cell (complexity).

    Parameters
    ----------
    value_N
        Each cell's counts, or genes, in the study's genes. Neither way is better.
    times_N
        How often each cell counts; once by default.
    levels
        Which quantiles.

    Raises
    ------
    MeasureError
        When there are no cells, or a value is NaN.

    Examples
    --------
    >>> quantiles(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 3])).median
    3.0
    """
    used_N = value_N if times_N is None else np.repeat(value_N, times_N)
    if not len(used_N):
        raise MeasureError("there are no cells")
    if np.isnan(used_N).any():
        raise MeasureError("values hold NaN")
    return Quantiles(levels, tuple(np.quantile(used_N, levels).tolist()))
