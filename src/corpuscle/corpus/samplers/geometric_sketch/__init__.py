"""Geometric sketch: evenly over the space that the cells take up, so that rare states are not lost."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.balanced_order import take_turns
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import N_COMPONENTS
from corpuscle.corpus.sampler import Sampler, cell_numbers


@component
class GeometricSketch(Sampler):
    """Cover the cells' principal components with boxes of one size, and let the boxes give cells in turn.

    The boxes are those of geosketch 1.3 (Hie et al. 2019, doi 10.1016/j.cels.2019.05.003), found much faster; a box
    gives its cells in random order, and boxes take turns in random order, as there. Asked for all cells, it gives all.

    Parameters
    ----------
    n_components
        On how many principal components, at most 50. With many cells in many components most boxes hold one cell, and
        the sketch follows noise: fewer components are then the better choice.
    whiten
        Scale the components to one variance, so that the first do not decide alone.
    box_share
        How many boxes, as a share of the cells to choose from; DenAdel et al. 2024 use 0.01. None: as many boxes as
        cells are asked for, which is geosketch's own choice.
    """

    n_components: Annotated[int, Field(ge=1, le=N_COMPONENTS)] = N_COMPONENTS
    whiten: bool = False
    box_share: Annotated[float, Field(gt=0, le=1)] | None = None

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        # numba takes a second to import: not for those who only name the sampler.
        from corpuscle.corpus.samplers.geometric_sketch.plaid_covering import plaid_cover

        if n_cells in (0, len(pool)):
            return rng.permutation(len(pool))[:n_cells]
        points_NK = context.components(pool).of(pool, self.n_components)
        if self.whiten:
            spread_K = points_NK.std(axis=0)
            points_NK /= np.where(spread_K > 0, spread_K, 1)
        n_boxes = n_cells if self.box_share is None else max(1, int(self.box_share * len(pool)))
        box_N = plaid_cover(points_NK, n_boxes).box_N
        number_N = cell_numbers(pool, drawn_key(rng))
        return take_turns(box_N, n_cells, number_N, rng.permutation(int(box_N.max()) + 1))
