"""Analyse: statistics and a report of anybody's scores, from a tidy table."""

import json
import warnings
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.csv_text import csv_text
from corpuscle.core.disk import writing
from corpuscle.core.errors import FolderError, InputError
from corpuscle.core.paths import SPECIAL, is_special
from corpuscle.core.scores import COLUMNS, DTYPES, TEXTS, completed
from corpuscle.core.text import MISSING, is_missing
from corpuscle.core.version import __version__
from corpuscle.report.page.render import render
from corpuscle.statistics.ladders import saturation
from corpuscle.statistics.mixed_model import mixed_model
from corpuscle.statistics.over_runs import checked
from corpuscle.store import write_text

NEEDED = ("corpus", "seed", "metric", "value")
# What a table may leave out, and what stands for it.
DEFAULTS: dict[str, Any] = {
    "model": "model", "task": "task", "target": "target", "unit": "all", "n_cells": 0, "better": "none",
    "scale": "real", "version": 1,
}  # fmt: skip
LEGAL: dict[str, tuple[Any, ...]] = {
    "better": ("higher", "lower", "zero", "none"),
    "scale": ("share", "correlation", "positive", "real"),
}
MOST_RUNS = 1_000_000
# What differences of a metric stay below.
LARGEST = {"share": 1.0, "correlation": 2.0}
# A number of this size, or so near to 0, is of no measurement; and no name is as long.
LARGEST_VALUE, SMALLEST_VALUE, LONGEST_NAME = 1e100, 1e-100, 300
# What the folder of an analysis is known by: any other folder with files in it is left alone.
MARK = "analysis.json"


def analyse(
    scores: Path | str | pd.DataFrame,
    output: Path | str,
    *,
    baseline: str = "",
    control: str = "",
    margins: Mapping[str, float] | None = None,
    mixed: bool = False,
) -> Path:
    """Compare corpora by their scores, whoever made them: intervals, tests, verdicts, and a report.

    Parameters
    ----------
    scores
        A table, or a file (``.csv``, ``.tsv`` or ``.parquet``) with a row per score and the columns ``corpus``,
        ``seed`` (the run, a whole number), ``metric`` and ``value``; further ``model``, ``task``, ``target``,
        ``donor`` (empty: all cells) or ``unit`` (``all``, ``donor=NAME``, ``cell=NAME``), ``n_cells``, ``way``,
        ``better`` (``higher``, ``lower``, ``zero`` or ``none``, the default: no corpus is then better), ``scale``
        (``share``, ``correlation``, ``positive`` or ``real``, the default: intervals then have no limits), ``title``,
        ``meaning``, ``reason`` (why a value is missing) and ``headline`` (whether it is what the task is known for;
        default: its first metric). With ``cells``, the training cells of each run's corpus, and ``ladder``, which
        corpora are sizes of one, learning curves are judged, too; see `corpuscle.statistics.ladders.saturation`.
        Runs that are crossed, draws of cells × fits from the same initialisations, have ``draw`` and ``fit`` (whole
        numbers from 0) in place of ``seed``; see `corpuscle.statistics.crossed`.
        Where runs have scores of donors and none over all cells, that is their mean, weighted by ``n_cells`` if known.
    output
        A folder to write into: a new one, an empty one, or that of an earlier analysis.
    baseline
        The corpus that the others are compared with; default: the first in the table.
    control, margins
        See `corpuscle.statistics.comparisons.summarise`.
    mixed
        Also fit a mixed model to the scores that have donors, into ``mixed_model.csv``; see
        `corpuscle.statistics.mixed_model.mixed_model`.

    Returns
    -------
    Path
        The report; next to it lie ``scores_summary.csv``, ``pairs.csv`` and, with ``cells``, ``saturation.csv``.

    Raises
    ------
    InputError
        When the table cannot be read, lacks a column, or holds what it cannot; the message names row and column.
    FolderError
        When the folder has other files.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({
    ...     "corpus": ["Blood"] * 3 + ["Blood+Lung"] * 3, "seed": [0, 1, 2] * 2, "metric": "macro_f1",
    ...     "value": [0.61, 0.63, 0.62, 0.70, 0.72, 0.73], "better": "higher", "scale": "share"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = analyse(table, Path(folder) / "out")
    ...     summary = pd.read_csv(page.parent / "scores_summary.csv")
    >>> summary[["corpus", "difference", "verdict"]].round(2)
           corpus  difference   verdict
    0       Blood         0.0  baseline
    1  Blood+Lung         0.1    better
    """
    source = "the table" if isinstance(scores, pd.DataFrame) else str(scores)
    given = scores if isinstance(scores, pd.DataFrame) else _read(Path(scores))
    given, seeds = _numbered(given, source)
    table = laid_out(given, source)
    # Before anything is written: what is refused leaves no folder behind.
    checked(table)
    corpora = list(dict.fromkeys(table["corpus"]))
    baseline = baseline or corpora[0]
    for kind, name in (("baseline", baseline), ("control", control)):
        if name and name not in corpora:
            raise InputError(f"{kind}: there is no corpus {name!r} in {source}; there are {', '.join(corpora[:20])}")
    if control == baseline:
        raise InputError(f"control: expected another corpus than the baseline {baseline!r}")
    for metric, margin in (margins or {}).items():
        _check_margin(table, metric, margin, source)
    if mixed and not table["unit"].str.startswith("donor=").any():
        raise InputError(f"{source}: a mixed model is of scores of donors, and there are none")
    fitted = mixed_model(table, baseline) if mixed else None
    judged = _saturation(given, table, source) if "cells" in given else None
    folder = _folder(Path(output))
    study = {"name": Path(source).stem if source != "the table" else "Analysis", "baseline": baseline}
    _write_study(folder, study, seeds, control, margins or {})
    document = {"corpora": [{"name": name} for name in corpora], "corpuscle": __version__, "scores": source}
    write_text(folder / "provenance.json", json.dumps(document, indent=1))
    with writing(folder / "scores.parquet"):
        table.to_parquet(folder / "scores.parquet", index=False)
    if fitted is None:
        # One that an earlier analysis had.
        (folder / "mixed_model.csv").unlink(missing_ok=True)
    else:
        write_text(folder / "mixed_model.csv", csv_text(fitted))
    page = render(folder)
    if judged is not None and len(judged):
        write_text(folder / "saturation.csv", csv_text(judged))
    return page


def _saturation(given: pd.DataFrame, table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Judge the learning curves of each task's headline."""
    cells = _numbers(given["cells"], "cells", source, whole=True)
    rungs = given[["corpus", *(["ladder"] if "ladder" in given else [])]].assign(cells=cells, seed=given["seed"])
    rungs = rungs.astype({"corpus": str, "seed": "int64"}).drop_duplicates()
    twice = rungs.duplicated(["corpus", "seed"])
    if twice.any():
        row = rungs[twice].iloc[0]
        raise InputError(
            f"{source}: corpus {row['corpus']!r} has two numbers of cells in seed {row['seed']}; expected one"
        )
    placed = table[table["headline"]].merge(rungs, on=["corpus", "seed"], how="left")
    return saturation(placed, placed["cells"])


def _read(path: Path) -> pd.DataFrame:
    """Read a table from a file."""
    if path.suffix not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{path}: expected a table of scores in a .csv, .tsv or .parquet file")
    if is_special(path):
        raise InputError(f"{path}: cannot be read as a table of scores ({SPECIAL})")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        gist = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a table of scores ({gist})") from error


def _read_text(path: Path) -> pd.DataFrame:
    """Read a table of texts; names stay as they are: a corpus may be called "NA", a donor "007"."""
    separator = "\t" if path.suffix == ".tsv" else ","
    # Two columns of one name get other names where the first row is read as names.
    names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0]
    texts = dict.fromkeys([*TEXTS, "donor", "ladder"], str)
    with warnings.catch_warnings():
        # A row with more cells than there are names: what is left over would be dropped.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(
            path,
            sep=separator,
            index_col=False,
            dtype=texts,
            keep_default_na=False,
            na_values={"value": sorted(MISSING)},
        )
    return table.set_axis(names, axis="columns")


def _check_margin(table: pd.DataFrame, metric: str, margin: object, source: str) -> None:
    """Refuse a margin that no difference can be above."""
    scales = table.loc[table["metric"] == metric, "scale"].unique()
    if not len(scales):
        raise InputError(f"margin: there is no metric {metric!r} in {source}")
    if isinstance(margin, bool) or not isinstance(margin, Real) or not 0 < float(margin) < np.inf:
        raise InputError(f"margin: expected a number above 0 for {metric!r}; got {margin!r}")
    most = LARGEST.get(str(scales[0]), np.inf)
    if float(margin) >= most:
        raise InputError(f"margin: {metric!r} is a {scales[0]}, and differs by less than {most:g}; got {margin}")


def _numbered(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, str]:
    """Return the table, crossed runs numbered draw by draw, and what a study file says of such seeds."""
    if not {"draw", "fit"} <= set(table.columns):
        return table, ""
    if "seed" in table:
        raise InputError(f"{source}: expected runs either by seed or by draw and fit, not both; leave one out")
    table = table.reset_index(drop=True)
    draw, fit = (_numbers(table[name], name, source, whole=True) for name in ("draw", "fit"))
    for column in (draw, fit):
        _refuse(column, ~column.between(0, MOST_RUNS), f"a whole number from 0 to {MOST_RUNS:,}", source)
    if table.empty:
        return table.assign(seed=[]), ""
    fits = int(fit.max()) + 1
    return table.assign(seed=draw * fits + fit), f"{{ draws = {int(draw.max()) + 1}, fits = {fits} }}"


def laid_out(table: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
    """Return a table of scores with all columns, in the order of `corpuscle.core.scores.COLUMNS`.

    Raises
    ------
    InputError
        When a column is lacking or holds what it cannot.
    """
    lacking = [name for name in NEEDED if name not in table]
    if lacking or table.empty:
        has = ", ".join(map(str, table.columns[:20]))
        what = f"it lacks {', '.join(lacking)}, and has {has}" if lacking else "it has no rows"
        raise InputError(f"{source}: expected scores, one a row, with the columns {', '.join(NEEDED)}; {what}")
    if (twice := table.columns.duplicated()).any():
        raise InputError(f"{source}: there are two columns {table.columns[twice][0]!r}; remove one of them")
    table = table.reset_index(drop=True)
    categories = [name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)]
    table = table.assign(**{name: table[name].astype(object) for name in categories})
    if "donor" in table and "unit" in table:
        raise InputError(f"{source}: expected donors either in a column donor or in unit, not both; leave one out")
    if "donor" in table:
        donor = table["donor"].fillna("").astype(str)
        table["unit"] = np.where(donor.map(is_missing), "all", "donor=" + donor)
    table = table.assign(**{name: value for name, value in DEFAULTS.items() if name not in table})
    for name in ("seed", "value", "n_cells", "version"):
        table[name] = _numbers(table[name], name, source, whole=name != "value")
    if "headline" in table:
        _refuse(table["headline"], ~table["headline"].isin([True, False]), "true or false", source)
    for name, legal in LEGAL.items():
        _refuse(table[name], ~table[name].isin(legal), ", ".join(map(str, legal)), source)
    named = "headline" in table
    table = completed(table)
    for name in TEXTS:
        table[name] = table[name].fillna("").astype(str)
    _check_names(table, source)
    _refuse(table["unit"], ~table["unit"].str.fullmatch("all|[a-z_]+=.+"), "all, or donor=NAME", source)
    if not named:
        first = table.groupby("task", sort=False)[["metric", "way"]].transform("first")
        table["headline"] = table["metric"].eq(first["metric"]) & table["way"].eq(first["way"])
    return _with_overall(table[list(COLUMNS)]).astype(DTYPES)


def _check_names(table: pd.DataFrame, source: str) -> None:
    """Refuse names that are none, and metrics that are now one thing and then another."""
    for name in TEXTS:
        _refuse(table[name], ~table[name].map(_is_plain), "text, as UTF-8 has it, without letters of code 0", source)
    for name in ("corpus", "metric", "model", "task", "target", "unit", "way"):
        _refuse(table[name], table[name].str.len() > LONGEST_NAME, f"a name of at most {LONGEST_NAME} letters", source)
    for name in ("corpus", "metric"):
        _refuse(table[name], table[name].str.strip().eq(""), "a name", source)
    for name in LEGAL:
        alike = table.groupby(["task", "metric", "way"], sort=False)[name].transform("first")
        _refuse(table[name], table[name].ne(alike), f"one {name} for all scores of a metric", source)


def _refuse(column: pd.Series, wrong: pd.Series, expected: str, source: str) -> None:
    """Refuse a column of which some rows are wrong, and name the first of them."""
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{source}, row {at + 1}: {column.name} is {_shown(column.iloc[at])}; expected {expected}")


def _numbers(column: pd.Series, name: str, source: str, *, whole: bool) -> pd.Series:
    """Return a column as numbers; a value may be missing, nothing else."""
    kind = column.dtype.kind if hasattr(column.dtype, "kind") else "O"
    if kind in "mMc":
        raise InputError(f"{source}: {name} has values such as {_shown(column.iloc[0])}; expected numbers")
    found = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = (found.isna() & ~column.isna()) | np.isinf(found) if name == "value" else found.isna()
    size = found.abs()
    extreme = np.isfinite(found) & ((size > LARGEST_VALUE) | ((size > 0) & (size < SMALLEST_VALUE)))
    _refuse(
        column.rename(name), extreme, f"a number between {SMALLEST_VALUE:g} and {LARGEST_VALUE:g} in size, or 0", source
    )
    if whole:
        # Beyond 2**53, numbers with a point do not tell whole numbers apart.
        wrong |= (found != np.floor(found)) | (found.abs() > 2**53)
    _refuse(
        column.rename(name), wrong, "a whole number" if whole else "a number, or nothing where it is missing", source
    )
    return found.astype("int64") if whole else found


def _is_plain(text: str) -> bool:
    """Return whether a text can be written into a page and a file: no half of a character, and none of code 0."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _shown(value: object) -> str:
    """Write what a table holds, without the type that numpy gives it."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _with_overall(table: pd.DataFrame) -> pd.DataFrame:
    """Add scores over all cells to runs that have those of donors alone: their mean."""
    place = ["corpus", "model", "seed", "task", "target", "metric", "way", "version"]
    donors = table[table["unit"].str.startswith("donor=")]
    overall = table.loc[table["unit"] == "all", place].drop_duplicates()
    donors = donors.merge(overall.assign(known=True), on=place, how="left")
    donors = donors[donors["known"].isna()].drop(columns="known")
    if donors.empty:
        return table
    weight = donors["n_cells"].where(donors["n_cells"] > 0, 1).astype(float)
    donors = donors.assign(weight=weight.where(donors["value"].notna()), product=donors["value"] * weight)
    grouped = donors.groupby(place, sort=False)
    made = grouped[list(table.columns.difference(place))].first()
    made["value"] = grouped["product"].sum() / grouped["weight"].sum()
    made = made.assign(unit="all", n_cells=grouped["n_cells"].sum(), reason="mean of the donors' scores")
    return pd.concat([table, made.reset_index()[list(table.columns)]], ignore_index=True)


def _folder(folder: Path) -> Path:
    """Make the folder, or take one that is empty or an earlier analysis."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise FolderError(f"{folder}: expected a new folder, an empty one or that of an analysis; it has other files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error}); choose another folder with -o") from None
    write_text(folder / MARK, json.dumps({"version": __version__}))
    return folder


def _write_study(
    folder: Path, study: Mapping[str, str], seeds: str, control: str, margins: Mapping[str, float]
) -> None:
    """Write what the report reads of a study; texts are quoted as JSON, which TOML reads alike."""
    named = {**study, **({"control": control} if control else {})}
    lines = [f"{key} = {json.dumps(value)}" for key, value in named.items()]
    lines += [f"seeds = {seeds}"] if seeds else []
    if margins:
        lines += ["", "[margins]", *(f"{json.dumps(name)} = {float(margin)!r}" for name, margin in margins.items())]
    write_text(folder / "study.toml", "\n".join(lines) + "\n")
