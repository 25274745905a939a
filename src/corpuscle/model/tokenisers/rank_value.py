"""A cell as its genes in order of how far their counts are above what is usual for them: Geneformer's tokens.

Theodoris et al. 2023, doi 10.1038/s41586-023-06139-9. Axes in names: G genes of the study, V tokens.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import Parts
from corpuscle.model.data.batches import Batch
from corpuscle.model.tokenisers.tokens import Tokeniser, Tokens, known_counts

# What counts are carried to before they are divided by the gene's median.
TOTAL = 10_000
# Medians are found in bins of equal width on a logarithmic scale from the first number to the last, then in bins of
# the bin that they are in: to within a ten-thousandth, whatever the corpus' size, in two passes.
LOWEST, HIGHEST = 1e-3, 1e5
BINS, FINER_BINS = 1024, 256


class Marks(NamedTuple):
    """The tokens that stand for no gene.

    Attributes
    ----------
    pad, mask
        Of padding (never used here) and of what is hidden.
    first, last
        What a cell begins and ends with; -1: nothing.
    """

    pad: int = 0
    mask: int = 1
    first: int = -1
    last: int = -1


class RankValue(Tokeniser):
    """Writes a cell as the tokens of its genes with counts, by falling count per 10,000 over the gene's median.

    Genes of equal value stand in the order of their tokens. The order does not depend on the cell's total.

    Parameters
    ----------
    token_G
        The token of each gene of the study; -1: none.
    median_V
        The median of each token's gene over cells that have counts of it, per 10,000; NaN for tokens of no gene.
    longest
        The most tokens of a cell, marks included; genes of lower rank are left out.
    marks
        Tokens of no gene.
    """

    def __init__(
        self,
        token_G: NDArray[np.int64],
        median_V: NDArray[np.float64],
        longest: int,
        marks: Marks = Marks(),  # noqa: B008
    ) -> None:
        self.token_G, self.median_V, self.longest, self.marks = token_G, median_V, longest, marks
        self.n_tokens = len(median_V)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Make it again from `parts`."""
        return cls(arrays["token_G"], arrays["median_V"], facts["longest"], Marks(*facts["marks"]))

    def parts(self) -> Parts:
        """Return all that it depends on."""
        arrays = {"token_G": self.token_G, "median_V": self.median_V}
        return arrays, {"longest": self.longest, "marks": [*self.marks]}

    def tokens(self, batch: Batch, seed: int = 0) -> Tokens:
        """Write cells as tokens; nothing is drawn."""
        known = known_counts(batch, self.token_G)
        total_B = batch.totals.double().numpy()
        # In the order of operations of the published code.
        value_T = known.count_T / total_B[known.cell_T] * TOTAL / self.median_V[known.token_T]
        # Stable: what is equal stays in the order of tokens.
        order = np.lexsort((-value_T, known.cell_T))
        place_T = np.arange(len(order)) - known.starts[known.cell_T]
        n_marks = (self.marks.first >= 0) + (self.marks.last >= 0)
        ids = known.token_T[order][place_T < self.longest - n_marks]
        lengths = np.minimum(np.diff(known.starts), self.longest - n_marks)
        return self._marked(ids, lengths)

    def _marked(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tokens:
        """Put the marks around each cell's tokens."""
        has_first, has_last = self.marks.first >= 0, self.marks.last >= 0
        starts = np.concatenate([[0], np.cumsum(lengths + has_first + has_last)])
        whole = np.empty(starts[-1], np.int64)
        is_gene = np.ones(len(whole), bool)
        if has_first:
            whole[starts[:-1]], is_gene[starts[:-1]] = self.marks.first, False
        if has_last:
            whole[starts[1:] - 1], is_gene[starts[1:] - 1] = self.marks.last, False
        whole[is_gene] = ids
        return Tokens(torch.from_numpy(starts), torch.from_numpy(whole), torch.zeros(len(whole)))


def gene_medians(corpus: Corpus) -> NDArray[np.float64]:
    """Return the median of each gene's counts per 10,000 over the cells that have any, shape (G,); NaN where none has.

    A cell counts as often as training uses it. The corpus is read twice, a block at a time; a median is exact to
    within a ten-thousandth of itself.

    """
    n_genes = corpus.n_genes
    span = np.log(HIGHEST / LOWEST)
    counts_GX = np.zeros((n_genes, BINS), np.int64)
    for gene, log_value, times in _values(corpus):
        np.add.at(counts_GX, (gene, _bin(log_value, span, BINS)), times)
    n_G = counts_GX.sum(axis=1)
    # Of an even number of values, the mean of the two in the middle.
    found = np.zeros((2, n_genes))
    ranks = np.stack([(n_G - 1) // 2, n_G // 2])
    cumulated_GX = counts_GX.cumsum(axis=1)
    bins = np.stack([(cumulated_GX <= rank[:, None]).sum(axis=1) for rank in ranks]).clip(max=BINS - 1)
    before = np.stack([cumulated_GX[np.arange(n_genes), each] - counts_GX[np.arange(n_genes), each] for each in bins])
    finer = np.zeros((2, n_genes, FINER_BINS), np.int64)
    for gene, log_value, times in _values(corpus):
        at = _bin(log_value, span, BINS)
        inside = log_value - at * (span / BINS)
        for which in range(2):
            here = at == bins[which][gene]
            place = _bin(inside[here], span / BINS, FINER_BINS)
            np.add.at(finer[which], (gene[here], place), times[here])
    for which in range(2):
        rank = ranks[which] - before[which]
        place = (finer[which].cumsum(axis=1) <= rank[:, None]).sum(axis=1).clip(max=FINER_BINS - 1)
        width = span / BINS
        found[which] = LOWEST * np.exp(bins[which] * width + (place + 0.5) * (width / FINER_BINS))
    return np.where(n_G > 0, found.mean(axis=0), np.nan)


def _values(corpus: Corpus) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]]:
    """Yield gene, log of the count per 10,000 over `LOWEST`, and weight, of the nonzeros of a block at a time."""
    times_N = corpus.cells["times"].to_numpy(np.int64)
    for rows, counts_BG in corpus.blocks():
        total_B = np.asarray(counts_BG.sum(axis=1, dtype=np.float64)).ravel()
        cell = np.repeat(np.arange(counts_BG.shape[0]), np.diff(counts_BG.indptr))
        kept = counts_BG.data != 0
        cell, gene, count = cell[kept], counts_BG.indices[kept], counts_BG.data[kept].astype(np.float64)
        yield gene, np.log(count / total_B[cell] * (TOTAL / LOWEST)), times_N[rows][cell]


def _bin(log_value: NDArray[np.float64], span: float, n_bins: int) -> NDArray[np.int64]:
    return (log_value * (n_bins / span)).astype(np.int64).clip(0, n_bins - 1)
