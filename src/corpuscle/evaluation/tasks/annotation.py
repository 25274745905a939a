"""Annotation: how well cell types can be distinguished from what a model makes of cells.

Axes in names: N cells, Q query cells, L labels.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component, legal_names
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.annotators import COSTS, Answer, Parts, fine_tuned, own, zero_shot
from corpuscle.evaluation.embedding import Embedding, embedded, left_out, reasons
from corpuscle.evaluation.label_scores import PER_TYPE, SUMMARIES, label_scores
from corpuscle.evaluation.metrics import classification
from corpuscle.evaluation.task import NetworkTaught, Task, donors_or_batches, units
from corpuscle.model.model import Annotates, FittedModel
from corpuscle.model.size import MOST_LAYERS
from corpuscle.model.training.class_losses import Remedy
from corpuscle.model.training.fine_tuning import FineTuning, Weights
from corpuscle.model.training.published_trainings import PUBLISHED_TRAININGS
from corpuscle.model.training.supervised import TrainingSettings

WORST = Metric(
    "worst_macro_f1",
    "Worst group's macro-F1",
    "The lowest mean F1, over the cell types that a group has, of any group of cells.",
    "higher",
    "share",
)
# Groups of fewer cells are no candidates for the worst: of a few cells, one is soon lost.
FEWEST_OF_GROUP = 10


def _settings(value: Any) -> Any:
    """Make settings of what a study file says: a table, in which ``published`` may name a published training."""
    if not isinstance(value, dict):
        return value
    name = value.get("published")
    if name is None:
        return TrainingSettings(**value)
    if name not in PUBLISHED_TRAININGS:
        raise ValueError(f"there is no published training {name!r}; {legal_names(str(name), PUBLISHED_TRAININGS)}")
    own = {key: setting for key, setting in value.items() if key != "published"}
    return TrainingSettings(**{**PUBLISHED_TRAININGS[name], **own})


@component
class Annotation(Task):
    """Predict the types of query cells from reference cells that lie near them, or from a label model's own answer.

    A model that embeds is asked zero-shot: its embedding is frozen, and a classifier is given the types of the
    reference cells. A label model gives its own answer, of the types in its corpus. The metrics are `SUMMARIES`
    (calibration as Guo et al. 2017) and, per type (unit ``cell_type=…``, with the number of query cells), `PER_TYPE`.

    The way of a score says who answered: ``5 nearest`` reference cells, the published zero-shot classifier (DenAdel et
    al. 2024); ``15 nearest``; ``linear probe`` (multinomial logistic regression, C = 1, on standardised latents); or a
    label model's ``own answer``.

    A model that embeds, and is no label model, can also be fine-tuned on the reference cells: ``frozen`` is a
    perceptron that learned on the frozen embedding, ``whole`` one that learned together with the network that embeds;
    with a remedy for rare types, its name follows: ``whole, focal``. A model without a network that can be trained on
    has NaN for ``whole``. What it took are scores, too: `COSTS`.

    Parameters
    ----------
    split
        Which cells are the reference. ``"cell"``: half of the target's, whatever their donor, as published.
        ``"donor"``: half of the target's donors (batches, for cells whose donor is not known), so that query cells
        come from new donors. ``"corpus"``: the labelled cells of the training corpus; all of the target is asked for.
    max_cells
        Where target or reference have more cells, so many are drawn.
    fine_tune
        How the model is also fine-tuned: ``"frozen"``, ``"whole"``, ``"last"`` (the last `n_blocks` blocks of a
        network that has such, and the perceptron), or several of them.
    n_blocks
        See `fine_tune`.
    remedies
        What is done about types of unequal frequency in fine-tuning, one after the other: ``"none"``,
        ``"resampling"``, ``"class_weights"``, ``"focal"``, ``"ldam"``; see `LabelTraining`. All start alike and take
        equal steps; several need a budget without patience.
    training
        How long and how fast fine-tuning learns; see `TrainingSettings`. The defaults are those of the published
        frozen classifiers; the published whole network has ``learning_rate = 9e-4`` and ``weight_decay = 0.05``.
        ``{ published = "geneformer-6L" }`` begins with the settings that a foundation model was published with; other
        keys of the table take precedence. See `PUBLISHED_TRAININGS`.

    worst_by
        A column of the cells' labels, such as ``"donor"`` or ``"disease"``: also give the macro-F1 of the group of
        cells that has the lowest, `WORST`; groups of at least 10 query cells count. A group is looked at by itself:
        cells of other groups that are wrongly given one of its types do not count against it. By ``"cell_type"``, where
        that would leave nothing but recall, it is the type with the lowest F1 among all query cells.

    Examples
    --------
    >>> task = Annotation(fine_tune=["whole"], remedies=["none", "focal"], training={"budget": {"steps": 500}})
    >>> task.training.budget.steps
    500
    >>> Annotation(fine_tune=["whole"], remedies=["none", "focal"])
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...remedies are compared at equal steps...
    """

    version: ClassVar[int] = 3
    maps: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (*SUMMARIES.values(), *PER_TYPE.values(), WORST, *COSTS.values())

    split: Literal["cell", "donor", "corpus"] = "cell"
    max_cells: Annotated[int, Field(ge=10)] = 20_000
    fine_tune: list[Weights] = Field(default_factory=list)
    n_blocks: Annotated[int, Field(gt=0, le=MOST_LAYERS)] = 1
    remedies: Annotated[list[Remedy], Field(min_length=1)] = Field(default_factory=lambda: list[Remedy](["none"]))
    training: Annotated[TrainingSettings, BeforeValidator(_settings, json_schema_input_type=dict[str, Any])] = (
        TrainingSettings()
    )
    worst_by: str = ""

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        for key, values in (("fine_tune", self.fine_tune), ("remedies", self.remedies)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names something twice: {', '.join(values)}")
        if self.remedies != ["none"] and not self.fine_tune:
            raise ValueError('remedies are for fine-tuning: add fine_tune = ["frozen"] or ["whole"], or leave them out')
        if len(self.remedies) > 1 and self.training.budget.patience is not None:
            raise ValueError(
                "remedies are compared at equal steps, which patience does not give: add a budget without it, such as "
                "training = { budget = { steps = 1000 } }"
            )
        return self

    @property
    def asks_about(self) -> tuple[str, ...]:
        """Cell types, and what the worst group is sought by; see `Task.asks_about`."""
        return ("cell_type", self.worst_by) if self.worst_by else ("cell_type",)

    @property
    def looks_up(self) -> tuple[str, ...]:
        """Cell types, where the reference is the corpus; see `Task.looks_up`."""
        return ("cell_type",) if self.split == "corpus" else ()

    @property
    def fine_tunes(self) -> tuple[NetworkTaught, ...]:
        """Whole networks, or their last blocks; see `Task.fine_tunes`."""
        blocks = {"whole": None, "last": self.n_blocks}
        sizes = self.training.batch_size, self.training.accumulate
        return tuple(NetworkTaught(one, blocks[one], *sizes) for one in self.fine_tune if one in blocks)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Annotate the query cells; see `Task.run`."""
        whole = embedded(model, target, self.max_cells)
        type_N = whole.cells.labels("cell_type")
        labelled, missing = whole.among(type_N != ""), left_out({"cell type": type_N})
        parts = self._parts(model, labelled, train, rng)
        note = reasons(whole.note, missing, parts.note)
        if isinstance(model, Annotates):
            yield from _scores(parts.query.cells, own(model, parts), note, self.worst_by)
            return
        for answer in zero_shot(parts):
            yield from _scores(parts.query.cells, answer, note, self.worst_by)
        # One seed: they start alike, and see the same cells in the same order where the remedy lets them.
        seed = int(rng.integers(2**31))
        for way in self._ways():
            answer = fine_tuned(model, parts, way, seed)
            yield from _scores(parts.query.cells, answer, note, self.worst_by)
            yield from answer.costs

    def _ways(self) -> Iterator[FineTuning]:
        """Yield each way to fine-tune that was asked for."""
        training = {field.name: getattr(self.training, field.name) for field in fields(self.training)}
        for weights in self.fine_tune:
            for remedy in self.remedies:
                yield FineTuning(**training, weights=weights, n_blocks=self.n_blocks, remedy=remedy)

    def _parts(self, model: FittedModel, cells: Embedding, train: Corpus, rng: np.random.Generator) -> Parts:
        """Part cells in reference and query."""
        if self.split == "corpus":
            whole = embedded(model, train, self.max_cells)
            reference = whole.among(whole.cells.labels("cell_type") != "")
            problem = "" if len(reference) else "no cell of the training corpus has a type"
            return Parts(reference, cells, f"reference: {whole.note}" if whole.note else "", problem)
        if self.split == "cell":
            in_reference = np.zeros(len(cells), bool)
            in_reference[rng.permutation(len(cells))[: len(cells) // 2]] = True
            few = "" if len(cells) > 1 else f"{len(cells)} cells with a type: none to learn from"
            return Parts(cells.among(in_reference), cells.among(~in_reference), "", few)
        return _by_donor(cells, rng)


def _by_donor(cells: Embedding, rng: np.random.Generator) -> Parts:
    """Part cells by whole donors; those without a donor or batch are left out."""
    of_unit = donors_or_batches(cells.cells)
    names = sorted(of_unit)
    chosen = {names[at] for at in rng.permutation(len(names))[: len(names) // 2]}
    known = np.any([*of_unit.values(), np.zeros(len(cells), bool)], axis=0)
    in_reference = np.any([of_unit[name] for name in chosen] or [np.zeros(len(cells), bool)], axis=0)
    note = f"{(~known).sum():,} cells of no known donor or batch left out" if not known.all() else ""
    few = "" if len(names) > 1 else f"the cells are of {len(names)} donors or batches: no other to learn from"
    return Parts(cells.among(in_reference), cells.among(known & ~in_reference), note, few)


def _scores(query: Corpus, answer: Answer, note: str, worst_by: str) -> Iterator[Score]:
    """Score one classifier's answer: overall, per donor or batch, per type, and of the worst group."""
    truth_Q = query.labels("cell_type")
    problem = answer.problem or ("" if len(query) else "no query cell has a type")
    yield from label_scores(truth_Q, units(query), answer, note, problem)
    if worst_by:
        predicted_Q = truth_Q if problem else answer.given()
        yield _worst(truth_Q, predicted_Q, query.labels(worst_by), worst_by, (problem, answer))


def _worst(
    truth_Q: NDArray[np.str_],
    predicted_Q: NDArray[np.str_],
    group_Q: NDArray[np.str_],
    by: str,
    found: tuple[str, Answer],
) -> Score:
    """Score the group of cells whose types have the lowest mean F1.

    Types that a group lacks and that some of its cells are given do not count: among few types, one such cell would
    make a well annotated group the worst. Groups that are the types themselves have their F1 among all cells: within
    one, no other type's cell could be given it.
    """
    problem, answer = found
    are_types = by == "cell_type"
    groups, counts = np.unique(group_Q[group_Q != ""], return_counts=True)
    f1 = {
        (_f1(truth_Q, predicted_Q, group_Q == group, whole=are_types), str(group), int(count))
        for group, count in zip(groups, counts, strict=True)
        if count >= FEWEST_OF_GROUP and not problem
    }
    if not f1:
        why = problem or f"no group by {by} has {FEWEST_OF_GROUP} query cells"
        return WORST.score("all", float("nan"), 0, reasons(why, answer.note), answer.way)
    value, group, count = min(f1)
    return WORST.score("all", value, count, reasons(f"lowest of {len(f1)} by {by}: {group}", answer.note), answer.way)


def _f1(truth_N: NDArray[np.str_], predicted_N: NDArray[np.str_], here_N: NDArray[np.bool_], *, whole: bool) -> float:
    """Return the mean F1 of the types of some cells, among these, or among all."""
    seen_N = np.ones_like(here_N) if whole else here_N
    return float(classification.per_type(truth_N[seen_N], predicted_N[seen_N], np.unique(truth_N[here_N])).f1.mean())
