"""Depth and complexity: how many counts cells have, and in how many genes; and how many genes a corpus expresses.

Axes in names: N cells, U uses of cells, G genes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.measures.summary import EXPRESSED
from corpuscle.measures.table import Book
from corpuscle.measures.view import View

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
EXPRESSED_GENES = Metric(
    "expressed_genes", "Expressed genes", "Genes with a mean above 1 count per 10,000.", "none", "positive"
)
DEPTH = Metric("depth", "Counts per cell, median", "In the genes that all sources measured.", "none", "positive")
COMPLEXITY = Metric(
    "complexity",
    "Genes per cell, median",
    "Those with a count, in the genes that all sources measured.",
    "none",
    "positive",
)


@component
class Depth(Measure):
    """Counts and genes per cell, with their quantiles, and the number of genes that are expressed at all."""

    of = "genes"
    metrics = (EXPRESSED_GENES, DEPTH, COMPLEXITY)

    def measure(self, view: View, book: Book) -> None:
        """Measure the cells in the genes that all sources measured."""
        found = view.profile
        with book.row(EXPRESSED_GENES, len(found.use_U)) as row:
            row.value = expressed_genes(found.mean_C)
        for metric, value_N in ((DEPTH, found.depth_N), (COMPLEXITY, found.complexity_N)):
            spread = quantiles(value_N[found.use_U])
            with book.row(metric, len(found.use_U)) as row:
                row.value = spread.median
            book.curve(metric.name, spread.levels, spread.values)


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


def quantiles(value_N: NDArray[np.floating]) -> Quantiles:
    """Return the quantiles of counts per cell (depth) or of genes with a count per cell (complexity).

    Parameters
    ----------
    value_N
        Each cell's counts, or genes, in the study's genes. Neither way is better.

    Raises
    ------
    MeasureError
        When there are no cells, or a value is NaN.

    Examples
    --------
    >>> quantiles(np.array([1.0, 2.0, 3.0, 3.0, 3.0])).median
    3.0
    """
    if not len(value_N):
        raise MeasureError("there are no cells")
    if np.isnan(value_N).any():
        raise MeasureError("values hold NaN")
    return Quantiles(LEVELS, tuple(np.quantile(value_N, LEVELS).tolist()))


def expressed_genes(mean_G: NDArray[np.floating]) -> int:
    """Count the genes whose mean counts per 10,000 are above 1; higher covers more.

    Raises
    ------
    MeasureError
        When a mean is NaN.

    Examples
    --------
    >>> expressed_genes(np.array([0.0, 1.0, 1.5]))
    1
    """
    if np.isnan(mean_G).any():
        raise MeasureError("mean expression holds NaN")
    return int(np.sum(mean_G > EXPRESSED))
