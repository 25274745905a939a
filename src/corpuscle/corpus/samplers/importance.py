"""Importance: cells that look like those of a target, in their principal components."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.balanced_order import smallest
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import N_COMPONENTS
from corpuscle.corpus.sampler import Sampler, cell_numbers
from corpuscle.source import cell_filter as where_expression


@component
class Importance(Sampler):
    """Draw cells in proportion to how much likelier they are among a target's cells than in the pool.

    Data selection via importance resampling (Xie et al. 2023, arXiv 2302.03169), with bins of principal components in
    place of hashed words: each component is cut into bins that hold equally many cells of the pool; a cell's weight
    is the product, over components, of the share of target cells in its bin over the share of the pool's; cells are
    drawn by weight without replacement (Gumbel top-k). As there, components count as independent of each other. With
    one generator state, a smaller draw is contained in a larger.

    The components are those of the source that is drawn from, and the target's cells are placed on them: a difference
    that the source does not know has no effect.

    Parameters
    ----------
    target
        The source that holds the target's cells: those of it that training may use. It may be the part's own source.
    where
        Which cells of it are the target: a filter on labels. None: all.
    n_components
        On how many principal components, at most 50.
    n_bins
        Into how many bins each is cut.

    Examples
    --------
    >>> Importance(target="tumour", where="cell_type == 'T'").looks_at
    ('tumour',)
    """

    target: str
    where: str | None = None
    n_components: Annotated[int, Field(ge=1, le=N_COMPONENTS)] = 20
    n_bins: Annotated[int, Field(ge=2, le=100_000)] = 20

    @property
    def looks_at(self) -> tuple[str, ...]:
        """The target's source."""
        return (self.target,)

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        components = context.components(pool)
        target = self._target(context)
        points_NK, target_MK = components.of(pool, self.n_components), components.of(target, self.n_components)
        if not (np.isfinite(points_NK).all() and np.isfinite(target_MK).all()):
            raise CorpusError("importance: the cells' coordinates hold NaN or infinite values; fix the embedding")
        log_weight_N = log_ratio(points_NK, target_MK, self.n_bins)
        # In (0, 1): the 53 bits that a float holds, and half a step.
        uniform_N = ((cell_numbers(pool, drawn_key(rng)) >> np.uint64(11)) + 0.5) * 2.0**-53
        return smallest(np.log(-np.log(uniform_N)) - log_weight_N, n_cells)

    def _target(self, context: Context) -> Corpus:
        """Return the target's cells."""
        if self.target not in context.pools:
            raise CorpusError(
                f"importance: there is no source {self.target!r}; {legal_names(self.target, context.pools)}"
            )
        cells = context.pools[self.target]
        if self.where is None:
            return cells
        is_target = where_expression.matches(self.where, cells.cells)
        if not is_target.any():
            raise CorpusError(
                f'importance: where "{self.where}" matches none of the {len(cells):,} cells for training of '
                f"{self.target!r}, so there is no target"
            )
        return cells.take(is_target)


def log_ratio(points_NK: NDArray[np.float32], target_MK: NDArray[np.float32], n_bins: int) -> NDArray[np.float64]:
    """Estimate how much likelier each point is among the target's than among the points, as a log ratio, shape (N,).

    Examples
    --------
    >>> points = np.arange(8, dtype=np.float32)[:, None]
    >>> np.exp(log_ratio(points, points[4:], 2)).round(2).tolist()
    [0.33, 0.33, 0.33, 0.33, 1.67, 1.67, 1.67, 1.67]
    """
    ratio_N = np.zeros(len(points_NK))
    for point_N, target_M in zip(points_NK.T, target_MK.T, strict=True):
        edges = np.unique(np.quantile(point_N, np.linspace(0, 1, n_bins + 1)[1:-1]))
        bin_N = np.searchsorted(edges, point_N, side="right")
        # One imaginary cell in each bin: a bin that the target has no cell in is unlikely, not impossible.
        pool_B, target_B = (
            np.bincount(bins, minlength=len(edges) + 1) + 1.0
            for bins in (bin_N, np.searchsorted(edges, target_M, side="right"))
        )
        ratio_N += np.log(target_B / target_B.sum() / (pool_B / pool_B.sum()))[bin_N]
    return ratio_N
