"""What the corpora are, as tables: a row a measure, a column a corpus, means over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from corpuscle.report import words
from corpuscle.statistics.intervals import seed_interval


class Kind(NamedTuple):
    """How a measure is shown: which it is, its name, what it says, and at which size of the corpora."""

    measure: str
    name: str
    meaning: str
    size: str = "own"


TYPE_MEASURES = (
    Kind("richness", "number of types", "How many there are; cells without a type are one of them."),
    Kind("shannon_bits", "Shannon entropy, bits", "−Σ p log₂ p."),
    Kind("inverse_simpson", "inverse Simpson", "1 / Σ p²: as many equally frequent types are as diverse."),
    Kind("gini_simpson", "Gini–Simpson", "How likely two cells differ in type."),
    Kind("completeness", "completeness", "Share of the sampled population whose type is in the corpus, estimated."),
)
NUMBER = Kind("inverse_simpson", "effective {}", "1 / Σ p²: as many equally frequent ones are as diverse.")
CELL_MEASURES = (
    Kind("leinster_cobbold", "effective cell types, by likeness", "Leinster–Cobbold on the Cell Ontology.", "equal"),
    Kind("faith", "Cell Ontology edges covered", "Faith's diversity, of the types that are known there.", "equal"),
    Kind(
        "mapped_share", "cells whose type is known there", "Share of cells with a term of the Cell Ontology.", "equal"
    ),
    Kind("vendi", "Vendi score", "Effective number of directions that cells have from the sources' mean.", "equal"),
    Kind("expressed_genes", "expressed genes", "Genes with a mean above 1 count per 10,000."),
    Kind("depth", "counts per cell, median", "In the genes that all sources measured."),
    Kind("complexity", "genes per cell, median", "Those with a count, of the genes that all sources measured."),
)
TARGET_MEASURES = (
    Kind(
        "coverage", "coverage", "Share of its cells with a corpus cell within their 5th neighbour's distance.", "equal"
    ),
    Kind("coverage", "coverage by all its cells", "As coverage, of the corpus at its own size, up to 5,000 cells."),
    Kind("knn_distance", "distance to the 5 nearest", "In principal components; lower is better.", "equal"),
    Kind("recall", "recall", "Share of its cells within the reach of the corpus.", "equal"),
    Kind("density", "density", "How crowded the corpus is where the target is.", "equal"),
    Kind("precision", "precision", "Share of the corpus that lies where the target does.", "equal"),
    Kind("squared_mmd", "squared MMD", "Distance of the two distributions; lower is nearer.", "equal"),
    Kind("classifier_auc", "classifier's AUC", "0.5: no plane can tell the two apart; 1: one always can.", "equal"),
    Kind("gene_coverage", "gene coverage", "Share of its expression in genes that the corpus expresses."),
    Kind("moment_proxy", "moment proxy, R²", "Reconstruction forecast by the corpus' ten main directions."),
)
NOUNS = {"donor": "donors", "tissue": "tissues", "disease": "diseases", "study": "studies", "source": "sources"}


class Shown(NamedTuple):
    """One cell of a table: the mean over seeds, half its interval, and everything in words."""

    value: str
    spread: str
    tip: str


@dataclass(frozen=True)
class MeasureRow:
    """A measure of every corpus."""

    label: str
    meaning: str
    cells: list[Shown]


class Section(NamedTuple):
    """A table of measures, and why values are missing."""

    title: str
    rows: list[MeasureRow]
    notes: list[str]


def sections(
    measures: pd.DataFrame, corpora: Sequence[str], overlaps: Mapping[str, float] | None = None
) -> list[Section]:
    """Lay the measures out: of the labels, of the cells, and against each target.

    Labels that have one value, or none, in all corpora are left out. What needs equal numbers of cells is shown at the
    size of the smallest corpus. Intervals are widened by what draws of two seeds have in common.
    """
    shared = {corpus: (overlaps or {}).get(corpus, 0.0) for corpus in corpora}
    types = _section("Cell types", measures[measures["of"] == "cell_type"], TYPE_MEASURES, shared)
    labels = [
        _section("Other labels", here, [NUMBER._replace(name=NUMBER.name.format(noun))], shared)
        for label, noun in NOUNS.items()
        if _varies(here := measures[measures["of"] == label])
    ]
    rows, notes = [row for found in labels for row in found.rows], [note for found in labels for note in found.notes]
    others = Section("Other labels", rows, notes)
    cells = _section("Cells and genes", measures[measures["target"] == ""], CELL_MEASURES, shared)
    against = [
        _section(f"Against {target}", measures[measures["target"] == target], TARGET_MEASURES, shared)
        for target in measures.loc[measures["target"] != "", "target"].unique()
    ]
    return [section for section in (types, others, cells, *against) if section.rows]


def _varies(here: pd.DataFrame) -> bool:
    """Say whether a corpus has several of a label's values."""
    return bool((here.loc[here["measure"] == "richness", "value"] > 1).any())


def _section(title: str, here: pd.DataFrame, kinds: Sequence[Kind], shared: Mapping[str, float]) -> Section:
    rows, notes = [], []
    for kind in kinds:
        table = here[(here["measure"] == kind.measure) & (here["size"] == kind.size)]
        if table["value"].notna().any():
            cells = [_shown(table[table["corpus"] == corpus], corpus, overlap) for corpus, overlap in shared.items()]
            rows.append(MeasureRow(kind.name, kind.meaning, cells))
        for reason, missing in table[table["value"].isna()].groupby("reason", sort=False):
            notes.append(f"{kind.name} of {', '.join(missing['corpus'].unique())}: {reason}")
    return Section(title, rows, notes)


def _shown(here: pd.DataFrame, corpus: str, overlap: float) -> Shown:
    """Write a measure of one corpus: its mean over seeds, and the interval of that."""
    mean, low, high, n_seeds = seed_interval(here["value"].to_numpy(float), overlap=overlap)
    if not n_seeds:
        return Shown("n/a", "", "; ".join(here["reason"].unique()) or "not measured")
    parts = [f"{corpus}: {words.number(mean, 4)}, {words.plural(n_seeds, 'seed')}"]
    parts.append(f"of {words.plural(int(here['n_cells'].median()), 'cell')}")
    donors = here.dropna(subset=["low"])
    if len(donors):
        first = donors.iloc[0]
        ends = f"{words.number(first['low'], 4)} to {words.number(first['high'], 4)}"
        parts.append(f"95 % interval over donors, seed {first['seed']}: {ends}")
    value = f"{mean:,.0f}" if mean == round(mean) else words.number(mean)
    return Shown(value, words.spread((high - low) / 2, beside=mean), "; ".join(parts))
