"""Calibrated clustering: how many groups of cells are surely there, and whether they are the cells' types.

Axes in names: N cells.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.scores import Metric, Score
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import gene_moments, most_variable
from corpuscle.evaluation.calibrated import FEWEST_GENES, Calibrated, Calibration, calibrated
from corpuscle.evaluation.embedding import draw_cells, left_out, reasons
from corpuscle.evaluation.metrics.clustering import agreement, require_igraph
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel
from corpuscle.source.genes import unique_labels

ARI = Metric(
    "ari", "ARI", "Adjusted Rand index of clusters and cell types, each cell counting as much.", "higher", "correlation"
)
N_CLUSTERS = Metric("n_clusters", "Clusters", "How many clusters are found to differ.", "none", "positive")
CALIBRATED, PLAIN = "calibrated", "Leiden 0.8"


@component
class CalibratedClustering(Calibration, Task):
    """Find groups of the target's cells that differ by more than knockoff genes do, after DenAdel et al. 2025 (recall).

    The model is not asked: it is the cells' own expression that is clustered, so that all models of a study have the
    same scores. It says how many types a target, or in place an altered corpus, can be seen to have. Its ways are
    ``calibrated`` and ``Leiden 0.8``: what plain Leiden finds on the same graph. Genes that vary less than Poisson's
    law lets them are left out and named, as no null can imitate them; cells whose counts are no whole numbers (in
    place, after some steps) have no clusters.

    Parameters
    ----------
    evidence
        What genes are held against: knockoffs of a zero-inflated Poisson (``"zip"``) or negative binomial law
        (``"nb"``), a Gaussian copula of the latter (``"copula"``), or ``"countsplit"``: half of each count.
    q
        The false discovery rate of the genes that tell two clusters apart.
    offset
        1: knockoff+; 0: the plain knockoff threshold.
    merge
        Whether clusters that cannot be told apart are merged; else, as published, all are found anew at 0.8 of the
        resolution.
    n_genes
        How many of the most variable genes are looked at.
    max_cells
        Where the target has more cells, so many are drawn.
    """

    version: ClassVar[int] = 2
    in_place: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (ARI, N_CLUSTERS)

    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @model_validator(mode="after")
    def _igraph_is_there(self) -> "CalibratedClustering":
        require_igraph()
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types; see `Task.asks_about`."""
        return ("cell_type",)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Cluster the target's cells by their expression; see `Task.run`."""
        cells, seed = draw_cells(target, self.max_cells), int(rng.integers(2**62))
        type_N = cells.labels("cell_type")
        known_N = type_N != ""
        drawn = f"{len(cells):,} of {len(target):,} cells drawn" if len(cells) < len(target) else ""
        note = reasons(drawn, left_out({"cell type": type_N}))
        genes_V = most_variable(gene_moments(cells), self.n_genes)
        problem = ""
        if len(genes_V) < FEWEST_GENES or len(cells) < FEWEST_GENES:
            problem = f"{len(cells)} cells, of which {len(genes_V)} genes vary: nothing to cluster"
        if not cells.is_whole:
            problem = "a step made cells whose counts are no whole numbers, and every null is of counts"
        found = None if problem else self._clusters(model, cells, genes_V, seed)
        left = "" if found is None else _left_out(cells, genes_V[~found.kept_G], len(genes_V))
        note, drawn = reasons(note, left), reasons(drawn, left)
        for way in (CALIBRATED, PLAIN):
            cluster_N = None if found is None else found.cluster_N if way == CALIBRATED else found.plain_N
            few = "" if problem or known_N.any() else "no cell has a type"
            ari = float("nan")
            if cluster_N is not None and known_N.any():
                ari = agreement(type_N[known_N], cluster_N[known_N]).ari
            yield ARI.score("all", ari, int(known_N.sum()), reasons(problem, few, note), way)
            count = float("nan") if cluster_N is None else float(cluster_N.max() + 1)
            yield N_CLUSTERS.score("all", count, len(cells), reasons(problem, drawn), way)

    def _clusters(self, model: FittedModel, cells: Corpus, genes_V: NDArray[np.int64], seed: int) -> Calibrated:
        """Cluster, or take what was found when another model was asked, where the model is in a store."""

        def found() -> Calibrated:
            counts = cells.counts()[:, genes_V]
            rng = np.random.default_rng(seed)
            return calibrated(counts, rng, evidence=self.evidence, q=self.q, offset=self.offset, merge=self.merge)

        if model.stored is None:
            return found()

        def write(folder: Path) -> None:
            one = found()
            np.savez(folder / "clusters.npz", cluster_N=one.cluster_N, plain_N=one.plain_N, kept_G=one.kept_G)
            (folder / "rounds.json").write_text(json.dumps([one.resolution, one.n_rounds]), encoding="utf-8")

        store, _ = model.stored
        key = fingerprint("clusters", self.identity(), cells.identity(), seed)
        folder = store.kept("clusters", key, write, label=f"calibrated clusters of {cells.name}")
        with np.load(folder / "clusters.npz") as kept:
            rounds = json.loads((folder / "rounds.json").read_text("utf-8"))
            resolution, n_rounds = rounds
            return Calibrated(kept["cluster_N"], kept["plain_N"], resolution, n_rounds, kept["kept_G"])


def _left_out(cells: Corpus, genes: NDArray[np.int64], n_genes: int) -> str:
    """Say which genes were not looked at; empty where all were."""
    if not len(genes):
        return ""
    names = np.array(unique_labels(cells.space))[genes]
    said = f"{len(genes):,} of {n_genes:,} genes left out, as they vary less than Poisson's law lets them"
    return f"{said}: {shortened(', '.join(names))}"
