"""Reference mapping: types carried from the training corpus to a target's batches, each embedded by itself.

Axes in names: N cells, Q query cells, R reference cells, J nearest of them, K dimensions, G genes, L labels.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError, ModelError
from corpuscle.core.scores import Metric, Score, declared
from corpuscle.core.text import shortened
from corpuscle.corpus.cell_ontology import Ontology, installed_ontology, mapped, ontology_version, related
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.annotators import Answer, Parts
from corpuscle.evaluation.embedding import Embedding, draw_cells, embedded, left_out, reasons
from corpuscle.evaluation.label_scores import PER_TYPE, SUMMARIES, label_scores
from corpuscle.evaluation.metrics import classification
from corpuscle.evaluation.metrics.neighbours import Neighbours, neighbours_in
from corpuscle.evaluation.task import Task, units
from corpuscle.model.families.log_expression import scaled_blocks, variable_genes
from corpuscle.model.model import FittedModel, silent

CONFIDENCE = declared(
    Metric(
        "unassigned_share",
        "Unassigned share",
        "Share of cells whose type has fewer of the neighbours' votes than asked for.",
        "none",
        "share",
    ),
    Metric(
        "assigned_accuracy",
        "Accuracy of assigned cells",
        "Share of the other cells that are given their type.",
        "higher",
        "share",
    ),
)
ACCEPTABLE = Metric(
    "acceptable_accuracy",
    "Acceptable accuracy",
    "Share of cells that are given their type, or one that is acceptable for it.",
    "higher",
    "share",
)
BASELINE = "1 nearest, variable genes"


@component
class ReferenceMapping(Task):
    """Carry the types of the training corpus to a target, one of its batches after the other.

    The labelled cells of the training corpus are the reference. Each batch of the target is embedded by itself, as one
    that arrives alone: no other batch is seen, neither in embedding nor in choosing genes. Its cells get the type of
    the reference cells that lie nearest. `Annotation` with ``split = "corpus"`` embeds the whole target at once; of a
    model that embeds each cell by itself, the two embeddings are the same, of one that embeds cells together (Harmony)
    they are not: it moves reference and batch apart from each other, and a batch alone keeps its coordinates.

    The ways: ``15 nearest, weighted`` (each votes by one over its distance; the share of the votes is the confidence),
    ``1 nearest``, and for every model ``1 nearest, variable genes``, the published baseline: the nearest cell by log1p
    counts per 10,000 of the reference's variable genes. The metrics are those of `Annotation`, overall, per
    batch and donor, and per type; a type that no reference cell has counts as not found.

    Parameters
    ----------
    by
        The column with the batches that are mapped one by one. Cells without a value are one batch.
    k
        How many reference cells vote.
    min_confidence
        The share of the votes below which a cell counts as unassigned, in `CONFIDENCE`; other metrics are of all cells.
    acceptable
        Types that are as good an answer, by the type of the reference: ``{ "T" = ["CD4 T", "CD8 T"] }``. Then
        `ACCEPTABLE` is given, too.
    ontology
        Whether a type of which the true one is an ancestor, or a descendant, in the Cell Ontology is acceptable, too;
        labels mean terms by their names. Needs the extra ``ontology``.
    n_genes
        How many variable genes the baseline looks at.
    max_cells
        Where target or reference have more cells, so many are drawn.

    References
    ----------
    Maan et al. 2024, https://doi.org/10.1038/s41587-023-02097-9.

    Examples
    --------
    >>> ReferenceMapping(by="donor", acceptable={"T": ["CD4 T", "CD8 T"]}).k
    15
    """

    maps: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (*SUMMARIES.values(), *PER_TYPE.values(), *CONFIDENCE.values(), ACCEPTABLE)

    by: Annotated[str, Field(min_length=1)] = "batch"
    k: Annotated[int, Field(ge=2, le=1000)] = 15
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    acceptable: dict[str, list[str]] = Field(default_factory=dict)
    ontology: bool = False
    n_genes: Annotated[int, Field(gt=0, le=100_000)] = 2500
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @model_validator(mode="after")
    def _is_installed(self) -> Self:
        if self.ontology:
            try:
                installed_ontology()
            except MeasureError as error:
                raise ValueError(str(error)) from error
        return self

    def identity(self) -> list[Any]:
        """Return plain data that differ where its answers may; the ontology's version is among them."""
        return [*super().identity(), *([ontology_version()] if self.ontology else [])]

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types and batches; see `Task.asks_about`."""
        return ("cell_type", self.by)

    @property
    def looks_up(self) -> tuple[str, ...]:
        """Cell types; see `Task.looks_up`."""
        return ("cell_type",)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Carry types to the target's batches; see `Task.run`."""
        parts = self._parts(model, train, target)
        truth_Q, batch_Q = (parts.query.cells.labels(column) for column in ("cell_type", self.by))
        masks = units(parts.query.cells)
        masks |= {f"{self.by}={batch}": batch_Q == batch for batch in np.unique(batch_Q[batch_Q != ""]).tolist()}
        labels, _ = parts.types()
        acceptable_LL, unknown = self._acceptable(labels, truth_Q)
        for answer in self._answers(parts):
            problem = answer.problem or ("" if len(truth_Q) else "no query cell has a type")
            yield from label_scores(truth_Q, masks, answer, parts.note, problem)
            if answer.least > 1:
                yield from self._confidence(truth_Q, masks, answer, reasons(problem, parts.note))
            if acceptable_LL is not None:
                note = reasons(problem, parts.note, unknown)
                good_Q = np.ones(0, bool) if problem else _are_in(acceptable_LL, truth_Q, answer.given())
                yield from _shares(ACCEPTABLE, good_Q, masks, note, answer.way)

    def _parts(self, model: FittedModel, train: Corpus, target: Corpus) -> Parts:
        """Embed the reference, and each batch of the target by itself."""
        whole = embedded(model, train, self.max_cells)
        reference = whole.among(whole.cells.labels("cell_type") != "")
        cells = draw_cells(target, self.max_cells)
        batch_N, type_N = cells.labels(self.by), cells.labels("cell_type")
        places: list[NDArray[np.float32]] = []
        notes, order = [], np.argsort(batch_N, kind="stable")
        batches = np.unique(batch_N).tolist()
        for batch in batches:
            alone = cells.take(batch_N == batch, f"{target.name}, {self.by} {batch or 'not known'}")
            found = embedded(model, alone, max(1, len(alone)))
            places.append(found.z_NK)
            notes.append(f"{self.by} {batch or 'not known'}: {found.note}" if found.note else "")
        z_NK = np.empty((len(cells), reference.z_NK.shape[1]), np.float32)
        z_NK[order] = np.concatenate(places) if places else z_NK
        query = Embedding(cells, z_NK).among(type_N != "")
        drawn = f"{len(cells):,} of {len(target):,} cells drawn" if len(cells) < len(target) else ""
        missing = left_out({"cell type": type_N, self.by: batch_N})
        single = ""
        if len(batches) == 1:
            single = f"{'one' if batches[0] else 'no known'} {self.by}: the target is mapped as one"
        note = reasons(drawn, missing, single, *notes, f"reference: {whole.note}" if whole.note else "")
        return Parts(reference, query, note, "" if len(reference) else "no cell of the training corpus has a type")

    def _answers(self, parts: Parts) -> Iterator[Answer]:
        """Let the nearest reference cells answer, by the model's embedding and by variable genes."""
        labels, size_L = parts.types()
        problem = parts.nothing_to_learn(on_embedding=True)
        code_R = np.searchsorted(labels, parts.reference.cells.labels("cell_type"))
        n_reference = len(parts.reference)
        few = f"{n_reference:,} reference cells: fewer than k = {self.k}" if n_reference < self.k else ""
        way = f"{self.k} nearest, weighted"
        is_asked = not problem and len(parts.query) > 0
        found = None
        if is_asked:
            found = neighbours_in(parts.reference.z_NK, parts.query.z_NK, min(self.k, n_reference))
        if found is None or few:
            yield Answer(way, labels, size_L, least=self.k, problem=problem or few)
        else:
            vote_QL = classification.weighted_vote(code_R[found.index_NJ], found.distance_NJ, len(labels))
            yield Answer(way, labels, size_L, vote_QL, least=self.k)
        yield _of_nearest("1 nearest", found, code_R, (labels, size_L), problem)
        found, problem = self._by_genes(parts)
        yield _of_nearest(BASELINE, found, code_R, (labels, size_L), problem)

    def _by_genes(self, parts: Parts) -> tuple[Neighbours | None, str]:
        """Find each query cell's nearest reference cell by the reference's variable genes; or say why not."""
        problem = parts.nothing_to_learn(on_embedding=False)
        if problem or not len(parts.query):
            return None, problem
        try:
            genes_H = variable_genes(parts.reference.cells, self.n_genes, silent)
        except ModelError as error:
            return None, str(error)
        log_RH, log_QH = (_logged(part.cells, genes_H) for part in (parts.reference, parts.query))
        return neighbours_in(log_RH, log_QH, 1), ""

    def _confidence(
        self, truth_Q: NDArray[np.str_], masks: Mapping[str, NDArray[np.bool_]], answer: Answer, note: str
    ) -> Iterator[Score]:
        """Score how many cells are left unassigned, and how right the others are."""
        asked = len(answer.probability_QL) > 0
        is_sure_Q = answer.probability_QL.max(axis=1) >= self.min_confidence if asked else np.ones(0, bool)
        right_Q = answer.given() == truth_Q if asked else np.ones(0, bool)
        yield from _shares(CONFIDENCE["unassigned_share"], ~is_sure_Q, masks, note, answer.way)
        for unit, mask_Q in masks.items():
            sure_Q = mask_Q & is_sure_Q if asked else np.zeros(0, bool)
            n_sure = int(sure_Q.sum())
            value = float(right_Q[sure_Q].mean()) if n_sure else float("nan")
            why = "" if n_sure or not asked else "every cell is unassigned"
            yield CONFIDENCE["assigned_accuracy"].score(unit, value, n_sure, reasons(why, note), answer.way)

    def _acceptable(
        self, labels: NDArray[np.str_], truth_Q: NDArray[np.str_]
    ) -> tuple[Mapping[str, set[str]] | None, str]:
        """Return the acceptable types of the query by that of the reference, and what is not known of them."""
        if not self.acceptable and not self.ontology:
            return None, ""
        return acceptable(labels, np.unique(truth_Q), self.acceptable, installed_ontology() if self.ontology else None)


def acceptable(
    given_L: NDArray[np.str_],
    true_L: NDArray[np.str_],
    table: Mapping[str, list[str]],
    ontology: Ontology | None,
) -> tuple[dict[str, set[str]], str]:
    """Find which true types each given type is acceptable for.

    Parameters
    ----------
    given_L, true_L
        Types that cells are given, and that they have.
    table
        Acceptable true types by given type.
    ontology
        Where a given type's ancestors and descendants are acceptable, too; None: they are not.

    Returns
    -------
    By given type, the acceptable true types, itself among them; and, in words, which labels are no term.
    """
    found = {given: {given, *table.get(given, [])} for given in given_L.tolist()}
    if ontology is None:
        return found, ""
    names = sorted({*given_L.tolist(), *true_L.tolist()})
    matches = mapped(names, ontology)
    terms = [match.term if (match := matches[name]) else "" for name in names]
    same_TT = (np.array(terms)[:, None] == np.array(terms)) & (np.array(terms) != "")
    for given, alike_T in zip(names, related(terms, ontology) | same_TT, strict=True):
        if given in found:
            found[given] |= {names[at] for at in np.flatnonzero(alike_T)}
    unknown = [name for name, term in zip(names, terms, strict=True) if not term]
    return found, f"no known term: {shortened(', '.join(unknown))}" if unknown else ""


def _are_in(
    acceptable_of: Mapping[str, set[str]], truth_Q: NDArray[np.str_], given_Q: NDArray[np.str_]
) -> NDArray[np.bool_]:
    return np.array([truth in acceptable_of[given] for truth, given in zip(truth_Q, given_Q, strict=True)], bool)


def _of_nearest(
    way: str,
    found: Neighbours | None,
    code_R: NDArray[np.int64],
    types: tuple[NDArray[np.str_], NDArray[np.int64]],
    problem: str,
) -> Answer:
    """Give each query cell the type of its nearest reference cell."""
    if found is None:
        return Answer(way, *types, problem=problem)
    return Answer(way, *types, classification.vote(code_R[found.index_NJ[:, :1]], len(types[0])))


def _logged(cells: Corpus, genes_H: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return log1p counts per 10,000 of some genes, dense."""
    logged_NH = np.empty((len(cells), len(genes_H)), np.float32)
    for rows, scaled_BH in scaled_blocks(cells, genes_H):
        logged_NH[rows] = scaled_BH.log1p().toarray()
    return logged_NH


def _shares(
    metric: Metric, is_so_Q: NDArray[np.bool_], masks: Mapping[str, NDArray[np.bool_]], note: str, way: str
) -> Iterator[Score]:
    """Score the share of each unit's cells of which something is so; NaN where nothing is known of any."""
    for unit, mask_Q in masks.items():
        value = float(is_so_Q[mask_Q].mean()) if len(is_so_Q) and mask_Q.any() else float("nan")
        yield metric.score(unit, value, int(mask_Q.sum()), note, way)
