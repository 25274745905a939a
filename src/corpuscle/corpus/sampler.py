"""Sampler: chooses cells from a pool."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component
from corpuscle.corpus.corpus import Corpus


class Sampler(Component, ABC):
    """A way to choose cells. Each is one file in ``corpus/samplers``."""

    home: ClassVar[str] = "corpuscle.corpus.samplers"
    kind: ClassVar[str] = "sampler"

    @abstractmethod
    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose cells from a pool.

        Parameters
        ----------
        pool
            The cells to choose from, at least `n_cells` of them.
        n_cells
            How many to choose.
        rng
            The only source of randomness.

        Returns
        -------
        Positions in the pool's table: exactly `n_cells`, none twice.

        Raises
        ------
        CorpusError
            When this sampler cannot choose that many cells from this pool; it says why.
        """
