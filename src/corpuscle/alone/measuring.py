"""Measuring: what is in the cells of an AnnData, and how well they cover others."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from anndata import AnnData

from corpuscle.alone.cells import SOURCE, Rng, corpora_of, seed_of
from corpuscle.alone.label_columns import label_columns
from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError, MeasureError
from corpuscle.corpus.cell_ontology import CellOntology, CellTypes, mapped, type_labels
from corpuscle.measures.common_space import basis_of, common_space
from corpuscle.measures.measure import Measure, built_ins, measure_corpus
from corpuscle.measures.table import attempt
from corpuscle.measures.view import MOST_PAIRED, StudyView, View

MEASURED = (
    "measure", "of", "target", "size", "value", "low", "high", "n_cells", "better", "reason", "title", "meaning",
)  # fmt: skip


def measure(  # all but two by name
    adata: AnnData,
    measures: str | None = None,
    *,
    targets: Mapping[str, AnnData] | None = None,
    rng: Rng = 0,
    layer: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Measure what is in some cells, and how well they cover others.

    Parameters
    ----------
    adata, rng, layer, labels
        As for `sample`.
    measures
        The name of a measure (see docs/measures.md) or of one of its numbers; None: all.
    targets
        Cells that `adata` is compared with, by name; without any, measures that need them are left out.

    Returns
    -------
    DataFrame
        One row per number: ``measure``, what it is ``of``, ``target``, ``size``, ``value``, ``low`` and ``high`` (95 %
        interval over donors), ``n_cells``, ``better``, ``reason`` where there is no value; see docs/measures.md.

    Raises
    ------
    InputError
        When there are no raw counts, or no such measure.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> blood = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    >>> found = corpuscle.measure(blood, "richness")
    >>> found.loc[(found["of"] == "cell_type") & (found["size"] == "own"), "value"].item()
    8.0
    """
    chosen, only = _measures(measures, with_targets=bool(targets))
    sources = {SOURCE: adata, **{f"target {name}": cells for name, cells in (targets or {}).items()}}
    corpora = corpora_of(sources, layer=layer, labels=label_columns(labels, *chosen))
    corpus, *others = corpora.values()
    cells = dict(zip(targets or {}, others, strict=True))
    ontology, known = attempt(CellOntology), sorted({*type_labels(corpus)})
    terms = dict.fromkeys(known) if isinstance(ontology, MeasureError) else mapped(known, ontology, {})
    basis = attempt(lambda: basis_of({SOURCE: corpus}))

    def space() -> Any:
        if isinstance(basis, MeasureError):
            raise MeasureError(str(basis))
        return common_space(basis)

    n_equal = min(MOST_PAIRED, *(len(one) for one in corpora.values()))
    view = View(corpus, seed_of(rng), StudyView(n_equal, CellTypes(ontology, terms), cells, space))
    found, _ = measure_corpus(chosen, view)
    if only:
        found = found[found["measure"] == only]
    order = [
        "measure",
        "of",
        "target",
        "size",
        "value",
        "low",
        "high",
        "n_cells",
        "better",
        "reason",
        "title",
        "meaning",
    ]
    return found[order].reset_index(drop=True)


def _measures(name: str | None, *, with_targets: bool) -> tuple[list[Measure], str]:
    """Return the measures of a name, and the one of their numbers that is meant; empty: all."""
    known = built_ins()
    if name is None:
        return known, ""
    found = [one for one in known if name in (one.name, *(metric.name for metric in one.metrics))]
    if not found:
        legal = [*(one.name for one in known), *(metric.name for one in known for metric in one.metrics)]
        raise InputError(f"there is no measure {name!r}; {legal_names(name, legal)}")
    if found[0].needs_targets and not with_targets:
        raise InputError(f'the measure {name!r} compares cells with targets; give some: targets = {{"blood": adata}}')
    return found, "" if name == found[0].name else name
