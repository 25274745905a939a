"""Uniform: every cell is as likely as any other."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler


@component
class Uniform(Sampler):
    """Draw cells uniformly, without replacement.

    With one generator state, a smaller draw is contained in a larger, so that sizes can be compared on nested corpora.
    """

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        return rng.permutation(len(pool))[:n_cells]
