"""Plan: a study with its data opened: which cells each corpus and target has, and which runs there are to do.

Everything that can be wrong with a study and its data is found here, all at once, before anything is trained.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core import components
from corpuscle.core.errors import InputError, ModelError, Problem, StudyError
from corpuscle.core.randomness import generator
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies, find_copies, no_copies
from corpuscle.corpus.recipe import Recipe
from corpuscle.corpus.split import Watch
from corpuscle.evaluation.task import Task, surely_lacks
from corpuscle.model.data.memory import machine_memory
from corpuscle.model.imputer import model_imputer
from corpuscle.model.model import Model
from corpuscle.model.size import memory_of
from corpuscle.source import cell_filter as where_expression
from corpuscle.source.count_kinds import unlike_counts
from corpuscle.source.features import in_words
from corpuscle.source.gene_names import GeneNames
from corpuscle.source.genes import By, GeneSpace, gene_space, loss_table
from corpuscle.source.quality import KEPT, survey, survey_key
from corpuscle.source.repeats import refuse_repeats
from corpuscle.source.source import Source, open_source
from corpuscle.store import Store
from corpuscle.study import labels, overlaps
from corpuscle.study.donors import shared_donors
from corpuscle.study.gene_checks import counts_kept, gene_warnings, lost_sources
from corpuscle.study.known_targets import KnownTargets, warnings_of
from corpuscle.study.replicates import COLUMNS, draw_facts, replicate_warnings
from corpuscle.study.spec import LabelledModel, Study
from corpuscle.study.tables import TargetSpec

# Called with what is being done and which share of it is done.
Notice = Callable[[str, float], None]

COMPOSITION_COLUMNS = ("source", "cell_type", "tissue", "disease", "study", "donor", "batch")
MISSING = "(missing)"
# What a cell takes in the table of a corpus, about: its keys and a dozen labels.
BYTES_OF_CELL = 80


class Run(NamedTuple):
    """One training: a model on a corpus, with a seed."""

    corpus: str
    model: str
    seed: int

    def __str__(self) -> str:
        return f"{self.corpus} · {self.model} · seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Plan:
    """A study with its data: what `prepare` returns.

    Attributes
    ----------
    sources
        The sources, with the cells that passed the quality filter.
    by, space
        What genes are matched by, and the study's genes.
    genes
        What each source lost on the way there, with ``counts_kept``, the share of its counts in the space, and
        ``left_out``, how many features of its file are no genes, by kind.
    quality
        How many cells of each source were kept, and dropped for which reason.
    pools
        The cells of each source that training may draw from.
    targets
        The cells to evaluate on, by target name.
    corpora
        The training corpora, by name and seed.
    warnings
        What is legal and yet likely not meant, each with its place in the study file.
    draws
        How much of its pool each corpus takes at a seed, and what two seeds share: see `draw_facts`.
    """

    study: Study
    sources: Mapping[str, Source]
    by: By
    space: GeneSpace
    genes: pd.DataFrame
    quality: pd.DataFrame
    pools: Mapping[str, Corpus]
    targets: Mapping[str, Corpus]
    corpora: Mapping[tuple[str, int], Corpus]
    warnings: tuple[Problem, ...] = ()
    draws: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))

    @property
    def n_training(self) -> dict[str, int]:
        """How many cells of each source training may draw from."""
        return {name: len(pool) for name, pool in self.pools.items()}

    @property
    def runs(self) -> list[Run]:
        """All trainings, seed by seed, so that an early stop leaves whole comparisons."""
        return [
            Run(recipe.name, model.label, seed)
            for seed in self.study.seeds
            for recipe in self.study.recipes
            for model in self.study.models
        ]

    @property
    def unanswerable(self) -> list[tuple[str, Task]]:
        """The models, by label, and the tasks that are known not to be for them: their scores will be NaN."""
        return [
            (model.label, task.task)
            for model in self.study.models
            for task in self.study.tasks
            if surely_lacks(model.model, task.task)
        ]

    @cached_property
    def _models(self) -> dict[str, LabelledModel]:
        return {model.label: model for model in self.study.models}

    def model(self, label: str) -> LabelledModel:
        """Return the model of a label."""
        return self._models[label]

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        return {recipe.name: recipe for recipe in self.study.recipes}

    def recipe(self, name: str) -> Recipe:
        """Return the recipe of the corpus of a name."""
        return self._recipes[name]

    def n_steps(self, run: Run) -> int:
        """How many optimisation steps a run takes."""
        model = self.model(run.model).model
        with components.guarded(model):
            return model.n_steps(self.corpora[run.corpus, run.seed].n_cells)

    def estimate_seconds(self, workers: int) -> float:
        """Measure a few steps of each model on this machine, and say how long all runs' steps would take.

        Raises
        ------
        StudyError
            When a model cannot take these steps: it diverges, say.
        """
        seconds = {}
        for at, model in enumerate(self.study.models):
            try:
                with components.guarded(model.model):
                    seconds[model.label] = model.model.seconds_per_step(len(self.space))
            except ModelError as error:
                raise StudyError([self.study.problem(f"models[{at}]", f"model {model.label!r}: {error}")]) from error
        return sum(self.n_steps(run) * seconds[run.model] for run in self.runs) / min(workers, len(self.runs))

    def composition(self) -> pd.DataFrame:
        """Count each corpus' cells by label: columns corpus, seed, column, value, n_cells."""
        rows: list[tuple[str, int, str, str, int]] = []
        for (name, seed), corpus in self.corpora.items():
            times_N = corpus.cells["times"].to_numpy(np.int64)
            for column in COMPOSITION_COLUMNS:
                label_N = corpus.labels(column)
                values, code_N = np.unique(np.where(label_N == "", MISSING, label_N), return_inverse=True)
                counts = np.bincount(code_N, weights=times_N).astype(np.int64)
                rows += [(name, seed, column, *row) for row in zip(values.tolist(), counts.tolist(), strict=True)]
        return pd.DataFrame(rows, columns=["corpus", "seed", "column", "value", "n_cells"])


def prepare(study: Study, store: Store | None = None, notice: Notice | None = None) -> Plan:
    """Open a study's data and plan all of it.

    Parameters
    ----------
    study
        A checked study.
    store
        Where surveys of sources and their principal components are kept, so that they need not be made again.
    notice
        Called with what is being done.

    Raises
    ------
    StudyError
        With everything that is wrong, each with its place in the study file.
    """
    return _Preparation(study, store, notice or (lambda _what, _share: None)).plan()


class _Preparation:
    """The stages of `prepare`; each goes as far as what came before allows, and notes its problems."""

    def __init__(self, study: Study, store: Store | None, notice: Notice) -> None:
        self.study, self.store, self.notice = study, store, notice
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.draws: list[pd.DataFrame] = []
        self._too_large = False

    def _warn(self, place: str, message: str) -> None:
        """Note what is legal and yet likely not meant, at a place of the study file."""
        self.warnings.append(self.study.problem(place, message))

    @contextmanager
    def _noting(self, place: str) -> Iterator[None]:
        """Turn an input error into a problem at a place of the study file, and go on."""
        try:
            yield
        except InputError as error:
            self.problems.append(self.study.problem(place, str(error)))

    def plan(self) -> Plan:
        opened = self._open()
        names = {name: source.gene_names for name, source in opened.items()}
        before = len(self.problems)
        space, by = self._space(names, opened)
        matched = len(self.problems) == before
        self._check_memory(len(space))
        surveys = self._surveys(opened, space)
        if matched:
            for place, message in lost_sources(self.study.spec.genes, names, space, surveys, by):
                self.problems.append(self.study.problem(place, message))
        copies = self._copies(opened, names, by)
        sources, quality = self._filter(opened, surveys, copies)
        pools, held = self._split(sources, space)
        targets = self._targets(sources, held)
        pools, sources, quality = overlaps.without_copies(self.study, pools, targets, copies, (sources, quality))
        corpora = self._draw(pools, self._context(pools))
        drawn: dict[str, list[Corpus]] = {}
        for (name, _), corpus in corpora.items():
            drawn.setdefault(name, []).append(corpus)
        watch = Watch(targets.values(), copies, overlaps.keeping(self.study))
        for name, of_recipe in drawn.items():
            with self._noting(place := self._corpus_place(name)):
                for found in watch.check(of_recipe):
                    self._warn(place, f'{found}; near_duplicates = "keep" lets that be')
        self._check_donors(sources, pools, targets, corpora)
        self._stop_on_problems()
        known = KnownTargets(targets)
        first = {name: corpus for (name, seed), corpus in corpora.items() if seed == 0}
        for name, message in warnings_of(targets, first, known).items():
            self._warn(self._target_place(name), message)
        self._remark_on_labels(opened, targets, corpora)
        genes = loss_table(names, space, by)
        genes["counts_kept"] = [counts_kept(surveys[source]) for source in genes["source"]]
        genes["left_out"] = [in_words(sources[source].reader.about_genes().left_out) for source in genes["source"]]
        draws = pd.concat(self.draws, ignore_index=True)
        for name, key, message in replicate_warnings(self.study, draws, corpora):
            self._warn(self._corpus_place(name) if name else key, message)
        warnings = tuple(dict.fromkeys(self.warnings))
        return Plan(self.study, sources, by, space, genes, quality, pools, targets, corpora, warnings, draws)

    def _remark_on_labels(
        self, opened: Mapping[str, Source], targets: Mapping[str, Corpus], corpora: Mapping[tuple[str, int], Corpus]
    ) -> None:
        for name, source in opened.items():
            for remark in source.remarks:
                self._warn(f"sources.{name}", remark)
        first = {name: corpus for (name, seed), corpus in corpora.items() if seed == self.study.seeds[0]}
        for place, message in labels.remarks(self.study, targets, first):
            self._warn(place, message)

    def _check_memory(self, n_genes: int) -> None:
        """Refuse models that this machine cannot hold, from their settings: nothing of them is made for it."""
        for at, model in enumerate(self.study.models):
            self._check_model(f"models[{at}]", model.model, n_genes)
        for recipe in self.study.recipes:
            for at, step in enumerate(recipe.steps):
                if step.needs is not None:
                    place = f"{self._corpus_place(recipe.name)}.steps[{at}]"
                    self._check_model(place, components.build(Model, *step.needs), n_genes)

    def _check_model(self, place: str, model: Model, n_genes: int) -> None:
        needed, limit = memory_of(model, n_genes), machine_memory()
        if needed > limit:
            message = (
                f"model {model.name!r} would take about {needed / 1e9:,.0f} GB of memory in training on {n_genes:,} "
                f"genes, and this machine has {limit / 1e9:,.0f} GB; lower its numbers of units and layers, or "
                "batch_size"
            )
            self.problems.append(self.study.problem(place, message))
            # A step may train it as soon as its corpus is drawn.
            self._too_large = True

    def _too_many(self, pools: Mapping[str, Corpus]) -> bool:
        """Refuse corpora whose cell tables this machine cannot hold, all seeds together, before any is drawn."""
        cells = {source: len(pool) for source, pool in pools.items()}
        parts = [part for recipe in self.study.recipes for part in recipe.parts if part.source in cells]
        n_cells = sum(min(part.size(cells[part.source]), cells[part.source]) for part in parts)
        needed, limit = BYTES_OF_CELL * n_cells * len(self.study.seeds), machine_memory()
        if needed > limit:
            message = (
                f"the corpora have {n_cells * len(self.study.seeds):,} cells, all seeds together; their tables would "
                f"take about {needed / 1e9:,.0f} GB of memory, and this machine has {limit / 1e9:,.0f} GB; lower "
                "seeds, or part the study"
            )
            self.problems.append(self.study.problem("seeds", message))
        return needed > limit

    def _stop_on_problems(self) -> None:
        if self.problems:
            # A corpus that cannot be drawn, or that leaks, is so at every seed: say it once.
            raise StudyError(list(dict.fromkeys(self.problems)))

    def _open(self) -> dict[str, Source]:
        opened = {}
        for name, spec in self.study.spec.sources.items():
            self.notice(f"opening {name}", 0)
            with self._noting(f"sources.{name}"):
                path = self.study.path(name)
                source = open_source(
                    name, path, counts=spec.counts.layer, rounds=spec.counts.round, where=spec.where, roles=spec.roles,
                    genes=spec.genes,
                )  # fmt: skip
                refuse_repeats(source)
                opened[name] = source
        if not opened:
            self._stop_on_problems()
        return opened

    def _space(self, names: Mapping[str, GeneNames], opened: Mapping[str, Source]) -> tuple[GeneSpace, By]:
        spec = self.study.spec.genes
        genes = spec.space if spec.space in ("intersection", "union") else self.study.folder / spec.space
        with self._noting("genes"):
            by: By = spec.by or ("ensembl" if all(found.has_ensembl for found in names.values()) else "symbol")
            space = gene_space(names, genes, by)
            for place, message in gene_warnings(opened, space, by, genes if isinstance(genes, Path) else None):
                self._warn(place, message)
            return space, by
        # The rest can be checked though the genes do not match: here, by their positions.
        self.store = None
        ids = [str(at) for at in range(max(len(found.symbols) for found in names.values()))]
        columns = {name: np.arange(len(found.symbols), dtype=np.int32) for name, found in names.items()}
        return GeneSpace(tuple(ids), tuple(ids), columns), "symbol"

    def _surveys(self, opened: Mapping[str, Source], space: GeneSpace) -> dict[str, pd.DataFrame]:
        surveys = {}
        for name, source in opened.items():
            with self._noting(f"sources.{name}"):
                surveys[name] = self._survey(source, space)
                if unlike := unlike_counts(surveys[name]):
                    self._warn(f"sources.{name}", f"source {name!r}: {unlike}")
        return surveys

    def _survey(self, source: Source, space: GeneSpace) -> pd.DataFrame:
        """Survey a source, or take the survey that is in the store."""

        def made() -> pd.DataFrame:
            return survey(source, space, lambda share: self.notice(f"reading {source.name}", share))

        if self.store is None:
            return made()
        key = survey_key(source, space)
        folder = self.store.kept("surveys", key, lambda folder: made().to_parquet(folder / "survey.parquet"))
        return pd.read_parquet(folder / "survey.parquet")

    def _copies(self, opened: Mapping[str, Source], names: Mapping[str, GeneNames], by: By) -> Copies:
        """Find the cells that are one cell; not where the data cannot be read or matched."""
        for place, message in overlaps.repeated_files(opened):
            self._warn(place, message)
        if self.problems:
            return no_copies(opened)
        union = gene_space(names, "union", by)
        copies = find_copies(opened, union, overlaps.pairs(self.study), self.store, self.notice)
        for place, message in overlaps.undecidable(copies, opened):
            self._warn(place, message)
        return copies

    def _check_donors(
        self,
        sources: Mapping[str, Source],
        pools: Mapping[str, Corpus],
        targets: Mapping[str, Corpus],
        corpora: Mapping[tuple[str, int], Corpus],
    ) -> None:
        """Refuse donors that are held out in one source and trained on from another, as far as that is known."""
        for found in shared_donors(self.study, sources, pools, targets, corpora):
            if found.certain:
                self.problems.append(self.study.problem(found.place, found.message))
            else:
                self._warn(found.place, found.message)

    def _filter(
        self, opened: Mapping[str, Source], surveys: Mapping[str, pd.DataFrame], copies: Copies
    ) -> tuple[dict[str, Source], pd.DataFrame]:
        """Apply the quality filter, counting reasons."""
        kept, tables, before = {}, [], np.empty(0, np.int64)
        for name, table in surveys.items():
            thresholds = self.study.quality[name]
            if thresholds.max_mito_fraction < 1 and table["mito_fraction"].isna().all():
                own = "max_mito_fraction" in self.study.spec.sources[name].quality
                place = f"sources.{name}.quality.max_mito_fraction" if own else "quality.max_mito_fraction"
                hint = f"write quality = {{ max_mito_fraction = 1.0 }} on {name}"
                message = f"source {name!r} has no mitochondrial genes, so this would filter nothing there; {hint}"
                self.problems.append(self.study.problem(place, message))
            reasons = thresholds.reasons(table)
            places = overlaps.places_of(copies, name)
            if thresholds.drop_duplicates:
                reasons = _drop_duplicates(reasons, places, before, copies)
            before = np.concatenate([before, places[reasons == KEPT]])
            values, counts = np.unique(reasons, return_counts=True)
            tables.append(pd.DataFrame({"source": name, "reason": values, "n_cells": counts}))
            if not (reasons == KEPT).any():
                found = ", ".join(f"{n:,} {reason}" for reason, n in zip(values, counts, strict=True))
                self.problems.append(self.study.problem(f"sources.{name}", f"quality drops every cell: {found}"))
                continue
            kept[name] = opened[name].keep(reasons == KEPT)
        columns = ["source", "reason", "n_cells"]
        return kept, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)

    def _split(self, sources: Mapping[str, Source], space: GeneSpace) -> tuple[dict[str, Corpus], dict[str, Corpus]]:
        """Part each source into the cells that training may use and those held out."""
        readers = {name: source.reader for name, source in sources.items()}
        pools, held = {}, {}
        for name, source in sources.items():
            cells = source.cells.copy()
            cells.insert(0, "source", name)
            cells.insert(3, "times", 1)
            whole = Corpus(name, cells, readers, space)
            pools[name] = whole
            if name in self.study.holdout:
                with self._noting(f"holdout.{name}"):
                    # The same cells for every seed and corpus, so that scores can be compared.
                    mask = self.study.holdout[name].mask(cells, generator(0, "holdout", name))
                    pools[name], held[name] = whole.take(~mask), whole.take(mask)
            else:
                held[name] = whole
        return pools, held

    def _targets(self, sources: Mapping[str, Source], held: Mapping[str, Corpus]) -> dict[str, Corpus]:
        targets = {}
        for name, spec in self.study.targets.items():
            if spec.source not in sources or spec.source not in held:
                continue
            with self._noting(self._target_place(name)):
                targets[name] = _target(name, spec, held[spec.source])
        return targets

    def _context(self, pools: Mapping[str, Corpus]) -> Context:
        return Context(pools, self.study.folder, model_imputer, self.store, self.notice)

    def _draw(self, pools: Mapping[str, Corpus], context: Context) -> dict[tuple[str, int], Corpus]:
        """Draw every corpus at every seed, and alter it."""
        corpora: dict[tuple[str, int], Corpus] = {}
        if self._too_large or self._too_many(pools):
            return corpora
        for recipe in self.study.recipes:
            if not {*recipe.sources, *recipe.looks_at} <= set(pools):
                continue
            with self._noting(self._corpus_place(recipe.name)):
                draws = []
                for seed in self.study.seeds:
                    self.notice(f"drawing {recipe.name}", seed / len(self.study.seeds))
                    drawn = recipe.draw(pools, seed, context)
                    if (corpus := self._altered(recipe, drawn, seed, context)) is not None:
                        corpora[recipe.name, seed] = corpus
                        # Made cells are in no pool: of those, what they were made from was drawn.
                        draws.append(drawn if corpus.used_makers else corpus)
                if draws:
                    self.draws.append(draw_facts(recipe, pools, draws))
        return corpora

    def _altered(self, recipe: Recipe, corpus: Corpus, seed: int, context: Context) -> Corpus | None:
        """Do a recipe's steps; None where one cannot be done."""
        place = self._corpus_place(recipe.name)
        for at, step in enumerate(recipe.steps):
            self.notice(f"drawing {recipe.name}: {step.name}", seed / len(self.study.seeds))
            before = len(self.problems)
            with self._noting(f"{place}.steps[{at}]"):
                corpus = recipe.alter(corpus, seed, at, context)
            if len(self.problems) > before:
                return None
        return corpus

    @cached_property
    def _corpus_places(self) -> dict[str, str]:
        corpora = enumerate(self.study.spec.corpora)
        return {name: f"corpora[{at}]" for at, corpus in corpora for name in corpus.rungs}

    def _corpus_place(self, name: str) -> str:
        return self._corpus_places[name]

    def _target_place(self, name: str) -> str:
        return next(
            f"tasks[{at}].on[{position}]"
            for at, task in enumerate(self.study.spec.tasks)
            for position, target in enumerate(task.on)
            if target.title == name
        )


def _target(name: str, spec: TargetSpec, held: Corpus) -> Corpus:
    """Choose a target's cells among those of its source that are for evaluation."""
    if spec.where is None:
        return held.take(np.ones(len(held), bool), name)
    mask = where_expression.matches(spec.where, held.cells)
    if not mask.any():
        raise InputError(f'where "{spec.where}" matches none of the {len(held):,} evaluation cells of {spec.source!r}')
    return held.take(mask, name)


def _drop_duplicates(
    reasons: NDArray[np.str_], places: NDArray[np.int64], before: NDArray[np.int64], copies: Copies
) -> NDArray[np.str_]:
    """Mark cells whose counts an earlier kept cell has."""
    later = copies.later(np.concatenate([before, places[reasons == KEPT]]), exact=True)
    marked = reasons.astype(object)
    marked[(reasons == KEPT) & np.isin(places, later)] = "counts equal to an earlier cell's"
    return marked.astype(str)
