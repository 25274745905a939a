"""A cell as a level of expression at each of a fixed list of genes: how scBERT reads one.

Axes in names: B cells of a batch, P positions, G genes of the study.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from corpuscle.corpus.expression.variable_genes import TARGET_SUM
from corpuscle.model.checkpoint import Parts
from corpuscle.model.data.batches import Batch
from corpuscle.model.tokenisers.tokens import Tokeniser, Tokens, known_counts

# From how many counts per 10,000 a level is reached: log2(1 + these) is 1, 2, …, and as published, 5 is the highest.
LEAST = np.array([1.0, 3.0, 7.0, 15.0, 31.0])
# The token of a level that is hidden, and how many tokens there are.
HIDDEN, N_LEVELS = 6, 7


class ExpressionLevels(Tokeniser):
    """Writes a cell as the level of each gene of a list, ⌊log2(1 + counts per 10,000)⌋ up to 5, and a 0 at the end.

    A cell's 10,000 counts are over the list's genes. In a cell with more than 10,000 counts, a single one is below
    level 1, and is as none. Levels are found by whole numbers, where published code takes logarithms of 32-bit floats:
    a value that is exactly 1, 3, 7, 15 or 31 is never rounded to the level below.

    Parameters
    ----------
    token_G
        The position of each gene of the study in the list; -1: none.
    n_listed
        How many genes the list has.

    Examples
    --------
    >>> batch = Batch(torch.tensor([0, 5]), torch.arange(5), torch.tensor([1.0, 2.0, 5.0, 30.0, 962.0]), 5)
    >>> ExpressionLevels(np.arange(1, 6), 6).tokens(batch).ids
    tensor([0, 3, 4, 5, 5, 5, 0])
    """

    n_tokens = N_LEVELS

    def __init__(self, token_G: NDArray[np.int64], n_listed: int) -> None:
        self.token_G, self.n_listed = token_G, n_listed

    @property
    def n_positions(self) -> int:
        """P: the genes of the list, and one position at the end."""
        return self.n_listed + 1

    def tokens(self, batch: Batch, seed: int = 0) -> Tokens:
        """Write cells as tokens, each as many as there are positions; nothing is drawn. See `Tokeniser.tokens`."""
        known = known_counts(batch, self.token_G)
        sums = np.concatenate([[0.0], np.cumsum(known.count_T)])
        total_B = sums[known.starts[1:]] - sums[known.starts[:-1]]
        reached = known.count_T[:, None] * TARGET_SUM >= LEAST * total_B[known.cell_T, None]
        level_BP = np.zeros((len(batch), self.n_positions), np.int64)
        level_BP[known.cell_T, known.token_T] = reached.sum(1)
        starts = torch.arange(len(batch) + 1) * self.n_positions
        return Tokens(starts, torch.from_numpy(level_BP.ravel()), torch.zeros(level_BP.size))

    def parts(self) -> Parts:
        """Return what `of` needs."""
        return {"token_G": self.token_G}, {"n_listed": self.n_listed}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> "ExpressionLevels":
        """Make it again of its `parts`."""
        return cls(arrays["token_G"], facts["n_listed"])
