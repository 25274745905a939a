"""Results: what a run left in its folder, as tables and models; read again at any time."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from corpuscle.alone.fitting import Fitted
from corpuscle.core.components import build, guarded, legal_names
from corpuscle.core.errors import FolderError, InputError
from corpuscle.core.text import plural
from corpuscle.execution.run_record import read_artifacts, store_of
from corpuscle.execution.unfinished import gather
from corpuscle.model.model import Model
from corpuscle.report.page.run_folder import RunFolder
from corpuscle.source.gene_names import ENSEMBL
from corpuscle.store import Store
from corpuscle.study.plan import Run

# The columns that a table may have.
COLUMNS = ("corpus", "model", "target", "way", "seed")


class Models(Mapping[tuple[str, str, int], Fitted]):
    """The fitted models of a run's folder, by corpus, model and seed; each is read when it is asked for.

    Parameters
    ----------
    folder
        The run's folder.

    Raises
    ------
    FolderError
        When it is none, or its ``artifacts.json`` cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = Store(store_of(folder, None))
        found = read_artifacts(folder)
        if not found:
            raise FolderError(f"{folder}: expected the folder of a run; give the one that `corpuscle run` wrote")
        self._keys = {_place(run): run["model_key"] for run in found["runs"]}

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """Go through the models that are there."""
        return (place for place, key in self._keys.items() if self._store.has("models", key))

    def __len__(self) -> int:
        """Count the models that are there."""
        return sum(1 for _ in self)

    def __getitem__(self, place: tuple[str, str, int]) -> Fitted:
        """Read a model.

        Raises
        ------
        InputError
            When there is no such model, or it is not there any more.
        """
        run = self._run(place)
        if run is None:
            raise InputError(
                f'models: expected corpus, model and seed, such as models["Blood", "ldvae", 0]; got {place!r:.80}'
            )
        if run not in self._keys:
            raise InputError(f"there is no model of {_named(run)}; {self._legal(run)}")
        folder = self._store.find("models", self._keys[run])
        if folder is None:
            why = "is not in the store (not trained yet, failed, or removed); run the study again"
            raise InputError(f"the model of {_named(run)} {why}")
        spec = dict(json.loads((folder / "run.json").read_text(encoding="utf-8"))["model"])
        model = build(Model, str(spec.pop("name")), spec)
        with guarded(model):
            fitted = model.load_fitted(folder)
        genes = tuple(fitted.genes)
        return Fitted(model.name, model, fitted, (genes, "ensembl" if genes and ENSEMBL.match(genes[0]) else "symbol"))

    def __contains__(self, place: object) -> bool:
        """Return whether a model is there; it is not read."""
        run = self._run(place)
        return run in self._keys and self._store.has("models", self._keys[run])

    def get(self, place: Any, default: Any = None) -> Any:
        """Read a model, or return the default where it is not there."""
        return self[place] if place in self else default  # noqa: SIM401  # this is get

    @staticmethod
    def _run(place: object) -> Run | None:
        """Return the run that a key names; None where it is no corpus, model and seed."""
        if not isinstance(place, tuple) or len(place) != len(Run._fields):
            return None
        corpus, model, seed = place
        is_seed = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        return Run(corpus, model, int(seed)) if isinstance(corpus, str) and isinstance(model, str) and is_seed else None

    @property
    def n_runs(self) -> int:
        """How many models the study has, there or not."""
        return len(self._keys)

    def n_bytes(self, place: tuple[str, str, int]) -> int:
        """Return the size of a model's files; 0 where it is not there."""
        folder = self._store.find("models", self._keys[Run(*place)])
        return 0 if folder is None else sum(file.stat().st_size for file in folder.iterdir() if file.is_file())

    def keys_of(self, corpora: Collection[str], models: Collection[str], seeds: Collection[int]) -> list[str]:
        """Return the keys, in the store, of the models of these corpora, models and seeds; of none given: of all.

        Raises
        ------
        InputError
            When the study has no such corpus, model or seed.
        """
        for at, (name, given) in enumerate(zip(Run._fields, (corpora, models, seeds), strict=True)):
            known = list(dict.fromkeys(str(place[at]) for place in self._keys))
            for one in given:
                if str(one) not in known:
                    raise InputError(f"{name}: {legal_names(str(one), known)}")
        return [
            key
            for place, key in self._keys.items()
            if place.corpus in (corpora or [place.corpus])
            and place.model in (models or [place.model])
            and place.seed in (seeds or [place.seed])
        ]

    def __repr__(self) -> str:
        return f"Models({len(self)} of {len(self._keys)} runs in {self.folder})"

    def _legal(self, place: Run) -> str:
        for at, name in enumerate(Run._fields):
            known = list(dict.fromkeys(str(one[at]) for one in self._keys))
            if str(place[at]) not in known:
                return f"{name}: {legal_names(str(place[at]), known)}"
        return "these are not of one run"


def _place(run: Mapping[str, Any]) -> Run:
    return Run(str(run["corpus"]), str(run["model"]), int(run["seed"]))


def _named(place: Run) -> str:
    return f"corpus {place.corpus!r}, model {place.model!r}, seed {place.seed}"


@dataclass(frozen=True, repr=False)
class Results:
    """What a run left in its folder.

    Attributes
    ----------
    folder
        The folder.
    scores
        One row per corpus, model, seed, task, target, metric and unit; see `corpuscle.core.scores.Score`.
    failures
        What went wrong, by run; the "model" of a corpus that could not be measured is ``measures``.
    reused
        How many of the runs were there already.
    """

    folder: Path
    scores: pd.DataFrame
    failures: dict[Run, str]
    reused: int

    @staticmethod
    def load(folder: Path | str) -> "Results":
        """Read the results of a run's folder; of a run that is not finished, those that are there.

        Raises
        ------
        FolderError
            When it is not the folder of a run, or a file in it cannot be read.
        """
        folder = Path(folder)
        gather(folder)
        run = RunFolder.read(folder)
        failures = {_place(one): str(one["message"]) for one in run.provenance.get("failures", [])}
        n_runs = len(run.scores[["corpus", "model", "seed"]].drop_duplicates())
        return Results(folder, run.scores, failures, n_runs)

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.folder / "report.html"

    @cached_property
    def models(self) -> Models:
        """The fitted models, by corpus, model and seed: ``results.models["Blood", "ldvae", 0]``."""
        return Models(self.folder)

    def embed(
        self, adata: AnnData, *, corpus: str, model: str, seed: int = 0, key_added: str | None = None, **given: Any
    ) -> AnnData:
        """Embed cells with one of the models; see `corpuscle.Fitted.embed`."""
        return self.models[corpus, model, seed].embed(adata, key_added=key_added, **given)

    def table(
        self,
        task: str,
        metric: str | None = None,
        *,
        by: str = "corpus",
        unit: str = "all",
        way: str | None = None,
    ) -> pd.DataFrame:
        """Return the mean over seeds of one metric; never of several metrics, ways, models or targets together.

        Parameters
        ----------
        task
            The task, by its label.
        metric
            The metric; None: the task's headline.
        by
            What the columns are: ``"corpus"``, ``"model"``, ``"target"``, ``"way"`` or ``"seed"``. What else there are
            several of (models, targets, ways, corpora) are rows.
        unit
            ``"all"``, or such as ``"donor=d1"``.
        way
            Only this way of finding the metric.

        Returns
        -------
        DataFrame
            The index has what the scores differ in; values are means over the seeds that have one. ``attrs`` holds
            ``"task"``, ``"metric"``, ``"better"`` and ``"n_seeds"``, the fewest and most seeds of a value.

        Raises
        ------
        InputError
            When there is no such task, metric, unit or way; the message has those there are.
        """
        if not isinstance(by, str) or by not in COLUMNS:
            raise InputError(f"by: expected one name, got {by!r:.80}; {legal_names(str(by), COLUMNS)}")
        rows = _chosen(self.scores, "task", task)
        if metric is None:
            known = rows[rows["headline"]]
            rows = known if len(known) else rows[rows["metric"] == rows["metric"].iloc[0]]
        else:
            rows = _chosen(rows, "metric", metric)
        if isinstance(unit, str) and not (rows["unit"] == unit).any():
            units = legal_names(unit, dict.fromkeys(map(str, rows["unit"])))
            named = rows["metric"].iloc[0]
            raise InputError(f"no score has the unit {unit!r} ({named} of {task}); give one there is as unit=; {units}")
        rows = _chosen(rows, "unit", unit)
        if way is not None:
            rows = _chosen(rows, "way", way)
        index = [name for name in ("target", "model", "way", "corpus") if name != by and rows[name].nunique() > 1]
        index = index or ["target" if by != "target" else "model"]
        table = rows.pivot_table(index=index, columns=by, values="value", aggfunc="mean", observed=True, sort=False)
        counts = rows.groupby([*index, *([by] if by != "seed" else [])], observed=True)["value"].count()
        first = rows.iloc[0]
        table.attrs = {
            "task": task, "metric": str(first["metric"]), "better": str(first["better"]),
            "n_seeds": (int(counts.min()), int(counts.max())),
        }  # fmt: skip
        return table

    def __repr__(self) -> str:
        names = {name: self.scores[name].nunique() for name in ("corpus", "model", "task", "target")}
        counts = ", ".join(plural(n, name) for name, n in names.items())
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"Results({self.folder}: {len(self.scores):,} scores of {counts}{failed})"

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{escape(str(self.folder))}</b>: {escape(repr(self).partition(': ')[2].rstrip(')'))}</p>"]
        for task in self.scores["task"].unique().tolist():
            try:
                table = self.table(str(task))
            except InputError:
                continue
            about = f"{task}: {table.attrs['metric']} ({table.attrs['better']} is better), mean over seeds"
            parts.append(f"<p>{escape(about)}</p>{table.to_html(float_format='{:.3g}'.format)}")
        return "".join(parts)


def _chosen(rows: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    found = rows[rows[column] == value] if isinstance(value, str) else rows[:0]
    if found.empty:
        known: Sequence[str] = [str(one) for one in rows[column].unique()]
        raise InputError(f"no score has the {column} {value!r:.80}; {legal_names(str(value), known)}")
    return found
