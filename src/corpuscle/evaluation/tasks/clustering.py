"""Clustering: whether groups that are found in an embedding are the cells' types.

Axes in names: N cells.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Scale, Score, declared
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.descent import share_made_by
from corpuscle.evaluation.embedding import Embedding, embedded, left_out, reasons
from corpuscle.evaluation.metrics.clustering import agreement, balanced_agreement, k_means, leiden, require_igraph
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import FittedModel

# Those that are corrected for chance can be negative; for each, its title and meaning.
AGREEMENTS: dict[str, tuple[str, str, Scale]] = {
    "ari": ("ARI", "Adjusted Rand index of clusters and cell types", "correlation"),
    "ami": ("AMI", "Adjusted mutual information of clusters and cell types", "correlation"),
    "homogeneity": ("homogeneity", "How far each cluster has cells of one type alone", "share"),
    "completeness": ("completeness", "How far the cells of each type are in one cluster", "share"),
    "v_measure": ("V-measure", "Harmonic mean of homogeneity and completeness", "share"),
}
METRICS = declared(
    *(
        Metric(f"balanced_{name}", f"Balanced {title}", f"{what}, each type counting as much.", "higher", scale)
        for name, (title, what, scale) in AGREEMENTS.items()
    ),
    *(
        Metric(name, title[0].upper() + title[1:], f"{what}, each cell counting as much.", "higher", scale)
        for name, (title, what, scale) in AGREEMENTS.items()
    ),
)
N_CLUSTERS = Metric("n_clusters", "Clusters", "How many clusters were found.", "none", "positive")
ARTEFACTS = Metric(
    "artefact_clusters",
    "Clusters of artefacts",
    "Share of clusters of which most cells are made doublets, or made of these.",
    "lower",
    "share",
)
# What the alteration `doublets` calls the cells that it makes.
DOUBLETS = "doublets"
CONCORDANCE = Metric(
    "concordance", "Concordance", "Adjusted Rand index with the clusters of the reference.", "higher", "correlation"
)


@component
class Clustering(Task):
    """Cluster an embedding and compare the clusters with the cells' types.

    Each clustering (way ``Leiden 1``: at resolution 1; ``k-means``) has the metrics `METRICS`, in which each type
    counts as much (``balanced_…``; Maan et al. 2024) or each cell, `N_CLUSTERS` and, where there is a reference,
    `CONCORDANCE`.

    Asked in place of a corpus with made doublets (the alteration ``doublets``), also the share of clusters that are
    mostly these, `ARTEFACTS`; cells that later steps made are doublets where more than half of them is of such (see
    `corpuscle.corpus.descent.share_made_by`).

    Clusters are found among all cells, and compared in each donor or batch as well. Cells without a type are clustered
    and left out of the comparison. Leiden clusters the graph of 15 neighbours, as scanpy does.

    Parameters
    ----------
    resolutions
        Resolutions of Leiden; it needs the extra ``clustering``.
    n_clusters
        How many clusters k-means makes; 0: as many as there are types.
    reference_corpus, reference_model
        A corpus of the study, and the label of a model of it, with whose clusters concordance is measured; where one
        is left out it is the model's own, and where both are, there is no concordance.
    max_cells
        Where the target has more cells, so many are drawn.
    """

    version: ClassVar[int] = 2
    maps: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (*METRICS.values(), N_CLUSTERS, CONCORDANCE, ARTEFACTS)

    resolutions: list[Annotated[float, Field(gt=0, le=1000)]] = Field(default_factory=lambda: [1.0])
    n_clusters: Annotated[int, Field(ge=0, le=10_000)] = 0
    reference_corpus: str = ""
    reference_model: str = ""
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @model_validator(mode="after")
    def _igraph_is_there(self) -> "Clustering":
        if self.resolutions:
            require_igraph(", or give resolutions = []")
        if len(set(self.resolutions)) < len(self.resolutions):
            raise ValueError("a resolution stands twice")
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types; see `Task.asks_about`."""
        return ("cell_type",)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Cluster the target's cells; see `Task.run`."""
        whole = embedded(model, target, self.max_cells)
        type_N = whole.cells.labels("cell_type")
        known_N, note = type_N != "", reasons(whole.note, left_out({"cell type": type_N}))
        n_types = len(np.unique(type_N[known_N]))
        problem = whole.problem
        if not problem and n_types < 2:
            problem = f"the cells have {n_types} types: no groups to find again"
        elif not problem and n_types == known_N.sum():
            problem = f"each of {n_types} typed cells has a type of its own: no groups to find again"
        doublet_N = share_made_by(whole.cells, DOUBLETS)
        for way, cluster_N in self._clusters(whole, problem, rng):
            for unit, mask_N in units(whole.cells).items():
                here = mask_N & known_N
                yield from _scores(way, unit, type_N[here], cluster_N, here, reasons(problem, note))
            found = float("nan") if cluster_N is None else float(len(np.unique(cluster_N)))
            yield N_CLUSTERS.score("all", found, len(whole), reasons(problem, whole.note), way)
            if doublet_N.any():
                share = float("nan") if cluster_N is None else _mostly(doublet_N > 0.5, cluster_N)
                yield ARTEFACTS.score("all", share, len(whole), reasons(problem, whole.note), way)

    def compare(
        self, model: FittedModel, reference: FittedModel, of: Corpus, target: Corpus, rng: np.random.Generator
    ) -> Iterator[Score]:
        """Compare the clusters with those of another model; see `Compares.compare`."""
        one, other = (embedded(each, target, self.max_cells) for each in (model, reference))
        problem = one.problem or (f"reference: {other.problem}" if other.problem else "")
        seed = int(rng.integers(2**31))
        pairs = (self._clusters(each, problem, np.random.default_rng(seed)) for each in (one, other))
        for (way, cluster_N), (_, reference_N) in zip(*pairs, strict=True):
            for unit, mask_N in units(one.cells).items():
                value = float("nan")
                if cluster_N is not None and reference_N is not None:
                    value = agreement(reference_N[mask_N].astype(str), cluster_N[mask_N]).ari
                note = reasons(problem, one.note)
                yield CONCORDANCE.score(unit, value, int(mask_N.sum()), note, way)

    def _clusters(
        self, embedding: Embedding, problem: str, rng: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.int64] | None]]:
        """Yield the way and the clusters of each clustering; None where there is problem."""
        for resolution in self.resolutions:
            seed = int(rng.integers(2**31))
            yield f"Leiden {resolution:g}", None if problem else leiden(embedding.graph, resolution, seed)
        type_N = embedding.cells.labels("cell_type")
        wanted = self.n_clusters or len(np.unique(type_N[type_N != ""]))
        k = min(wanted, len(embedding))
        yield "k-means", None if problem else k_means(embedding.z_NK, k, int(rng.integers(2**31)))


def _mostly(made_N: NDArray[np.bool_], cluster_N: NDArray[np.int64]) -> float:
    """Return the share of clusters of which more than half of the cells are made."""
    share_C = np.bincount(cluster_N, made_N) / np.maximum(np.bincount(cluster_N), 1)
    return float((share_C[np.unique(cluster_N)] > 0.5).mean())


def _scores(  # noqa: PLR0917
    way: str,
    unit: str,
    type_N: NDArray[np.str_],
    cluster_N: NDArray[np.int64] | None,
    here: NDArray[np.bool_],
    reason: str,
) -> Iterator[Score]:
    """Compare the clusters of a unit's cells with their types."""
    values = dict.fromkeys(METRICS, float("nan"))
    n_types, said = len(np.unique(type_N)), reason
    if cluster_N is not None and n_types < 2:
        said = reasons(reason, f"the cells of this unit have {n_types} types: no groups to find again")
    elif cluster_N is not None:
        plain, balanced = agreement(type_N, cluster_N[here]), balanced_agreement(type_N, cluster_N[here])
        values = {f"balanced_{name}": value for name, value in balanced._asdict().items()} | plain._asdict()
    for metric in METRICS:
        yield METRICS[metric].score(unit, values[metric], len(type_N), said, way)
