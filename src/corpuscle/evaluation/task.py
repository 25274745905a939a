"""Task: a question asked of a fitted model; its answers are scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component
from corpuscle.core.scores import Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import FittedModel


class Task(Component, ABC):
    """A question asked of a fitted model. Each is one file in ``evaluation/tasks``."""

    home: ClassVar[str] = "corpuscle.evaluation.tasks"
    kind: ClassVar[str] = "task"

    @abstractmethod
    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Ask a model about a target.

        Parameters
        ----------
        model
            The fitted model.
        train
            The corpus it was fitted on.
        target
            The cells to evaluate on; none of them is in `train`.
        rng
            The only source of randomness.

        Yields
        ------
        One score per metric and unit. What is not defined is NaN with its reason.
        """


def units(target: Corpus) -> dict[str, NDArray[np.bool_]]:
    """Divide a target into the units that scores are given for.

    Returns
    -------
    For ``"all"`` and for each donor (or batch, for cells whose donor is not known), which cells belong to it, as a
    mask of shape (n cells,).
    """
    donor_N, batch_N = target.labels("donor"), target.labels("batch")
    unit_N = np.where(
        donor_N != "",
        np.char.add("donor=", donor_N),
        np.where(batch_N != "", np.char.add("batch=", batch_N), ""),
    )
    groups = {str(unit): unit_N == unit for unit in np.unique(unit_N) if unit}
    return {"all": np.ones(len(target), bool), **groups}
