"""Task: a question asked of a fitted model; its answers are scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol, runtime_checkable

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
    # Whether it looks at embeddings, so that the report should show one of its targets.
    maps: ClassVar[bool] = False

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
            The only source of randomness; the same for all corpora and models of a seed, so that scores can be paired.

        Yields
        ------
        One score per metric and unit. What is not defined is NaN with its reason.
        """


@runtime_checkable
class Compares(Protocol):
    """A task that also asks what a model has in common with another one of the same seed, its reference.

    Attributes
    ----------
    reference_corpus, reference_model
        The corpus that the reference was fitted on, and its label among the models; empty: the model's own. Where both
        are empty there is no reference.
    """

    @property
    def reference_corpus(self) -> str: ...  # noqa: D102

    @property
    def reference_model(self) -> str: ...  # noqa: D102

    def compare(
        self, model: FittedModel, reference: FittedModel, target: Corpus, rng: np.random.Generator
    ) -> Iterator[Score]:
        """Compare a model with its reference on a target; yields scores beside those of `Task.run`."""
        ...


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
