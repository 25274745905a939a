"""Study: read and check a study file. It names things; nothing in it is computed, and no data is opened here."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from corpuscle.core import components
from corpuscle.core.components import STRICT, Component, explain, legal_names
from corpuscle.core.errors import ComponentError, Problem, SourceError, StudyError
from corpuscle.corpus.recipe import Part, Recipe
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.split import Holdout
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.source import where as where_expression
from corpuscle.source.quality import Quality
from corpuscle.source.source import ROLES, dataset_path
from corpuscle.study.lines import line_of

K = TypeVar("K", bound=Component)

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """A table of the study file: no key but those it knows."""

    model_config = ConfigDict(frozen=True, **STRICT)


class OpenTable(BaseModel):
    """A table whose other keys are the parameters of the component that it names."""

    model_config = ConfigDict(frozen=True, **{**STRICT, "extra": "allow"})

    @property
    def parameters(self) -> dict[str, Any]:
        """The keys beside the table's own."""
        return dict(self.model_extra or {})


class SourceSpec(Table):
    """``[sources] NAME = {…}``: a file, or a data set that comes with the package."""

    path: str | None = None
    dataset: str | None = None
    where: str | None = None
    counts: str = "X"
    quality: dict[str, Any] = {}
    cell_type: str | None = None
    donor: str | None = None
    batch: str | None = None
    study: str | None = None
    tissue: str | None = None
    disease: str | None = None
    assay: str | None = None
    organism: str | None = None

    @property
    def roles(self) -> dict[str, str]:
        """Which column holds which label, where the file says so."""
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}


class GenesSpec(Table):
    """``[genes]``: the gene space."""

    space: str = "intersection"
    by: Literal["ensembl", "symbol"] | None = None


class PartSpec(OpenTable):
    """One of a corpus' ``parts``."""

    source: str
    n_cells: Count | None = None
    fraction: Share | None = None
    sampler: str = "uniform"


class CorpusSpec(Table):
    """``[[corpora]]``."""

    name: Name
    parts: Annotated[list[PartSpec], Field(min_length=1)]
    exclude: str | None = None


class LabelledSpec(OpenTable):
    """``[[models]]`` and ``[[tasks]]``: a component, under a label where its name is not enough."""

    name: str
    label: Name | None = None


class TargetSpec(Table):
    """What a task is asked ``on``: cells of a source."""

    source: str
    where: str | None = None
    name: Name | None = None

    @property
    def title(self) -> str:
        """Its name; the source's where it has none."""
        return self.name or self.source


class TaskSpec(LabelledSpec):
    """``[[tasks]]``."""

    # A bare name is all evaluation cells of that source.
    on: Annotated[
        list[Annotated[TargetSpec, BeforeValidator(lambda on: {"source": on} if isinstance(on, str) else on)]],
        Field(min_length=1),
    ]


class StudySpec(Table):
    """The study file's tables, as they are written."""

    name: Name
    question: str = ""
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 1
    baseline: str | None = None
    sources: Annotated[dict[Name, SourceSpec], Field(min_length=1)]
    quality: dict[str, Any] = {}
    genes: GenesSpec = GenesSpec()
    holdout: dict[str, dict[str, Any]] = {}
    corpora: Annotated[list[CorpusSpec], Field(min_length=1)]
    models: Annotated[list[LabelledSpec], Field(min_length=1)]
    tasks: list[TaskSpec] = []


@dataclass(frozen=True)
class LabelledModel:
    """A model under the label that scores name it by."""

    label: str
    model: Model


@dataclass(frozen=True)
class LabelledTask:
    """A task under its label, and the targets it is asked on."""

    label: str
    task: Task
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A checked study: what to draw, train and ask. `Study.read` makes one from a file, `Study.parse` from text.

    Attributes
    ----------
    text
        The study file as read.
    folder
        What relative paths in it are relative to.
    """

    text: str
    folder: Path
    spec: StudySpec
    quality: Mapping[str, Quality]
    holdout: Mapping[str, Holdout]
    recipes: tuple[Recipe, ...]
    models: tuple[LabelledModel, ...]
    tasks: tuple[LabelledTask, ...]
    targets: Mapping[str, TargetSpec]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def seeds(self) -> range:
        """The seeds: each draws fresh corpora and a fresh initialisation."""
        return range(self.spec.seeds)

    @property
    def baseline(self) -> str:
        """The corpus that others are compared with; the first where none is named."""
        return self.spec.baseline or self.recipes[0].name

    def path(self, source: str) -> Path:
        """Return the file of a source."""
        spec = self.spec.sources[source]
        return dataset_path(spec.dataset) if spec.dataset else self.folder / Path(spec.path or "").expanduser()

    def problem(self, place: str, message: str) -> Problem:
        """Return a problem with the line of the study file that its place stands on."""
        return Problem(place, message, line_of(self.text, place))

    @staticmethod
    def read(path: Path | str) -> "Study":
        """Read a study file.

        Raises
        ------
        StudyError
            With every problem that can be seen without opening the data, each with its place.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise StudyError([Problem("", f"no such study file: {path}")]) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError([Problem("", f"{path}: cannot be read as text ({error})")]) from None
        return Study.parse(text, path.parent)

    @staticmethod
    def parse(text: str, folder: Path = Path()) -> "Study":
        """Read a study from its text.

        Examples
        --------
        >>> study = Study.parse('''
        ... name = "small"
        ... sources.blood = { dataset = "pbmc3k" }
        ... corpora = [{ name = "Blood", parts = [{ source = "blood", n_cells = 500 }] }]
        ... models  = [{ name = "ldvae" }]
        ... ''')
        >>> str(study.recipes[0])
        '500 of blood (uniform)'
        """
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise StudyError([Problem("", f"not TOML: {error}")]) from None
        try:
            spec = StudySpec.model_validate(raw)
        except ValidationError as error:
            problems = [_schema_problem(detail, text) for detail in error.errors()]
            raise StudyError(list(dict.fromkeys(problems))) from None
        return _Builder(spec, text, folder).study()


def _schema_problem(detail: Any, text: str) -> Problem:
    """Turn pydantic's finding into a place and a sentence."""
    location = detail["loc"]
    table: type[BaseModel] | None = StudySpec
    for part in location[:-1]:
        table = _TABLES.get(str(part), table) if isinstance(part, str) else table
    legal = list(table.model_fields) if table else []
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    message = explain(detail, legal)
    return Problem(place, message, line_of(text, place))


_TABLES: dict[str, type[BaseModel]] = {
    "sources": SourceSpec,
    "genes": GenesSpec,
    "corpora": CorpusSpec,
    "parts": PartSpec,
    "models": LabelledSpec,
    "tasks": TaskSpec,
    "on": TargetSpec,
}


class _Builder:
    """Build what a study file names, collecting every problem before giving up."""

    def __init__(self, spec: StudySpec, text: str, folder: Path) -> None:
        self.spec, self.text, self.folder = spec, text, folder
        self.problems: list[Problem] = []

    def study(self) -> Study:
        """Build everything; raise all problems at once."""
        for name, source in self.spec.sources.items():
            self._check_source(f"sources.{name}", source)
        quality = {name: self._quality(name, source) for name, source in self.spec.sources.items()}
        holdout = self._holdout()
        recipes = [self._recipe(f"corpora[{at}]", corpus) for at, corpus in enumerate(self.spec.corpora)]
        models = [
            LabelledModel(model.label or model.name, built)
            for at, model in enumerate(self.spec.models)
            if (built := self._component(Model, f"models[{at}]", model.name, model.parameters))
        ]
        tasks = list(self._tasks())
        targets = self._targets()
        self._check_names()
        if self.problems:
            raise StudyError(self.problems)
        return Study(self.text, self.folder, self.spec, quality, holdout, tuple(recipes), tuple(models), tuple(tasks),
                     targets)  # fmt: skip

    def _fault(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message, line_of(self.text, place)))

    def _check_source(self, place: str, source: SourceSpec) -> None:
        if (source.path is None) == (source.dataset is None):
            self._fault(place, "give either path (a file) or dataset (one that comes with the package)")
        elif source.dataset is not None:
            try:
                dataset_path(source.dataset)
            except SourceError as error:
                self._fault(f"{place}.dataset", str(error))
        self._check_where(f"{place}.where", source.where)

    def _check_where(self, place: str, expression: str | None) -> None:
        if expression is not None:
            try:
                where_expression.parse(expression)
            except SourceError as error:
                self._fault(place, str(error))

    def _check_source_name(self, place: str, source: str) -> None:
        if source not in self.spec.sources:
            self._fault(place, f"there is no source {source!r}; {legal_names(source, self.spec.sources)}")

    def _quality(self, name: str, source: SourceSpec) -> Quality:
        """Build a source's thresholds: the study's, with the source's own in their place."""
        for place, table in (("quality", self.spec.quality), (f"sources.{name}.quality", source.quality)):
            if not self._valid(place, Quality, table):
                return Quality()
        return Quality(**{**self.spec.quality, **source.quality})

    def _valid(self, place: str, cls: type[Any], table: Mapping[str, Any]) -> bool:
        """Check a table against a validated dataclass, noting every problem."""
        try:
            cls(**table)
        except ValidationError as error:
            for detail in error.errors():
                keys = "".join(f".{part}" for part in detail["loc"][:1] if part in table)
                problem = Problem(place + keys, explain(detail, cls.__dataclass_fields__), 0)
                if str(problem) not in map(str, ((Problem(p.place, p.message)) for p in self.problems)):
                    self._fault(problem.place, problem.message)
            return False
        return True

    def _holdout(self) -> dict[str, Holdout]:
        for source in self.spec.holdout:
            self._check_source_name(f"holdout.{source}", source)
        return {
            source: Holdout(**table)
            for source, table in self.spec.holdout.items()
            if self._valid(f"holdout.{source}", Holdout, table)
        }

    def _recipe(self, place: str, corpus: CorpusSpec) -> Recipe:
        self._check_where(f"{place}.exclude", corpus.exclude)
        parts = [self._part(f"{place}.parts[{at}]", part) for at, part in enumerate(corpus.parts)]
        return Recipe(corpus.name, tuple(part for part in parts if part), corpus.exclude)

    def _part(self, place: str, part: PartSpec) -> Part | None:
        self._check_source_name(f"{place}.source", part.source)
        if (part.n_cells is None) == (part.fraction is None):
            self._fault(place, "give either n_cells (a number of cells) or fraction (a share of the source's cells)")
        sampler = self._component(Sampler, place, part.sampler, part.parameters, named_by="sampler")
        return Part(part.source, sampler, part.n_cells, part.fraction) if sampler else None

    def _component(
        self, kind: type[K], place: str, name: str, parameters: Mapping[str, Any], *, named_by: str = "name"
    ) -> K | None:
        try:
            return components.build(kind, name, parameters)
        except ComponentError as error:
            for where, message in error.faults:
                path = where or ((named_by,) if not parameters else ())
                keys = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
                self._fault(place + keys, message)
            return None

    def _tasks(self) -> Iterator[LabelledTask]:
        for at, spec in enumerate(self.spec.tasks):
            task = self._component(Task, f"tasks[{at}]", spec.name, spec.parameters)
            if task:
                yield LabelledTask(spec.label or spec.name, task, tuple(target.title for target in spec.on))

    def _targets(self) -> dict[str, TargetSpec]:
        """Collect the targets of all tasks; one name must mean one thing."""
        targets: dict[str, TargetSpec] = {}
        for at, task in enumerate(self.spec.tasks):
            for position, target in enumerate(task.on):
                place = f"tasks[{at}].on[{position}]"
                self._check_source_name(place, target.source)
                self._check_where(place, target.where)
                known = targets.setdefault(target.title, target)
                if (known.source, known.where) != (target.source, target.where):
                    self._fault(place, f"target {target.title!r} already means other cells; give this one a name")
        return targets

    def _check_names(self) -> None:
        corpora = [corpus.name for corpus in self.spec.corpora]
        self._check_distinct("corpora", "name", corpora, "two corpora of one name")
        labels = [model.label or model.name for model in self.spec.models]
        self._check_distinct("models", "name", labels, "two models of one label; give one of them a label")
        labels = [task.label or task.name for task in self.spec.tasks]
        self._check_distinct("tasks", "name", labels, "two tasks of one label; give one of them a label")
        if self.spec.baseline is not None and self.spec.baseline not in corpora:
            hint = legal_names(self.spec.baseline, corpora)
            self._fault("baseline", f"there is no corpus {self.spec.baseline!r}; {hint}")

    def _check_distinct(self, table: str, key: str, names: list[str], message: str) -> None:
        # Some file systems do not tell upper from lower case, and names become folders.
        folded = [name.casefold() for name in names]
        for name, times in Counter(folded).items():
            if times > 1:
                last = len(names) - 1 - folded[::-1].index(name)
                self._fault(f"{table}[{last}].{key}", f"{message}: {names[last]!r} stands {times} times")
