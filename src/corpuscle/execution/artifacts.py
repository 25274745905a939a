"""What a study makes on its way from drawn cells to tables, each an `Artifact`.

::

    made cells ─┬─> fitted model ─┬─> scores        (and, kept on the way: embeddings, models that were taught labels)
                │                 └─> map
    components ─┴─> measures
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from safetensors import safe_open

from corpuscle.core.components import guarded
from corpuscle.core.errors import BrokenComponentError, MeasureError, ModelError
from corpuscle.core.plain_files import read_data
from corpuscle.core.randomness import generator
from corpuscle.core.scores import Metric, Score, fault_in, score_table, with_headline
from corpuscle.core.usage import Usage
from corpuscle.corpus.cell_ontology import CellOntology, CellTypes, Match
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import MADE_CELLS
from corpuscle.evaluation.embedding import reasons
from corpuscle.evaluation.fit_check import check_fit
from corpuscle.evaluation.maps import umap_table
from corpuscle.evaluation.task import Compares, Task, answers
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.opened import Opened
from corpuscle.measures.common_space import Basis, CommonSpace, common_space, components_of
from corpuscle.measures.measure import Measure, measure_corpus
from corpuscle.measures.table import attempt
from corpuscle.measures.view import StudyView, View
from corpuscle.model.model import HISTORY, Cost, FittedModel, Model, Progress, Stored
from corpuscle.model.size import memory_of
from corpuscle.store import write_text

# What corpora are measured in and against, in a store.
VIEWS = "views"
# What stands for the comparison of two models that cannot be compared.
COMPARISON = Metric("comparison", "Comparison", "")


@dataclass(frozen=True, eq=False)
class MadeCells(Artifact):
    """Cells that a step of a corpus makes together, once; `derived` is what makes them."""

    kind: ClassVar[str] = MADE_CELLS

    derived: str
    corpus: str
    before: tuple["MadeCells", ...] = ()

    @property
    def inputs(self) -> Sequence[Artifact]:
        """The made cells that these are made from."""
        return self.before

    @property
    def corpora(self) -> Sequence[str]:
        """The corpus that they are part of."""
        return (self.corpus,)

    @property
    def uses_gpu(self) -> bool:
        """Return True: most are made by a model that is trained first."""
        return True

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Make the cells."""
        derived = opened.corpora.derived(self.derived)
        with guarded(derived):
            derived.make(folder, lambda _what, share: progress(share))


@dataclass(frozen=True, eq=False)
class Fit(Artifact):
    """A model, fitted on a corpus with a seed; `cells` are the made cells in it, `code` is the model's identity."""

    kind: ClassVar[str] = "models"

    model: Model
    corpus: str
    seed: int
    code: str
    cells: tuple[MadeCells, ...] = ()

    @property
    def inputs(self) -> Sequence[Artifact]:
        """The made cells."""
        return self.cells

    @property
    def corpora(self) -> Sequence[str]:
        """The corpus."""
        return (self.corpus,)

    @property
    def uses_gpu(self) -> bool:
        """Whether the model does."""
        with guarded(self.model):
            return self.model.uses_gpu

    def memory(self, n_genes: int) -> int:
        """Return about what its training takes; see `Artifact.memory`."""
        with guarded(self.model):
            return memory_of(self.model, n_genes)

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Fit the model; it stays open for what follows."""
        opened.check_code(self.model, self.code)
        corpus = opened.corpora.open(self.corpus)
        from corpuscle.model.training.checkpoints import checkpoints_until_done  # with it comes torch

        with guarded(self.model), checkpoints_until_done(opened.store.unfinished(self.key)) as spent:
            fitted = self.model.fit(corpus, self.seed, progress)
            usage = spent()
        self._write(folder, fitted, corpus, usage)
        self._stays_open(fitted, opened)

    def _write(self, folder: Path, fitted: FittedModel, corpus: Corpus, usage: Usage) -> None:
        """Write a fitted model, what it cost, and how well it gives its own cells back."""
        with guarded(self.model):
            check = check_fit(fitted, corpus, self.seed)
            fitted.save(folder)
        _check_history(folder / "history.parquet")
        fitted.cost = Cost(usage, _n_numbers(folder))
        facts = {
            **dataclasses.asdict(usage),
            "n_parameters": fitted.cost.n_parameters,
            "n_steps": self.model.n_steps(corpus.n_cells),
            "model": self.model.spec(),
            "corpus": corpus.fingerprint,
            "seed": self.seed,
            "check": {name: value if math.isfinite(value) else None for name, value in check._asdict().items()},
        }
        write_text(folder / "run.json", json.dumps(facts, indent=1))

    def open(self, opened: Opened) -> FittedModel:
        """Return the fitted model, with what fitting it cost."""
        if opened.model is None or opened.model[0] != self.key:
            folder = opened.store.folder(self.kind, self.key)
            with guarded(self.model):
                fitted = self.model.load_fitted(folder)
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            usage = Usage(**{field.name: facts[field.name] for field in dataclasses.fields(Usage)})
            fitted.cost = Cost(usage, facts["n_parameters"])
            self._stays_open(fitted, opened)
        assert opened.model is not None, "it was opened"
        return opened.model[1]

    @property
    def embeds_on_gpu(self) -> bool:
        """Whether what it is asked is worked out on a GPU where there is one."""
        with guarded(self.model):
            return self.model.embeds_on_gpu

    def _stays_open(self, fitted: FittedModel, opened: Opened) -> None:
        fitted.stored = Stored(opened.store, self.key)
        opened.model = (self.key, fitted)


def _check_history(path: Path) -> None:
    """Refuse a training curve that no report can read: the curves of all runs are one table."""
    if not path.exists():
        return
    table = pd.read_parquet(path)
    numbers = [name for name in HISTORY if name != "quantity"]
    if not set(HISTORY) <= set(table) or not all(pd.api.types.is_numeric_dtype(table[name]) for name in numbers):
        found = ", ".join(map(str, table)) or "none"
        raise ModelError(
            f"history.parquet, as the model saved it, has the columns {found}; a training curve has "
            f"{', '.join(HISTORY)}, of which all but quantity are numbers"
        )


def _n_numbers(folder: Path) -> int:
    """Count the numbers in the weights that a model saved."""
    total = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


@dataclass(frozen=True, eq=False)
class Scores(Artifact):
    """What a task says of a fitted model and a target.

    `code` is the task's identity; `asked` and `target_name` are the task's and the target's names in the study. `note`
    is what to say of each score: on which of the target's genes it is, if not on all. `reference` is the model that a
    comparison is with.
    """

    kind: ClassVar[str] = "scores"

    task: Task
    code: str
    asked: str
    target: str
    target_name: str
    fit: Fit
    reference: Fit | None = None
    note: str = ""

    @property
    def inputs(self) -> Sequence[Artifact]:
        """The models."""
        return (self.fit, self.reference) if self.reference else (self.fit,)

    @property
    def together(self) -> str:
        """The model that is asked; see `Artifact.together`."""
        return self.fit.key

    @property
    def uses_gpu(self) -> bool:
        """Whether one of the models does, when it is asked."""
        return self.fit.embeds_on_gpu or (self.reference is not None and self.reference.embeds_on_gpu)

    def memory(self, n_genes: int) -> int:
        """Return about what the models take, which may be taught more; see `Artifact.memory`."""
        return self.fit.memory(n_genes) + (self.reference.memory(n_genes) if self.reference else 0)

    def refusal(self, lacking: Artifact, why: str) -> str:
        """Say which model is lacking; see `Artifact.refusal`."""
        if lacking is self.reference and lacking.key != self.fit.key:
            return f"the model that it is compared with could not be fitted: {lacking.label}"
        return super().refusal(lacking, why)

    @property
    def corpora(self) -> Sequence[str]:
        """The target, and what the models were fitted on."""
        return (self.target, self.fit.corpus, *([self.reference.corpus] if self.reference else []))

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Ask the task."""
        opened.check_code(self.task, self.code)
        task, corpora = self.task, opened.corpora
        train, target = corpora.open(self.fit.corpus), corpora.open(self.target)
        # Whatever the corpus and the model: what is drawn is then the same for all that are compared.
        # In place, cells are called as their corpus is.
        name = self.target_name if self.target == self.fit.corpus else target.name
        rng = generator(self.fit.seed, "task", self.asked, name)
        fitted = self.fit.open(opened)
        with guarded(task):
            scores = [*answers(task, fitted, train, target, rng)]
            if self.reference and isinstance(task, Compares) and isinstance(fitted, task.needs):
                of = corpora.open(self.reference.corpus)
                reference = fitted if self.reference.key == self.fit.key else self.reference.open(opened)
                scores += _compared(task, fitted, reference, of, target, rng)
        if fault := fault_in(scores):
            raise BrokenComponentError(f"task {task.name!r} yielded {fault}")
        scores = with_headline(scores, task.metrics[0].name if task.metrics else "")
        noted = (score._replace(reason=reasons(score.reason, self.note)) for score in scores)
        table = score_table(noted, corpus="", model="", seed=self.fit.seed, task="", target="")
        table.to_parquet(folder / "scores.parquet")


def _compared(  # noqa: PLR0917  # those of `Compares.compare`
    task: Compares,
    fitted: FittedModel,
    reference: FittedModel,
    of: Corpus,
    target: Corpus,
    rng: np.random.Generator,
) -> list[Score]:
    """Compare a model with its reference, on the genes that both of their corpora measured."""
    target = target.as_known_to(of)
    if not target.measured_SG.any():
        return [COMPARISON.score("all", float("nan"), 0, "there is no gene that both corpora measured")]
    return [*task.compare(fitted, reference, of, target, rng)]


@dataclass(frozen=True, eq=False)
class Map(Artifact):
    """A target's embedding by a fitted model, laid out in the plane."""

    kind: ClassVar[str] = "maps"

    fit: Fit
    target: str
    target_name: str

    @property
    def inputs(self) -> Sequence[Artifact]:
        """The model."""
        return (self.fit,)

    @property
    def together(self) -> str:
        """The model; see `Artifact.together`."""
        return self.fit.key

    @property
    def corpora(self) -> Sequence[str]:
        """The target."""
        return (self.target,)

    @property
    def uses_gpu(self) -> bool:
        """Whether the model does, when it embeds."""
        return self.fit.embeds_on_gpu

    def memory(self, n_genes: int) -> int:
        """Return about what the model takes; see `Artifact.memory`."""
        return self.fit.memory(n_genes)

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Lay it out."""
        fitted, target = self.fit.open(opened), opened.corpora.open(self.target)
        with guarded(self.fit.model):
            table = umap_table(fitted, target, self.fit.seed)
        table.to_parquet(folder / "map.parquet")


@dataclass(frozen=True, eq=False)
class CommonComponents(Artifact):
    """The principal components of the space that all corpora of a study are measured in; `basis` are its cells."""

    kind: ClassVar[str] = "components"

    basis: str

    @property
    def corpora(self) -> Sequence[str]:
        """The cells that they are of."""
        return (self.basis,)

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Find them."""
        cells = opened.corpora.open(self.basis)
        components_of(Basis(np.arange(cells.n_genes), cells), progress=progress).write_axes(folder)


@dataclass(frozen=True, eq=False)
class Measures(Artifact):
    """What a corpus is, by all measures; `view`, in the store, is what it is measured in and against."""

    kind: ClassVar[str] = "measures"

    measures: tuple[Measure, ...]
    corpus: str
    seed: int
    view: str
    components: tuple[CommonComponents, ...] = ()
    cells: tuple[MadeCells, ...] = ()

    @property
    def better_after(self) -> Sequence[Artifact]:
        """The components and the made cells; where there are none, the measures that need them say why."""
        return (*self.components, *self.cells)

    @property
    def corpora(self) -> Sequence[str]:
        """The corpus."""
        return (self.corpus,)

    @property
    def uses(self) -> Sequence[tuple[str, str]]:
        """What other artifacts use, and the view."""
        return [*super().uses, (VIEWS, self.view)]

    def make(self, folder: Path, opened: Opened, progress: Progress) -> None:
        """Measure."""
        if opened.view is None or opened.view[0] != self.view:
            opened.view = (self.view, _study_view(self.view, opened))
        view = View(opened.corpora.open(self.corpus), self.seed, opened.view[1])
        for stem, table in zip(("measures", "profiles"), measure_corpus([*self.measures], view), strict=True):
            table.to_parquet(folder / f"{stem}.parquet")


def _study_view(key: str, opened: Opened) -> StudyView:
    """Open what corpora are measured in and against."""
    record = read_data(opened.store.folder(VIEWS, key))
    matches = {label: Match(*match) if match else None for label, match in record["matches"]}
    targets = {name: opened.corpora.open(key) for name, key in record["targets"].items()}

    def find_space() -> CommonSpace:
        if record["problem"]:
            raise MeasureError(record["problem"])
        return common_space(Basis(record["genes"], opened.corpora.open(record["basis"])), opened.store)

    return StudyView(record["n_equal"], CellTypes(attempt(CellOntology), matches), targets, find_space)
