"""Render a run's folder: the page, its figures, and the numbers behind them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader

from corpuscle.core.disk import writing
from corpuscle.report import numbers
from corpuscle.report.drawing import corpus_figures, measure_figures, score_figures
from corpuscle.report.drawing.figures import Figure
from corpuscle.report.drawing.gene_figures import residual_scatter
from corpuscle.report.drawing.learning_figures import learning_figure
from corpuscle.report.drawing.map_figures import embedding_map
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.sections import gene_residuals, measures, tables
from corpuscle.report.sections.findings import TaskFindings, answer, limits, scope
from corpuscle.report.sections.fits import Fits
from corpuscle.report.sections.heatmaps import Heat, Layout, Sheet, sheets
from corpuscle.report.sections.learning_curves import LearningCurves
from corpuscle.report.sections.power import more_needed, seed_parts
from corpuscle.report.sections.shown import MOST_CORPORA, of_corpora, shown_corpora
from corpuscle.statistics.comparisons import GROUP, summarise
from corpuscle.statistics.crossed import fits_of, variance_components
from corpuscle.statistics.ladders import ALL
from corpuscle.statistics.pairs import all_pairs, ties_with_best
from corpuscle.statistics.per_cell import published_cell_tests
from corpuscle.statistics.pilot import pilots
from corpuscle.store import write_text

# Columns of the composition in the order in which the page shows them.
COLUMNS = ("cell_type", "tissue", "disease", "source", "study", "donor", "batch")
KINDS = ("heatmap", "effects", "composition", "curves", "residuals", "map", "measures", "learning")
# Those that a description without scores has.
DESCRIBED = ("composition", "measures")


def render(folder: Path) -> Path:
    """Write ``report.html``, ``scores_summary.csv``, ``pairs.csv`` and ``figures/`` into a run's folder.

    The same folder gives the same bytes. Each file is replaced as a whole, the page last; figures of an earlier
    report that this one does not have are removed.

    Parameters
    ----------
    folder
        What `corpuscle run` left: ``study.toml``, ``scores.parquet``, ``provenance.json`` and, where there are
        any, ``curves``, ``composition``, ``sources``, ``genes``, ``measures``, ``profiles`` and ``cell_types`` as
        parquet.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FolderError
        When the folder is not that of a run, a file in it cannot be read, or it cannot be written.
    DiskError
        When the disk is full.
    """
    folder = Path(folder)
    report = Report.of(RunFolder.read(folder))
    _write_figures(folder, report, KINDS)
    _write(folder / "scores_summary.csv", report.summary.to_csv(index=False, lineterminator="\n"))
    if report.learning.curves:
        _write(folder / "saturation.csv", report.learning.table.to_csv(index=False, lineterminator="\n"))
    else:
        (folder / "saturation.csv").unlink(missing_ok=True)
    _write(folder / "pairs.csv", report.pairs.to_csv(index=False, lineterminator="\n"))
    per_cell = published_cell_tests(report.run.scores)
    if len(per_cell):
        _write(folder / "per_cell.csv", per_cell.to_csv(index=False, lineterminator="\n"))
    if fits_of(report.run.scores) > 1:
        parts = variance_components(report.run.scores, GROUP)
        _write(folder / "variance_components.csv", parts.to_csv(index=False, lineterminator="\n"))
    return _write_page(folder / "report.html", report)


def render_description(folder: Path) -> Path:
    """Write ``description.html`` and its figures into a folder whose corpora were described; as `render`, no scores.

    Raises
    ------
    FolderError
        When the folder has no description, a file in it cannot be read, or it cannot be written.
    DiskError
        When the disk is full.
    """
    folder = Path(folder)
    report = Report.of(RunFolder.read(folder, described=True))
    _write_figures(folder, report, DESCRIBED)
    return _write_page(folder / "description.html", report)


def _write_figures(folder: Path, report: "Report", kinds: tuple[str, ...]) -> None:
    place = folder / "figures"
    with writing(place):
        place.mkdir(exist_ok=True)
    for figure in report.figures:
        _write(place / f"{figure.stem}.svg", figure.drawing.render())
        _write(place / f"{figure.stem}.csv", figure.data.to_csv(index=False, lineterminator="\n"))
    _remove_stale(place, {figure.stem for figure in report.figures}, kinds)


def _write_page(page: Path, report: "Report") -> Path:
    _write(page, _environment().get_template("page.html.j2").render(report=report, run=report.run))
    return page


class _Names:
    """Hands out file stems, none twice."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __call__(self, *parts: str) -> str:
        return numbers.file_stem(*parts, used=self.used)


class Drawn(NamedTuple):
    """A heatmap and the figure of it."""

    heat: Heat
    figure: Figure


@dataclass(frozen=True)
class TaskScores:
    """What the page shows of one task's scores: see `Sheet`.

    Attributes
    ----------
    headline, more, units
        Its heatmaps.
    effects
        The fold changes of the headline metric with their intervals, a figure per model.
    """

    headline: Drawn
    more: list[Drawn]
    units: list[Drawn]
    effects: list[Figure]

    @classmethod
    def of(cls, sheet: Sheet, names: _Names) -> "TaskScores":
        """Draw a sheet."""

        def drawn(heat: Heat, kind: str = "heatmap") -> Drawn:
            stem = names(f"{kind}-ways" if heat.ways else kind, heat.model or "models", heat.task, heat.metric)
            return Drawn(heat, score_figures.heatmap(heat, stem))

        return cls(
            drawn(sheet.headline),
            [drawn(heat) for heat in sheet.more],
            [drawn(heat, "heatmap-units") for heat in sheet.units],
            [
                score_figures.effects(heat, names("effects", heat.model, heat.task, heat.metric))
                for heat in sheet.alone
                if len(heat.corpora) > 1
            ],
        )

    @property
    def figures(self) -> list[Figure]:
        """All of its figures."""
        return [*(shown.figure for shown in (self.headline, *self.more, *self.units)), *self.effects]


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
    tasks
        The scores of each task.
    compositions, uniform
        Figures of the composition, and the columns with a single value: (name, value).
    glances
        Each corpus at a glance.
    measured
        The tables of measures.
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
    tasks: list[TaskScores]
    compositions: list[Figure]
    uniform: list[tuple[str, str]]
    glances: list[Figure]
    measured: list[measures.Section]
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
        names = _Names()
        # Genes and cells have tables of their own.
        apart = run.scores["unit"].str.startswith(("gene=", "cell=")).fillna(value=False).astype(bool)
        scores = run.scores[~apart]
        summary = summarise(scores, run.baseline, overlaps=run.overlaps, control=run.control, margins=run.margins)
        corpora = shown_corpora(run.corpora, run.baseline, summary)
        pairs = all_pairs(scores, corpora, overlaps=run.overlaps)
        summary["ties_best"] = ties_with_best(summary, pairs)
        found = sheets(summary, Layout(run.baseline, corpora, run.targets))
        residuals = gene_residuals.gene_residuals(
            of_corpora(run.scores, corpora), run.baseline, corpora, run.targets, run.overlaps
        )
        shown, uniform = _columns(run.composition)
        fits = Fits.of(run.curves, run.fits)
        learning = LearningCurves.of(run.study, run.scores, run.draws, run.curves)
        return cls(
            run,
            summary,
            pairs,
            [_answer(sheet, run, fits) for sheet in found],
            [TaskScores.of(sheet, names) for sheet in found],
            [corpus_figures.composition_figure(run.composition, c, corpora, names("composition", c)) for c in shown],
            uniform,
            _glances(run, corpora, names),
            measures.sections(of_corpora(run.measures, corpora), corpora, run.overlaps) if len(run.measures) else [],
            fits,
            _curves(run, corpora, names),
            [(found, residual_scatter(found, names("residuals", found.model, found.target))) for found in residuals],
            _maps(run, run.corpora, names),
            learning,
            _learning_figures(learning, names),
            corpora,
        )

    @property
    def figures(self) -> list[Figure]:
        """Every figure of the report."""
        return [
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
    def design(self) -> list[tuple[str, str]]:
        """Models, tasks, hold-outs and quality limits, as the study file has them."""
        return numbers.design(self.run.study)

    @property
    def files(self) -> list[str]:
        """Names of the files next to the page."""
        return sorted(f"figures/{figure.stem}{ending}" for figure in self.figures for ending in (".csv", ".svg"))


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


def _environment() -> Environment:
    """Templates of this package, with everything escaped and nothing undefined let through."""
    environment = Environment(
        loader=PackageLoader("corpuscle.report.page", "."), autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "number": numbers.number, "signed": numbers.signed, "percent": numbers.percent, "plural": numbers.plural,
        "gene_grid": gene_residuals.gene_grid, "letter": numbers.letter,
        "breakable": numbers.breakable,
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals.update(directions=numbers.DIRECTIONS)
    return environment


def _write(path: Path, content: str) -> None:
    """Replace a file as a whole; it need not be flushed, as it can be made again from the tables."""
    write_text(path, content, flushed=False)


def _remove_stale(place: Path, stems: Iterable[str], kinds: tuple[str, ...]) -> None:
    """Remove figures of an earlier report; files that no report writes are left alone."""
    kept = set(stems)
    for path in place.iterdir():
        ours = path.suffix in (".svg", ".csv") and path.stem.startswith(tuple(f"{kind}-" for kind in kinds))
        if ours and path.stem not in kept:
            with writing(path):
                path.unlink()
