"""What the foundation models share: settings, training from scratch or from published weights, answers and files.

A cell is a sequence of tokens (`corpuscle.model.tokenisers`); a network embeds and predicts it (`TokenNetwork`). Axes
in names: N cells, K latents, G genes.
"""

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import LoadsSaved, Saved, set_state
from corpuscle.model.data.batches import Rows
from corpuscle.model.data.on_disk import training_counts
from corpuscle.model.data.on_gpu import CPU
from corpuscle.model.families.fitted_foundation import OF_TOKENISER, FittedFoundation
from corpuscle.model.families.foundation_parts import Adversary, Demands, PublishedTraining, Start, Started
from corpuscle.model.families.official import Official, content, hashes, official_of
from corpuscle.model.foreign.accounting import Accounting, Renames, load_renamed
from corpuscle.model.foreign.tensors import read_tensors
from corpuscle.model.model import Progress, no_history, silent
from corpuscle.model.nn.adversary import AdversarialNetwork, with_labels
from corpuscle.model.nn.initial import normal_weights
from corpuscle.model.nn.token_network import PASS_TOKENS, TokenNetwork
from corpuscle.model.size import BYTES_OF_WEIGHT, MOST_CELLS
from corpuscle.model.tokenisers.gene_tokens import (
    Matched,
    Vocabulary,
    gene_tokens,
    gene_totals,
    matched,
    refuse_foreign,
)
from corpuscle.model.tokenisers.tokens import Tokeniser
from corpuscle.model.training.budget import Budget, Schedule, ValidationShare, fewest_cells
from corpuscle.model.training.loop import Optimiser, Precision, Trainable, named_noise, train
from corpuscle.model.training.stepping import RateSchedule, Stepping
from corpuscle.model.training.timing import multiply_adds_a_second
from corpuscle.source.genes import GeneSpace

# Warm-up takes at most this share of a training, unless it is asked for as published.
LONGEST_WARMUP = 0.1
# With less than this share of a study's genes, a checkpoint is refused before counts are read. With more, the counts of
# the genes that it knows decide: most of a whole genome's genes have few.
FEWEST_GENES = 0.1


def _adversary(value: Any) -> Any:
    return Adversary(**value) if isinstance(value, dict) else value


def _budget(value: Any) -> Any:
    return Budget(**value) if isinstance(value, dict) else value


def _needs_held_out(validation_share: float, info: ValidationInfo) -> float:
    budget = info.data.get("budget")
    if isinstance(budget, Budget) and budget.patience is not None and not validation_share:
        raise ValueError("should be above 0, as the budget's patience looks at held-out cells; try 0.1")
    return validation_share


@component
class FoundationModel(LoadsSaved):
    """What the settings of all foundation models have.

    Parameters
    ----------
    checkpoint
        A folder with published weights, relative to the study file; its dictionaries are used, too. None: a network of
        `size` begins with random weights.
    budget
        How long to train on the corpus; see `Budget`. ``"published"``: as many epochs as the published training of
        this size. None: a checkpoint answers as it was published, and is not trained; without one, as published.
    learning_rate, weight_decay, rate_schedule, clip_norm
        How the optimiser steps; see `Stepping`. What is not given is as in the published training of this size.
    warmup
        ``"capped"``: of the published warm-up, at most a tenth of the steps; ``"as published"``: all of it, even where
        the training ends before (of which there is a warning).
    batch_size
        Cells per step.
    accumulate
        See `Stepping`.
    validation_share
        Share of the cells that is held out to follow the training; they are never trained on.
    precision
        ``"bf16"``: matrix products of 16-bit floats, in training and in embedding; for GPUs, and for CPUs that have
        them (``avx512_bf16`` or ``amx``), on which it pays for wide networks. Embeddings move by about a thousandth.
    adversary
        ``{ label = "batch" }``: fine-tune for integration, the same way for each of these models: besides what the
        model learns anyway, its embedding learns to hide the label from an adversary; see `Adversary`.
    """

    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    budget: Annotated[Budget | Literal["published"] | None, BeforeValidator(_budget)] = None
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    rate_schedule: Annotated[RateSchedule | None, BeforeValidator(
        lambda value: RateSchedule(**value) if isinstance(value, dict) else value
    )] = None  # fmt: skip
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    warmup: Literal["capped", "as published"] = "capped"
    batch_size: Annotated[int, Field(gt=0, le=MOST_CELLS)] = 16
    accumulate: Annotated[int, Field(gt=0, le=MOST_CELLS)] = 1
    validation_share: Annotated[ValidationShare, AfterValidator(_needs_held_out)] = 0.1
    precision: Precision = "float32"
    adversary: Annotated[Adversary | None, BeforeValidator(_adversary)] = None

    @model_validator(mode="after")
    def _can_hide(self) -> Self:
        if self.adversary is not None and self.checkpoint is not None and self.budget is None:
            raise ValueError("an adversary works in training: give budget, such as { epochs = 10 }")
        if self.adversary is not None and self.batch_size < 2 * self.accumulate:
            raise ValueError("an adversary compares cells of a step: batch_size should be at least 2, twice accumulate")
        return self

    path_fields: ClassVar[tuple[str, ...]] = ("checkpoint",)

    # What a fitted one is: `FittedFoundation`, or a class of a model's own that can do more.
    fitted: ClassVar[type[Any]]
    # Sizes with a name, from the smallest to the largest; a model has a field `size`.
    sizes: ClassVar[Mapping[str, Any]]
    # Which tensor of a published file is which of the network's.
    renames: ClassVar[Renames]

    @property
    def pretrained(self) -> bool:
        """Whether it begins with published weights."""
        return self.checkpoint is not None

    @classmethod
    @abstractmethod
    def official(cls, path: Path) -> Official | None:
        """Return what a folder with published weights is, if it is one of this model's; None otherwise."""

    @abstractmethod
    def network(self, config: Mapping[str, Any]) -> TokenNetwork:
        """Make a network without weights: it is called with torch's device set to ``meta``.

        Parameters
        ----------
        config
            `Start.config` or `Official.config`.
        """

    def contents(self, found: Official) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """Return what a published network is made of, and its tensors by their published names."""
        return found.config, read_tensors(found.files["weights"])

    @abstractmethod
    def from_scratch(self, corpus: Corpus) -> Start:
        """Return what a network with random weights begins with."""

    @abstractmethod
    def as_published(self, found: Official, space: GeneSpace) -> Start:
        """Return what a network with published weights begins with."""

    @abstractmethod
    def tokeniser(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Tokeniser:
        """Make a tokeniser again from its `parts`."""

    def initialise(self, network: TokenNetwork, init: torch.Generator, names: Collection[str] | None = None) -> None:
        """Give a network its first weights; only those of some names, where names are given."""
        normal_weights(network, init, names)

    def adapted(self, started: Started, corpus: Corpus, init: torch.Generator) -> Started:
        """Return what is trained on a corpus: the network as it begins, unless a model makes another of it."""
        return started

    @property
    @abstractmethod
    def published(self) -> PublishedTraining:
        """The published training of this size, or what is near to it."""

    @abstractmethod
    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine, in a study of so many genes."""

    @property
    def uses_seed(self) -> bool:
        """Whether it is trained or begins with random weights."""
        return self.checkpoint is None or self._budget.steps != 0

    @property
    def uses_gpu(self) -> bool:
        """True."""
        return True

    @property
    def embeds_on_gpu(self) -> bool:
        """True."""
        return True

    @property
    def fewest_cells(self) -> int:
        """How many cells leave two to train on; one, where nothing is trained."""
        return fewest_cells(self.validation_share) if self._budget.steps != 0 else 1

    def identity(self) -> list[Any]:
        """Return plain data that differ where the settings, the code or the published files do."""
        spec, *rest = super().identity()
        found = None if self.checkpoint is None else self.official(Path(self.checkpoint))
        given: dict[str, Any] = {
            name: content(Path(path))
            for name in self.path_fields
            if (path := getattr(self, name)) is not None and not (found and name == "checkpoint")
        }
        # What is read, and no more: a clone of a whole repository has many models.
        if found is not None:
            given["checkpoint"] = [hashes(found), found.config]
        return [spec | given, *rest]

    def check(self, space: GeneSpace) -> None:
        """Refuse a checkpoint that cannot be loaded, or that knows none of the genes; see `Model.check`."""
        if self.checkpoint is None:
            return
        found = official_of(type(self), Path(self.checkpoint))
        start = self.as_published(found, space)
        self.loaded(found)
        known_G = start.tokeniser.token_G >= 0
        if start.vocabulary and known_G.mean() < FEWEST_GENES:
            refuse_foreign(matched(np.ones(len(space)), start.tokeniser.token_G), space, start.vocabulary)

    def vocabulary(self, space: GeneSpace) -> Vocabulary | None:
        """Return the published vocabulary that it reads; None where it makes its own of a corpus."""
        if self.checkpoint is None:
            return None
        return self.as_published(official_of(type(self), Path(self.checkpoint)), space).vocabulary

    def check_counts(self, space: GeneSpace, totals: Iterable[tuple[str, NDArray[np.float64]]]) -> None:
        """Refuse corpora most of whose counts a published vocabulary does not know; see `Model.check_counts`."""
        if (vocabulary := self.vocabulary(space)) is None:
            return
        token_G = gene_tokens(space, vocabulary)
        for name, total_G in totals:
            with _of_corpus(name):
                refuse_foreign(matched(total_G, token_G), space, vocabulary)

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedFoundation:
        """Open the network and train it, on `training_device`, as the budget says."""
        init = random_weights(seed)
        start, network, facts = self._opened(corpus, init)
        known = _known(corpus, start)
        config, network = self.adapted(Started(start.config, network), corpus, init)
        network.tokeniser.seed = seed
        history = no_history()
        if self._budget.steps != 0:
            history = self._trained(network, corpus, seed, progress)
        network.eval()
        fitted: FittedFoundation = self.fitted(
            self, corpus.space.ids, network, history, facts | {"config": config, "known": known._asdict()}
        )
        return fitted

    def _trained(self, network: TokenNetwork, corpus: Corpus, seed: int, progress: Progress) -> pd.DataFrame:
        given, trained = network.tokeniser.covariates(corpus), cast("Trainable", network)
        if self.adversary is not None:
            labels = _batches(corpus, self.adversary.label)
            given = with_labels(given, labels)
            trained = AdversarialNetwork(network, labels.table_RX.shape[1], self.adversary.weight)
        with training_counts(corpus, given) as table:
            if not table.largest:
                raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
            schedule = self._schedule(corpus.n_cells)
            return train(trained, table, schedule, self._optimiser(schedule), seed=seed, progress=progress)

    def restored(self, saved: Saved) -> FittedFoundation:
        """Return the network with the weights that were saved."""
        own = {name.removeprefix(OF_TOKENISER): a for name, a in saved.arrays.items() if name.startswith(OF_TOKENISER)}
        with torch.device("meta"):
            network = self.network(saved.facts["config"])
        network.to_empty(device=CPU)
        network.tokeniser = self.tokeniser(own, saved.facts)
        set_state(network, {name: a for name, a in saved.arrays.items() if not name.startswith(OF_TOKENISER)})
        fitted: FittedFoundation = self.fitted(self, saved.genes, network, saved.history, saved.facts)
        return fitted

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 without a budget."""
        return self._schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Estimate the seconds of a step, on one thread of a CPU, from this machine's speed of matrix products.

        A model's cells are taken to have counts of `NONZERO_SHARE` of the genes. A step is three times the work of the
        way forward.
        """
        demands = self.demands(n_genes)
        n_tokens = self.batch_size * demands.tokens_of(n_genes)
        return 3 * n_tokens * demands.multiply_adds / multiply_adds_a_second()

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes, or embedding, where that is more; see `TakesMemory`."""
        demands = self.demands(n_genes)
        # Cells are embedded as many at a time as have so many tokens, and a layer's numbers are gone after the next.
        at_once = max(PASS_TOKENS, demands.tokens_of(n_genes))
        embedding = 4 * demands.n_parameters + 4 * at_once * math.ceil(demands.units_of_token / demands.n_layers)
        if not self.n_steps(self.fewest_cells):
            return embedding
        return max(embedding, self.memory_to_fine_tune(n_genes, math.ceil(self.batch_size / self.accumulate), None))

    def memory_to_fine_tune(self, n_genes: int, n_cells: int, n_blocks: int | None) -> int:
        """Return about how many bytes it takes to train on; see `corpuscle.model.size.TakesMemoryWhenFineTuned`."""
        demands = self.demands(n_genes)
        share = 1.0 if n_blocks is None else min(1.0, n_blocks / demands.n_layers)
        weights = (4 + share * (BYTES_OF_WEIGHT - 4)) * demands.n_parameters
        return math.ceil(weights + share * 4 * n_cells * demands.tokens_of(n_genes) * demands.units_of_token)

    def would_fit(self, n_genes: int, limit: int) -> str:
        """Return which sizes, or parts of a step, a machine could hold; see `corpuscle.model.size.HasSizes`."""
        alone = replace(self, accumulate=self.batch_size)
        if alone.memory(n_genes) <= limit:
            parts = next(
                n for n in range(1, self.batch_size + 1) if replace(self, accumulate=n).memory(n_genes) <= limit
            )
            return f"accumulate = {parts} would do"
        if self.checkpoint is not None:
            return "a smaller checkpoint is needed"
        others = ((name, replace(self, **{"size": size})) for name, size in self.sizes.items())
        fitting = [name for name, other in others if other.memory(n_genes) <= limit]
        return f"size = {fitting[-1]!r} would do, of {', '.join(fitting)}" if fitting else ""

    @property
    def _budget(self) -> Budget:
        if isinstance(self.budget, Budget):
            return self.budget
        is_trained = self.budget == "published" or self.checkpoint is None
        return Budget(epochs=self.published.epochs) if is_trained else Budget(steps=0)

    def _schedule(self, n_cells: int) -> Schedule:
        return Schedule(n_cells, self._budget, self.batch_size, self.validation_share)

    def _optimiser(self, schedule: Schedule) -> Optimiser:
        how = self.published
        rate = how.learning_rate if self.learning_rate is None else self.learning_rate
        decay = how.weight_decay if self.weight_decay is None else self.weight_decay
        stepping = Stepping(
            rate_schedule=self.rate_on(schedule.n_cells),
            clip_norm=how.clip_norm if self.clip_norm is None else self.clip_norm,
            accumulate=self.accumulate,
        )
        return Optimiser(rate, decay, how.eps, how.decoupled, stepping, self.precision, spares_vectors=how.decoupled)

    def rate_on(self, n_cells: int) -> RateSchedule:
        """Return the course of the learning rate on a corpus of so many cells, as given or as published."""
        if self.rate_schedule is not None:
            return self.rate_schedule
        how, n_steps = self.published, self.n_steps(n_cells)
        warmup = math.ceil(how.warmup * n_steps) if how.warmup < 1 else int(how.warmup)
        if self.warmup == "capped":
            warmup = min(warmup, int(LONGEST_WARMUP * n_steps))
        epochs = None if how.factor is None else 1
        return RateSchedule(warmup=warmup, decay=how.decay, factor=how.factor, epochs=epochs)

    def _opened(self, corpus: Corpus, init: torch.Generator) -> tuple[Start, TokenNetwork, dict[str, Any]]:
        """Make the network with its first weights, and say where these are from."""
        facts: dict[str, Any] = {}
        if self.checkpoint is None:
            start = self.from_scratch(corpus)
            with torch.device("meta"):
                network = self.network(start.config)
            network.to_empty(device=CPU)
            self.initialise(network, init)
        else:
            found = official_of(type(self), Path(self.checkpoint))
            start = self.as_published(found, corpus.space)
            network, accounting = self.loaded(found)
            self.initialise(network, init, accounting.drawn)
            facts = {"checkpoint": found.title, "files": hashes(found), "tensors": str(accounting)}
        network.tokeniser = start.tokeniser
        return start, network, facts

    def loaded(self, found: Official) -> tuple[TokenNetwork, Accounting]:
        """Make the network of a published folder, with its weights; those that it lacks are empty.

        Raises
        ------
        ModelError
            When a tensor is unknown, missing or of another shape.
        """
        config, tensors = self.contents(found)
        with torch.device("meta"):
            network = self.network(config)
        accounting = load_renamed(network, tensors, self.renames, str(found.files["weights"]))
        for name in accounting.drawn:
            owner, _, own = name.rpartition(".")
            module = network.get_submodule(owner)
            setattr(module, own, nn.Parameter(torch.empty_like(getattr(module, own), device=CPU)))
        return network, accounting


def _batches(corpus: Corpus, label: str) -> Rows:
    """Return the batch of each cell: 1 for its own, 0 for the others, all 0 where it is not known.

    Raises
    ------
    ModelError
        When there are not two.
    """
    values, row_N = np.unique(corpus.labels(label), return_inverse=True)
    table = np.eye(len(values), dtype=np.float32)[:, values != ""]
    if table.shape[1] < 2:
        raise ModelError(
            f"corpus {corpus.name!r}: an adversary needs cells of at least two values of {label!r}, and it has "
            f"{table.shape[1]}; name the column in [sources], or leave adversary out"
        )
    return Rows(table, row_N.astype(np.int64))


def _known(corpus: Corpus, start: Start) -> Matched:
    if start.vocabulary is None:
        return Matched(1.0, 1.0)
    # A network may be given only some of the genes that its vocabulary has.
    found = matched(gene_totals(corpus), gene_tokens(corpus.space, start.vocabulary))
    if math.isnan(found.counts):
        raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
    with _of_corpus(corpus.name):
        refuse_foreign(found, corpus.space, start.vocabulary)
    return found


@contextmanager
def _of_corpus(name: str) -> Iterator[None]:
    """Name the corpus that is refused in the block."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"corpus {name!r}: {error}") from error


def random_weights(seed: int) -> torch.Generator:
    """Return what draws a network's first weights."""
    return named_noise(seed, "init")
