"""Uniform: every cell is as likely as any other."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.balanced_order import smallest
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler, cell_numbers


@component
class Uniform(Sampler):
    """Draw cells uniformly, without replacement.

    With one generator state, a smaller draw is contained in a larger, so that sizes can be compared on nested corpora,
    and a draw without some cells holds the other cells of the draw with them.
    """

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        return smallest(cell_numbers(pool, drawn_key(rng)), n_cells)
