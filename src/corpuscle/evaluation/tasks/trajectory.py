"""Trajectory: whether an embedding keeps the order in which cells develop, as it is without any model.

Axes in names: N cells, C types.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import kendalltau, spearmanr

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import find_axes, project
from corpuscle.evaluation.embedding import N_GRAPH, Embedding, embedded, reasons
from corpuscle.evaluation.metrics.trajectories import diffusion_pseudotime, group_connectivities
from corpuscle.evaluation.task import Task
from corpuscle.model.model import FittedModel

SPEARMAN = Metric(
    "spearman",
    "Spearman of pseudotime",
    "Rank correlation of cells' pseudotime in the embedding with that in principal components of their expression.",
    "higher",
    "correlation",
)
KENDALL = Metric(
    "kendall", "Kendall of pseudotime", "Kendall's tau-b of the same two pseudotimes.", "higher", "correlation"
)
CONNECTED = Metric(
    "type_graph",
    "Agreement of type graphs",
    "Rank correlation, over pairs of cell types, of how strongly they are connected (PAGA) in the two.",
    "higher",
    "correlation",
)
UNREACHED = Metric(
    "unreached", "Cells without pseudotime", "Share of cells that no path leads to in the embedding.", "lower", "share"
)
# Fewer pairs of types have no correlation to speak of; of three types there are three.
FEWEST_PAIRS, FEWEST_CELLS = 3, 3
N_GENES, N_COMPONENTS = 2500, 20


class Course(NamedTuple):
    """Pseudotime of cells, shape (N,), NaN where there is none; and how connected types are, shape (C, C)."""

    time_N: NDArray[np.float64]
    connected_CC: NDArray[np.float64]


@component
class Trajectory(Task):
    """Compare diffusion pseudotime and the graph of cell types in an embedding with those without a model.

    Pseudotime (Haghverdi et al. 2016) begins at the first cell of the root type, the same for all corpora and models,
    on the graph of 15 neighbours, as scanpy does. What it is compared with, as by Maan et al. 2024, is the pseudotime
    of the same cells on 20 principal components of their 2,500 most variable genes, which nothing integrates. Cells
    that one of the two does not reach are left out of correlations, and counted (`UNREACHED`).

    Parameters
    ----------
    root
        The cell type where the trajectory begins.
    max_cells
        Where the target has more cells, so many are drawn.

    Examples
    --------
    >>> Trajectory(root="B").root
    'B'
    """

    in_place: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (SPEARMAN, KENDALL, CONNECTED, UNREACHED)

    root: str
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types; see `Task.asks_about`."""
        return ("cell_type",)

    @property
    def asks_for(self) -> Mapping[str, tuple[str, ...]]:
        """The root; see `Task.asks_for`."""
        return {"cell_type": (self.root,)}

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Order the target's cells with and without the model; see `Task.run`."""
        whole = embedded(model, target, self.max_cells)
        cells, type_N = whole.cells, whole.cells.labels("cell_type")
        roots, problem = np.flatnonzero(type_N == self.root), whole.problem
        if not problem and not len(roots):
            problem = f"no cell is of the root type {self.root!r}"
        plain = None if problem else _plain(cells)
        if plain is not None and plain.problem:
            problem = f"without a model: {plain.problem}"
        if problem or plain is None:
            for metric in self.metrics:
                yield metric.score("all", float("nan"), len(cells), reasons(problem, whole.note))
            return
        found, other = (_course(each, type_N, int(roots[0])) for each in (whole, plain))
        known_N = np.isfinite(found.time_N) & np.isfinite(other.time_N)
        n_lost, lost = int((~known_N).sum()), ""
        if n_lost:
            lost = f"{n_lost:,} of {len(cells):,} cells have no pseudotime in one of the two"
        note = reasons(lost, whole.note)
        for metric, correlation in ((SPEARMAN, spearmanr), (KENDALL, kendalltau)):
            value, why = _correlation(correlation, found.time_N[known_N], other.time_N[known_N], FEWEST_CELLS, "cells")
            yield metric.score("all", value, int(known_N.sum()), reasons(why, note))
        pairs = np.triu_indices(len(found.connected_CC), 1)
        value, why = _correlation(
            spearmanr, found.connected_CC[pairs], other.connected_CC[pairs], FEWEST_PAIRS, "pairs of types"
        )
        yield CONNECTED.score("all", value, int((type_N != "").sum()), reasons(why, whole.note))
        yield UNREACHED.score("all", float(np.isnan(found.time_N).mean()), len(cells), whole.note)


def _plain(cells: Corpus) -> Embedding:
    """Place cells by principal components of their own expression."""
    axes = find_axes(cells, n_genes=N_GENES, n_components=N_COMPONENTS)
    points = np.zeros((len(cells), max(1, axes.axes_HK.shape[1])), np.float32)
    if axes.axes_HK.shape[1]:
        project(cells, axes, points)
    return Embedding(cells, points)


def _course(embedding: Embedding, type_N: NDArray[np.str_], root: int) -> Course:
    names, code_N = np.unique(type_N, return_inverse=True)
    # Cells without a type are on the way of others, and no group of the graph.
    connected = group_connectivities(embedding.neighbours.first(N_GRAPH), code_N, len(names))
    kept = np.flatnonzero(names != "")
    return Course(diffusion_pseudotime(embedding.graph, root), connected[np.ix_(kept, kept)])


def _correlation(  # type: ignore[no-untyped-def]
    correlation, one: NDArray[np.float64], other: NDArray[np.float64], fewest: int, what: str
) -> tuple[float, str]:
    """Correlate, where there is something to; else NaN, and why."""
    if len(one) < fewest:
        return float("nan"), f"{len(one)} {what}: no correlation"
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan"), f"all {what} have the same value in one of the two"
    return float(correlation(one, other).statistic), ""
