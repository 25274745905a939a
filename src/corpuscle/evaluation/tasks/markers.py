"""Markers: whether clusters of an embedding have the marker genes of the cell types, and how high these rank.

Axes in names: N cells, G genes, C clusters or types.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.evaluation.embedding import draw_cells, embedded, reasons
from corpuscle.evaluation.metrics.clustering import leiden, require_igraph
from corpuscle.evaluation.metrics.rank_test import RankTests, rank_tests
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel
from corpuscle.source.genes import unique_labels

OVERLAP = Metric(
    "marker_overlap",
    "Overlap of markers",
    "Share of a type's highest genes that are among those of the cluster with most of its cells; mean over types.",
    "higher",
    "share",
)
RANK = Metric(
    "marker_rank",
    "Rank of markers",
    "Place (from 0) of a type's markers among the genes of the cluster where they stand highest; mean over markers.",
    "lower",
    "positive",
)
# Published: types of fewer cells have no markers.
FEWEST_CELLS = 5
PUBLISHED, SIGNED = "published", "signed"
NO_MARKERS = f"no type has {FEWEST_CELLS} cells and another type next to it in a batch: there are no markers"


@component
class Markers(Task):
    """Find marker genes again among clusters of an embedding, as Maan et al. 2024.

    Markers are the genes that Wilcoxon's test ranks highest in each cell type against the rest, in each batch apart,
    on log1p of counts per 10,000, without mitochondrial and ribosomal genes: those of the target's own cells, or of
    `reference_corpus`. The embedding is then clustered (Leiden), and all genes are ranked in each cluster against the
    rest, on the same expression, which no model changes.

    `RANK` is the place of a marker where it stands highest over clusters, on each row of the unit
    ``marker=TYPE: GENE``, as the mean of a type (``cell_type=TYPE``) and over all markers. Its way is ``published``
    (by adjusted P alone: genes that go down are markers, too, and stand among those that go up, and many tie, of which
    the published code takes one by chance) or ``signed`` (by z, markers as well as places; ties share their mean
    place). `OVERLAP` compares the highest genes of each type, among all cells, with those of the cluster that has most
    of its cells, by z; its way says how many.

    How far ranks scatter over replicates is in ``marker_ranks.csv`` of the report.

    Parameters
    ----------
    n_markers
        How many markers a type has in each batch; those of all batches count.
    overlaps
        How many of the highest genes are compared; the first is what the task is known for.
    resolution
        That of Leiden; it needs the extra ``clustering``.
    reference_corpus
        The corpus whose cells give the markers that are looked for, of the same seed: in place, the one that no step
        alters, as published. Else corpora are asked about markers of their own, which are not the same genes.
    max_cells
        Where the target has more cells, so many are drawn.
    """

    in_place: ClassVar[bool] = True
    # The cells of the other corpus are looked at, and not how its model embeds; see `Compares`.
    reference_model: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (OVERLAP, RANK)

    n_markers: Annotated[int, Field(ge=1, le=1000)] = 10
    overlaps: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=lambda: [10, 50], min_length=1)
    resolution: Annotated[float, Field(gt=0, le=1000)] = 1.0
    reference_corpus: str = ""
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @model_validator(mode="after")
    def _igraph_is_there(self) -> "Markers":
        require_igraph()
        if len(set(self.overlaps)) < len(self.overlaps):
            raise ValueError("overlaps: a number stands twice")
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types; see `Task.asks_about`."""
        return ("cell_type",)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Rank the markers of the target's types in the clusters of its embedding; see `Task.run`."""
        seen = self._seen(model, target, rng)
        yield from _overlap_scores(self.overlaps, seen)
        if not self.reference_corpus:
            in_place = target.fingerprint == train.fingerprint
            own = "markers of these cells: reference_corpus names a corpus that all are asked about" if in_place else ""
            yield from _rank_scores(_markers(seen.log_NG, seen.cells, seen.genes, self.n_markers), seen, own)

    def compare(
        self, model: FittedModel, reference: FittedModel, of: Corpus, target: Corpus, rng: np.random.Generator
    ) -> Iterator[Score]:
        """Rank the markers of the reference's cells; see `Compares.compare`."""
        cells = draw_cells(of, self.max_cells)
        genes = np.flatnonzero(_asked(cells))
        log_NG = cp10k(cells.counts()).log1p().tocsc()[:, genes].tocsr()
        yield from _rank_scores(_markers(log_NG, cells, genes, self.n_markers), self._seen(model, target, rng), "")

    def _seen(self, model: FittedModel, target: Corpus, rng: np.random.Generator) -> "_Seen":
        """Cluster the target's embedding, and rank the genes in each cluster."""
        whole = embedded(model, target, self.max_cells)
        cells, seed = whole.cells, int(rng.integers(2**31))
        genes = np.flatnonzero(_asked(cells))
        log_NG = cp10k(cells.counts()).log1p().tocsc()[:, genes].tocsr()
        problem, cluster_N = whole.problem, np.zeros(len(whole), np.int64)
        if not problem:
            cluster_N = leiden(whole.graph, self.resolution, seed)
            if cluster_N.max() == 0:
                problem = "all cells are in one cluster: no genes are higher in it than in the rest"
        found = None if problem else rank_tests(log_NG, cluster_N, int(cluster_N.max()) + 1)
        return _Seen(cells, genes, log_NG, cluster_N, found, reasons(problem, whole.note))


class _Seen(NamedTuple):
    """A target's cells, the genes that are asked about (places in the space), expression, clusters and their tests."""

    cells: Corpus
    genes: NDArray[np.intp]
    log_NG: csr_matrix
    cluster_N: NDArray[np.int64]
    found: RankTests | None
    note: str


def _asked(cells: Corpus) -> NDArray[np.bool_]:
    """Return which genes can be markers: measured in all sources, not mitochondrial, not ribosomal."""
    symbols = [symbol.upper() for symbol in cells.space.symbols]
    named_G = np.array([symbol.startswith("MT-") or "RPS" in symbol or "RPL" in symbol for symbol in symbols])
    kept_G: NDArray[np.bool_] = cells.measured_SG.all(axis=0) & ~named_G
    return kept_G


class TypeTests(NamedTuple):
    """Types, and the tests of each against the cells of all others."""

    types: list[str]
    tests: RankTests


def _tests(log_NG: csr_matrix, type_N: NDArray[np.str_], here_N: NDArray[np.bool_]) -> TypeTests | None:
    """Test each type with enough of some cells against the rest of them; None where there are no two such types."""
    types, count = np.unique(type_N[here_N & (type_N != "")], return_counts=True)
    kept = [str(kind) for kind in types[count >= FEWEST_CELLS]]
    if len(kept) < 2:
        return None
    group_N = np.full(len(type_N), -1)
    for at, kind in enumerate(kept):
        group_N[here_N & (type_N == kind)] = at
    return TypeTests(kept, rank_tests(log_NG, group_N, len(kept)))


def _markers(
    log_NG: csr_matrix, cells: Corpus, genes: NDArray[np.intp], n_markers: int
) -> dict[str, dict[str, NDArray[np.intp]]]:
    """Return for each way the markers of each type, as places in the gene space: the highest genes of each batch."""
    type_N, batch_N = cells.labels("cell_type"), cells.labels("batch")
    found: dict[str, dict[str, list[NDArray[np.intp]]]] = {PUBLISHED: {}, SIGNED: {}}
    for batch in np.unique(batch_N):
        if of_batch := _tests(log_NG, type_N, batch_N == batch):
            for at, kind in enumerate(of_batch.types):
                orders = (of_batch.tests.published_order(at), of_batch.tests.signed_order(at))
                for of_way, order in zip(found.values(), orders, strict=True):
                    of_way.setdefault(kind, []).append(genes[order[:n_markers]])
    return {
        way: {kind: np.unique(np.concatenate(parts)) for kind, parts in sorted(of_way.items())}
        for way, of_way in found.items()
    }


def _overlap_scores(sizes: list[int], seen: _Seen) -> Iterator[Score]:
    """Compare the highest genes of each type with those of the cluster that has most of its cells."""
    type_N, note, found = seen.cells.labels("cell_type"), seen.note, seen.found
    of_types = _tests(seen.log_NG, type_N, np.ones(len(type_N), bool))
    n_genes, n_cells = len(seen.genes), int((type_N != "").sum())
    for size in sizes:
        way, shares = f"{size} highest", list[float]()
        few = f"the cells have {n_genes} genes that can be markers" if n_genes < size else ""
        if found is None or of_types is None or few:
            lacking = "" if of_types else NO_MARKERS
            yield OVERLAP.score("all", float("nan"), n_cells, reasons(note, few, lacking), way)
            continue
        for at, kind in enumerate(of_types.types):
            here_N = type_N == kind
            cluster = int(np.bincount(seen.cluster_N[here_N]).argmax())
            both = np.intersect1d(of_types.tests.signed_order(at)[:size], found.signed_order(cluster)[:size])
            shares.append(len(both) / size)
            yield OVERLAP.score(f"cell_type={kind}", shares[-1], int(here_N.sum()), note, way)
        yield OVERLAP.score("all", float(np.mean(shares)), n_cells, note, way)


def _rank_scores(markers: Mapping[str, Mapping[str, NDArray[np.intp]]], seen: _Seen, own: str) -> Iterator[Score]:
    """Say where each marker stands in the cluster where it stands highest."""
    type_N, names = seen.cells.labels("cell_type"), np.array(unique_labels(seen.cells.space))
    n_cells = int((type_N != "").sum())
    for way, of_way in markers.items():
        none = "" if of_way else NO_MARKERS
        if seen.found is None or none:
            yield RANK.score("all", float("nan"), n_cells, reasons(seen.note, none), way)
            continue
        # A marker that the target did not measure has no place.
        highest_G = np.full(len(names), np.nan)
        highest_G[seen.genes] = _places(seen.found, way).min(axis=0)
        note = reasons(seen.note, own)
        for kind, genes in of_way.items():
            here, known = int((type_N == kind).sum()), genes[np.isfinite(highest_G[genes])]
            for gene in known:
                yield RANK.score(f"marker={kind}: {names[gene]}", float(highest_G[gene]), here, note, way)
            if len(known):
                yield RANK.score(f"cell_type={kind}", float(highest_G[known].mean()), here, note, way)
        every = np.concatenate(list(of_way.values()))
        yield RANK.score("all", float(np.nanmean(highest_G[every])), n_cells, note, way)


def _places(found: RankTests, way: str) -> NDArray[np.float64]:
    """Return the place of each gene in each cluster, from 0, shape (C, G)."""
    if way == SIGNED:
        places: NDArray[np.float64] = rankdata(-found.z_CG, axis=1) - 1
        return places
    return np.array([np.argsort(found.published_order(at)) for at in range(len(found.z_CG))], np.float64)
