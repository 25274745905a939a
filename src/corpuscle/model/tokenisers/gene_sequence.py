"""A cell as the sequence of its genes, with their counts: how TranscriptFormer reads one.

Axes in names: B cells of a batch, T tokens of all of them, G genes of the study.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import Parts
from corpuscle.model.data.batches import Batch, Rows
from corpuscle.model.tokenisers.tokens import Tokeniser, Tokens, drawn_numbers, known_counts

# Larger counts are as this one, as published.
MOST_COUNTS = 30.0
_FACTS = ("n_names", "start", "end", "assays", "longest")
# What the order of the genes is drawn for: see `drawn_numbers`.
ORDER = 1


class GeneSequence(Tokeniser):
    """Writes a cell as its assay (where it is known), START and its genes with counts, in the vocabulary's order.

    Published code reads genes in a file's order, so that embeddings depend on it; here the order is the same for all
    files. In training, the order (and so which genes a long cell is left with) is drawn for each cell and step.

    Parameters
    ----------
    token_G
        The token of each gene of the study; -1: none.
    n_names
        How many tokens there are, special ones included and assays not.
    start, end
        The special tokens in front of the genes, and after them.
    assays
        The assays, of which the first stands for all that are unknown. Their tokens follow those of the genes.
    longest
        The most genes of a cell; those that follow are left out.

    Examples
    --------
    >>> batch = Batch(torch.tensor([0, 3]), torch.tensor([0, 1, 2]), torch.tensor([3.0, 120.0, 1.0]), 3)
    >>> tokeniser = GeneSequence(np.array([9, 7, -1]), 10, start=2, end=3, assays=["unknown"], longest=100)
    >>> tokens = tokeniser.tokens(batch)
    >>> tokens.ids.tolist(), tokens.values.tolist()
    ([2, 7, 9], [1.0, 30.0, 3.0])
    """

    def __init__(
        self, token_G: NDArray[np.int64], n_names: int, *, start: int, end: int, assays: Sequence[str], longest: int
    ) -> None:
        self.token_G, self.n_names, self.start, self.end = token_G, n_names, start, end
        self.assays, self.longest = tuple(assays), longest
        self.n_tokens = n_names + len(self.assays)

    def tokens(self, batch: Batch, seed: int = 0) -> Tokens:
        """Write cells as tokens, in an order drawn by the seed; by 0, in the vocabulary's. See `Tokeniser.tokens`.

        The batch has the number of each cell's assay as its covariate; without one, no assay is known.
        """
        known = known_counts(batch, self.token_G)
        token_T, count_T, cell_T = known.token_T, known.count_T, known.cell_T
        if seed:
            order = np.lexsort([drawn_numbers(known, seed, ORDER), cell_T])
            token_T, count_T = token_T[order], count_T[order]
        is_read_T = np.arange(len(cell_T)) - known.starts[cell_T] < self.longest
        n_genes_B = np.minimum(np.diff(known.starts), self.longest)
        assay_B = self._assays(batch)
        starts = np.concatenate([[0], np.cumsum((assay_B > 0) + 1 + n_genes_B)])
        ids, values = np.empty(starts[-1], np.int64), np.ones(starts[-1], np.float32)
        is_gene = np.ones(len(ids), bool)
        is_gene[starts[1:] - n_genes_B - 1] = False
        ids[starts[1:] - n_genes_B - 1] = self.start
        has_assay = assay_B > 0
        is_gene[starts[:-1][has_assay]] = False
        ids[starts[:-1][has_assay]] = self.n_names + assay_B[has_assay]
        ids[is_gene] = token_T[is_read_T]
        values[is_gene] = np.minimum(count_T[is_read_T], MOST_COUNTS)
        return Tokens(torch.from_numpy(starts), torch.from_numpy(ids), torch.from_numpy(values))

    def covariates(self, cells: Corpus) -> Rows | None:
        """Return the number of each cell's assay among `assays`; None where it is never known."""
        code_N = self._codes(cells)
        return Rows(np.arange(len(self.assays), dtype=np.float32)[:, None], code_N) if code_N.any() else None

    def notes(self, cells: Corpus) -> list[str]:
        """Return how many cells have no assay that the model knows, and which those are."""
        unknown_N = self._codes(cells) == 0
        if not unknown_N.any():
            return []
        labels = sorted(set(cells.labels("assay")[unknown_N].tolist()) - {"", *self.assays[:1]})
        which = f": it does not know {shortened(', '.join(labels))}" if labels else ""
        return [f"{int(unknown_N.sum()):,} of {len(cells):,} cells are read without their assay{which}"]

    def _codes(self, cells: Corpus) -> NDArray[np.int64]:
        number = {assay: at for at, assay in enumerate(self.assays)}
        return np.array([number.get(label, 0) for label in cells.labels("assay").tolist()], np.int64)

    def parts(self) -> Parts:
        """Return what `of` needs."""
        return {"token_G": self.token_G}, {"sequence": {name: getattr(self, name) for name in _FACTS}}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> "GeneSequence":
        """Make it again of its `parts`."""
        return cls(arrays["token_G"], **facts["sequence"])

    def _assays(self, batch: Batch) -> NDArray[np.int64]:
        if batch.covariates is None:
            return np.zeros(len(batch), np.int64)
        return batch.covariates[:, 0].numpy().astype(np.int64)
