"""Annotators: classifiers that are given the types of reference cells, and what each says of query cells.

Axes in names: Q query cells, R reference cells, J nearest of them, K dimensions, L labels.
"""

import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.plain_files import read_data, write_data
from corpuscle.core.scores import Metric, Score, declared
from corpuscle.core.usage import NO_PEAK, Usage, measured
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.embedding import Embedding
from corpuscle.evaluation.metrics import classification
from corpuscle.evaluation.metrics.neighbours import nearest_in
from corpuscle.model.model import Annotates, FittedModel
from corpuscle.model.training.checkpoints import checkpoints_until_done
from corpuscle.model.training.fine_tuning import FineTuned, FineTunes, FineTuning, fine_tune, open_fine_tuned

PUBLISHED_K, LARGE_K = 5, 15
# Raised when fine-tuning gives other weights than before, or they are kept in another form.
FINE_TUNED = 2
OWN = "own answer"
PROBE_STEPS = 1000
COSTS = declared(
    Metric(
        "fine_tune_seconds", "Seconds to fine-tune", "By the clock, on the machine of the run.", "lower", "positive"
    ),
    Metric("fine_tune_peak_gb", "Peak memory of fine-tuning, GB", "Of the whole process.", "lower", "positive"),
    Metric("fine_tune_parameters", "Parameters that learned", "In fine-tuning.", "lower", "positive"),
)
NOTHING: NDArray[np.floating] = np.empty((0, 0))


class Parts(NamedTuple):
    """Reference cells, whose types are given, and query cells, whose types are asked for.

    Attributes
    ----------
    reference, query
        The cells, and where a model puts them.
    note
        What is to be said of them next to every score.
    problem
        Why they cannot be parted; empty where they can.
    """

    reference: Embedding
    query: Embedding
    note: str
    problem: str

    def types(self) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
        """Return the types of the reference cells, sorted, and how many cells each has; both of length L."""
        labels, size_L = np.unique(self.reference.cells.labels("cell_type"), return_counts=True)
        return labels, size_L

    def nothing_to_learn(self, *, on_embedding: bool) -> str:
        """Return why nothing can be learned from the reference cells, or from their embedding; empty where it can."""
        if self.problem:
            return self.problem
        if on_embedding:
            embeddings = (self.query, self.reference) if len(self.query) > 1 else (self.reference,)
            broken = [embedding.problem for embedding in embeddings if embedding.problem]
            if broken:
                return broken[0]
        labels, _ = self.types()
        return f"the reference cells are all {labels[0]}: nothing to distinguish" if len(labels) < 2 else ""


class Answer(NamedTuple):
    """What one annotator says of the query cells.

    Attributes
    ----------
    way
        What it is called in its scores.
    labels, size_L
        The types that it can say, sorted, and how many reference cells it saw of each.
    probability_QL
        The probability of each.
    least
        How many cells a type needs to be found at all.
    note
        What is to be said next to its scores.
    problem
        Why it says nothing; empty where it does.
    costs
        What learning took.
    """

    way: str
    labels: NDArray[np.str_]
    size_L: NDArray[np.int64]
    probability_QL: NDArray[np.floating] = NOTHING
    least: int = 1
    note: str = ""
    problem: str = ""
    costs: tuple[Score, ...] = ()

    def given(self) -> NDArray[np.str_]:
        """Return the type that each query cell is given, the most probable; the first of equals. Shape (Q,)."""
        given_Q: NDArray[np.str_] = self.labels[self.probability_QL.argmax(axis=1)]
        return given_Q


def own(model: Annotates, parts: Parts) -> Answer:
    """Ask a label model for its own answer; it learned from its corpus, so the reference does not matter."""
    labels = np.array(model.labels, dtype=str)
    seen_L = np.ones(len(labels), np.int64)
    if not len(parts.query):
        return Answer(OWN, labels, seen_L, problem=parts.problem)
    return Answer(OWN, labels, seen_L, model.label_probabilities(parts.query.cells))


def zero_shot(parts: Parts) -> Iterator[Answer]:
    """Ask what learns from an embedding as it is: the nearest reference cells, few and many, and a linear probe."""
    labels, size_L = parts.types()
    problem = parts.nothing_to_learn(on_embedding=True)
    for k in (PUBLISHED_K, LARGE_K):
        way = f"{k} nearest"
        n_cells = len(parts.reference)
        few = f"{n_cells:,} reference cells: fewer than k = {k}" if n_cells < k else ""
        if problem or few:
            yield Answer(way, labels, size_L, problem=problem or few)
        else:
            yield Answer(way, labels, size_L, _nearest(parts, labels, k), least=k)
    if problem:
        yield Answer("linear probe", labels, size_L, problem=problem)
    else:
        probability_QL, note = _probe(parts, labels)
        yield Answer("linear probe", labels, size_L, probability_QL, note=note)


def _nearest(parts: Parts, labels: NDArray[np.str_], k: int) -> NDArray[np.floating]:
    """Let the k nearest reference cells vote."""
    code_R = np.searchsorted(labels, parts.reference.cells.labels("cell_type"))
    index_QJ = nearest_in(parts.reference.z_NK, parts.query.z_NK, k)
    return classification.vote(code_R[index_QJ], len(labels))


def _probe(parts: Parts, labels: NDArray[np.str_]) -> tuple[NDArray[np.floating], str]:
    """Fit a logistic regression on the reference cells; latents that are constant there are left at 0."""
    z_RK, z_QK = parts.reference.z_NK.astype(np.float64), parts.query.z_NK.astype(np.float64)
    scaler = StandardScaler().fit(z_RK)
    probe = LogisticRegression(max_iter=PROBE_STEPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(scaler.transform(z_RK), parts.reference.cells.labels("cell_type"))
    note = f"the linear probe did not converge in {PROBE_STEPS:,} steps" if caught else ""
    assert (probe.classes_ == labels).all(), "both are sorted"
    probability_QL: NDArray[np.floating] = probe.predict_proba(scaler.transform(z_QK))
    return probability_QL, note


def fine_tuned(model: FittedModel, parts: Parts, way: FineTuning, seed: int) -> Answer:
    """Fine-tune the model on the reference cells, ask it, and report what teaching it took."""
    name = f"last {way.n_blocks}" if way.weights == "last" else way.weights
    name = name if way.remedy == "none" else f"{name}, {way.remedy}"
    labels, size_L = parts.types()
    reference, frozen = parts.reference.cells, way.weights == "frozen"
    problem = parts.nothing_to_learn(on_embedding=frozen)
    if not frozen and not isinstance(model, FineTunes):
        problem = "the model has no network that can be trained on"
    usage, n_parameters, probability_QL = Usage(), 0, NOTHING
    if not problem:
        try:
            tuned, usage = _taught(model, reference, way, seed)
            n_parameters = tuned.n_parameters
            probability_QL = tuned.label_probabilities(parts.query.cells)
        except ModelError as error:
            problem = str(error)
    costs = _costs(name, usage, n_parameters, len(reference), problem)
    return Answer(name, labels, size_L, probability_QL, problem=problem, costs=costs)


def _taught(model: FittedModel, reference: Corpus, way: FineTuning, seed: int) -> tuple[FineTuned, Usage]:
    """Fine-tune a model, or take what the store has of it, where the model is in one; return what it took, too."""
    label_N = reference.labels("cell_type")
    if model.stored is None:
        with measured() as usage:
            return fine_tune(model, reference, label_N, way, seed), usage
    store, stored_as = model.stored
    key = fingerprint("fine-tuned", FINE_TUNED, stored_as, asdict(way), reference.identity(), label_N, seed)

    def write(folder: Path) -> None:
        with checkpoints_until_done(store.unfinished(key)) as spent:
            tuned = fine_tune(model, reference, label_N, way, seed)
            usage = spent()
        tuned.save(folder)
        write_data(folder, asdict(usage))

    folder = store.kept("fine_tuned", key, write, label=f"a model that was taught labels of {reference.name}")
    return open_fine_tuned(folder, model, way), Usage(**read_data(folder))


def _costs(way: str, usage: Usage, n_parameters: int, n_cells: int, problem: str) -> tuple[Score, ...]:
    """Return what fine-tuning took."""
    peak_gb = usage.peak_gb
    costs = {
        "seconds": (usage.seconds, ""),
        "peak_gb": (float("nan"), NO_PEAK) if peak_gb is None else (peak_gb, ""),
        "parameters": (float(n_parameters), ""),
    }
    return tuple(
        COSTS[f"fine_tune_{what}"].score("all", float("nan") if problem else value, n_cells, problem or why, way)
        for what, (value, why) in costs.items()
    )  # fmt: skip
