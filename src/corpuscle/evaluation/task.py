"""Task: a question asked of a fitted model; its answers are scores."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component
from corpuscle.core.scores import Better, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import FittedModel, Model


class Task(Component, ABC):
    """A question asked of a fitted model. Each is one file in ``evaluation/tasks``."""

    home: ClassVar[str] = "corpuscle.evaluation.tasks"
    kind: ClassVar[str] = "task"
    # Whether it looks at embeddings, so that the report should show one of its targets.
    maps: ClassVar[bool] = False
    # What a fitted model must be to be asked, a class or a protocol of methods; and, in words, what it can then do.
    needs: ClassVar[type] = FittedModel
    ability: ClassVar[str] = "embed cells"

    @property
    def asks_about(self) -> tuple[str, ...]:
        """The labels of a target's cells that it asks about: without them its scores are missing."""
        return ()

    @property
    def looks_up(self) -> tuple[str, ...]:
        """Those of them that it looks up among the training corpus' cells: only what the corpus has can be found."""
        return ()

    @property
    def headline(self) -> tuple[str, Better]:
        """The metric that it is known for, and which way is better."""
        return "answer", "none"

    @property
    def refusal(self) -> str:
        """What to say of a model that cannot be asked."""
        return f"this model does not {self.ability}, so the task {self.name} cannot be asked of it"

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
            The cells to evaluate on; none of them is in `train`. Genes that `train` did not measure count as not
            measured here: see `corpuscle.study.known_targets`.
        rng
            The only source of randomness; the same for all corpora and models of a seed, so that scores can be paired.

        Yields
        ------
        One score per metric and unit. What is not defined is NaN with its reason.
        """


def answers(task: Task, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
    """Ask a model; one that cannot answer has NaN for the headline, with the reason, so that its run is not lost."""
    known = bool(target.measured_SG.any())
    if isinstance(model, task.needs) and known:
        yield from task.run(model, train, target, rng)
    else:
        metric, better = task.headline
        reason = task.refusal if known else "the target measured none of the genes that the training corpus did"
        yield Score(metric, "all", float("nan"), 0, better, reason=reason)


def surely_lacks(model: Model, task: Task) -> bool:
    """Say before it is fitted whether a model will be unable to answer: where its ``fit`` says what it returns.

    Examples
    --------
    >>> from corpuscle.core.components import build
    >>> [surely_lacks(build(Model, name, {}), build(Task, "reconstruction", {})) for name in ("pca", "ldvae")]
    [True, False]
    """
    try:
        fitted = get_type_hints(type(model).fit).get("return")
    except NameError:
        return False
    return isinstance(fitted, type) and not inspect.isabstract(fitted) and not issubclass(fitted, task.needs)


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
