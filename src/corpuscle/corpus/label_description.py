"""Label description: how diverse a corpus' labels are, by name and on the Cell Ontology.

No counts are read: all cells have a say, however many. Axes in names: N cells, U uses of cells, L labels, D donors,
R draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.book import Book, attempt, demand
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.donors import draw_donors, interval
from corpuscle.corpus.measures import diversity
from corpuscle.corpus.measures.composition import Composition, composition
from corpuscle.corpus.measures.ontology import Match, Ontology, faith, leinster_cobbold, similarity

LABELS = ("cell_type", "donor", "tissue", "disease", "study", "source")
# Where a corpus has this column (CELLxGENE's schema has), it says which term a cell's type is.
TERM_COLUMN = "cell_type_ontology_term_id"
ORDERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, np.inf)
CURVE_POINTS = 24

# Each takes a whole stack of counts.
DIVERSITIES: Mapping[str, Callable[[Any], NDArray[np.float64]]] = {
    "richness": lambda counts_L: diversity.hill(counts_L, 0),
    "shannon_bits": lambda counts_L: diversity.shannon(counts_L, base=2),
    "shannon_nats": diversity.shannon,
    "inverse_simpson": diversity.inverse_simpson,
    "gini_simpson": diversity.gini_simpson,
}
# The same of a draw of fewer cells, from its Hill number of an order.
RAREFIED: Mapping[str, tuple[int, Callable[[float], float]]] = {
    "richness": (0, float),
    "shannon_bits": (1, np.log2),
    "shannon_nats": (1, np.log),
    "inverse_simpson": (2, float),
    "gini_simpson": (2, lambda hill: 1 - 1 / hill),
}
WHOLE: Mapping[str, Callable[[Any], float]] = {"completeness": diversity.completeness, "chao1": diversity.chao1}


def describe_labels(book: Book, corpus: Corpus, n_equal: int, rng: np.random.Generator) -> None:
    """Add the diversity of each label: of all cells, and of as many as the smallest corpus has."""
    times_N = corpus.cells["times"].to_numpy(np.int64)
    donors = attempt(lambda: draw_donors(corpus.cells["source"].to_numpy(str), corpus.labels("donor"), rng))
    group_N = None if isinstance(donors, MeasureError) else donors.code_N
    for label in LABELS:
        label_N = corpus.labels(label)
        found = attempt(lambda label_N=label_N: composition(label_N, times_N, group_N))  # type: ignore[misc]
        over = MeasureError("interval: donors are what is counted") if label == "donor" else donors
        for name, of in DIVERSITIES.items():
            with book.row(name, label, corpus.n_cells) as row:
                row["value"] = float(of(demand(found).cells_L))
                row["low"], row["high"] = interval(row["value"], of(demand(over).draws_RD @ demand(found).cells_DL))
        _describe_rarefied(book, label, found, n_equal)
        for name, of_whole in WHOLE.items():
            with book.row(name, label, corpus.n_cells) as row:
                row["value"] = of_whole(demand(found).cells_L)
        if not isinstance(found, MeasureError):
            _draw_curves(book, label, found)
    with book.row("donor_completeness", "cell_type", corpus.n_cells) as row:
        row["value"] = _donor_completeness(corpus)


def _describe_rarefied(book: Book, label: str, found: Composition | MeasureError, n_equal: int) -> None:
    hills = {}
    if not isinstance(found, MeasureError):
        hills = {order: diversity.rarefied_hill(found.cells_L, n_equal, order) for order in (0, 1, 2)}
    for name, (order, of) in RAREFIED.items():
        with book.row(name, label, n_equal, size="equal") as row:
            demand(found)
            row["value"] = float(of(hills[order]))


def _draw_curves(book: Book, label: str, found: Composition) -> None:
    book.curve("hill", label, ORDERS, diversity.hill_profile(found.cells_L, ORDERS).tolist())
    sizes = np.unique(np.geomspace(1, found.cells_L.sum(), CURVE_POINTS).round().astype(np.int64))
    book.curve("rarefaction", label, sizes.tolist(), diversity.rarefied_richness(found.cells_L, sizes).tolist())


def _donor_completeness(corpus: Corpus) -> float:
    """Estimate completeness over known donors and labels."""
    label_N, donor_N = corpus.labels("cell_type"), corpus.labels("donor")
    known = (label_N != "") & (donor_N != "")
    if not known.any():
        raise MeasureError("no cell has both a cell type and a donor")
    donors = np.unique(donor_N[known], return_inverse=True)[1]
    return diversity.donor_completeness(composition(label_N[known], None, donors).cells_DL)


def type_labels(corpus: Corpus) -> NDArray[np.str_]:
    """Return what says each cell's type: its term where the corpus has one, else its label."""
    label_N, term_N = corpus.labels("cell_type"), corpus.labels(TERM_COLUMN)
    return np.where(term_N == "", label_N, term_N)


@dataclass(frozen=True, eq=False)
class CellTypes:
    """What cell types mean.

    Attributes
    ----------
    ontology
        Where they are looked up; an error where it is not installed.
    matches
        By label, the term that it was taken for; None where that is not known.
    """

    ontology: Ontology | MeasureError
    matches: Mapping[str, Match | None]


def describe_types(book: Book, corpus: Corpus, types: CellTypes, n_equal: int, rng: np.random.Generator) -> None:
    """Add diversity on the Cell Ontology: of the cells whose type is known there; their share is a row, too."""
    use_U = np.repeat(np.arange(len(corpus)), corpus.cells["times"].to_numpy(np.int64))
    labels, code_N = np.unique(type_labels(corpus), return_inverse=True)
    matches = [types.matches[label] for label in labels.tolist()]
    term_N = np.array([match.term if match else "" for match in matches])[code_N]
    for size, at_U in (("own", use_U), ("equal", rng.choice(use_U, n_equal, replace=False))):
        term_U = term_N[at_U][term_N[at_U] != ""]
        terms, counts_L = np.unique(term_U, return_counts=True)
        with book.row("mapped_share", "cell_ontology", len(at_U), size=size) as row:
            demand(types.ontology)
            row["value"] = len(term_U) / len(at_U)
        with book.row("leinster_cobbold", "cell_ontology", len(term_U), size=size) as row:
            ontology = _looked_up(types, terms)
            row["value"] = leinster_cobbold(counts_L, similarity(terms.tolist(), ontology))
        with book.row("faith", "cell_ontology", len(term_U), size=size) as row:
            row["value"] = faith(terms.tolist(), _looked_up(types, terms))


def _looked_up(types: CellTypes, terms: NDArray[np.str_]) -> Ontology:
    ontology = demand(types.ontology)
    if not len(terms):
        raise MeasureError("no cell type is known in the Cell Ontology; name their terms under [cell_types]")
    return ontology
