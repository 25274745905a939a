"""Latents: what a model's latents have in common with another's, and what they load on.

Axes in names: N cells, G genes, K latents.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.scores import Metric, Score, declared
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import gene_moments
from corpuscle.evaluation.embedding import N_GRAPH, Embedding, embedded, reasons
from corpuscle.evaluation.metrics.latents import cka, correlations, latent_r2, procrustes_distance
from corpuscle.evaluation.metrics.neighbours import neighbour_overlap
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import FittedModel, HasLoadings

NO_REFERENCE = "no reference: name one with reference_corpus or reference_model"
WITH_REFERENCE = declared(
    Metric(
        "latent_r2",
        "R² of latents",
        "Share of each latent, on cells left out, that a regression on the reference's explains; mean.",
        "higher",
        "share",
    ),
    Metric("cka", "CKA", "Linear centred kernel alignment of the two embeddings.", "higher", "share"),
    Metric(
        "procrustes", "Procrustes distance", "What is left of the embedding after the best rotation.", "lower", "share"
    ),
    Metric(
        "knn_overlap",
        "Overlap of neighbours",
        "Share of a cell's 15 nearest cells that it has in both embeddings.",
        "higher",
        "share",
    ),
)
LOADINGS = Metric(
    "loading_correlation",
    "Correlation of loadings",
    "Over genes, of a latent's loadings and the target's mean expression; over all the largest absolute value.",
    "none",
    "correlation",
)


@component
class Latents(Task):
    """Compare a model's latents with those of a reference, and its loadings with a target's expression.

    Metrics on the target's cells, where there is a reference:

    - ``latent_r2``: per latent (unit ``latent=…``) the squared correlation, on 30 % of the cells, of the latent with
      its regression on all of the reference's latents on the other 70 %, as published (Nadig et al. 2025); over all
      their mean. 0 to 1, higher: more of it is in the reference;
    - ``cka``: linear centred kernel alignment, 0 to 1, higher is more alike; ``procrustes``: what is left after the
      best rotation, 0 to 1, lower is more alike;
    - ``knn_overlap``: the share of a cell's 15 nearest (itself among them, not counted) that are near it in the
      reference too, per donor or batch as well.

    For a model that has loadings, with or without a reference:

    - ``loading_correlation``: per latent, Pearson correlation over genes of its loadings and the target's mean
      expression, log1p of mean counts per 10,000; over all the largest absolute value. Genes that the target did not
      measure are left out. No way is better.

    Parameters
    ----------
    reference_corpus, reference_model
        A corpus of the study, and the label of a model of it: the reference, of the same seed. One that is left out
        is the model's own.
    max_cells
        Where the target has more cells, so many are drawn.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (*WITH_REFERENCE.values(), LOADINGS)

    reference_corpus: str = ""
    reference_model: str = ""
    max_cells: Annotated[int, Field(ge=10)] = 20_000

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Correlate loadings with expression; see `Task.run`."""
        cells = embedded(model, target, self.max_cells)
        if not (self.reference_corpus or self.reference_model):
            for metric in WITH_REFERENCE.values():
                yield metric.score("all", float("nan"), len(cells), NO_REFERENCE)
        if not isinstance(model, HasLoadings):
            why = "this model has no loadings"
            yield LOADINGS.score("all", float("nan"), len(target), why)
            return
        yield from _loading_scores(model.loadings(), target)

    def compare(
        self, model: FittedModel, reference: FittedModel, of: Corpus, target: Corpus, rng: np.random.Generator
    ) -> Iterator[Score]:
        """Compare with the reference's latents; see `Compares.compare`."""
        one, other = (embedded(each, target, self.max_cells) for each in (model, reference))
        problem = one.problem or (f"reference: {other.problem}" if other.problem else "")
        if not problem and len(one) < 10:
            problem = f"{len(one)} cells: too few to leave some out"
        note = reasons(problem, one.note)
        n_latents = one.z_NK.shape[1]
        found_K = np.full(n_latents, np.nan) if problem else latent_r2(other.z_NK, one.z_NK, rng)
        yield from _latent_scores(found_K, _names(model, n_latents), len(one), note, problem)
        alike = (float("nan"),) * 2 if problem else (cka(one.z_NK, other.z_NK), _distance(one, other))
        yield WITH_REFERENCE["cka"].score("all", alike[0], len(one), note)
        yield WITH_REFERENCE["procrustes"].score("all", alike[1], len(one), note)
        overlap_N = np.full(len(one), np.nan)
        if not problem:
            overlap_N = neighbour_overlap(one.neighbours.first(N_GRAPH), other.neighbours.first(N_GRAPH))
        for unit, mask_N in units(one.cells).items():
            overlap = float(overlap_N[mask_N].mean())
            yield WITH_REFERENCE["knn_overlap"].score(unit, overlap, int(mask_N.sum()), note)


def _distance(one: Embedding, other: Embedding) -> float:
    return procrustes_distance(one.z_NK, other.z_NK)


def _names(model: FittedModel, n_latents: int) -> list[str]:
    """Name latents as the loadings do, where there are any and they are as many."""
    names = [str(name) for name in model.loadings().columns] if isinstance(model, HasLoadings) else []
    return names if len(names) == n_latents else [f"Z_{latent}" for latent in range(n_latents)]


def _latent_scores(
    found_K: NDArray[np.float64], names: list[str], n_cells: int, note: str, problem: str
) -> Iterator[Score]:
    """Yield R² overall and per latent."""
    known = found_K[np.isfinite(found_K)]
    mean = float(known.mean()) if len(known) else float("nan")
    constant = f"{len(found_K) - len(known)} of {len(found_K)} latents are constant, or predicted to be"
    why = constant if len(known) < len(found_K) and not problem else ""
    yield WITH_REFERENCE["latent_r2"].score("all", mean, n_cells, reasons(note, why))
    for name, value in zip(names, found_K.tolist(), strict=True):
        said = "" if np.isfinite(value) or problem else "the latent is constant, or predicted to be"
        yield WITH_REFERENCE["latent_r2"].score(f"latent={name}", value, n_cells, reasons(note, said))


def _loading_scores(loadings: pd.DataFrame, target: Corpus) -> Iterator[Score]:
    """Yield the correlation of each latent's loadings with the target's mean expression."""
    measured = target.measured_SG.any(axis=0)
    mean_G = np.log1p(gene_moments(target).mean_G[measured])
    loading_GK = loadings.to_numpy(np.float64)[measured]
    found_K = correlations(loading_GK, np.tile(mean_G[:, None], (1, loading_GK.shape[1])))
    known = np.abs(found_K[np.isfinite(found_K)])
    why = "" if len(known) else "loadings, or the target's expression, do not vary"
    largest = float(known.max()) if len(known) else float("nan")
    yield LOADINGS.score("all", largest, len(target), why)
    for name, value in zip(loadings.columns, found_K.tolist(), strict=True):
        said = "" if np.isfinite(value) else "the latent's loadings, or the target's expression, do not vary"
        yield LOADINGS.score(f"latent={name}", value, len(target), said)
