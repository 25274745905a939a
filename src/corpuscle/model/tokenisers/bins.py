"""Cells as genes with binned counts, in no order: the tokens of scGPT.

Cui et al. 2024, doi 10.1038/s41592-024-02201-0. Axes in names: B cells of a batch, T tokens, G genes of the study.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import Parts
from corpuscle.model.data.batches import Batch, Rows
from corpuscle.model.families.categories import Categories
from corpuscle.model.tokenisers.tokens import (
    Known,
    Tokeniser,
    Tokens,
    as_shares,
    drawn_numbers,
    known_counts,
    put_first,
)

Ties = Literal["random", "middle"]
Truncation = Literal["random", "highest"]
# What numbers are drawn for.
FOR_TIES, FOR_TRUNCATION = 1, 2


@dataclass(frozen=True)
class Binning:
    """How a cell is written as tokens.

    Attributes
    ----------
    cls
        The token in front of each cell's.
    cls_value
        What comes with it.
    n_tokens
        How many different tokens there are.
    n_bins
        How many bins there are, that of zero included.
    max_length
        The most tokens of a cell, the one in front included; where zeros are kept there is no limit.
    ties
        Equal counts may be on several bins' edges at once. ``"random"``: each gets one of these bins, as published;
        ``"middle"``: all get the mean of these bins.
    truncation
        Which genes a cell with more of them keeps: ``"random"`` ones, as published, or those with the ``"highest"``
        counts.
    zeros
        Whether genes without a count are written, too, in bin 0.
    """

    cls: int
    cls_value: float
    n_tokens: int
    n_bins: int
    max_length: int
    ties: Ties = "random"
    truncation: Truncation = "random"
    zeros: bool = False


class Bins(NamedTuple):
    """The lowest and the highest bin that each count may get, shape (T,)."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


def bins_of_cell(count_T: NDArray[np.float64], n_bins: int) -> Bins:
    """Return the bins of one cell's counts, all above 0: 1 to `n_bins` - 1, their edges at quantiles of these counts.

    Examples
    --------
    >>> bins_of_cell(np.array([1.0, 1, 1, 2, 3, 10]), 51)
    Bins(low=array([ 1,  1,  1, 30, 40, 50]), high=array([20, 20, 20, 30, 40, 50]))
    """
    edges = np.quantile(count_T, np.linspace(0, 1, n_bins - 1))
    below, upto = (np.searchsorted(edges, count_T, side) for side in ("left", "right"))
    return Bins(np.minimum(below + 1, upto), upto)


class BinTokeniser(Tokeniser):
    """Writes each gene with a count as its token, with the count's bin as value, behind the cell's own token.

    Parameters
    ----------
    token_G
        The token of each gene of the study; -1 where there is none.
    how
        How cells are written.
    seed
        See `Tokeniser`.
    batches
        The batches that the network was trained on, where it is given each cell's.

    Examples
    --------
    >>> batch = Batch(torch.tensor([0, 2]), torch.tensor([0, 2]), torch.tensor([5.0, 1.0]), 3)
    >>> how = Binning(cls=3, cls_value=-2.0, n_tokens=4, n_bins=51, max_length=1200)
    >>> found = BinTokeniser(np.arange(3), how).tokens(batch)
    >>> found.ids.tolist(), found.values.tolist()
    ([3, 0, 2], [-2.0, 50.0, 1.0])
    """

    def __init__(
        self, token_G: NDArray[np.int64], how: Binning, seed: int = 0, batches: Categories | None = None
    ) -> None:
        self.token_G, self.how, self.n_tokens, self.seed = token_G, how, how.n_tokens, seed
        self.batches = batches
        # The genes of a cell whose zeros are written.
        self._all = np.unique(token_G[token_G >= 0])

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> "BinTokeniser":
        """Make it again of its `parts`."""
        batches = None if facts["batches"] is None else Categories(**facts["batches"])
        return cls(arrays["token_G"], Binning(**facts["binning"]), facts["seed"], batches)

    def parts(self) -> Parts:
        """Return the genes' tokens, and how cells are written."""
        batches = None if self.batches is None else self.batches.spec()
        return {"token_G": self.token_G}, {"binning": asdict(self.how), "seed": self.seed, "batches": batches}

    def covariates(self, cells: Corpus) -> Rows | None:
        """Return the cells' batches, where the network is given them.

        Raises
        ------
        ModelError
            When a cell is of a batch that the network was not trained on.
        """
        return None if self.batches is None else self.batches.known_rows(cells)

    def tokens(self, batch: Batch, seed: int = 0) -> Tokens:
        """Write cells as tokens; see `Tokeniser`."""
        known, seed = known_counts(batch, self.token_G), seed ^ self.seed
        value_T = self._values(known, seed)
        found = self._with_zeros(known, value_T) if self.how.zeros else self._truncated(known, value_T, seed)
        return put_first(replace(found, covariates=batch.covariates), self.how.cls, self.how.cls_value)

    def _values(self, known: Known, seed: int) -> NDArray[np.float64]:
        """Return each count's bin."""
        low, high = (np.zeros(len(known.count_T), np.int64) for _ in range(2))
        for start, stop in pairwise(known.starts.tolist()):
            if stop > start:
                low[start:stop], high[start:stop] = bins_of_cell(known.count_T[start:stop], self.how.n_bins)
        if self.how.ties == "middle":
            return (low + high) / 2.0
        drawn = as_shares(drawn_numbers(known, seed, FOR_TIES))
        return low.astype(np.float64) + np.floor(drawn * (high - low + 1))

    def _truncated(self, known: Known, value_T: NDArray[np.float64], seed: int) -> Tokens:
        """Leave out what is beyond the longest cell."""
        n_kept, length_B = self.how.max_length - 1, np.diff(known.starts)
        if length_B.max(initial=0) <= n_kept:
            return _tokens(known.starts, known.token_T, value_T)
        keys: list[NDArray[Any]] = [drawn_numbers(known, seed, FOR_TRUNCATION), known.cell_T]
        if self.how.truncation == "highest":
            keys.insert(1, -known.count_T)
        rank_T = np.empty(len(value_T), np.int64)
        rank_T[np.lexsort(keys)] = np.arange(len(value_T)) - known.starts[known.cell_T]
        kept_T = rank_T < n_kept
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(length_B, n_kept))])
        return _tokens(starts, known.token_T[kept_T], value_T[kept_T])

    def _with_zeros(self, known: Known, value_T: NDArray[np.float64]) -> Tokens:
        """Write all genes of each cell."""
        n_cells, n_all = len(known.starts) - 1, len(self._all)
        value_BA = np.zeros((n_cells, n_all))
        value_BA[known.cell_T, np.searchsorted(self._all, known.token_T)] = value_T
        return _tokens(np.arange(n_cells + 1) * n_all, np.tile(self._all, n_cells), value_BA.ravel())


def _tokens(starts: NDArray[np.int64], token_T: NDArray[np.int64], value_T: NDArray[np.float64]) -> Tokens:
    return Tokens(torch.from_numpy(starts), torch.from_numpy(token_T), torch.from_numpy(value_T.astype(np.float32)))
