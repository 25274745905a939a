"""Task: a question asked of a fitted model; its answers are scores."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from types import UnionType
from typing import Any, ClassVar, NamedTuple, Protocol, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import Component, legal_names
from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.model.model import FittedModel, Model
from corpuscle.source.genes import GeneSpace
from corpuscle.source.source import ROLES

# A target of fewer cells is not divided into halves.
FEWEST_TO_HALVE = 20
# What a task without declared metrics has where a model cannot be asked.
ANSWER = Metric("answer", "Answer", "")


class Task(Component, ABC):
    """A question asked of a fitted model. Each is one file in ``evaluation/tasks``."""

    home: ClassVar[str] = "corpuscle.evaluation.tasks"
    kind: ClassVar[str] = "task"
    # Whether it looks at embeddings, so that the report should show one of its targets.
    maps: ClassVar[bool] = False
    # Whether it may be asked about the cells that a model was fitted on: it learns nothing from their labels.
    in_place: ClassVar[bool] = False
    # What a fitted model must be to be asked, a class or a protocol of methods, or one of several; and, in words, what
    # it can then do.
    needs: ClassVar[type | UnionType] = FittedModel
    ability: ClassVar[str] = "embed cells"
    # What it finds; the first is what it is known for. The report has its title, meaning and direction from the scores.
    metrics: ClassVar[tuple[Metric, ...]] = ()

    @property
    def asks_about(self) -> tuple[str, ...]:
        """The labels of a target's cells that it asks about: without them its scores are missing."""
        return ()

    @property
    def asks_for(self) -> Mapping[str, tuple[str, ...]]:
        """Values of labels that a target's cells must have for it to be asked: a root type, say, by label."""
        return {}

    @property
    def looks_up(self) -> tuple[str, ...]:
        """Those of them that it looks up among the training corpus' cells: only what the corpus has can be found."""
        return ()

    def identity(self) -> list[Any]:
        """Return plain data that differ where its settings, its code or what it says of one of its metrics do."""
        return [*super().identity(), [astuple(metric) for metric in self.metrics]]

    @property
    def refusal(self) -> str:
        """What to say of a model that cannot be asked."""
        return f"this model does not {self.ability}, so the task {self.name} cannot be asked of it"

    @property
    def fine_tunes(self) -> tuple["NetworkTaught", ...]:
        """What it fine-tunes of models' networks, so that a machine too small is found before; mostly nothing."""
        return ()

    def check(self, space: GeneSpace) -> Iterator[str]:
        """Refuse what can be seen to fail before anything is drawn or trained; most tasks have nothing to refuse.

        Yields
        ------
        What is legal in the study's genes and yet likely not meant.

        Raises
        ------
        InputError
            When the task cannot be asked in this gene space.
        """
        yield from ()

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
        One score per metric, way and unit, most easily by `Metric.score`. What is not defined is NaN with its reason.
        """


class NetworkTaught(NamedTuple):
    """A fine-tuning of a network, as far as its memory depends on it.

    Attributes
    ----------
    weights
        Which weights learn, in the task's words.
    n_blocks
        How many of the last blocks they are; None: all.
    batch_size, accumulate
        Cells per step, and how many parts they are worked through in.
    """

    weights: str
    n_blocks: int | None
    batch_size: int
    accumulate: int


def answers(task: Task, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
    """Ask a model; one that cannot answer has NaN for the headline, with the reason, so that its run is not lost."""
    known = bool(target.measured_SG.any())
    if isinstance(model, task.needs) and known:
        yield from task.run(model, train, target, rng)
    else:
        reason = task.refusal if known else "the target measured none of the genes that the training corpus did"
        yield (task.metrics[0] if task.metrics else ANSWER).score("all", float("nan"), 0, reason)


def refuse_absent_columns(task: Task, asked: Mapping[str, Corpus]) -> None:
    """Refuse a column of the user's that none of the cells has which a task is asked about: misspelt, most likely.

    Labels that the package knows by name may be absent: what lacks them is warned of, and has scores with the reason.

    Raises
    ------
    InputError
        Naming the column, and those that there are.
    """
    for column in task.asks_about:
        if asked and column not in ROLES and not any(column in cells.cells for cells in asked.values()):
            known = dict.fromkeys(str(name) for cells in asked.values() for name in cells.cells if name not in KEYS)
            raise InputError(f"there is no column {column!r} in {', '.join(asked)}; {legal_names(column, known)}")


def surely_lacks(model: Model, task: Task) -> bool:
    """Return before it is fitted whether a model will be unable to answer: where it says what a fitted one is.

    It says so as the class attribute ``fitted``, or by what its ``fit`` returns.

    Examples
    --------
    >>> from corpuscle.core.components import build
    >>> [surely_lacks(build(Model, name, {}), build(Task, "reconstruction", {})) for name in ("pca", "ldvae")]
    [True, False]
    """
    fitted = getattr(model, "fitted", None)
    if fitted is None:
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
        self, model: FittedModel, reference: FittedModel, of: Corpus, target: Corpus, rng: np.random.Generator
    ) -> Iterator[Score]:
        """Compare a model with its reference, and the corpus that this was fitted on, on a target.

        Yields scores next to those of `Task.run`.
        """
        ...


def units(target: Corpus) -> dict[str, NDArray[np.bool_]]:
    """Divide a target into the units that scores are given for.

    Returns
    -------
    For ``"all"``, for each of its `donors_or_batches`, and for two random halves of the cells (``"half=1"``,
    ``"half=2"``; of at least 20 cells), which cells belong to it, as a mask of shape (n cells,). The halves are the
    same for all corpora and models: how far they differ is what the target's cells leave open, the noise ceiling; see
    `corpuscle.statistics.noise_ceiling`.
    """
    halves = {}
    if len(target) >= FEWEST_TO_HALVE:
        first_N = generator(0, "halves").permutation(len(target)) % 2 == 0
        halves = {"half=1": first_N, "half=2": ~first_N}
    return {"all": np.ones(len(target), bool), **donors_or_batches(target), **halves}


def donors_or_batches(target: Corpus) -> dict[str, NDArray[np.bool_]]:
    """Divide a target by donor, and cells whose donor is not known by batch.

    Returns
    -------
    For each, as ``"donor=NAME"`` or ``"batch=NAME"``, which cells belong to it, as a mask of shape (n cells,).
    """
    donor_N, batch_N = target.labels("donor"), target.labels("batch")
    unit_N = np.where(
        donor_N != "",
        np.char.add("donor=", donor_N),
        np.where(batch_N != "", np.char.add("batch=", batch_N), ""),
    )
    return {str(unit): unit_N == unit for unit in np.unique(unit_N) if unit}
