"""Measuring: what is in each corpus of a study, and how well it covers each target; nothing is trained.

All corpora are looked at in one common space (see `corpuscle.measures.common_space`); each measure is a row of a long
table. A measure that is not defined is NaN with its reason, and so is an interval.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core.errors import MeasureError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.corpus import Corpus
from corpuscle.measures.cell_ontology import CellOntology, CellTypes, mapped, type_labels
from corpuscle.measures.common_space import CommonSpace, common_space
from corpuscle.measures.measure import Measure, built_ins, measure_corpus
from corpuscle.measures.table import attempt
from corpuscle.measures.view import MOST_PAIRED, StudyView, View
from corpuscle.store import Store
from corpuscle.study.plan import MISSING, Notice, Plan

MEASURES = (
    "corpus", "seed", "measure", "of", "target", "size", "value", "low", "high", "n_cells", "better", "reason",
    "title", "meaning", "scale", "version", "headline",
)  # fmt: skip
PROFILES = ("corpus", "seed", "profile", "of", "x", "value")
CELL_TYPES = ("label", "n_cells", "term", "name", "by")


class Measured(NamedTuple):
    """What `measure` returns.

    Attributes
    ----------
    measures
        One row per corpus, seed, measure, what it is of, target and size; the columns `MEASURES`. `size` is ``"own"``,
        or ``"equal"``: of as many cells as the smallest corpus has, drawn at random. `low` and `high` are the 95 %
        interval over donors. `better`, `title`, `meaning`, `scale` and `version` are those of the measure's `Metric`;
        `headline` says whether reports show the row.
    profiles
        Curves: ``hill`` and ``vendi`` over orders, ``rarefaction`` (labels) over numbers of cells, ``depth`` and
        ``complexity`` over quantiles; the columns `PROFILES`.
    cell_types
        Which term of the Cell Ontology each cell type was taken for, and by what; the most cells that any corpus has
        of it; the columns `CELL_TYPES`.
    """

    measures: pd.DataFrame
    profiles: pd.DataFrame
    cell_types: pd.DataFrame


def measure(plan: Plan, store: Store | None = None, notice: Notice | None = None) -> Measured:
    """Measure every corpus of a study, and each against every target.

    Parameters
    ----------
    plan
        The study with its data.
    store
        Where the common space and each corpus' rows are kept, so that they need not be found again.
    notice
        Called with what is being done, and which share of it is done.
    """
    measurer = _Measurer(plan, store, notice or (lambda _what, _share: None))
    tables = [measurer.of(name, seed) for name, seed in plan.corpora]
    measures, profiles = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    return Measured(measures[list(MEASURES)], profiles[list(PROFILES)], measurer.cell_types)


@dataclass(frozen=True, eq=False)
class _Measurer:
    """Measures the corpora of a study one by one."""

    plan: Plan
    store: Store | None
    notice: Notice
    measures: list[Measure] = field(default_factory=built_ins)

    @cached_property
    def n_equal(self) -> int:
        """How many cells the smallest corpus has, within bounds."""
        return min(MOST_PAIRED, *(corpus.n_cells for corpus in self.plan.corpora.values()))

    @cached_property
    def type_counts(self) -> Mapping[str, int]:
        """The most cells that any corpus has of each cell type."""
        counts: dict[str, int] = {}
        for corpus in self.plan.corpora.values():
            for label, n in zip(*np.unique(type_labels(corpus), return_counts=True), strict=True):
                counts[str(label)] = max(counts.get(str(label), 0), int(n))
        return counts

    @cached_property
    def types(self) -> CellTypes:
        """What the cell types mean."""
        ontology = attempt(CellOntology)
        if isinstance(ontology, MeasureError):
            return CellTypes(ontology, dict.fromkeys(self.type_counts))
        return CellTypes(ontology, mapped(self.type_counts, ontology, self.plan.study.spec.cell_types))

    @property
    def cell_types(self) -> pd.DataFrame:
        """See `Measured`."""
        matches = self.types.matches.items()
        rows = [(label or MISSING, self.type_counts[label], *(match or ("", "", ""))) for label, match in matches]
        return pd.DataFrame(rows, columns=list(CELL_TYPES)).sort_values("n_cells", ascending=False, ignore_index=True)

    @cached_property
    def view(self) -> StudyView:
        """What all corpora are measured in and against."""
        return StudyView(self.n_equal, self.types, self.plan.targets, self._space, self._progress)

    def _space(self) -> CommonSpace:
        content = {name: source.identity for name, source in self.plan.sources.items()}
        return common_space(
            self.plan.pools, content, self.store, self._progress("finding principal components of all sources")
        )

    def _progress(self, what: str) -> Callable[[float], None]:
        return lambda share: self.notice(what, share)

    @cached_property
    def _context(self) -> str:
        """Hash of what corpora are measured by, in and against."""
        installed = "" if isinstance(self.types.ontology, MeasureError) else version("cellxgene-ontology-guide")
        terms = {label: match.term if match else "" for label, match in self.types.matches.items()}
        pools = [self.plan.identity(pool) for pool in self.plan.pools.values()]
        targets = {name: self.plan.identity(cells) for name, cells in self.plan.targets.items()}
        measures = [measure.identity() for measure in self.measures]
        return fingerprint("measures", measures, installed, terms, pools, targets, self.n_equal)

    def of(self, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Measure one corpus, or take what the store has of it."""
        corpus = self.plan.corpora[name, seed]
        if self.store is None:
            found = self._measured(corpus, seed)
        else:
            key = fingerprint(self._context, self.plan.identity(corpus), type_labels(corpus), seed)
            if not self.store.has("measures", key):
                with self.store.create("measures", key) as folder:
                    for stem, table in zip(("measures", "profiles"), self._measured(corpus, seed), strict=True):
                        table.to_parquet(folder / f"{stem}.parquet")
            folder = self.store.folder("measures", key)
            found = (pd.read_parquet(folder / "measures.parquet"), pd.read_parquet(folder / "profiles.parquet"))
        measures, profiles = (table.assign(corpus=name, seed=seed) for table in found)
        return measures, profiles

    def _measured(self, corpus: Corpus, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        self.notice(f"measuring {corpus.name}, seed {seed}", 0)
        return measure_corpus(self.measures, View(corpus, seed, self.view))
