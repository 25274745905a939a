"""Diversity of labels, by name: how many there are, how evenly cells are spread over them, how many are not seen.

Axes in names: L labels, D donors, R draws.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.measures import diversity
from corpuscle.measures.composition import Composition, composition
from corpuscle.measures.donor_bootstrap import interval
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book, Drawn, attempt, demand
from corpuscle.measures.view import View

# What is counted, and what the titles of its rows call it in place of labels.
LABELS = {
    "cell_type": "cell types", "donor": "donors", "tissue": "tissues", "disease": "diseases", "study": "studies",
    "source": "sources",
}  # fmt: skip
ORDERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, math.inf)
CURVE_POINTS = 24
HILL = (
    "Hill numbers of {0}, their effective number: of order 0 each counts, the higher the order the more only frequent "
    "ones do."
)

RICHNESS = Metric(
    "richness", "Number of labels", "How many there are; cells without one are a group.", "none", "positive"
)
BITS = Metric("shannon_bits", "Shannon entropy of labels, bits", "−Σ p log₂ p.", "none", "positive")
NATS = Metric("shannon_nats", "Shannon entropy of labels, nats", "−Σ p ln p.", "none", "positive")
INVERSE_SIMPSON = Metric(
    "inverse_simpson",
    "Effective labels",
    "Inverse Simpson, 1 / Σ p²: so many of equal frequency are as diverse.",
    "none",
    "positive",
)
GINI_SIMPSON = Metric(
    "gini_simpson", "Gini–Simpson index of labels", "1 − Σ p²: how likely two cells differ.", "none", "share"
)
COMPLETENESS = Metric(
    "completeness",
    "Completeness of labels",
    "Estimated share of the sampled population whose label is there.",
    "none",
    "share",
)
CHAO1 = Metric(
    "chao1", "Number of labels there are, at least", "In the sampled population, estimated.", "none", "positive"
)
DONOR_COMPLETENESS = Metric(
    "donor_completeness",
    "Completeness of labels over donors",
    "Share of (donor, label) pairs that was sampled.",
    "none",
    "share",
)


class Index(NamedTuple):
    """A metric of stacks of counts; of a draw of fewer cells it follows from their Hill number of an order."""

    metric: Metric
    of: Callable[[Any], NDArray[np.float64]]
    order: int
    from_hill: Callable[[float], float]


INDICES = (
    Index(RICHNESS, lambda counts_L: diversity.hill(counts_L, 0), 0, float),
    Index(BITS, lambda counts_L: diversity.shannon(counts_L, base=2), 1, np.log2),
    Index(NATS, diversity.shannon, 1, np.log),
    Index(INVERSE_SIMPSON, diversity.inverse_simpson, 2, float),
    Index(GINI_SIMPSON, diversity.gini_simpson, 2, lambda hill: 1 - 1 / hill),
)


@component
class LabelDiversity(Measure):
    """How diverse a corpus' labels are, by name: of all cells, and of as many as the smallest corpus has.

    No counts are read, so that no cell is left out, however many there are.
    """

    of = "cell_type"
    metrics = (*(index.metric for index in INDICES), COMPLETENESS, CHAO1, DONOR_COMPLETENESS)

    def measure(self, view: View, book: Book) -> None:
        """Measure each label, with intervals over donors."""
        for label in LABELS:
            found = attempt(partial(view.composition, label))
            _add_indices(book, view, label, found)
            for metric, of in ((COMPLETENESS, diversity.completeness), (CHAO1, diversity.chao1)):
                shown = label == "cell_type" and metric is COMPLETENESS
                with book.row(_titled(metric, label), view.corpus.n_cells, of=label, headline=shown) as row:
                    row.value = of(demand(found).cells_L)
            if not isinstance(found, MeasureError):
                _add_curves(book, label, found)
        with book.row(_titled(DONOR_COMPLETENESS, "cell_type"), view.corpus.n_cells, headline=False) as row:
            row.value = diversity.donor_completeness(_types_of_donors(view.corpus).cells_DL)


def _titled(metric: Metric, label: str) -> Metric:
    return replace(metric, title=metric.title.replace("labels", LABELS[label]))


def _add_indices(book: Book, view: View, label: str, found: Composition | MeasureError) -> None:
    """Add a row for each index of all cells, and one of fewer; reports show those of all, and few of other labels."""
    several = not isinstance(found, MeasureError) and len(found.labels) > 1
    for metric, of, order, from_hill in INDICES:
        shown = metric is not NATS if label == "cell_type" else metric is INVERSE_SIMPSON and several
        with book.row(_titled(metric, label), view.corpus.n_cells, of=label, headline=shown) as row:
            row.value = float(of(demand(found).cells_L))
            if label == "donor":
                raise MeasureError("interval: donors are what is counted")
            row.low, row.high = interval(row.value, of(view.donors.draws_RD @ demand(found).cells_DL))
        with book.row(_titled(metric, label), view.study.n_equal, of=label, size="equal", headline=False) as row:
            row.value = float(from_hill(diversity.rarefied_hill(demand(found).cells_L, view.study.n_equal, order)))


def _add_curves(book: Book, label: str, found: Composition) -> None:
    drawn = Drawn(f"Hill profile of {LABELS[label]}", HILL.format(LABELS[label]), "order")
    book.curve("hill", ORDERS, diversity.hill_profile(found.cells_L, ORDERS).tolist(), of=label, drawn=drawn)
    sizes = np.unique(np.geomspace(1, found.cells_L.sum(), CURVE_POINTS).round().astype(np.int64))
    book.curve("rarefaction", sizes.tolist(), diversity.rarefied_richness(found.cells_L, sizes).tolist(), of=label)


def _types_of_donors(corpus: Corpus) -> Composition:
    """Count the types of each donor among cells of which both are known."""
    label_N, donor_N = corpus.labels("cell_type"), corpus.labels("donor")
    known = (label_N != "") & (donor_N != "")
    if not known.any():
        raise MeasureError("no cell has both a cell type and a donor")
    donors = np.unique(donor_N[known], return_inverse=True)[1]
    return composition(label_N[known], None, donors)
