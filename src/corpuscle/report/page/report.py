"""Report: everything that the page of a run shows, ready to be laid out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from corpuscle.core.csv_text import csv_text
from corpuscle.report import numbers
from corpuscle.report.drawing import corpus_figures, measure_figures
from corpuscle.report.drawing.bar_figures import bar_figure
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.gene_figures import residual_scatter
from corpuscle.report.drawing.learning_figures import learning_figure
from corpuscle.report.drawing.map_figures import embedding_map
from corpuscle.report.page.compared import compared
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.page.task_scores import Names, TaskScores
from corpuscle.report.sections import gene_residuals, measures, tables
from corpuscle.report.sections.bar_table import BarTable
from corpuscle.report.sections.findings import TaskFindings, answer, limits, scope
from corpuscle.report.sections.fits import Fits
from corpuscle.report.sections.gene_sets import SetTable, gene_set_tables
from corpuscle.report.sections.heatmaps import Layout, Sheet, sheets
from corpuscle.report.sections.learning_curves import LearningCurves
from corpuscle.report.sections.markers import MarkerTable, marker_tables
from corpuscle.report.sections.overview import incomplete, overview, sentences, unfinished
from corpuscle.report.sections.power import cells_leave, more_needed, seed_parts
from corpuscle.report.sections.seen import SeenRow, seen_rows
from corpuscle.report.sections.shown import MOST_CORPORA, of_corpora
from corpuscle.statistics.gene_sets import gene_set_table
from corpuscle.statistics.ladders import ALL
from corpuscle.statistics.marker_ranks import marker_ranks
from corpuscle.statistics.pilot import pilots

# Columns of the composition in the order in which the page shows them.
COLUMNS = ("cell_type", "tissue", "disease", "source", "study", "donor", "batch")
# What the overview's CSV has of the summary of scores.
OVERVIEW = (
    "task", "metric", "way", "target", "model", "corpus", "better", "mean", "low", "high", "n_seeds", "n_donors",
    "difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "ties_best",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Everything that the page shows, ready to be laid out.

    Attributes
    ----------
    summary
        One row per score with its interval and fold change; genes are left to the residuals' own tables.
    pairs
        Every two of the corpora that the page shows, compared; see `corpuscle.statistics.pairs.all_pairs`.
    answers
        The answer in words, one per task.
    overview, overview_figure
        Every corpus on every target with every model, ranked, as a table and as a figure; None without scores.
    tasks
        The scores of each task.
    compositions, uniform
        Figures of the composition, and the columns with a single value: (name, value).
    glances
        Each corpus at a glance.
    measured, measure_summary, measure_figure
        The tables of measures, and what says most of them as one table and as a figure.
    fits
        Which trainings had not converged, and which fits diverged.
    curves, residuals
        Training curves by model; gene residuals, each with its figure.
    maps
        Embeddings laid out in the plane: one figure per model, target and label.
    learning, learning_figures
        What ladders say, and a figure for each of them and task.
    shown
        The corpora that tables and figures have: all, unless they are very many; see `corpuscle.report.sections.shown`.
    """

    run: RunFolder
    summary: pd.DataFrame = field(repr=False)
    pairs: pd.DataFrame = field(repr=False)
    answers: list[TaskFindings]
    overview: BarTable | None
    overview_figure: Figure | None
    tasks: list[TaskScores]
    compositions: list[Figure]
    uniform: list[tuple[str, str]]
    glances: list[Figure]
    measured: list[measures.Section]
    measure_summary: BarTable | None
    measure_figure: Figure | None
    fits: Fits
    curves: list[tuple[str, Figure]]
    residuals: list[tuple[gene_residuals.GeneResiduals, Figure]]
    maps: list[Figure]
    learning: LearningCurves
    learning_figures: list[Figure]
    shown: list[str]

    @classmethod
    def of(cls, run: RunFolder) -> "Report":
        """Work out a report from a run."""
        names = Names()
        summary, pairs, corpora = compared(run)
        layout = Layout(run.baseline, corpora, run.targets)
        found = sheets(summary, layout)
        ranking = overview(found, layout, run.fits)
        residuals = gene_residuals.gene_residuals(
            of_corpora(run.scores, corpora), run.baseline, corpora, run.targets, run.overlaps
        )
        shown, uniform = _columns(run.composition)
        fits = Fits.of(run.curves, run.fits)
        summarised = (
            measures.summary_table(of_corpora(run.measures, corpora), corpora, run.baseline, run.overlaps)
            if len(run.measures)
            else None
        )
        learning = LearningCurves.of(run.study, run.scores, run.draws, run.curves)
        return cls(
            run,
            summary,
            pairs,
            [_answer(sheet, run, fits) for sheet in found],
            ranking,
            _overview_figure(ranking, found, names),
            [TaskScores.of(sheet, names) for sheet in found],
            [corpus_figures.composition_figure(run.composition, c, corpora, names("composition", c)) for c in shown],
            uniform,
            _glances(run, corpora, names),
            measures.sections(of_corpora(run.measures, corpora), corpora, run.overlaps) if len(run.measures) else [],
            summarised,
            _measure_figure(summarised, run.measures, names),
            fits,
            _curves(run, corpora, names),
            [(found, residual_scatter(found, names("residuals", found.model, found.target))) for found in residuals],
            _maps(run, run.corpora, names),
            learning,
            _learning_figures(learning, names),
            corpora,
        )

    @cached_property
    def marker_ranks(self) -> pd.DataFrame:
        """How far each marker gene's places scatter, where a task ranks them."""
        return marker_ranks(self.run.scores)

    @cached_property
    def markers(self) -> list[MarkerTable]:
        """The same by cell type."""
        return marker_tables(self.marker_ranks, self.shown)

    @cached_property
    def gene_set_table(self) -> pd.DataFrame:
        """How each set of genes stands in each latent's loadings and in residuals, where a task asks."""
        return gene_set_table(self.run.scores)

    @cached_property
    def gene_sets(self) -> list[SetTable]:
        """The same by set and by latent."""
        return gene_set_tables(self.gene_set_table, self.shown)

    @property
    def figures(self) -> list[Figure]:
        """Every figure of the report."""
        return [
            *(figure for figure in (self.overview_figure, self.measure_figure) if figure is not None),
            *(figure for task in self.tasks for figure in task.figures),
            *self.compositions,
            *self.glances,
            *(figure for _, figure in self.curves),
            *(figure for _, figure in self.residuals),
            *self.maps,
            *self.learning_figures,
        ]

    @property
    def corpus_rows(self) -> list[tables.CorpusRow]:
        """The corpora with their sizes and recipes."""
        recipes = {str(corpus.get("name")): corpus for corpus in self.run.provenance.get("corpora", [])}
        return tables.corpus_rows(self.run.composition, recipes, self.run.corpora)

    @property
    def quality(self) -> list[tables.SourceQuality]:
        """Cells kept and dropped per source."""
        return tables.quality(self.run.sources)

    @property
    def unknown_types(self) -> list[tuple[str, int]]:
        """Cell types that are not known in the Cell Ontology, with their cells; empty where it was not asked."""
        table = self.run.cell_types
        if not (table["term"] != "").any():
            return []
        unknown = table[table["term"] == ""]
        return [(str(label), int(n)) for label, n in zip(unknown["label"], unknown["n_cells"], strict=True)]

    @property
    def n_mapped(self) -> int:
        """How many corpora have maps."""
        return int(self.run.maps["corpus"].nunique())

    @property
    def scope(self) -> list[str]:
        """What the intervals are about: which donors, and which cells where draws share some."""
        about = limits(self.summary) if self.run.trained else []
        about += seed_parts(self.run.scores)
        about += more_needed(pilots(self.run.scores, self.run.baseline, self.run.overlaps), self.run.margins)
        about += cells_leave(self.run.held_out, self.run.baseline)
        return [*about, *scope(self.run.draws, self.run.corpora, self.run.n_draws)]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The study in numbers, for the strip under the title."""
        scores = self.run.scores if self.run.trained else self.run.measures
        space = self.run.provenance.get("gene_space") or {}
        counts = {
            "corpus": len(self.run.corpora), "seed": scores["seed"].nunique(),
            "model": self.run.scores["model"].nunique(),
            "target": scores.loc[scores["target"] != "", "target"].nunique(),
            "gene": int(space.get("n_genes") or 0),
        }  # fmt: skip
        shown = [numbers.plural(count, noun).split(" ", 1) for noun, count in counts.items() if count]
        return [(noun, count) for count, noun in shown]

    @property
    def seen(self) -> list[SeenRow]:
        """Which share of each target's cells each model learned from."""
        return seen_rows(self.run.scores)

    @property
    def design(self) -> list[tuple[str, str]]:
        """Models, tasks, hold-outs and quality limits, as the study file has them."""
        return numbers.design(self.run.study)

    @property
    def answered(self) -> list[tuple[TaskScores, TaskFindings]]:
        """The scores of each task with their answer in words."""
        return list(zip(self.tasks, self.answers, strict=True))

    @property
    def sentences(self) -> list[tuple[str, str]]:
        """What the page says first: see `corpuscle.report.sections.overview.sentences`."""
        return sentences(self.answers)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the trainings that the answers rest on."""
        return list(dict.fromkeys(remark for answer in self.answers for remark in answer.remarks))

    @property
    def incomplete(self) -> list[str]:
        """What the run lacks of what the study asked for."""
        origin = self.run.provenance
        failures, missing = origin.get("failures", []), origin.get("missing", [])
        found = incomplete(self.run.scores, failures, self.run.corpora, self.run.n_runs) if self.run.trained else []
        return [*unfinished(missing), *found]

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """What each measure means."""
        rows = [row for section in self.measured for row in section.rows]
        return list({row.label: row.meaning for row in rows if row.meaning}.items())

    @cached_property
    def summary_csv(self) -> str:
        """The summary of the scores as CSV."""
        return csv_text(self.summary)

    @cached_property
    def pairs_csv(self) -> str:
        """Every two of the corpora, compared, as CSV."""
        return csv_text(self.pairs)

    @cached_property
    def saturation_csv(self) -> str:
        """What ladders say, as CSV."""
        return csv_text(self.learning.table)

    @cached_property
    def measures_csv(self) -> str:
        """The measures as CSV, without what they mean, which the page says."""
        aside = ["meaning", "headline", "figure"]
        return csv_text(self.run.measures.drop(columns=aside))


def _overview_figure(table: BarTable | None, found: Sequence[Sheet], names: Callable[..., str]) -> Figure | None:
    if table is None:
        return None
    overall = pd.concat([sheet.headline.data for sheet in found], ignore_index=True)
    overall = overall.loc[overall["unit"] == "all", list(OVERVIEW)]
    return bar_figure(table, "Overview", "", names("overview"), overall)


def _measure_figure(table: BarTable | None, measured: pd.DataFrame, names: Callable[..., str]) -> Figure | None:
    if table is None:
        return None
    kept = measured[measured["headline"]].drop(columns=["meaning", "headline", "figure"])
    return bar_figure(table, "Corpora by their measures", "", names("corpora", "measures"), kept)


def _answer(sheet: Sheet, run: RunFolder, fits: Fits) -> TaskFindings:
    """Put the answer of one task in words."""
    heat, every_way = sheet.headline, sheet.every_way
    several = run.scores["model"].nunique() > 1
    heading = f"{heat.title}, {heat.model}" if several and heat.model else heat.title
    data = heat.data[heat.data["unit"] == "all"]
    found = answer(data, every_way.data if every_way else data, heading, run.baseline, run.targets, control=run.control)
    return found._replace(remarks=fits.remarks(data["model"].unique()))


def _columns(composition: pd.DataFrame) -> tuple[list[str], list[tuple[str, str]]]:
    """Columns worth a figure, and those that have a single value, with it."""
    counts = composition.groupby("column")["value"].nunique() if len(composition) else {}
    known = [*COLUMNS, *sorted(set(counts.keys()) - set(COLUMNS))]
    shown = [column for column in known if counts.get(column, 0) > 1 or (column == "cell_type" and column in counts)]
    uniform = [
        (column.replace("_", " "), str(composition.loc[composition["column"] == column, "value"].iloc[0]))
        for column in known
        if counts.get(column, 0) == 1 and column not in shown
    ]
    # What no cell has is in parentheses by itself.
    uniform = [(column, "missing" if value == tables.MISSING else value) for column, value in uniform]
    return shown, uniform


def _glances(run: RunFolder, corpora: Sequence[str], names: Callable[..., str]) -> list[Figure]:
    """One figure per corpus, where the corpora were measured."""
    if run.measures.empty:
        return []
    tables = (of_corpora(table, corpora) for table in (run.composition, run.measures, run.profiles))
    found = measure_figures.Tables.of(*tables)
    return [measure_figures.glance(found, corpus, names("measures", corpus)) for corpus in corpora]


def _curves(run: RunFolder, corpora: Sequence[str], names: Callable[..., str]) -> list[tuple[str, Figure]]:
    """One figure of training curves per model and quantity."""
    found = []
    table = run.curves.dropna(subset=["value"])
    quantities = table["quantity"].str.replace(r"_(train|validation)$", "", regex=True)
    for (model, quantity), here in table.groupby([table["model"], quantities], sort=False):
        stem = names("curves", str(model), str(quantity))
        found.append((str(model), corpus_figures.curves(here, str(quantity), corpora, stem)))
    return found


def _maps(run: RunFolder, corpora: Sequence[str], names: Callable[..., str]) -> list[Figure]:
    """One figure per target, model and label, with a panel per corpus that has maps, whatever other figures show."""
    found = []
    corpora = [name for name in corpora if name in set(run.maps["corpus"])][:MOST_CORPORA]
    for (target, model), here in of_corpora(run.maps, corpora).groupby(["target", "model"], sort=False):
        for label in ("cell_type", "batch"):
            if here[label].nunique() > 1:
                stem = names("map", str(model), str(target), label)
                found.append(embedding_map(here, label, corpora, stem))
    return found


def _learning_figures(found: LearningCurves, names: Callable[..., str]) -> list[Figure]:
    """One figure per ladder and task, with a panel per model and target."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for curve in found.curves:
        if curve.unit == ALL:
            groups.setdefault((str(curve.key["ladder"]), str(curve.key["task"])), []).append(curve)
    return [
        learning_figure(
            curves, f"{found.titles[task][0]}, {ladder}", found.titles[task][1], names("learning", ladder, task)
        )
        for (ladder, task), curves in groups.items()
    ]
