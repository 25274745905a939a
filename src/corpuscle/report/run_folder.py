"""RunFolder: what a run left behind, read once, with whatever is optional allowed to be absent."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from corpuscle.core.errors import FolderError
from corpuscle.core.scores import COLUMNS, DTYPES

OPTIONAL = {
    "curves": ("corpus", "model", "seed", "step", "epoch", "quantity", "value"),
    "fits": ("corpus", "model", "seed", "r2_log", "share_error"),
    "composition": ("corpus", "seed", "column", "value", "n_cells"),
    "sources": ("source", "reason", "n_cells"),
    "maps": ("corpus", "model", "target", "x", "y", "cell_type", "batch"),
    "genes": ("source", "n_genes", "no_id", "merged", "kept", "lost", "counts_kept"),
    "measures": ("corpus", "seed", "measure", "of", "target", "size", "value", "low", "high", "n_cells", "reason"),
    "profiles": ("corpus", "seed", "profile", "of", "x", "value"),
    "cell_types": ("label", "n_cells", "term", "name", "by"),
}


@dataclass(frozen=True)
class RunFolder:
    """The tables and documents of a run; the optional tables are empty where their file is missing.

    Attributes
    ----------
    study
        The study file, as parsed.
    provenance
        Versions, inputs, targets, recipes and failures.
    scores, curves, fits, composition, sources, maps, genes, measures, profiles, cell_types
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
            When the folder lacks its scores, study file or provenance, or a file cannot be read.
        """
        origin = "description.json" if described else "provenance.json"
        needed = ("study.toml", "measures.parquet" if described else "scores.parquet", origin)
        absent = [name for name in needed if not (folder / name).is_file()]
        if absent:
            raise FolderError(
                f"{folder}: expected the folder of a run; it has no {', no '.join(absent)}. "
                "Give the folder that `corpuscle run` wrote, or run the study first."
            )
        study = _parsed(folder / "study.toml", tomllib.loads)
        provenance = _parsed(folder / origin, json.loads)
        tables = {name: _table(folder / f"{name}.parquet", columns) for name, columns in OPTIONAL.items()}
        tables["composition"]["value"] = tables["composition"]["value"].fillna("not recorded").astype(str)
        none = pd.DataFrame(columns=list(COLUMNS)).astype(DTYPES)
        scores = none if described else _table(folder / "scores.parquet", COLUMNS)
        return cls(study, provenance, scores, **tables, trained=not described)

    @property
    def baseline(self) -> str:
        """Name of the corpus that the others are compared with; the first corpus where none is named."""
        return str(self.study.get("baseline") or (self.corpora[0] if self.corpora else ""))

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
    def excluding(self) -> list[str]:
        """Corpora that leave cells out on purpose: what their models make of such cells is the story."""
        return [corpus["name"] for corpus in self.study.get("corpora", []) if corpus.get("exclude")]

    @property
    def targets(self) -> list[str]:
        """Targets in the order of the study file's tasks, then any that only the scores have."""
        named = [_target_name(target) for task in self.study.get("tasks", []) for target in task.get("on", [])]
        found = list(self.scores["target"].unique())
        return list(dict.fromkeys([*(name for name in named if name in set(found)), *found]))


def _target_name(target: Any) -> str:
    """Name of a target as the study file has it: a source's name, or a table with a name or a source."""
    return str(target.get("name", target.get("source", "")) if isinstance(target, dict) else target)


def _parsed(path: Path, parse: Any) -> dict[str, Any]:
    """Parse a text file into a dictionary, or say which file is broken."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON, TOML and encoding errors are all ValueErrors
        raise FolderError(f"{path}: cannot be read ({error}); run the study again to rewrite it") from error
    return dict(content)


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a parquet table; an empty one where there is no file."""
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: cannot be read ({error}); run the study again to rewrite it") from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise FolderError(f"{path}: expected columns {list(columns)}; it lacks {lacking}")
    return table[list(columns)].copy()
