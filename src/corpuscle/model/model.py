"""Model (settings) and FittedModel (weights): two types, so that nothing needs an "is it trained" flag."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, final, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import Component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.core.usage import Usage
from corpuscle.corpus.context import ImputedCounts
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.threads import one_thread
from corpuscle.source.genes import GeneSpace
from corpuscle.store import Store

# Called now and then with what share of a fit is done, from 0 to 1.
Progress = Callable[[float], None]

# Columns of `FittedModel.history`: a training curve in long form.
HISTORY = ("step", "epoch", "quantity", "value")


def silent(_: float) -> None:
    """Ignore progress."""


def no_history() -> pd.DataFrame:
    """Return the training curve of a model that takes no steps: no rows, the columns of `HISTORY`.

    Examples
    --------
    >>> len(no_history())
    0
    """
    return pd.DataFrame(columns=list(HISTORY)).astype({"step": "int64", "epoch": "float64", "value": "float64"})


@dataclass(frozen=True)
class Cost:
    """What a fitted model cost: what fitting took, and how many numbers its saved weights have."""

    fit: Usage
    n_parameters: int


class Stored(NamedTuple):
    """A store, and what a fitted model is called there."""

    store: Store
    key: str


class FittedModel(ABC):
    """A model with weights: embeds new cells, and can be saved.

    Attributes
    ----------
    genes
        Ids of the study's genes, length G.
    history
        The training curve, with the columns `HISTORY`.
    cost
        What a run of a study measured when it fitted the model; None for a model that was fitted otherwise.
    stored
        Where a study keeps it, so that what is made of it (embeddings, models that were taught labels) is kept, too;
        None: it is not.
    embeds_as
        What distinguishes its embeddings, where several fitted models embed alike: those that no corpus or seed was
        used for. The store then has one embedding for them all. Empty: only this one embeds so.
    """

    genes: tuple[str, ...]
    history: pd.DataFrame
    cost: Cost | None = None
    stored: Stored | None = None
    embeds_as: str = ""

    @abstractmethod
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Embed cells, shape (n cells, n latent); deterministic. Genes that a cell's source lacks count as absent."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the weights (safetensors), settings (JSON) and `history` (history.parquet) into an existing folder."""


@runtime_checkable
class Annotates(Protocol):
    """What can say which type a cell has: a fitted label model, or a model that was fine-tuned.

    Attributes
    ----------
    labels
        The cell types that it can say, sorted.
    """

    labels: tuple[str, ...]

    def label_probabilities(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the probability of each of `labels`, shape (n cells, n labels); rows sum to 1."""
        ...


@runtime_checkable
class Reconstructs(ImputedCounts, Protocol):
    """A fitted model that can say which counts it expects of a cell; see `Reconstruction.expected_fractions`."""


@runtime_checkable
class HasLoadings(Protocol):
    """A fitted model whose latents are weighted sums of genes, or are decoded as such."""

    def loadings(self) -> pd.DataFrame:
        """Return the weight of each gene (rows, in the study's order) in each latent (columns, by name)."""
        ...


@runtime_checkable
class BoundsLikelihood(Protocol):
    """A fitted model that bounds the likelihood of a cell's counts from below: by its evidence lower bound (ELBO)."""

    def elbo(self, cells: Corpus, seed: int = 0) -> pd.DataFrame:
        """Return each cell's negative ELBO in nats, lower is better, in the column ``elbo``; from one posterior sample.

        The same seed gives the same numbers. Genes that a cell's source lacks count as absent.
        """
        ...


class RankReadOut(Protocol):
    """What a model gives back of the ranks of genes in cells: a number per cell each, NaN where it is not defined.

    Attributes
    ----------
    whole, whole_baseline
        Correlation of the ranks of cells that are shown whole with the model's, and with the genes' mean ranks.
    hidden
        The same correlation over hidden places alone.
    found
        Share of hidden places whose gene is the likeliest one.
    nll
        Mean negative log-likelihood of hidden genes, in nats.
    """

    @property
    def whole(self) -> NDArray[np.float64]: ...  # noqa: D102  # described above, as those below
    @property
    def whole_baseline(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def hidden(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def found(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def nll(self) -> NDArray[np.float64]: ...  # noqa: D102


@runtime_checkable
class RanksGenes(Protocol):
    """A fitted model that reads a cell's genes by rank, and can be asked for the gene at a place."""

    def ranks(self, cells: Corpus, seed: int) -> RankReadOut:
        """Ask for the genes at the places of cells, shown whole and with some places hidden, which the seed draws."""
        ...


@runtime_checkable
class HasLikelihood(Protocol):
    """A fitted model that predicts a cell's genes and their counts, one after the other."""

    def negative_log_likelihood(self, cells: Corpus) -> pd.DataFrame:
        """Return how unlikely each cell is, a row per cell, in nats: ``counts``, ``genes`` and the ``n_genes`` read."""
        ...


@runtime_checkable
class Notes(Protocol):
    """A fitted model that may have something to say of the embedding of some cells."""

    def note(self, cells: Corpus) -> str:
        """Return what is to be known of the cells' embedding, in words; empty where there is nothing."""
        ...


@runtime_checkable
class EmbedsKnownOnly(Protocol):
    """A model whose fitted ones may refuse cells of a batch, or another label, that training did not see."""

    @property
    def known_only(self) -> str | None:
        """The label; None where no cell is refused."""
        ...


class Model(Component, ABC):
    """The settings of a model; fitting it on a corpus gives a `FittedModel`. Every model fits on one thread."""

    home: ClassVar[str] = "corpuscle.model.architectures"
    kind: ClassVar[str] = "model"
    # The labels of the corpus' cells that it learns: it answers with these, and no others.
    learns: ClassVar[tuple[str, ...]] = ()
    # Labels of the corpus' cells that shape what it learns, though it answers with none.
    guided_by: ClassVar[tuple[str, ...]] = ()
    # What its training curves show: a quantity ``elbo_validation`` is that of the name ``elbo``, on held-out cells.
    curves: ClassVar[tuple[Metric, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the model's `fit` keep to one thread, and refuse a corpus of too few cells, wherever it is called."""
        super().__init_subclass__(**kwargs)
        if "fit" in vars(cls):
            cls.fit = one_thread()(_of_enough_cells(cls.fit))  # type: ignore[method-assign]

    @abstractmethod
    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedModel:
        """Fit on a corpus, on one thread. The same corpus and seed give the same weights.

        Raises
        ------
        ModelError
            When the corpus cannot train this model, or training diverged.
        """

    @property
    def uses_seed(self) -> bool:
        """Whether a fit depends on its seed; False where the corpus alone decides, so that seeds repeat nothing."""
        return True

    @property
    def pretrained(self) -> bool:
        """Whether other cells than its corpus' may have shaped its weights: a checkpoint's, or a program's own."""
        return False

    @property
    def fewest_cells(self) -> int:
        """How many cells a corpus needs at least, each as often as it is used (`Corpus.n_cells`)."""
        return 1

    @property
    def programs(self) -> tuple[str, ...]:
        """The commands that it runs on this machine, as one would type them; who checks a study is shown them."""
        return ()

    def check(self, space: GeneSpace) -> None:
        """Refuse what can be seen to fail before anything is drawn or trained; most models have nothing to refuse.

        Raises
        ------
        ModelError
            When the model cannot be fitted in this gene space.
        """

    def check_corpus(self, corpus: Corpus) -> None:
        """Refuse a corpus whose labels cannot train it; most models need none. No counts are read.

        Raises
        ------
        ModelError
            When the model cannot be fitted on it.
        """

    def check_counts(self, space: GeneSpace, totals: Iterable[tuple[str, NDArray[np.float64]]]) -> None:
        """Refuse corpora whose counts are of genes that it cannot read; most models read all.

        Parameters
        ----------
        space
            The study's genes, G of them.
        totals
            Corpora by name, each with about how many counts it has of each gene, shape (G,), up to a factor. To go
            through them costs reading some cells.

        Raises
        ------
        ModelError
            When the model cannot be fitted on one of them.
        """

    @property
    def uses_gpu(self) -> bool:
        """Whether a fit is on a GPU where there is one (`corpuscle.model.data.on_gpu`), so that fits share them."""
        return False

    @property
    def embeds_on_gpu(self) -> bool:
        """Whether what was fitted is asked and fine-tuned on a GPU where there is one, so that it shares them, too."""
        return False

    @abstractmethod
    def load_fitted(self, folder: Path) -> FittedModel:
        """Load what `FittedModel.save` wrote; no code in the file is executed."""

    @abstractmethod
    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 for a model that takes none."""

    @abstractmethod
    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the seconds that a step takes on this machine, on a few random cells, on one thread."""


def too_few(n_cells: int, fewest: int, corpus: str, *models: str) -> str:
    """Say that a corpus has too few cells for some models.

    Examples
    --------
    >>> too_few(1, 2, "a tenth", "pca", "scvi")
    "corpus 'a tenth': expected at least 2 training cells for models 'pca', 'scvi', got 1; draw more cells"
    """
    named = f"model{'s' if len(models) > 1 else ''} {', '.join(map(repr, models))}"
    return (
        f"corpus {corpus!r}: expected at least {fewest:,} training cells for {named}, got {n_cells:,}; draw more cells"
    )


def _of_enough_cells(fit: Callable[..., FittedModel]) -> Callable[..., FittedModel]:
    @wraps(fit)
    def checked(model: Model, corpus: Corpus, *arguments: Any, **named: Any) -> FittedModel:
        if corpus.n_cells < model.fewest_cells:
            raise ModelError(too_few(corpus.n_cells, model.fewest_cells, corpus.name, model.name))
        return fit(model, corpus, *arguments, **named)

    return checked


class WithoutSteps(Model):
    """A model that is fitted at once, or not at all: it takes no optimisation steps and has no training curve."""

    @final
    def n_steps(self, n_cells: int) -> int:
        """Return 0."""
        return 0

    @final
    def seconds_per_step(self, n_genes: int) -> float:
        """Return 0."""
        return 0.0
