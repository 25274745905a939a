"""Render a run's folder: the page, its figures, and the numbers behind them."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from corpuscle.report import corpus_figures, genes, measure_figures, measures, score_figures, tables, words
from corpuscle.report.figures import Figure
from corpuscle.report.gene_figures import residual_scatter
from corpuscle.report.map_figures import embedding_map
from corpuscle.report.run_folder import RunFolder
from corpuscle.statistics.comparisons import summarise

# Columns of the composition in the order in which the page shows them.
COLUMNS = ("cell_type", "tissue", "disease", "source", "study", "donor", "batch")
KINDS = ("heatmap", "effects", "composition", "curves", "residuals", "map", "measures")
# Those that a description without scores has.
DESCRIBED = ("composition", "measures")


def render(folder: Path) -> Path:
    """Write ``report.html``, ``scores_summary.csv`` and ``figures/`` into a run's folder.

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
        When the folder is not that of a run, or a file in it cannot be read.
    """
    folder = Path(folder)
    report = Report.of(RunFolder.read(folder))
    _write_figures(folder, report, KINDS)
    _write(folder / "scores_summary.csv", report.summary.to_csv(index=False, lineterminator="\n"))
    return _write_page(folder / "report.html", report)


def render_description(folder: Path) -> Path:
    """Write ``description.html`` and its figures into a folder whose corpora were described; as `render`, no scores.

    Raises
    ------
    FolderError
        When the folder has no description, or a file in it cannot be read.
    """
    folder = Path(folder)
    report = Report.of(RunFolder.read(folder, described=True))
    _write_figures(folder, report, DESCRIBED)
    return _write_page(folder / "description.html", report)


def _write_figures(folder: Path, report: "Report", kinds: tuple[str, ...]) -> None:
    place = folder / "figures"
    place.mkdir(exist_ok=True)
    for figure in report.figures:
        _write(place / f"{figure.stem}.svg", figure.drawing.render())
        _write(place / f"{figure.stem}.csv", figure.data.to_csv(index=False, lineterminator="\n"))
    _remove_stale(place, {figure.stem for figure in report.figures}, kinds)


def _write_page(page: Path, report: "Report") -> Path:
    _write(page, _environment().get_template("page.html.j2").render(report=report, run=report.run))
    return page


@dataclass(frozen=True)
class Report:
    """Everything that the page shows, ready to be laid out.

    Attributes
    ----------
    summary
        One row per score with its interval and fold change; genes are left to the residuals' own tables.
    answers
        The answer in words, one per model and headline metric.
    heats, unit_heats
        Heatmaps over all cells, and with the donors or batches below each target; each with its figure.
    beside
        The headline heatmaps of all models in one, where there are several.
    ways
        Each model's headline metric in all ways in which it was found, where there are several.
    effects
        Fold changes with their intervals, for the headline heatmaps.
    compositions, uniform
        Figures of the composition, and the columns with a single value: (name, value).
    glances
        Each corpus at a glance.
    measured
        The tables of measures.
    curves, residuals
        Training curves by model; gene residuals, each with its figure.
    maps
        Embeddings laid out in the plane: one figure per model, target and label.
    """

    run: RunFolder
    summary: pd.DataFrame = field(repr=False)
    answers: list[words.Answer]
    heats: list[tuple[tables.Heat, Figure]]
    beside: list[tuple[tables.Heat, Figure]]
    ways: list[tuple[tables.Heat, Figure]]
    effects: list[tuple[tables.Heat, Figure]]
    unit_heats: list[tuple[tables.Heat, Figure]]
    compositions: list[Figure]
    uniform: list[tuple[str, str]]
    glances: list[Figure]
    measured: list[measures.Section]
    curves: list[tuple[str, Figure]]
    residuals: list[tuple[genes.Residuals, Figure]]
    maps: list[Figure]

    @classmethod
    def of(cls, run: RunFolder) -> "Report":
        """Work out a report from a run."""
        names = _Names()
        in_genes = run.scores["unit"].str.startswith("gene=").fillna(value=False).astype(bool)
        summary = summarise(run.scores[~in_genes], run.baseline)
        layout = (run.baseline, run.corpora, run.targets)
        heats = tables.heats(summary, *layout, detail=False)
        unit_heats = tables.heats(summary, *layout, detail=True)
        residuals = genes.gene_residuals(run.scores, *layout)
        shown, uniform = _columns(run.composition)
        return cls(
            run,
            summary,
            [_answer(heat, run) for heat in heats if heat.headline],
            [(heat, score_figures.heatmap(heat, names.of_heat("heatmap", heat))) for heat in heats],
            [
                (h, score_figures.heatmap(h, names("heatmap-models", h.task, h.metric)))
                for h in tables.side_by_side(heats)
            ],
            [(h, score_figures.heatmap(h, names.of_heat("heatmap-ways", h))) for h in tables.ways(heats)],
            [
                (h, score_figures.effects(h, names.of_heat("effects", h)))
                for h in heats
                if h.headline and len(run.corpora) > 1
            ],
            [(heat, score_figures.heatmap(heat, names.of_heat("heatmap-units", heat))) for heat in unit_heats],
            [corpus_figures.composition(run.composition, c, run.corpora, names("composition", c)) for c in shown],
            uniform,
            _glances(run, names),
            measures.sections(run.measures, run.corpora) if len(run.measures) else [],
            _curves(run, names),
            [(found, residual_scatter(found, names("residuals", found.model, found.target))) for found in residuals],
            _maps(run, names),
        )

    @property
    def figures(self) -> list[Figure]:
        """Every figure of the report."""
        return [
            *(figure for _, figure in [*self.heats, *self.beside, *self.ways, *self.effects, *self.unit_heats]),
            *self.compositions,
            *self.glances,
            *(figure for _, figure in self.curves),
            *(figure for _, figure in self.residuals),
            *self.maps,
        ]

    @property
    def corpus_rows(self) -> list[tables.CorpusRow]:
        """The corpora with their sizes and recipes."""
        recipes = {str(corpus.get("name")): corpus for corpus in self.run.provenance.get("corpora", [])}
        return tables.corpus_rows(self.run.composition, recipes, self.run.corpora)

    @property
    def quality(self) -> list[tables.Quality]:
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
        shown = [words.plural(count, noun).split(" ", 1) for noun, count in counts.items() if count]
        return [(noun, count) for count, noun in shown]

    @property
    def design(self) -> list[tuple[str, str]]:
        """Models, tasks, hold-outs and quality limits, as the study file has them."""
        return words.design(self.run.study)

    @property
    def files(self) -> list[str]:
        """Names of the files next to the page."""
        return sorted(f"figures/{figure.stem}{ending}" for figure in self.figures for ending in (".csv", ".svg"))


class _Names:
    """Hands out file stems, none twice."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __call__(self, *parts: str) -> str:
        return words.file_stem(*parts, used=self.used)

    def of_heat(self, kind: str, heat: tables.Heat) -> str:
        return self(kind, heat.model, heat.task, heat.metric)


def _answer(heat: tables.Heat, run: RunFolder) -> words.Answer:
    """Put the answer for one headline heatmap in words."""
    several = run.scores["model"].nunique() > 1
    heading = f"{heat.title}, {heat.model}" if several else heat.title
    data = heat.data[heat.data["unit"] == "all"]
    return words.answer(data, heading, run.baseline, run.targets)


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


def _glances(run: RunFolder, names: Callable[..., str]) -> list[Figure]:
    """One figure per corpus, where the corpora were measured."""
    if run.measures.empty:
        return []
    found = measure_figures.Tables.of(run.composition, run.measures, run.profiles)
    return [measure_figures.glance(found, corpus, names("measures", corpus)) for corpus in run.corpora]


def _curves(run: RunFolder, names: Callable[..., str]) -> list[tuple[str, Figure]]:
    """One figure of training curves per model and quantity."""
    found = []
    table = run.curves.dropna(subset=["value"])
    quantities = table["quantity"].str.replace(r"_(train|validation)$", "", regex=True)
    for (model, quantity), here in table.groupby([table["model"], quantities], sort=False):
        stem = names("curves", str(model), str(quantity))
        found.append((str(model), corpus_figures.curves(here, str(quantity), run.corpora, stem)))
    return found


def _maps(run: RunFolder, names: Callable[..., str]) -> list[Figure]:
    """One figure per target, model and label, with a panel per corpus."""
    found = []
    for (target, model), here in run.maps.groupby(["target", "model"], sort=False):
        for label in ("cell_type", "batch"):
            if here[label].nunique() > 1:
                stem = names("map", str(model), str(target), label)
                found.append(embedding_map(here, label, run.corpora, stem))
    return found


def _environment() -> Environment:
    """Templates of this package, with everything escaped and nothing undefined let through."""
    environment = Environment(
        loader=PackageLoader("corpuscle.report", "."), autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "number": words.number, "signed": words.signed, "percent": words.percent, "plural": words.plural,
        "metric_name": words.metric_name, "gene_grid": genes.gene_grid, "letter": words.letter,
        "breakable": words.breakable, "meaning": words.meaning,
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals.update(directions=words.DIRECTIONS)
    return environment


def _write(path: Path, content: str) -> None:
    """Replace a file as a whole, so that a reader never sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_stale(place: Path, stems: Iterable[str], kinds: tuple[str, ...]) -> None:
    """Remove figures of an earlier report; files that no report writes are left alone."""
    kept = set(stems)
    for path in place.iterdir():
        ours = path.suffix in (".svg", ".csv") and path.stem.startswith(tuple(f"{kind}-" for kind in kinds))
        if ours and path.stem not in kept:
            path.unlink()
