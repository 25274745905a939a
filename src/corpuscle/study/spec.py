"""Study: read and check a study file. It names things; nothing in it is computed, and no data is opened here."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from corpuscle.core import components
from corpuscle.core.components import Component, legal_names
from corpuscle.core.errors import ComponentError, InputError, Problem, StudyError
from corpuscle.core.paths import read_plain
from corpuscle.core.plain_toml import beyond_64_bits, parse_toml
from corpuscle.core.scores import IN_PLACE
from corpuscle.core.text import plural, shortened
from corpuscle.corpus.alteration import Alteration
from corpuscle.corpus.cell_ontology import TERM_COLUMN, CellOntology, mapped
from corpuscle.corpus.recipe import Part, Recipe
from corpuscle.corpus.sampler import Sampler
from corpuscle.corpus.split import Holdout
from corpuscle.evaluation.task import Task
from corpuscle.model.model import Model
from corpuscle.source import cell_filter as where_expression
from corpuscle.source.quality import Quality
from corpuscle.source.reader import located
from corpuscle.source.source import RESERVED, dataset_path
from corpuscle.study.given import GivenCells
from corpuscle.study.in_python import as_toml
from corpuscle.study.lines import line_of
from corpuscle.study.mixture_checks import mixture_problems, settings_of
from corpuscle.study.schema import follows_from, place_of, read_tables
from corpuscle.study.tables import (
    CorpusSpec,
    LadderSpec,
    OpenTable,
    PartSpec,
    SourceSpec,
    StepSpec,
    StudySpec,
    TargetSpec,
    TaskSpec,
)

# Each run is a folder and a row at least; years of training, besides.
MOST_RUNS = 1_000_000


T = TypeVar("T")
K = TypeVar("K", bound=Component)


@dataclass(frozen=True)
class LabelledModel:
    """A model under the label that scores name it by, and what its weights were trained on before, where it is said."""

    label: str
    model: Model
    trained_on: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LabelledTask:
    """A task under its label, the targets it is asked on, and the metric and way that reports lead with.

    Without a metric, it is the task's first; without a way, the first in which the metric was found.
    """

    label: str
    task: Task
    targets: tuple[str, ...]
    headline: tuple[str, str] = ("", "")


@dataclass(frozen=True, init=False, repr=False)
class Study:
    """A checked study: what to draw, train and ask. `Study.read` makes one from a file, `Study.parse` from text.

    In Python, it is made of the tables of a study file under their names.

    Parameters
    ----------
    **tables
        The study file's tables: ``name``, ``sources``, ``corpora``, ``models``, ``tasks``, ``seeds`` and so on, as
        docs/study-file.md has them. A source may also be an AnnData object, or have one as its ``path``; a model or a
        task may also be its name, or a component that was built.

    Attributes
    ----------
    text
        The study file as read.
    folder
        What relative paths in it are relative to.
    given
        The sources that are AnnData objects.
    place
        The run's folder, where these are written; None: one that is gone with this process.
    has_lines
        Whether the text was written by somebody, so that a message may name its lines.

    Raises
    ------
    StudyError
        With every problem that can be seen without opening the data, each with its place.

    Examples
    --------
    >>> import anndata
    >>> blood = anndata.read_h5ad(dataset_path("pbmc3k"))
    >>> study = Study(
    ...     name="small",
    ...     sources={"blood": blood},
    ...     corpora=[{"name": "Blood", "parts": [{"source": "blood", "n_cells": 500}]}],
    ...     models=["ldvae", {"name": "pca", "n_components": 10}],
    ... )
    >>> study
    Study('small': 1 source, 1 corpus, 2 models, 0 tasks, 3 seeds)
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
    given: Mapping[str, GivenCells]
    place: Path | None
    has_lines: bool

    def __init__(self, **tables: Any) -> None:
        text, given = as_toml(tables)
        try:
            made = Study.parse(text)
        except StudyError as error:
            # Nobody has seen the text that lines are counted in.
            raise StudyError([Problem(found.place, found.message) for found in error.problems]) from None
        self._fill({**vars(made), "given": given, "has_lines": False})

    def _fill(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, **values: Any) -> "Study":
        """Return a study of its attributes."""
        study = object.__new__(cls)
        study._fill({"given": {}, "place": None, "has_lines": True, **values})
        return study

    def derived_from(self, other: "Study", more: Mapping[str, GivenCells] = MappingProxyType({})) -> "Study":
        """Return the same study with the AnnData objects of another, and more, as sources, and its place for them.

        Its text was derived from the other's, so that nobody knows its lines.
        """
        own = {"given": {**other.given, **more}, "place": other.place, "has_lines": False}
        return Study._of(**{**vars(self), **own})

    def placed(self, folder: Path) -> "Study":
        """Return the same study, whose AnnData objects are written into a run's folder when they are needed."""
        return Study._of(**{**vars(self), "place": folder}) if self.given else self

    def cut(self, recipes: Sequence[Recipe], models: Sequence[LabelledModel], tasks: Sequence[LabelledTask]) -> "Study":
        """Return a study of the same sources with one seed, and with these corpora, models and tasks instead."""
        spec = self.spec.model_copy(update={"seeds": 1, "first_seed": 0, "baseline": None, "control": None})
        parts = {"recipes": tuple(recipes), "models": tuple(models), "tasks": tuple(tasks)}
        return Study._of(**{**vars(self), "spec": spec, **parts})

    def __repr__(self) -> str:
        sizes = {"source": len(self.spec.sources), "corpus": len(self.recipes), "model": len(self.models)}
        sizes |= {"task": len(self.tasks), "seed": len(self.seeds)}
        counts = ", ".join(plural(n, what) for what, n in sizes.items())
        return f"Study({self.name!r}: {counts})"

    def to_toml(self) -> str:
        """Return the study as a study file; an AnnData object is named as the file that a run writes it into."""
        return self.text

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def seeds(self) -> range:
        """The runs of each corpus and model: each draws fresh corpora and a fresh initialisation, if not crossed.

        Where draws and fits are crossed, run r is of draw r // fits and fit r % fits.
        """
        return range(self.draws.start * self.spec.n_fits, self.draws.stop * self.spec.n_fits)

    @property
    def draws(self) -> range:
        """The seeds that corpora are drawn with."""
        return range(self.spec.first_seed, self.spec.first_seed + self.spec.n_draws)

    def draw_of(self, seed: int) -> int:
        """Return the seed that the corpus of a run is drawn with."""
        return seed // self.spec.n_fits

    def fit_of(self, seed: int) -> int:
        """Return the seed that a model is fitted with: its run's, or where draws and fits are crossed, its fit's."""
        return seed % self.spec.n_fits if self.spec.n_fits > 1 else seed

    @property
    def baseline(self) -> str:
        """The corpus that others are compared with; the first where none is named."""
        return self.spec.baseline or self.recipes[0].name

    def path(self, source: str) -> Path | list[Path]:
        """Return the file of a source, or its files where it lists them; one that is an AnnData object is written."""
        spec = self.spec.sources[source]
        if source in self.given:
            return self.given[source].written(self.place)
        if spec.dataset:
            return dataset_path(spec.dataset)
        if isinstance(spec.path, tuple):
            return [located(path, self.folder) for path in spec.path]
        return located(spec.path or "", self.folder)

    def problem(self, place: str, message: str) -> Problem:
        """Return a problem with the line of the study file that its place stands on."""
        return Problem(place, message, line_of(self.text, place) if self.has_lines else 0)

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
            text = read_plain(path, "utf-8-sig")
        except FileNotFoundError:
            raise StudyError([Problem("", f"no such study file: {path}")]) from None
        # UnicodeDecodeError, and a path with a null in it, are ValueErrors.
        except (OSError, ValueError) as error:
            raise StudyError([Problem("", f"{shortened(str(path))}: cannot be read as text ({error})")]) from None
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
            raw = parse_toml(text)
            too_large = list(beyond_64_bits(raw))
        except ValueError as error:
            found = re.fullmatch(r"(.*) \(at line (\d+), (column \d+)\)", str(error))
            gist, line = (f"{found[1]}, at {found[3]}", int(found[2])) if found else (str(error), 0)
            raise StudyError([Problem("", f"not TOML: {shortened(gist)}", line)]) from None
        if too_large:
            message = "a whole number beyond 64 bits, the most that TOML has"
            raise StudyError([Problem(place, message, line_of(text, place)) for place in too_large])
        spec, problems = read_tables(raw, text)
        if spec is None:
            raise StudyError(problems)
        return _Builder(spec, text, folder, problems).study()


class _Builder:
    """Build what a study file names, collecting every problem before giving up."""

    def __init__(self, spec: StudySpec, text: str, folder: Path, known: list[Problem]) -> None:
        self.spec, self.text, self.folder, self.known = spec, text, folder, known
        self.problems: list[Problem] = []

    def study(self) -> Study:
        """Build everything; raise all problems at once."""
        for name, source in self.spec.sources.items():
            self._check_source(f"sources.{name}", source)
        quality = {name: self._quality(name, source) for name, source in self.spec.sources.items()}
        holdout = self._holdout()
        recipes = [
            recipe for at, corpus in enumerate(self.spec.corpora) for recipe in self._recipes(f"corpora[{at}]", corpus)
        ]
        models = [
            LabelledModel(model.label or model.name, built, None if model.trained_on is None else (*model.trained_on,))
            for at, model in enumerate(self.spec.models)
            if (built := self._component(Model, f"models[{at}]", model))
        ]
        tasks = list(self._tasks())
        targets = self._targets()
        self._check_labels()
        self._check_terms()
        self._check_names()
        self._check_margins(tasks)
        self._check_mixture(tasks)
        n_seeds = self.spec.n_draws * self.spec.n_fits
        n_runs = len(recipes) * len(self.spec.models) * n_seeds
        if n_runs > MOST_RUNS:
            counts = f"{len(recipes):,} corpora × {len(self.spec.models):,} models × {n_seeds:,} seeds"
            self._fault("seeds", f"{counts} are {n_runs:,} runs, and a study can have {MOST_RUNS:,}; part the study")
        problems = [*self.known, *(found for found in self.problems if not follows_from(found, self.known))]
        if problems:
            # The study's own quality is checked with each source's: say it once.
            raise StudyError(list(dict.fromkeys(problems)))
        return Study._of(
            text=self.text, folder=self.folder, spec=self.spec, quality=quality, holdout=holdout,
            recipes=tuple(recipes), models=tuple(models), tasks=tuple(tasks), targets=targets,
        )  # fmt: skip

    def _fault(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message, line_of(self.text, place)))

    @contextmanager
    def _noting(self, place: str) -> Iterator[None]:
        """Turn an input error into a problem at a place, and go on."""
        try:
            yield
        except InputError as error:
            self._fault(place, str(error))

    def _check_source(self, place: str, source: SourceSpec) -> None:
        if (source.path is None) == (source.dataset is None):
            self._fault(place, "give either path (a file) or dataset (one that comes with the package)")
        elif source.dataset is not None:
            with self._noting(f"{place}.dataset"):
                dataset_path(source.dataset)
        self._check_where(f"{place}.where", source.where)

    def _check_where(self, place: str, expression: str | None) -> None:
        if expression is not None:
            with self._noting(place):
                where_expression.parse(expression)

    def _check_source_name(self, place: str, source: str) -> None:
        if source not in self.spec.sources:
            self._fault(place, f"there is no source {source!r}; {legal_names(source, self.spec.sources)}")

    def _quality(self, name: str, source: SourceSpec) -> Quality:
        """Build a source's thresholds: the study's, with the source's own in their place."""
        for place, table in (("quality", self.spec.quality), (f"sources.{name}.quality", source.quality)):
            if self._constructed(Quality, place, table) is None:
                return Quality()
        return Quality(**{**self.spec.quality, **source.quality})

    def _constructed(
        self, cls: type[T], place: str, table: Mapping[str, Any], prefix: str = "", also: Iterable[str] = ()
    ) -> T | None:
        """Make a validated dataclass of a table, noting every problem."""
        try:
            return components.construct(cls, table, prefix, also)
        except ComponentError as error:
            for where, message in error.faults:
                self._fault(place_of((place, *where)), message)
            return None

    def _check_terms(self) -> None:
        """Check that the terms given for cell types are in the Cell Ontology."""
        if not self.spec.cell_types:
            return
        with self._noting("cell_types"):
            ontology = CellOntology()
            for label in self.spec.cell_types:
                with self._noting(f"cell_types.{label}"):
                    mapped([label], ontology, self.spec.cell_types)

    def _check_labels(self) -> None:
        """Refuse names for columns that hold no labels."""
        tables = {"labels": self.spec.labels}
        tables |= {f"sources.{name}.labels": source.labels for name, source in self.spec.sources.items()}
        for place, table in tables.items():
            for column in table:
                if column in {*RESERVED, TERM_COLUMN}:
                    instead = "; name those of cell_type" if column == TERM_COLUMN else ""
                    self._fault(f"{place}.{column}", f"{column!r} holds no labels that could be named{instead}")

    def _holdout(self) -> dict[str, Holdout]:
        for source in self.spec.holdout:
            self._check_source_name(f"holdout.{source}", source)
        return {
            source: holdout
            for source, table in self.spec.holdout.items()
            if (holdout := self._constructed(Holdout, f"holdout.{source}", table))
        }

    def _recipes(self, place: str, corpus: CorpusSpec) -> list[Recipe]:
        """Build the recipe of a corpus, or of each size of its ladder."""
        self._check_where(f"{place}.exclude", corpus.exclude)
        if corpus.ladder is not None:
            self._check_ladder(f"{place}.ladder", corpus.ladder)
        whole = corpus.ladder is not None
        parts = [self._part(f"{place}.parts[{at}]", part, whole=whole) for at, part in enumerate(corpus.parts)]
        built = tuple(part for part in parts if part)
        steps = [self._step(f"{place}.steps[{at}]", step) for at, step in enumerate(corpus.steps)]
        altered = tuple(step for step in steps if step)
        return [Recipe(name, built, corpus.exclude, rung, altered) for name, rung in corpus.rungs.items()]

    def _step(self, place: str, spec: StepSpec) -> Alteration | None:
        step = self._component(Alteration, place, spec, named_by="alteration")
        if step is None:
            return None
        self._check_where(f"{place}.where", getattr(step, "where", None))
        if step.needs is not None:
            name, settings = step.needs
            with self._noting(f"{place}.model"):
                cls = components.find(Model, name)
                given = cls.located(settings, self._located)
                self._constructed(cls, f"{place}.settings", given, f"model {name!r}: ")
                if given != settings:
                    # Only what has settings can need a model that they are of.
                    step = replace(step, settings=given)  # type: ignore[type-var]  # by @component
        return step

    def _check_ladder(self, place: str, ladder: LadderSpec) -> None:
        for key in ("percent", "cells"):
            sizes = getattr(ladder, key) or []
            for at, size in enumerate(sizes):
                if size in sizes[:at]:
                    self._fault(f"{place}.{key}[{at}]", f"size {size:g} stands twice in one ladder")

    def _part(self, place: str, part: PartSpec, *, whole: bool) -> Part | None:
        """Build a part; where the corpus has a ladder, `whole`, one without a size asks for all its source has."""
        self._check_source_name(f"{place}.source", part.source)
        sized = [size for size in (part.n_cells, part.fraction) if size is not None]
        if len(sized) > 1 or not (sized or whole):
            self._fault(place, "give either n_cells (a number of cells) or fraction (a share of the source's cells)")
        self._check_where(f"{place}.only", part.only)
        if whole and part.repeats > 1:
            self._fault(f"{place}.repeats", "a corpus with a ladder uses each cell once; leave out one of the two")
        sampler = self._component(Sampler, place, part, named_by="sampler")
        if sampler is None:
            return None
        if part.repeats > 1 and (sampler.sources or not sampler.exact):
            self._fault(f"{place}.repeats", f"{sampler.name} cannot repeat cells; uniform can")
        for source in {*sampler.sources, *sampler.looks_at}:
            key = next((key for key, value in part.parameters.items() if value == source), "sampler")
            self._check_source_name(f"{place}.{key}", source)
        return Part(
            part.source, sampler, part.n_cells, part.fraction if sized else 1.0, only=part.only, repeats=part.repeats
        )

    def _component(self, kind: type[K], place: str, table: OpenTable, *, named_by: str = "name") -> K | None:
        """Build the component that a table names, of the keys that are not the table's own."""
        name = getattr(table, named_by)
        with self._noting(f"{place}.{named_by}"):
            cls = components.find(kind, name)
            prefix, own = f"{kind.kind} {name!r}: ", type(table).model_fields
            given = cls.located(table.parameters, self._located)
            return self._constructed(cls, place, given, prefix, own)
        return None

    def _located(self, paths: Any) -> Any:
        """Return where a component's path is, or each of a list or table of them, relative to the study file.

        What is no text is left as it is.
        """
        if isinstance(paths, list):
            return [self._located(path) for path in paths]
        if isinstance(paths, dict):
            return {name: self._located(path) for name, path in paths.items()}
        return str(located(paths, self.folder)) if isinstance(paths, str) and paths else paths

    def _tasks(self) -> Iterator[LabelledTask]:
        for at, spec in enumerate(self.spec.tasks):
            task = self._component(Task, f"tasks[{at}]", spec)
            for position, target in enumerate(spec.on):
                if task and self._is_in_place(target) and not task.in_place:
                    place = f"tasks[{at}].on[{position}]"
                    self._fault(
                        place,
                        f"{task.name} cannot be asked in place, of the cells that a model was fitted on; hold some out",
                    )
            if task:
                metrics = [metric.name for metric in task.metrics]
                metric, way = spec.headline.metric, spec.headline.way
                if metric and metrics and metric not in metrics:
                    unknown = f"{task.name} has no metric {metric!r}; {legal_names(metric, metrics)}"
                    self._fault(f"tasks[{at}].headline", unknown)
                targets = tuple(target.title for target in spec.on)
                yield LabelledTask(spec.label or spec.name, task, targets, (metric, way))

    def _targets(self) -> dict[str, TargetSpec]:
        """Collect the targets of all tasks; one name must mean one thing."""
        targets: dict[str, TargetSpec] = {}
        for at, task in enumerate(self.spec.tasks):
            for position, target in enumerate(task.on):
                place = f"tasks[{at}].on[{position}]"
                if target.title in [other.title for other in task.on[:position]]:
                    self._fault(place, f"target {target.title!r} stands twice in one task")
                if target.title == IN_PLACE and self._in_place() and not self._is_in_place(target):
                    self._fault(place, f"{IN_PLACE!r} already means each corpus' own cells; give this target a name")
                if self._is_in_place(target):
                    self._check_in_place(place, target)
                    continue
                self._check_source_name(place, target.source)
                self._check_where(place, target.where)
                known = targets.setdefault(target.title, target)
                if (known.source, known.where) != (target.source, target.where):
                    self._fault(place, f"target {target.title!r} already means other cells; give this one a name")
        return targets

    def _is_in_place(self, target: TargetSpec) -> bool:
        """Return whether a target is each corpus itself: a source may have that name, and then is meant."""
        return target.source == IN_PLACE and IN_PLACE not in self.spec.sources

    def _in_place(self) -> bool:
        return any(self._is_in_place(target) for task in self.spec.tasks for target in task.on)

    def _check_in_place(self, place: str, target: TargetSpec) -> None:
        if target.where or target.name:
            self._fault(place, f"{IN_PLACE!r} is all cells of each corpus: leave out where and name")

    def _check_names(self) -> None:
        names = [(name, at) for at, corpus in enumerate(self.spec.corpora) for name in corpus.rungs]
        self._check_distinct("corpora", names, "two corpora of one name")
        labels = [(model.label or model.name, at) for at, model in enumerate(self.spec.models)]
        self._check_distinct("models", labels, "two models of one label; give one of them a label")
        corpora, models = [name for name, _ in names], [label for label, _ in labels]
        for at, task in enumerate(self.spec.tasks):
            self._check_reference(f"tasks[{at}].reference_corpus", task, "corpus", corpora)
            self._check_reference(f"tasks[{at}].reference_model", task, "model", models)
        labels = [(task.label or task.name, at) for at, task in enumerate(self.spec.tasks)]
        self._check_distinct("tasks", labels, "two tasks of one label; give one of them a label")
        for place, named in (("baseline", self.spec.baseline), ("control", self.spec.control)):
            if named is not None and named not in corpora:
                self._fault(place, f"there is no corpus {named!r}; {legal_names(named, corpora)}")
        if self.spec.control is not None and corpora and self.spec.control == (self.spec.baseline or corpora[0]):
            self._fault("control", f"{self.spec.control!r} is the baseline; the control is another corpus of the size")

    def _check_margins(self, tasks: Sequence[LabelledTask]) -> None:
        """Refuse a margin of a metric that no task has, where all tasks say which they have."""
        known = [metric.name for task in tasks for metric in task.task.metrics]
        if len(tasks) == len(self.spec.tasks) and all(task.task.metrics for task in tasks):
            for name in self.spec.margins:
                if name not in known:
                    self._fault(f"margins.{name}", f"no task has a metric {name!r}; {legal_names(name, set(known))}")
        scales = {metric.name: metric.scale for task in tasks for metric in task.task.metrics}
        for name, margin in self.spec.margins.items():
            if scales.get(name) == "share" and margin >= 1:
                self._fault(f"margins.{name}", f"{name} is a share, and differs by less than 1; got {margin:g}")

    def _check_mixture(self, tasks: Sequence[LabelledTask]) -> None:
        """Refuse a ``[mixture]`` that the study cannot have, and settings that its proxy does not."""
        if self.spec.mixture is None:
            return
        for place, message in mixture_problems(self.spec, tasks):
            # What is wrong with a task is said there; that a utility then lacks it, follows.
            if len(tasks) == len(self.spec.tasks) or not place.startswith("mixture.utility"):
                self._fault(place, message)
        faults: dict[tuple[str, str], None] = {}
        for table in settings_of(self.spec.models, self.spec.mixture) if self.spec.mixture.proxy.tried else []:
            settings = {key: value for key, value in table.items() if key not in ("name", "label")}
            with suppress(InputError):
                cls = components.find(Model, table["name"])
                try:
                    components.construct(cls, cls.located(settings, self._located), f"model {table['name']!r}: ", ())
                except ComponentError as error:
                    faults |= {(place_of(("mixture.proxy", *where)), message): None for where, message in error.faults}
        for place, message in faults:
            self._fault(place, message)

    def _check_reference(self, place: str, task: TaskSpec, kind: str, known: list[str]) -> None:
        """Refuse a task that compares with a corpus or model that the study does not have."""
        named = task.parameters.get(f"reference_{kind}")
        if isinstance(named, str) and named and named not in known:
            self._fault(place, f"there is no {kind} {named!r}; {legal_names(named, known)}")

    def _check_distinct(self, table: str, names: list[tuple[str, int]], message: str) -> None:
        """Refuse names that stand twice, given with their positions in the table."""
        # Some file systems do not distinguish upper from lower case, and names become folders.
        times = Counter(name.casefold() for name, _ in names)
        last = {name.casefold(): (name, at) for name, at in names}
        for folded, (name, at) in last.items():
            if times[folded] > 1:
                self._fault(f"{table}[{at}].name", f"{message}: {name!r} stands {times[folded]} times")
