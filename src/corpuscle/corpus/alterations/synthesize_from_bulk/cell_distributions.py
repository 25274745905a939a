"""Cell laws: the distributions that synthetic cells of a label are drawn from, a cell at a time.

Axes in names: L labels, R groups of single cells, G genes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from corpuscle.corpus.alterations.synthesize_from_bulk.gaussian_copula import CorrelationFactors, Margins, draw_counts


class _Bounds(NamedTuple):
    """A label's means, deviations and maxima, and the normal distribution's shares below 0 and below the maximum."""

    mean_G: NDArray[np.float64]
    sd_G: NDArray[np.float64]
    largest_G: NDArray[np.float64]
    low_G: NDArray[np.float64]
    high_G: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TruncatedNormal:
    """Independent genes, normal, drawn anew outside [0, largest]; no whole numbers.

    Attributes
    ----------
    mean_LG
        Each label's means.
    sd_RG, largest_RG
        Standard deviation and maximum of each group of single cells.
    group_L
        Which group goes with a label.
    """

    mean_LG: NDArray[np.float64]
    sd_RG: NDArray[np.float64]
    largest_RG: NDArray[np.float64]
    group_L: NDArray[np.int64]

    @property
    def is_whole(self) -> bool:
        """Return False."""
        return False

    def state(self) -> list[Any]:
        """Return all that it depends on: what it is made from again."""
        return [self.mean_LG, self.sd_RG, self.largest_RG, self.group_L]

    def prepare(self, label: int) -> _Bounds:
        """Return what draws of a label need."""
        mean_G, group = self.mean_LG[label], self.group_L[label]
        sd_G, largest_G = self.sd_RG[group], self.largest_RG[group]
        scale_G = np.where(sd_G > 0, sd_G, 1)
        return _Bounds(mean_G, sd_G, largest_G, ndtr(-mean_G / scale_G), ndtr((largest_G - mean_G) / scale_G))

    def draw(self, bounds: _Bounds, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a cell by the inverse of the cut distribution, which is what drawing anew gives; shape (G,)."""
        u_G = bounds.low_G + rng.random(len(bounds.mean_G)) * (bounds.high_G - bounds.low_G)
        # Where the mean is so far above the maximum that both shares vanish, the cut at the maximum is all there is.
        drawn_G = bounds.mean_G + bounds.sd_G * np.where(u_G > 0, ndtri(np.maximum(u_G, 1e-300)), 0)
        cut_G: NDArray[np.float64] = np.clip(drawn_G, 0, bounds.largest_G)
        return cut_G


@dataclass(frozen=True, eq=False)
class CorrelatedCounts:
    """Negative binomial genes under a Gaussian copula; see `gaussian_copula`.

    Attributes
    ----------
    mean_LG
        Each label's means.
    size_RG, factors
        Inverse dispersions and factors of each group of single cells.
    group_L
        Which group goes with a label.
    """

    mean_LG: NDArray[np.float64]
    size_RG: NDArray[np.float64]
    factors: list[CorrelationFactors]
    group_L: NDArray[np.int64]

    @property
    def is_whole(self) -> bool:
        """Return True."""
        return True

    def state(self) -> list[Any]:
        """Return all that it depends on: what it is made from again."""
        return [self.mean_LG, self.size_RG, [[*factors] for factors in self.factors], self.group_L]

    def prepare(self, label: int) -> tuple[Margins, CorrelationFactors]:
        """Return what draws of a label need: a table of quantiles is large, and made only where cells are drawn."""
        group = int(self.group_L[label])
        return Margins(self.mean_LG[label], self.size_RG[group]), self.factors[group]

    def draw(self, prepared: tuple[Margins, CorrelationFactors], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw a cell, shape (G,)."""
        return draw_counts(*prepared, rng)


Law = TruncatedNormal | CorrelatedCounts


def restored(name: str, state: list[Any]) -> Law:
    """Return the distributions of a class's name and a state."""
    if name == TruncatedNormal.__name__:
        return TruncatedNormal(*state)
    mean_LG, size_RG, factors, group_L = state
    return CorrelatedCounts(mean_LG, size_RG, [CorrelationFactors(*each) for each in factors], group_L)
