"""Measuring: what is in each corpus of a study, and how well it covers each target; nothing is trained.

All corpora are looked at in one common space (see `corpuscle.measures.common_space`); each measure is a row of a long
table. A measure that is not defined is NaN with its reason, and so is an interval.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core.errors import MeasureError, StudyError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.plain_files import write_data
from corpuscle.corpus.cell_ontology import CellOntology, CellTypes, mapped, type_labels
from corpuscle.corpus.stored import CORPORA, StoredCorpora
from corpuscle.execution import engine
from corpuscle.execution.artifacts import VIEWS, CommonComponents, Measures
from corpuscle.execution.executor import Executor
from corpuscle.execution.graph import made_cells
from corpuscle.execution.workers import Update
from corpuscle.measures.common_space import Basis, basis_of, components_of
from corpuscle.measures.measure import built_ins
from corpuscle.measures.table import attempt
from corpuscle.measures.view import MOST_PAIRED
from corpuscle.study.opening import Notice
from corpuscle.study.plan import MISSING, Plan

MEASURES = (
    "corpus", "seed", "measure", "of", "target", "size", "value", "low", "high", "n_cells", "better", "reason",
    "title", "meaning", "scale", "version", "headline", "figure",
)  # fmt: skip
PROFILES = ("corpus", "seed", "profile", "of", "x", "value", "title", "meaning", "across")
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
    failures
        What went wrong, by corpus and seed: these have no rows.
    """

    measures: pd.DataFrame
    profiles: pd.DataFrame
    cell_types: pd.DataFrame
    failures: Mapping[tuple[str, int], str]


def none() -> Measured:
    """Return what is found where nothing is measured: tables without rows."""
    measures, profiles, types = (pd.DataFrame(columns=list(names)) for names in (MEASURES, PROFILES, CELL_TYPES))
    return Measured(measures, profiles, types, {})


def measure(
    plan: Plan, corpora: StoredCorpora, notice: Notice | None = None, workers: "int | Executor" = 0
) -> Measured:
    """Measure every corpus of a study, and each against every target.

    Parameters
    ----------
    plan
        The study with its data.
    corpora
        The corpora of the store in which what was found is kept, so that it need not be found again.
    notice
        Called with what is being done, and which share of it is done.
    workers
        How many processes measure at once (0: this one does), or what else does.

    Raises
    ------
    StudyError
        When no corpus could be measured.
    """
    notice = notice or (lambda _what, _share: None)
    types = cell_types_of(plan)
    wanted = artifacts_of(plan, corpora, types)
    done, labels = set[str](), {one.address: one.label for one in wanted.values()}

    def on_update(news: Update) -> None:
        done.update([news.address.key] if news.share == 1 and news.address in labels else [])
        notice(labels.get(news.address, "preparing to measure"), len(done) / len(wanted))

    failed = engine.execute(wanted.values(), corpora, workers, on_update)
    failures = {place: failed[one.address] for place, one in wanted.items() if one.address in failed}
    if len(failures) == len(wanted):
        raise StudyError([plan.study.problem("corpora", why) for why in dict.fromkeys(failures.values())])
    tables = []
    for (name, seed), one in wanted.items():
        if (name, seed) in failures:
            continue
        folder = corpora.store.folder(*one.address)
        found = (pd.read_parquet(folder / f"{stem}.parquet") for stem in ("measures", "profiles"))
        tables.append([table.assign(corpus=name, seed=seed) for table in found])
    measures, profiles = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    return Measured(measures[list(MEASURES)], profiles[list(PROFILES)], _types_table(plan, types), failures)


def artifacts_of(plan: Plan, corpora: StoredCorpora, types: CellTypes) -> dict[tuple[str, int], Measures]:
    """Lay out the measuring of every corpus, by its name and seed; what they share is put into the store."""
    measures, basis = built_ins(), attempt(lambda: basis_of(plan.pools))
    n_equal = min(MOST_PAIRED, *(corpus.n_cells for corpus in plan.corpora.values()))
    view = _keep_view(plan, corpora, types, basis, n_equal)
    # Not all of the view: pools and targets count by what they are, not by what they are called in the store.
    installed = "" if isinstance(types.ontology, MeasureError) else version("cellxgene-ontology-guide")
    terms = {label: match.term if match else "" for label, match in types.matches.items()}
    pools = [pool.identity() for pool in plan.pools.values()]
    targets = {name: cells.identity() for name, cells in plan.targets.items()}
    said = [measure.identity() for measure in measures]
    shared = fingerprint("measures", said, installed, terms, pools, targets, n_equal)
    components: tuple[CommonComponents, ...] = ()
    if not isinstance(basis, MeasureError):
        found = components_of(basis)
        label = "finding principal components of all sources"
        components = (CommonComponents(found.key, label, corpora.key(basis.cells)),)
    return {
        (name, seed): Measures(
            fingerprint(shared, corpus.identity(), type_labels(corpus), seed),
            f"measuring {name}, seed {seed}",
            tuple(measures),
            corpora.key(corpus),
            seed,
            view,
            components,
            made_cells(corpus, corpora),
        )
        for (name, seed), corpus in plan.corpora.items()
    }


def _keep_view(plan: Plan, corpora: StoredCorpora, types: CellTypes, basis: Basis | MeasureError, n_equal: int) -> str:
    """Put into the store what all corpora are measured in and against; return its key."""
    problem = str(basis) if isinstance(basis, MeasureError) else ""
    kept_targets = {name: corpora.keep(cells) for name, cells in plan.targets.items()}
    kept_basis = "" if isinstance(basis, MeasureError) else corpora.keep(basis.cells)
    record = {
        "n_equal": n_equal,
        "matches": [(label, list(match) if match else None) for label, match in types.matches.items()],
        "targets": kept_targets,
        "problem": problem,
        "genes": np.empty(0, np.int64) if isinstance(basis, MeasureError) else basis.genes_C,
        "basis": kept_basis,
    }
    key = fingerprint("view", 1, record)

    def write(folder: Path) -> None:
        write_data(folder, record)

    uses = [(CORPORA, one) for one in (*kept_targets.values(), kept_basis) if one]
    corpora.store.kept(VIEWS, key, write, label="what corpora are measured in and against", uses=uses)
    return key


def _type_counts(plan: Plan) -> Mapping[str, int]:
    """Return the most cells that any corpus has of each cell type."""
    counts: dict[str, int] = {}
    for corpus in plan.corpora.values():
        for label, n in zip(*np.unique(type_labels(corpus), return_counts=True), strict=True):
            counts[str(label)] = max(counts.get(str(label), 0), int(n))
    return counts


def cell_types_of(plan: Plan) -> CellTypes:
    """Return what the cell types mean."""
    ontology, counts = attempt(CellOntology), _type_counts(plan)
    if isinstance(ontology, MeasureError):
        return CellTypes(ontology, dict.fromkeys(counts))
    return CellTypes(ontology, mapped(counts, ontology, plan.study.spec.cell_types))


def _types_table(plan: Plan, types: CellTypes) -> pd.DataFrame:
    """Return what cell types were taken for; see `Measured`."""
    counts = _type_counts(plan)
    rows = [(label or MISSING, counts[label], *(match or ("", "", ""))) for label, match in types.matches.items()]
    return pd.DataFrame(rows, columns=list(CELL_TYPES)).sort_values("n_cells", ascending=False, ignore_index=True)
