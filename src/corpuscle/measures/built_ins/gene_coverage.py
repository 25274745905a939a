"""Gene coverage: which share of a target's expression lies in genes that a corpus expresses.

Axes in names: G genes.
"""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.measures.summary import EXPRESSED
from corpuscle.measures.table import Book
from corpuscle.measures.view import View

GENE_COVERAGE = Metric(
    "gene_coverage",
    "Gene coverage",
    "Share of the target's expression in genes that the corpus expresses.",
    "higher",
    "share",
)


@component
class GeneCoverage(Measure):
    """Share of a target's expression in genes that the corpus expresses."""

    of = "genes"
    needs_targets = True
    metrics = (GENE_COVERAGE,)

    def measure(self, view: View, book: Book) -> None:
        """Compare mean expression."""
        found = view.profile
        for target in view.study.targets:
            with book.row(GENE_COVERAGE, len(found.use_U), target=target.name) as row:
                row.value = gene_coverage(found.mean_C, target.profile.mean_C)


def gene_coverage(corpus_G: NDArray[np.floating], target_G: NDArray[np.floating]) -> float:
    """Return which share of a target's expression lies in genes that the corpus expresses; 0 to 1, higher is better.

    Σ t_g·[s_g > 1] / Σ t_g, with t and s the mean counts per 10,000 in target and corpus. A plain count of genes ranks
    corpora alike for every target; this does not.

    Raises
    ------
    MeasureError
        When the target expresses nothing, or the two are not of the same genes.

    Examples
    --------
    >>> gene_coverage(np.array([5.0, 0.1, 2.0]), np.array([10.0, 30.0, 0.0]))
    0.25
    """
    if corpus_G.shape != target_G.shape:
        raise MeasureError(f"means are of {len(corpus_G):,} and {len(target_G):,} genes; give both in the same genes")
    total = float(target_G.sum())
    if not total > 0:
        raise MeasureError("the target has no counts in these genes")
    return float(target_G[corpus_G > EXPRESSED].sum() / total)
