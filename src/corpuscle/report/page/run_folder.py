"""RunFolder: what a run left behind, read once, with whatever is optional allowed to be absent."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corpuscle.core.errors import FolderError
from corpuscle.core.paths import SPECIAL, is_special, read_plain
from corpuscle.core.plain_toml import parse_toml
from corpuscle.core.scores import ABOUT_ALTERED, COLUMNS, DTYPES, IN_PLACE, SEEN, TEXTS, completed
from corpuscle.statistics.crossed import laid_out

OPTIONAL = {
    "curves": ("corpus", "model", "seed", "step", "epoch", "quantity", "value", "title", "meaning"),
    "fits": ("corpus", "model", "seed", "r2_log", "share_error", "seconds"),
    "composition": ("corpus", "seed", "column", "value", "n_cells"),
    "sources": ("source", "reason", "n_cells"),
    "maps": ("corpus", "model", "target", "x", "y", "cell_type", "batch"),
    "genes": ("source", "n_genes", "no_id", "merged", "kept", "lost", "counts_kept"),
    "measures": (
        "corpus", "seed", "measure", "of", "target", "size", "value", "low", "high", "n_cells", "reason",
        "better", "title", "meaning", "headline", "figure",
    ),
    "profiles": ("corpus", "seed", "profile", "of", "x", "value", "title", "meaning", "across"),
    "cell_types": ("label", "n_cells", "term", "name", "by"),
    "draws": ("corpus", "source", "n_cells", "pool", "share", "overlap"),
    "labels": ("label", "source", "from", "to", "how", "n_cells"),
}  # fmt: skip
# Columns that hold numbers; `value` is a text in the table of labels, and no others are.
NUMBERS = {
    "seed", "step", "epoch", "value", "n_cells", "x", "y", "n_genes", "no_id", "merged", "kept", "lost", "counts_kept",
    "low", "high", "version", "r2_log", "share_error", "pool", "share", "overlap", "seconds", SEEN,
}  # fmt: skip
# Numbers that may not be known.
UNKNOWN = {
    "value", "low", "high", "counts_kept", "epoch", "x", "y", "r2_log", "share_error", "overlap", "seconds", SEEN,
}  # fmt: skip
TRUTHS = ("headline", ABOUT_ALTERED)
# What tables of earlier versions lack, and what stands for it.
LATER = {"title": "", "meaning": "", "headline": True, "figure": "", "across": "", "seconds": math.nan}
# What the documents hold where they hold it: a table, or a list of tables with at least these keys.
STUDY = {"corpora": ["name"], "models": ["name"], "tasks": ["name"], "holdout": None, "quality": None}
PROVENANCE = {
    "corpora": ["name"], "failures": ["corpus", "model", "seed", "message"], "inputs": ["source"], "targets": ["name"],
    "packages": None, "gene_space": None, "seconds": None, "missing": ["corpus", "model", "seed"],
}  # fmt: skip
ADVICE = "run the study again in this folder to write it anew"


@dataclass(frozen=True)
class RunFolder:
    """The tables and documents of a run; the optional tables are empty where their file is missing.

    Attributes
    ----------
    study
        The study file, as parsed.
    provenance
        Versions, inputs, targets, recipes and failures.
    scores, curves, fits, composition, sources, maps, genes, measures, profiles, cell_types, draws, labels
        The tables, with the columns that the engine writes.
    trained
        Whether models were trained; else the corpora were only described, and there are no scores.
    """

    study: dict[str, Any]
    provenance: dict[str, Any]
    scores: pd.DataFrame
    curves: pd.DataFrame
    fits: pd.DataFrame
    composition: pd.DataFrame
    sources: pd.DataFrame
    maps: pd.DataFrame
    genes: pd.DataFrame
    measures: pd.DataFrame
    profiles: pd.DataFrame
    cell_types: pd.DataFrame
    draws: pd.DataFrame
    labels: pd.DataFrame
    trained: bool = True

    @classmethod
    def read(cls, folder: Path, *, described: bool = False) -> "RunFolder":
        """Read a run's folder.

        Parameters
        ----------
        folder
            The folder.
        described
            Read what `corpuscle describe` left: no scores, and its own provenance.

        Raises
        ------
        FolderError
            When the folder lacks its scores, study file or provenance, or a table that the run wrote, or a file cannot
            be read.
        """
        origin = "description.json" if described else "provenance.json"
        needed = ("study.toml", "measures.parquet" if described else "scores.parquet", origin)
        absent = [name for name in needed if not (folder / name).is_file()]
        if absent:
            raise FolderError(
                f"{folder}: expected the folder of a run; it has no {', no '.join(absent)}. "
                "Give the folder that `corpuscle run` wrote, or run the study first; again, if it was interrupted."
            )
        study = _parsed(folder / "study.toml", parse_toml, STUDY)
        provenance = _parsed(folder / origin, json.loads, PROVENANCE)
        for name in provenance.get("tables", []):
            if not (folder / str(name)).is_file():
                raise FolderError(f"{folder / str(name)}: the run wrote it, and it is gone; {ADVICE}")
        tables = {name: _table(folder / f"{name}.parquet", columns) for name, columns in OPTIONAL.items()}
        tables["composition"]["value"] = tables["composition"]["value"].fillna("not recorded").astype(str)
        none = pd.DataFrame(columns=list(COLUMNS)).astype(DTYPES)
        scores = none if described else _table(folder / "scores.parquet", COLUMNS, TEXTS).astype(DTYPES)
        return cls(study, provenance, laid_out(scores, _fits(study)), **tables, trained=not described)

    @property
    def baseline(self) -> str:
        """Name of the corpus that the others are compared with; the first corpus where none is named."""
        return str(self.study.get("baseline") or (self.corpora[0] if self.corpora else ""))

    @property
    def n_draws(self) -> int:
        """How often each corpus was drawn: with the seeds that there are scores of, draws where fits are crossed."""
        return int(self.scores["draw" if "draw" in self.scores else "seed"].nunique())

    @property
    def n_runs(self) -> int:
        """How many runs of each corpus and model the study asked for; 0 where it does not say."""
        seeds = self.study.get("seeds")
        if isinstance(seeds, dict):
            draws = seeds.get("draws")
            return draws * _fits(self.study) if isinstance(draws, int) else 0
        return seeds if isinstance(seeds, int) else 0

    @property
    def control(self) -> str:
        """Name of the size control; empty where the study names none."""
        return str(self.study.get("control") or "")

    @property
    def margins(self) -> dict[str, float]:
        """By metric, which difference is too small to matter."""
        found = self.study.get("margins")
        return {str(name): float(margin) for name, margin in found.items()} if isinstance(found, dict) else {}

    @property
    def corpora(self) -> list[str]:
        """Corpora in the study's order, the baseline first, then any that only the scores have."""
        # A ladder stands once in the study file and for several corpora, all of which the provenance names.
        written = self.provenance.get("corpora") or self.study.get("corpora", [])
        named = [str(corpus["name"]) for corpus in written]
        known = dict.fromkeys([*named, *self.scores["corpus"].unique()])
        baseline = self.study.get("baseline")
        return [*(name for name in known if name == baseline), *(name for name in known if name != baseline)]

    @property
    def overlaps(self) -> dict[str, float]:
        """For each corpus, the share of its cells of a source that two seeds' draws share; the largest of its sources'.

        A draw varies as little as what varies least of it: that is what an interval about the sources has to allow for.
        """
        known = self.draws.dropna(subset=["overlap"])
        return {str(name): float(found) for name, found in known.groupby("corpus")["overlap"].max().items()}

    @property
    def excluding(self) -> list[str]:
        """Corpora that leave cells out on purpose: what their models make of such cells is the story."""
        return [corpus["name"] for corpus in self.study.get("corpora", []) if corpus.get("exclude")]

    @property
    def held_out(self) -> pd.DataFrame:
        """Score rows of targets that are the same cells for all corpora; in place, each corpus has its own."""
        named = IN_PLACE in self.study.get("sources", {})
        return self.scores if named else self.scores[self.scores["target"] != IN_PLACE]

    @property
    def targets(self) -> list[str]:
        """Targets in the order of the study file's tasks, then any that only the scores have."""
        named = [_target_name(target) for task in self.study.get("tasks", []) for target in task.get("on", [])]
        found = list(self.scores["target"].unique())
        return list(dict.fromkeys([*(name for name in named if name in set(found)), *found]))


def _fits(study: Mapping[str, Any]) -> int:
    """Return how many fits each draw has; 1 where every run has a draw and a fit of its own."""
    seeds = study.get("seeds")
    fits = seeds.get("fits") if isinstance(seeds, dict) else None
    return fits if isinstance(fits, int) and fits > 1 else 1


def _target_name(target: Any) -> str:
    """Name of a target as the study file has it: a source's name, or a table with a name or a source."""
    return str(target.get("name", target.get("source", "")) if isinstance(target, dict) else target)


def _parsed(path: Path, parse: Any, shape: Mapping[str, list[str] | None]) -> dict[str, Any]:
    """Parse a text file into a dictionary, or say what is wrong with it."""
    try:
        content = parse(read_plain(path))
    # JSON, TOML and encoding errors are all ValueErrors; a file of brackets alone ends in a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path}: cannot be read ({error}); {ADVICE}") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path}: expected a table of names and values, not a {type(content).__name__}; {ADVICE}")
    for name, keys in shape.items():
        found = content.get(name, {} if keys is None else [])
        if keys is None and not isinstance(found, dict):
            raise FolderError(f"{path}: expected {name} to be a table, not {str(found)[:40]!r}; {ADVICE}")
        if keys is not None and not (isinstance(found, list) and all(_has(entry, keys) for entry in found)):
            raise FolderError(f"{path}: expected {name} to be tables with {', '.join(keys)}; {ADVICE}")
    return content


def _has(entry: Any, keys: list[str]) -> bool:
    return isinstance(entry, dict) and all(key in entry for key in keys)


def _table(path: Path, columns: tuple[str, ...], categories: Sequence[str] = ()) -> pd.DataFrame:
    """Read a parquet table with these columns, some as categories; an empty one where there is no file."""
    if not path.is_file():
        if is_special(path):
            raise FolderError(f"{path}: cannot be read ({SPECIAL}); {ADVICE}")
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_parquet(path, page_checksum_verification=True, read_dictionary=list(categories))
    # Arrow raises errors of a dozen kinds for a damaged file.
    except Exception as error:
        gist = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FolderError(f"{path}: cannot be read ({gist}); {ADVICE}") from error
    if path.stem == "scores":
        table = completed(table)
    table = table.assign(**{name: LATER[name] for name in columns if name in LATER and name not in table})
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise FolderError(f"{path}: expected columns {list(columns)}; it lacks {lacking}; {ADVICE}")
    table = table[list(columns)].reset_index(drop=True)
    numbers = NUMBERS - {"value"} if path.stem == "composition" else NUMBERS
    for column in columns if len(table) else ():
        if wrong := _wrong(table[column], is_number=column in numbers, may_lack=column in UNKNOWN):
            raise FolderError(f"{path}: expected {wrong} in column {column!r}; {ADVICE}")
    return table


def _wrong(values: "pd.Series[Any]", *, is_number: bool, may_lack: bool) -> str | None:
    """Return what was expected of a column that is not as it should be; None: it is."""
    if values.name in TRUTHS:
        return None if pd.api.types.is_bool_dtype(values) and not values.isna().any() else "true or false in every row"
    if not is_number:
        is_category = isinstance(values.dtype, pd.CategoricalDtype)
        kind = pd.api.types.infer_dtype(values.cat.categories if is_category else values.dropna())
        return None if kind in ("string", "empty") else f"texts, not {kind} values"
    if not pd.api.types.is_numeric_dtype(values) and not values.isna().all():
        return f"numbers, not {pd.api.types.infer_dtype(values)} values"
    if may_lack:
        return None
    return "a number in every row" if values.isna().any() or np.isinf(values.astype(float)).any() else None
