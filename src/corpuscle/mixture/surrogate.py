"""Surrogate: what stands for training, as it predicts a mixture's scores from those of the mixtures that were run.

Axes: R runs, K sources, O outputs, F fits (the first of all runs, each other without one fold), N new mixtures.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component

Array = NDArray[np.float64]


class Predictor(Protocol):
    """What a fitted surrogate is: a function of mixtures."""

    def __call__(self, weights_NK: Array, n_fits: int | None = None) -> Array:
        """Return what each of the first `n_fits` fits (None: all) predicts, shape (F, N, O), as `Runs.scores_RO`."""


@dataclass(frozen=True)
class Runs:
    """What a surrogate learns from.

    Attributes
    ----------
    weights_RK
        Mixtures: from 0 to 1, rows sum to 1.
    scores_RO
        Scores with mean 0 and standard deviation 1 per output; lower is better; NaN where a run has no score.
    used_FR
        Which runs each fit may use.
    """

    weights_RK: Array
    scores_RO: Array
    used_FR: NDArray[np.bool_]

    @property
    def known_FRO(self) -> NDArray[np.bool_]:
        """Which scores each fit uses."""
        return np.asarray(self.used_FR[:, :, None] & np.isfinite(self.scores_RO)[None])


class Surrogate(Component, ABC):
    """A law of how scores depend on mixtures. Each is one file in ``mixture/surrogates``.

    It is fitted many times at once, to all runs and without each fold, since intervals, weights and the verdict on
    whether it can rank all come from the fits that did not see a mixture.
    """

    home: ClassVar[str] = "corpuscle.mixture.surrogates"
    kind: ClassVar[str] = "surrogate"

    @abstractmethod
    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs, with all runs and without each fold.

        Parameters
        ----------
        runs
            Mixtures and their scores, of which any may be missing; each output has two scores or more in each fit.

        Returns
        -------
        What predicts.
        """
