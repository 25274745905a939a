"""Plan: a study with its data opened: which cells each corpus and target has, and which runs there are to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core import components
from corpuscle.core.errors import Problem
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.recipe import Recipe
from corpuscle.evaluation.task import Task, surely_lacks
from corpuscle.source.genes import By, GeneSpace
from corpuscle.source.source import Source
from corpuscle.study.relabelling import COLUMNS as RELABELLED
from corpuscle.study.replicates import COLUMNS
from corpuscle.study.seen import Seen
from corpuscle.study.spec import LabelledModel, Study

COMPOSITION_COLUMNS = ("source", "cell_type", "tissue", "disease", "study", "donor", "batch")
MISSING = "(missing)"


class Run(NamedTuple):
    """One training: a model on a corpus, with a seed."""

    corpus: str
    model: str
    seed: int

    def __str__(self) -> str:
        return f"{self.corpus} · {self.model} · seed {self.seed}"


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A study with its data: what `corpuscle.study.preparation.prepare` returns.

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
        The training corpora, by name and the seed that drew them.
    warnings
        What is legal and yet likely not meant, each with its place in the study file.
    relabelled
        The labels that the study calls otherwise than a source's file: see `corpuscle.study.relabelling.relabel`.
    draws
        How much of its pool each corpus takes at a seed, and what two seeds share: see `draw_facts`.
    seen
        Which cells of targets models learned from.
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
    relabelled: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(RELABELLED)))
    seen: Seen = field(default_factory=Seen)

    def __repr__(self) -> str:
        n_runs = len(self.runs)
        cells = f"{min(c.n_cells for c in self.corpora.values()):,}–{max(c.n_cells for c in self.corpora.values()):,}"
        return f"Plan({self.study.name!r}: {n_runs:,} runs, corpora of {cells} cells, {len(self.space):,} genes)"

    @property
    def n_training(self) -> dict[str, int]:
        """How many cells of each source training may draw from."""
        return {name: len(pool) for name, pool in self.pools.items()}

    @property
    def asked_on(self) -> list[str]:
        """What tasks are asked on, in their order: targets, and "corpus" where it is each corpus itself, in place."""
        return list(dict.fromkeys(name for task in self.study.tasks for name in task.targets))

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

    def corpus_of(self, run: Run) -> Corpus:
        """Return the corpus that a run learns from."""
        return self.corpora[run.corpus, self.study.draw_of(run.seed)]

    def n_steps(self, run: Run) -> int:
        """How many optimisation steps a run takes."""
        model = self.model(run.model).model
        with components.guarded(model):
            return model.n_steps(self.corpus_of(run).n_cells)

    def seen_by(self, run: Run) -> dict[str, float]:
        """Return by target the share of its cells that a run's model learned from; NaN where that is not known."""
        model, drawn = self.model(run.model), (run.corpus, self.study.draw_of(run.seed))
        fits = self.n_steps(run) > 0 or getattr(model.model, "fit_command", None) is not None
        learns = fits or not model.model.pretrained
        sizes = {name: len(self.targets[name]) if name in self.targets else 0 for name in self.asked_on}
        return {name: self.seen.share(model, drawn, (name, n), learns=learns) for name, n in sizes.items()}

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
