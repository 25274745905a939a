"""The contrastive model: cells of one type and different donors are pulled together, cells of other types pushed away.

After SCimilarity (Heimberg et al. 2024, doi 10.1038/s41586-024-08411-y), as DenAdel et al. 2026
(doi 10.1038/s41592-026-03120-y) train it. Axes in names: N cells, G genes, K latents, L types.
"""

import copy
import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError, ModelError
from corpuscle.core.scores import Metric
from corpuscle.core.text import shortened
from corpuscle.corpus.cell_ontology import (
    Ontology,
    installed_ontology,
    mapped,
    ontology_version,
    related,
    type_labels,
)
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel, set_state, state_of
from corpuscle.model.data.batches import CellCovariates, CountTable, Rows, stream
from corpuscle.model.data.on_disk import training_counts
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.families.sizes import Units
from corpuscle.model.labels import cell_types
from corpuscle.model.model import Progress, silent
from corpuscle.model.nn.contrastive_network import ContrastiveNetwork
from corpuscle.model.nn.triplets import NO_GROUP, NO_TYPE
from corpuscle.model.size import MOST_CELLS, MOST_LAYERS, training_bytes
from corpuscle.model.training.budget import Budget, Schedule, ValidationShare, fewest_cells, published_as
from corpuscle.model.training.fine_tuning import TrainableEncoder
from corpuscle.model.training.loop import Optimiser, named_noise, train
from corpuscle.model.training.stepping import RateSchedule, Stepping, rate_schedule_of
from corpuscle.model.training.timing import STEPS, random_counts, seconds_per_step

_log = logging.getLogger(__name__)

# As torch's AdamW has it; the published code leaves it there.
ADAM_EPS = 1e-8
# 500 epochs, each of 100 batches whatever the corpus' size.
PUBLISHED = Budget(steps=50_000)
# Numbers for each two cells of a batch, 4 bytes each, that triplets are found by.
PAIR_ARRAYS = 12

CURVES = (
    Metric(
        "contrastive_loss",
        "Contrastive loss",
        "Loss of triplets and squared error of reconstruction, weighted; lower is better.",
        "lower",
    ),
    Metric("triplet_loss", "Triplet loss", "Mean loss of a batch's semi-hard triplets; lower is better.", "lower"),
    Metric(
        "squared_error",
        "Squared error of reconstruction",
        "Mean squared error of log1p counts per 10,000 over genes, per cell; lower is better.",
        "lower",
    ),
)


@component
class Contrastive(LoadsSaved):
    """An autoencoder on the unit sphere that is taught by triplets: it learns from the types of the corpus' cells.

    A triplet is two cells of one type and different donors, and a cell of another type that lies almost as near to the
    first as the second does (semi-hard). The loss is that of triplets, and for the rest the squared error of log1p
    counts per 10,000. Layers, losses, margin and optimiser are the published ones. What is not: a step sees cells as
    the corpus has them, not drawn by type and study, so that a corpus is not made even by the way (a sampler does that:
    ``label_balanced``); there is no penalty on the first layer's absolute weights, and no label is made coarser at
    random. A rare type is in few triplets, in none where a batch has one cell of it; a larger batch has more.

    Cells without a type are in no triplet; they are counted, and learn to be reconstructed. Genes that a cell's source
    did not measure count as absent and are not scored. By default the learning rate stays constant; published is
    ``rate_schedule = { decay = "cosine" }``.

    Parameters
    ----------
    across
        The column whose values the two cells of one type must differ in: ``"donor"``, ``"batch"``, ``"study"`` (as
        published), ``"source"`` or another; empty: any two cells of one type. Cells without a value are one group.
    ontology
        Whether types are terms of the Cell Ontology. Then two types of which one is an ancestor of the other are
        ambiguous: their cells are neither pulled together nor pushed apart, and labels of one term are one type. Where
        the corpus has a ``cell_type_ontology_term_id``, that is the term. Labels of no known term are types of their
        own. Needs the extra ``ontology``. Without, each label is a type of its own.
    terms
        Terms of labels that are not found by their names: ``{ "CD14 mono" = "CL:0001054" }``.
    widths, n_latent
        Units of the encoder's hidden layers, and numbers of an embedding; the decoder is the mirror image.
    margin
        By how much further than cells of its type a cell should have those of others; distances are at most 2.
    triplet_weight
        Weight of the triplets' loss; the reconstruction's is 1 less that.
    dropout, input_dropout
        Share of hidden units, and of a cell's genes, dropped in training.
    learning_rate, weight_decay
        AdamW's settings.
    batch_size
        Cells per step, among which triplets are formed.
    budget
        How long to train; ``"published"`` is ``{ steps = 50_000 }``: 500 epochs of 100 batches. See `Budget`. Patience
        looks at the whole loss of held-out cells.
    validation_share
        Share of the cells that is held out to follow the training; they are never trained on. Patience needs some.
    rate_schedule
        The learning rate over the training; see `RateSchedule`.

    Examples
    --------
    >>> Contrastive(across="study", budget={"steps": 20_000}).n_steps(n_cells=3000)
    20000
    """

    curves: ClassVar[tuple[Metric, ...]] = CURVES
    guided_by: ClassVar[tuple[str, ...]] = ("cell_type",)

    across: str = "donor"
    ontology: bool = False
    terms: dict[str, str] = Field(default_factory=dict)
    widths: Annotated[list[Units], Field(min_length=1, max_length=MOST_LAYERS)] = Field(
        default_factory=lambda: [1024, 1024, 1024]
    )
    n_latent: Units = 128
    margin: Annotated[float, Field(gt=0, le=2)] = 0.05
    triplet_weight: Annotated[float, Field(ge=0, le=1)] = 0.001
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 0.005
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Annotated[int, Field(gt=1, le=MOST_CELLS)] = 1000
    budget: Annotated[Budget, published_as(PUBLISHED)] = PUBLISHED
    validation_share: ValidationShare = 0.1
    rate_schedule: Annotated[RateSchedule, BeforeValidator(rate_schedule_of)] = RateSchedule()

    @model_validator(mode="after")
    def _terms_are_known(self) -> Self:
        if self.terms and not self.ontology:
            raise ValueError("terms are for ontology = true; add it, or leave them out")
        if self.ontology:
            try:
                mapped(self.terms, installed_ontology(), self.terms)
            except MeasureError as error:
                raise ValueError(str(error)) from error
        return self

    def identity(self) -> list[Any]:
        """Return plain data that differ where what it learns may; the ontology's version is among them."""
        return [*super().identity(), *([ontology_version()] if self.ontology else [])]

    @property
    def uses_gpu(self) -> bool:
        """True."""
        return True

    @property
    def fewest_cells(self) -> int:
        """A triplet's, of which some may be held out."""
        return max(3, fewest_cells(self.validation_share))

    def check_corpus(self, corpus: Corpus) -> None:
        """Refuse a corpus of which no triplet can be formed."""
        self._taught(corpus)

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedContrastive":
        """Fit on `training_device`; from disk where the corpus is larger than `memory_limit`, with the same weights.

        Raises
        ------
        ModelError
            When the corpus has no two types, or no triplet can be formed of its cells.
        """
        taught = self._taught(corpus)
        with training_counts(corpus, taught.rows) as table:
            if not table.largest:
                raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
            network = self._network(corpus.n_genes, taught.ambiguous_LL, named_noise(seed, "init"))
            schedule = self._schedule(corpus.n_cells)
            history = train(network, table, schedule, self._optimiser(), seed=seed, progress=progress)
        return FittedContrastive(
            self, corpus.space.ids, network, history, terms=taught.terms, n_unlabelled=taught.n_unlabelled
        )

    def restored(self, saved: Saved) -> "FittedContrastive":
        """Return the network with the weights that were saved."""
        network = self._network(len(saved.genes), np.zeros((0, 0), bool), torch.Generator())
        set_state(network, saved.arrays)
        return FittedContrastive(self, saved.genes, network, saved.history, **saved.facts)

    def n_steps(self, n_cells: int) -> int:
        """How many optimisation steps a corpus of this many cells gets; 0 where they are too few to train on."""
        return self._schedule(n_cells).n_steps

    def seconds_per_step(self, n_genes: int) -> float:
        """Measure the processor seconds of a step with 10 % of the counts nonzero and ten types."""
        codes_RX = np.array([[at, NO_GROUP] for at in range(10)])
        covariates = CellCovariates(covariates=Rows(codes_RX, np.arange(self.batch_size) % len(codes_RX)))
        table = CountTable(random_counts(self.batch_size, n_genes), covariates)
        network = self._network(n_genes, np.zeros((10, 10), bool), named_noise(0, "init"))
        few = Schedule(self.batch_size, Budget(steps=STEPS), self.batch_size, 0.0)
        optimiser = self._optimiser()._replace(stepping=Stepping())
        return seconds_per_step(network.first, lambda: train(network, table, few, optimiser, seed=0, progress=silent))

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes; see `corpuscle.model.size.TakesMemory`."""
        stack = [n_genes, *self.widths, self.n_latent, *reversed(self.widths), n_genes]
        return training_bytes([stack], self.batch_size) + 4 * PAIR_ARRAYS * self.batch_size**2

    def _network(self, n_genes: int, ambiguous_LL: NDArray[np.bool_], init: torch.Generator) -> ContrastiveNetwork:
        return ContrastiveNetwork(
            n_genes,
            self.widths,
            self.n_latent,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            margin=self.margin,
            triplet_weight=self.triplet_weight,
            ambiguous_LL=torch.from_numpy(ambiguous_LL),
            init=init,
        )

    def _schedule(self, n_cells: int) -> Schedule:
        return Schedule(n_cells, self.budget, self.batch_size, self.validation_share)

    def _optimiser(self) -> Optimiser:
        stepping = Stepping(rate_schedule=self.rate_schedule)
        return Optimiser(self.learning_rate, self.weight_decay, ADAM_EPS, decoupled=True, stepping=stepping)

    def _taught(self, corpus: Corpus) -> "Taught":
        """Find what triplets are formed by; refuse a corpus of which none can be."""
        cell_types(corpus)  # an error where there are not two
        label_N = type_labels(corpus) if self.ontology else corpus.labels("cell_type")
        group_N = corpus.labels(self.across) if self.across else None
        found = taught(label_N, group_N, installed_ontology() if self.ontology else None, self.terms)
        unknown = [label for label, term in found.terms.items() if not term]
        if self.ontology and unknown:
            _log.warning("types of no known term, each a type of its own: %s", shortened(", ".join(unknown)))
        if not found.has_triplet:
            raise ModelError(self._no_triplet(corpus.name))
        return found

    def _no_triplet(self, corpus: str) -> str:
        apart = f" of different {self.across!r}" if self.across else ""
        hint = (
            'give another column as across that parts cells of one type, or across = "" for any two cells'
            if apart
            else ""
        )
        return (
            f"no triplet can be formed in corpus {corpus!r}: expected two cells of one type{apart}, and a cell that is "
            f"surely of another type; {hint or 'draw more cells of each type'}"
        )


class Taught(NamedTuple):
    """What triplets are formed by.

    Attributes
    ----------
    rows
        The codes of each cell's type and group.
    ambiguous_LL
        Which types may be one.
    terms
        By label, the term that it was taken for; empty where there is none.
    n_unlabelled
        How many cells have no type.
    has_triplet
        Whether there is a triplet at all.
    """

    rows: Rows
    ambiguous_LL: NDArray[np.bool_]
    terms: Mapping[str, str]
    n_unlabelled: int
    has_triplet: bool


def taught(
    label_N: NDArray[np.str_],
    group_N: NDArray[np.str_] | None,
    ontology: Ontology | None,
    given: Mapping[str, str],
) -> Taught:
    """Find what triplets are formed by.

    Parameters
    ----------
    label_N
        Each cell's type; ``""`` for none.
    group_N
        Each cell's group; None where any two cells of one type are a pair.
    ontology
        Where types are looked up; None: each label is a type of its own.
    given
        Terms of some labels.
    """
    labels, code_N = np.unique(label_N, return_inverse=True)
    matches = mapped(labels.tolist(), ontology, given) if ontology else {}
    terms = {label: match.term if (match := matches.get(label)) else "" for label in labels.tolist() if label}
    types = sorted({terms[label] or label for label in terms})
    type_of = {name: at for at, name in enumerate(types)}
    code_L = np.array([type_of[terms[label] or label] if label else NO_TYPE for label in labels.tolist()], np.int64)
    named = set(terms.values()) - {""}
    ambiguous_LL = np.zeros((len(types), len(types)), bool)
    if ontology:
        ambiguous_LL = related([name if name in named else "" for name in types], ontology)
    groups_N = np.full(len(label_N), NO_GROUP) if group_N is None else np.unique(group_N, return_inverse=True)[1]
    codes_NX = np.stack([code_L[code_N], groups_N], axis=1).astype(np.int64)
    table_RX, row_N, n_R = np.unique(codes_NX, axis=0, return_inverse=True, return_counts=True)
    rows = Rows(table_RX, row_N.ravel().astype(np.int64))
    return Taught(rows, ambiguous_LL, terms, int((label_N == "").sum()), _has_triplet(table_RX, n_R, ambiguous_LL))


def _has_triplet(table_RX: NDArray[np.int64], n_R: NDArray[np.int64], ambiguous_LL: NDArray[np.bool_]) -> bool:
    """Return whether a type has two cells that form a pair, and another is surely another."""
    type_R, group_R = table_RX.T
    for code in range(len(ambiguous_LL)):
        of_type = type_R == code
        n_apart = int(n_R[of_type].sum() if (group_R == NO_GROUP).all() else of_type.sum())
        if n_apart > 1 and (~ambiguous_LL[code]).sum() > 1:
            return True
    return False


class FittedContrastive(SavedModel):
    """A contrastive model with weights; its encoder can be fine-tuned (`FineTunes`).

    Attributes
    ----------
    history
        The training curve: what is minimised (``contrastive_loss``) and its parts (``triplet_loss``,
        ``squared_error``), each for ``_train`` and ``_validation``; lower is better.
    terms
        By label of the corpus, the term of the Cell Ontology that it was taken for; empty where there is none.
    n_unlabelled
        How many cells of the corpus had no type.
    """

    def __init__(
        self,
        settings: Contrastive,
        genes: tuple[str, ...],
        network: ContrastiveNetwork,
        history: pd.DataFrame,
        *,
        terms: Mapping[str, str],
        n_unlabelled: int,
    ) -> None:
        self.settings, self.genes, self.network, self.history = settings, genes, network, history
        self.terms, self.n_unlabelled = dict(terms), n_unlabelled

    @torch.no_grad()
    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return cells' places on the unit sphere, shape (N, K)."""
        check_genes(cells, self.genes)
        embedded_NK = np.empty((len(cells), self.settings.n_latent), np.float32)
        for rows, batch in stream(cells, BLOCK_CELLS):
            embedded_NK[rows] = self.network.encode(batch).numpy()
        return embedded_NK

    def encoder(self) -> TrainableEncoder:
        """Return a copy of the network without its decoder; see `FineTunes`."""
        network = copy.deepcopy(self.network)
        network.decoder, network.decoder_norms = torch.nn.ModuleList(), torch.nn.ModuleList()
        return TrainableEncoder(network, network.encode, self.settings.n_latent)

    def parts(self) -> Parts:
        """Return the weights; what types were taken for, and how many cells had none."""
        return state_of(self.network), {"terms": self.terms, "n_unlabelled": self.n_unlabelled}
