"""Render a run's folder: the page, its figures, and the numbers behind them."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from corpuscle.core.csv_text import csv_text
from corpuscle.core.disk import writing
from corpuscle.core.errors import CorpuscleError, FolderError, ScoresError
from corpuscle.core.text import shortened
from corpuscle.report.drawing.painted import FORMATS, checked_formats, painted
from corpuscle.report.page.downloads import Downloads
from corpuscle.report.page.report import Report
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.report.page.templates import environment
from corpuscle.statistics.crossed import fits_of, variance_components
from corpuscle.statistics.noise_ceiling import noise_ceilings
from corpuscle.statistics.over_runs import GROUP
from corpuscle.statistics.per_cell import published_cell_tests
from corpuscle.store import atomic, write_text

KINDS = (
    "overview", "heatmap", "effects", "composition", "curves", "residuals", "map", "measures", "corpora",
    "learning",
)  # fmt: skip
# What noise ceilings are given for: over the corpora and models of each.
CEILINGS = ["task", "metric", "way", "version", "target"]
# Those that a description without scores has.
DESCRIBED = ("composition", "measures", "corpora")


def render(folder: Path, *, figures: Sequence[str] = ()) -> Path:
    """Write ``report.html``, ``scores_summary.csv``, ``pairs.csv`` and ``figures/`` into a run's folder.

    The same folder gives the same bytes. Each file is replaced as a whole, the page last; figures of an earlier
    report that this one does not have are removed.

    Parameters
    ----------
    folder
        What `corpuscle run` left: ``study.toml``, ``scores.parquet``, ``provenance.json`` and, where there are
        any, ``curves``, ``composition``, ``sources``, ``genes``, ``measures``, ``profiles`` and ``cell_types`` as
        parquet.
    figures
        In which forms figures are written besides SVG: ``"pdf"``, ``"png"``. They need matplotlib (the extra ``plot``).

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FolderError
        When the folder is not that of a run, a file in it cannot be read, or it cannot be written.
    InputError
        When a form is not known, or matplotlib is not installed.
    DiskError
        When the disk is full.
    """
    try:
        return written(Path(folder), checked_formats(figures))
    except ScoresError as error:
        raise FolderError(f"{Path(folder) / 'scores.parquet'}: {error}") from error
    except CorpuscleError:
        raise
    # What a reader of the tables does not expect of a run's own tables, whatever somebody put into them.
    except Exception as error:
        gist = shortened((str(error).strip() or type(error).__name__).splitlines()[0], 300)
        raise FolderError(
            f"{folder}: no report can be made of what is in it ({type(error).__name__}: {gist}). If nobody edited a "
            "table or document there, this is a fault of Corpuscle; please report it. Otherwise run the study again in "
            "this folder to write them anew"
        ) from error


def written(folder: Path, forms: Sequence[str] = ()) -> Path:
    """Do as `render` does, for the run that wrote the folder: what nothing foresaw is raised as it is."""
    report = Report.of(RunFolder.read(folder))
    with writing(folder / "report.pdf"):
        # One of an earlier report would not be of this page.
        (folder / "report.pdf").unlink(missing_ok=True)
    _write_figures(folder, report, KINDS, forms)
    _write(folder / "scores_summary.csv", report.summary_csv)
    _write(folder / "pairs.csv", report.pairs_csv)
    crossed = fits_of(report.run.scores) > 1
    occasional = {
        "saturation.csv": report.learning.table,
        "per_cell.csv": published_cell_tests(report.run.scores),
        "marker_ranks.csv": report.marker_ranks,
        "gene_sets.csv": report.gene_set_table,
        "noise_ceiling.csv": noise_ceilings(report.run.held_out, CEILINGS, report.run.baseline),
        "variance_components.csv": variance_components(report.run.scores, GROUP) if crossed else pd.DataFrame(),
    }
    for name, table in occasional.items():
        if len(table):
            _write(folder / name, csv_text(table))
        else:
            # One that an earlier report had.
            with writing(folder / name):
                (folder / name).unlink(missing_ok=True)
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


def _write_figures(folder: Path, report: Report, kinds: tuple[str, ...], forms: Sequence[str] = ()) -> None:
    place = folder / "figures"
    with writing(place):
        place.mkdir(exist_ok=True)
    for figure in report.figures:
        _write(place / f"{figure.stem}.svg", figure.drawing.render())
        _write(place / f"{figure.stem}.csv", figure.csv)
        for form in forms:
            with atomic(place / f"{figure.stem}.{form}", flushed=False) as partial:
                partial.write_bytes(painted(figure.drawing, form))
    kept = {f"{figure.stem}.{form}" for figure in report.figures for form in ("svg", "csv", *forms)}
    _remove_stale(place, kept, kinds)


def _write_page(page: Path, report: Report) -> Path:
    template = environment().get_template("page.html.j2")
    _write(page, template.render(report=report, run=report.run, embed=Downloads()))
    return page


def _write(path: Path, content: str) -> None:
    """Replace a file as a whole; it need not be flushed, as it can be made again from the tables."""
    write_text(path, content, flushed=False)


def _remove_stale(place: Path, kept: Collection[str], kinds: tuple[str, ...]) -> None:
    """Remove figures of an earlier report; files that no report writes are left alone."""
    for path in place.iterdir():
        ours = path.suffix in (".csv", *(f".{form}" for form in FORMATS))
        ours = ours and f"{path.stem}-".startswith(tuple(f"{kind}-" for kind in kinds))
        if ours and path.name not in kept:
            with writing(path):
                path.unlink()
