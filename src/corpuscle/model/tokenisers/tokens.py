"""Cells as sequences of tokens, of unequal length and without padding: what every model of tokens is fed.

Axes in names: B cells of a batch, T tokens of all of them, G genes of the study.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpuscle.core.randomness import GOLDEN, scrambled
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import Parts
from corpuscle.model.data.batches import Batch, Rows


@dataclass(frozen=True, eq=False, slots=True)
class Tokens:
    """The tokens of a few cells, one cell after the other.

    Attributes
    ----------
    starts
        Where each cell's tokens start and end, int64, shape (B + 1,); on the CPU.
    ids
        Which token, int64, shape (T,).
    values
        What comes with each token, float32, shape (T,): a bin, a count; zeros where a model looks at order alone.
    covariates
        What a model is given with each cell, shape (B, C); None: nothing.

    Examples
    --------
    >>> tokens = Tokens(torch.tensor([0, 2, 2, 3]), torch.tensor([7, 5, 9]), torch.zeros(3))
    >>> len(tokens), tokens.lengths, tokens.part(slice(1, 3)).ids.tolist()
    (3, [2, 0, 1], [9])
    """

    starts: Tensor
    ids: Tensor
    values: Tensor
    covariates: Tensor | None = None

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> list[int]:
        """How many tokens each cell has."""
        lengths: list[int] = self.starts.diff().tolist()
        return lengths

    @property
    def cell_T(self) -> Tensor:
        """Each token's cell, shape (T,), where the tokens are."""
        return torch.repeat_interleave(self.starts.diff(), output_size=len(self.ids)).to(self.ids.device)

    def to(self, device: torch.device) -> "Tokens":
        """Return them on a device; `starts` stays."""
        covariates = self.covariates if self.covariates is None else self.covariates.to(device)
        return Tokens(self.starts, self.ids.to(device), self.values.to(device), covariates)

    def part(self, cells: slice) -> "Tokens":
        """Return those of some neighbouring cells."""
        starts = self.starts[cells.start : cells.stop + 1]
        here = slice(int(starts[0]), int(starts[-1]))
        covariates = self.covariates if self.covariates is None else self.covariates[cells]
        return Tokens(starts - starts[0], self.ids[here], self.values[here], covariates)

    def parts(self, n_tokens: int) -> Iterator["Tokens"]:
        """Yield neighbouring cells with at most so many tokens together, or one cell with more."""
        start = 0
        while start < len(self):
            last = int(torch.searchsorted(self.starts, self.starts[start] + n_tokens, right=True)) - 1
            stop = max(start + 1, last)
            yield self.part(slice(start, stop))
            start = stop


class Tokeniser(ABC):
    """What writes cells as tokens: a function of each cell's counts alone, and of a seed where it draws.

    Attributes
    ----------
    n_tokens
        How many different tokens there are, special ones included.
    token_G
        The token of each gene of the study, int64, shape (G,); -1 where there is none.
    seed
        That of the fit, for what is drawn where cells are embedded; one that draws has it among its `parts`.
    """

    seed: int = 0
    n_tokens: int
    token_G: NDArray[np.int64]

    @abstractmethod
    def tokens(self, batch: Batch, seed: int = 0) -> Tokens:
        """Write cells as tokens; a cell is written the same in every batch. Genes without a token are left out."""

    def covariates(self, cells: Corpus) -> Rows | None:
        """Return what it is given with each cell in addition to its counts; None: nothing."""
        return None

    def notes(self, cells: Corpus) -> list[str]:
        """Return what is to be known of how cells are written, in words; by default, nothing."""
        return []

    @abstractmethod
    def parts(self) -> Parts:
        """Return all that is needed to make it again, as a fitted model is saved: arrays, and plain data."""


class Known(NamedTuple):
    """The nonzero counts of some cells whose genes have a token, sorted by cell, then by token; each token once a cell.

    Attributes
    ----------
    starts
        Where each cell's start and end, int64, shape (B + 1,).
    cell_T, token_T
        Cell and token of each, int64.
    count_T
        Its count, float64; that of several genes with one token is their sum.
    """

    starts: NDArray[np.int64]
    cell_T: NDArray[np.int64]
    token_T: NDArray[np.int64]
    count_T: NDArray[np.float64]


def known_counts(batch: Batch, token_G: NDArray[np.int64]) -> Known:
    """Return the counts of a batch by token.

    Examples
    --------
    >>> batch = Batch(torch.tensor([0, 3, 4]), torch.tensor([0, 1, 2, 1]), torch.tensor([5.0, 1.0, 2.0, 4.0]), 3)
    >>> known = known_counts(batch, np.array([9, -1, 9]))
    >>> known.starts.tolist(), known.token_T.tolist(), known.count_T.tolist()
    ([0, 1, 1], [9], [7.0])
    """
    token = token_G[batch.genes.numpy()]
    cell = np.repeat(np.arange(len(batch)), np.diff(batch.starts.numpy()))
    kept = (token >= 0) & (batch.counts.numpy() != 0)
    cell, token, count = cell[kept], token[kept], batch.counts.numpy()[kept].astype(np.float64)
    place = cell * (token_G.max(initial=0) + 1) + token
    if not (np.diff(place) > 0).all():
        order = np.argsort(place, kind="stable")
        first = np.flatnonzero(np.diff(place[order], prepend=-1))
        cell, token = cell[order][first], token[order][first]
        count = np.add.reduceat(count[order], first) if len(first) else count
    starts = np.searchsorted(cell, np.arange(len(batch) + 1))
    return Known(starts.astype(np.int64), cell, token, count)


def drawn_numbers(known: Known, seed: int, purpose: int) -> NDArray[np.uint64]:
    """Draw 64 bits for each token of a cell: by the seed, the cell's counts and the token alone, shape (T,).

    So a cell is written the same in whatever company and order it comes. Splitmix64 (Steele et al. 2014) of the token,
    at a place that the sum of the cell's scrambled counts gives.

    Parameters
    ----------
    known
        The cells.
    seed, purpose
        Which draw: numbers for another purpose are unrelated.
    """
    token = (known.token_T.astype(np.uint64) + np.uint64(1)) * GOLDEN
    # As 64 bits, a count has a number of its own, be it whole or not.
    mark = scrambled(token ^ scrambled(known.count_T.view(np.uint64) + np.uint64(1)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mark, dtype=np.uint64)])
    cell = sums[known.starts[1:]] - sums[known.starts[:-1]]
    # Arrays, as numbers of numpy would warn where they wrap around.
    key = scrambled(np.array([seed], np.int64).view(np.uint64) + np.array([purpose], np.uint64) * GOLDEN)
    return scrambled(scrambled(cell + key)[known.cell_T] + token)


def as_shares(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return numbers of 64 bits as shares from 0 up to 1, 1 excluded.

    Examples
    --------
    >>> as_shares(np.array([0, 2**63], np.uint64)).tolist()
    [0.0, 0.5]
    """
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def put_first(tokens: Tokens, token: int, value: float = 0.0) -> Tokens:
    """Put one token in front of each cell's.

    Examples
    --------
    >>> put_first(Tokens(torch.tensor([0, 2, 2]), torch.tensor([7, 5]), torch.ones(2)), 1).ids.tolist()
    [1, 7, 5, 1]
    """
    n_cells = len(tokens)
    starts = tokens.starts + torch.arange(n_cells + 1)
    is_new = torch.zeros(len(tokens.ids) + n_cells, dtype=torch.bool)
    is_new[starts[:-1]] = True
    ids, values = torch.full((len(is_new),), token), torch.full((len(is_new),), value)
    ids[~is_new], values[~is_new] = tokens.ids, tokens.values
    return Tokens(starts, ids, values, tokens.covariates)
