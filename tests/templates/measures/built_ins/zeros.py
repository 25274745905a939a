"""Zeros: how much of a corpus' table of counts is empty."""

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book
from corpuscle.measures.view import View

ZEROS = Metric("zeros", "Share of zeros", "Share of cell-gene pairs without a count.", scale="share")


@component
class Zeros(Measure):
    """Count the pairs of cell and gene that were not counted once."""

    of = "genes"
    metrics = (ZEROS,)

    def measure(self, view: View, book: Book) -> None:
        """Count them; see `Measure.measure`."""
        with book.row(ZEROS, view.corpus.n_cells) as row:
            n_counted = sum(counts_NG.nnz for _, counts_NG in view.corpus.blocks())
            row.value = 1 - n_counted / (len(view.corpus) * view.corpus.n_genes)
