"""Opening: a study's sources, one gene space for them, what is known of their cells, and which of these are good."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.overlap import Copies, find_copies, no_copies
from corpuscle.source import cell_filter
from corpuscle.source.count_kinds import unlike_counts
from corpuscle.source.gene_names import GeneNames
from corpuscle.source.genes import By, GeneSpace, gene_space
from corpuscle.source.quality import KEPT, survey, survey_key
from corpuscle.source.repeats import refuse_repeats
from corpuscle.source.source import Source, open_source
from corpuscle.store import Store
from corpuscle.study import overlaps
from corpuscle.study.findings import Findings
from corpuscle.study.gene_checks import gene_warnings
from corpuscle.study.tables import TargetSpec

# Called with what is being done and which share of it is done.
Notice = Callable[[str, float], None]


def open_sources(findings: Findings, notice: Notice) -> dict[str, Source]:
    """Open the files that can be opened; the others are problems.

    Raises
    ------
    StudyError
        When none can be.
    """
    study, opened = findings.study, {}
    for name, spec in study.spec.sources.items():
        notice(f"opening {name}", 0)
        with findings.noting(f"sources.{name}"):
            path = study.path(name)
            source = open_source(
                name, path, counts=spec.counts.layer, rounds=spec.counts.round, where=spec.where, roles=spec.roles,
                genes=spec.genes,
            )  # fmt: skip
            refuse_repeats(source)
            opened[name] = study.given[name].hinting(source) if name in study.given else source
    if not opened:
        findings.stop()
    return opened


def match_genes(
    findings: Findings, names: Mapping[str, GeneNames], opened: Mapping[str, Source]
) -> tuple[GeneSpace, By] | None:
    """Find the study's genes, and what they are matched by; None where they cannot be matched."""
    study, spec = findings.study, findings.study.spec.genes
    genes = spec.space if spec.space in ("intersection", "union") else study.folder / spec.space
    with findings.noting("genes"):
        by: By = spec.by or ("ensembl" if all(found.has_ensembl for found in names.values()) else "symbol")
        space = gene_space(names, genes, by)
        for place, message in gene_warnings(opened, space, by, genes if isinstance(genes, Path) else None):
            findings.warn(place, message)
        return space, by
    return None


def space_by_place(names: Mapping[str, GeneNames]) -> GeneSpace:
    """Match genes by their positions: so the rest of a study can be checked though its genes do not match."""
    ids = [str(at) for at in range(max(len(found.symbols) for found in names.values()))]
    columns = {name: np.arange(len(found.symbols), dtype=np.int32) for name, found in names.items()}
    return GeneSpace(tuple(ids), tuple(ids), columns)


def survey_sources(
    findings: Findings, opened: Mapping[str, Source], space: GeneSpace, store: Store | None, notice: Notice
) -> dict[str, pd.DataFrame]:
    """Survey the sources' cells, or take the surveys that are in the store."""
    surveys = {}
    for name, source in opened.items():
        with findings.noting(f"sources.{name}"):
            surveys[name] = _survey(source, space, store, notice)
            if unlike := unlike_counts(surveys[name]):
                findings.warn(f"sources.{name}", f"source {name!r}: {unlike}")
    return surveys


def _survey(source: Source, space: GeneSpace, store: Store | None, notice: Notice) -> pd.DataFrame:
    def made() -> pd.DataFrame:
        return survey(source, space, lambda share: notice(f"reading {source.name}", share))

    if store is None:
        return made()
    key = survey_key(source, space)
    folder = store.kept(
        "surveys", key, lambda folder: made().to_parquet(folder / "survey.parquet"), label=f"survey of {source.name}"
    )
    return pd.read_parquet(folder / "survey.parquet")


def copies_of(
    findings: Findings, opened: Mapping[str, Source], union: GeneSpace, store: Store | None, notice: Notice
) -> Copies:
    """Find the cells that are one cell; not where the data cannot be read or matched."""
    for place, message in overlaps.repeated_files(opened):
        findings.warn(place, message)
    if findings.problems:
        return no_copies(opened)
    copies = find_copies(opened, union, overlaps.pairs(findings.study), store, notice)
    for place, message in overlaps.undecidable(copies, opened):
        findings.warn(place, message)
    return copies


def filtered(
    findings: Findings, opened: Mapping[str, Source], surveys: Mapping[str, pd.DataFrame], copies: Copies
) -> tuple[dict[str, Source], pd.DataFrame]:
    """Apply the quality filter, counting reasons."""
    study, kept, tables, before = findings.study, {}, [], np.empty(0, np.int64)
    for name, table in surveys.items():
        thresholds = study.quality[name]
        if thresholds.max_mito_fraction < 1 and table["mito_fraction"].isna().all():
            own = "max_mito_fraction" in study.spec.sources[name].quality
            place = f"sources.{name}.quality.max_mito_fraction" if own else "quality.max_mito_fraction"
            hint = f"write quality = {{ max_mito_fraction = 1.0 }} on {name}"
            findings.refuse(
                place, f"source {name!r} has no mitochondrial genes, so this would filter nothing there; {hint}"
            )
        reasons = thresholds.reasons(table)
        places = overlaps.places_of(copies, name)
        if thresholds.drop_duplicates:
            reasons = _drop_duplicates(reasons, places, before, copies)
        before = np.concatenate([before, places[reasons == KEPT]])
        values, counts = np.unique(reasons, return_counts=True)
        tables.append(pd.DataFrame({"source": name, "reason": values, "n_cells": counts}))
        if not (reasons == KEPT).any():
            found = ", ".join(f"{n:,} {reason}" for reason, n in zip(values, counts, strict=True))
            findings.refuse(f"sources.{name}", f"quality drops every cell: {found}")
            continue
        kept[name] = opened[name].keep(reasons == KEPT)
    columns = ["source", "reason", "n_cells"]
    return kept, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _drop_duplicates(
    reasons: NDArray[np.str_], places: NDArray[np.int64], before: NDArray[np.int64], copies: Copies
) -> NDArray[np.str_]:
    """Mark cells whose counts an earlier kept cell has."""
    later = copies.later(np.concatenate([before, places[reasons == KEPT]]), exact=True)
    marked = reasons.astype(object)
    marked[(reasons == KEPT) & np.isin(places, later)] = "counts equal to an earlier cell's"
    return marked.astype(str)


def split(
    findings: Findings, sources: Mapping[str, Source], space: GeneSpace
) -> tuple[dict[str, Corpus], dict[str, Corpus]]:
    """Part each source into the cells that training may use and those held out."""
    readers = {name: source.reader for name, source in sources.items()}
    study, pools, held = findings.study, {}, {}
    relabelled = tuple(sorted({column for source in sources.values() for column in source.relabelled}))
    for name, source in sources.items():
        cells = source.cells.copy()
        cells.insert(0, "source", name)
        cells.insert(3, "times", 1)
        whole = Corpus(name, cells, readers, space, relabelled=relabelled)
        pools[name] = whole
        if name in study.holdout and not findings.is_at_fault(f"holdout.{name}"):
            with findings.noting(f"holdout.{name}"):
                # The same cells for every seed and corpus, so that scores can be compared.
                mask = study.holdout[name].mask(cells, generator(0, "holdout", name))
                pools[name], held[name] = whole.take(~mask), whole.take(mask)
        elif name not in study.holdout:
            held[name] = whole
    return pools, held


def targets_of(findings: Findings, held: Mapping[str, Corpus]) -> dict[str, Corpus]:
    """Choose the cells of each target."""
    targets = {}
    for name, spec in findings.study.targets.items():
        if spec.source in held and not findings.is_at_fault(findings.of_target(name)):
            with findings.noting(findings.of_target(name)):
                targets[name] = _target(name, spec, held[spec.source])
    return targets


def _target(name: str, spec: TargetSpec, held: Corpus) -> Corpus:
    """Choose a target's cells among those of its source that are for evaluation."""
    if spec.where is None:
        return held.take(np.ones(len(held), bool), name)
    mask = cell_filter.matches(spec.where, held.cells)
    if not mask.any():
        raise InputError(f'where "{spec.where}" matches none of the {len(held):,} evaluation cells of {spec.source!r}')
    return held.take(mask, name)
