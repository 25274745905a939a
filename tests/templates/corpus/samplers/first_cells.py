"""First cells: those that stand first in their file."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler


@component
class FirstCells(Sampler):
    """Take every `step`-th cell, from the first on; where that is not enough, those after them, and so on.

    Parameters
    ----------
    step
        1 takes the first cells, 2 every other one.
    """

    step: Annotated[int, Field(gt=0, le=1_000_000)] = 1

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        order = np.argsort(np.arange(len(pool)) % self.step, kind="stable")
        return order[:n_cells]
