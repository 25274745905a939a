"""The network of the masked autoencoder: it is shown some of a cell's genes and predicts the others.

Axes in names: B cells of a batch, G genes, H hidden units, K latents; "nz" runs over a batch's nonzero counts.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.corpus.expression.variable_genes import TARGET_SUM
from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn.count_modules import SparseLinear
from corpuscle.model.nn.layers import Linear, dropout
from corpuscle.model.training.budget import Moment


class Masked(NamedTuple):
    """A batch of counts per 10,000, and which of its genes are hidden from the encoder.

    Attributes
    ----------
    batch
        Counts per 10,000.
    hidden_BG
        True where the encoder does not see the gene, shape (B, G).
    """

    batch: Batch | DenseBatch
    hidden_BG: Tensor

    def shown(self) -> Batch | DenseBatch:
        """Return the batch as the encoder sees it."""
        if isinstance(self.batch, DenseBatch):
            return with_counts(self.batch, self.batch.counts * ~self.hidden_BG)
        places = cell_of_nonzeros(self.batch), self.batch.genes
        return with_counts(self.batch, self.batch.counts * ~self.hidden_BG[places])

    def logged_BG(self) -> Tensor:
        """Return log1p counts per 10,000 of all genes, dense."""
        if isinstance(self.batch, DenseBatch):
            return self.batch.counts.log1p()
        logged_BG = torch.zeros(self.hidden_BG.shape)
        logged_BG[cell_of_nonzeros(self.batch), self.batch.genes] = self.batch.counts.log1p()
        return logged_BG


def cell_of_nonzeros(batch: Batch) -> Tensor:
    """Return the cell of each nonzero count, shape (nz,)."""
    return torch.repeat_interleave(torch.arange(len(batch)), batch.starts.diff())


def with_counts(batch: Batch | DenseBatch, counts: Tensor) -> Batch | DenseBatch:
    """Return a batch with other counts in the same places."""
    if isinstance(batch, DenseBatch):
        return DenseBatch(counts, batch.unmeasured)
    return Batch(batch.starts, batch.genes, counts, batch.n_genes, batch.unmeasured)


def scaled(batch: Batch | DenseBatch) -> Batch | DenseBatch:
    """Scale each cell's counts to a sum of 10,000; a cell without counts stays zero."""
    if isinstance(batch, DenseBatch):
        return with_counts(batch, (batch.counts * _scale(batch.counts.double().sum(1))[:, None]).float())
    cell_nz = cell_of_nonzeros(batch)
    total_B = torch.zeros(len(batch), dtype=torch.float64).index_add_(0, cell_nz, batch.counts.double())
    return with_counts(batch, (batch.counts * _scale(total_B)[cell_nz]).float())


def _scale(total_B: Tensor) -> Tensor:
    return torch.where(total_B > 0, TARGET_SUM / total_B, 0.0)


class MaskedNetwork(nn.Module):
    """A stack of linear layers to a narrow one, and its mirror image back to all genes; SELU and dropout between.

    Parameters
    ----------
    n_genes
        How many genes there are.
    widths
        Units of the encoder's layers; the last are the latents.
    dropout
        Share of hidden units dropped in training.
    mask_share
        Share of the genes that is hidden.
    init
        Draws the weights.
    """

    def __init__(
        self, n_genes: int, widths: Sequence[int], *, dropout: float, mask_share: float, init: torch.Generator
    ) -> None:
        super().__init__()
        self.dropout, self.mask_share = dropout, mask_share
        self.first = SparseLinear(n_genes, widths[0], init)
        self.encoder = nn.ModuleList(Linear(*sizes, init) for sizes in pairwise(widths))
        self.decoder = nn.ModuleList(Linear(*sizes, init) for sizes in pairwise([*reversed(widths), n_genes]))

    def encode(self, batch: Batch | DenseBatch, noise: torch.Generator | None = None) -> Tensor:
        """Return the latents of whole cells, shape (B, K); with a generator, dropping units out."""
        return self._encoded(self.first(scaled(batch)), noise)

    def loss(
        self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised, a mean over cells, and its sum over the batch; the same at any moment."""
        error_B = self._masked_error(batch, noise, noise)
        return error_B.mean(), {"masked_error": error_B.detach().sum()}

    @torch.no_grad()
    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return each cell's error, shape (B,), with fresh masks and nothing dropped out."""
        return {"masked_error": self._masked_error(batch, noise, None)}

    def masked(self, batch: Batch | DenseBatch, noise: torch.Generator) -> Masked:
        """Hide a random share of each cell's genes; genes that its source did not measure are not among them."""
        n_genes = len(self.first.weight)
        hidden_BG = torch.rand((len(batch), n_genes), generator=noise, device=noise.device) < self.mask_share
        if batch.unmeasured is not None:
            hidden_BG &= ~batch.unmeasured
        return Masked(scaled(batch), hidden_BG)

    def _masked_error(self, batch: Batch | DenseBatch, masks: torch.Generator, noise: torch.Generator | None) -> Tensor:
        """Return each cell's mean squared error over the genes that were hidden, shape (B,)."""
        masked = self.masked(batch, masks)
        # What is shown is scaled up, as in dropout, so that a whole cell gives as much as a masked one.
        bias_H = self.first.bias
        first_BH = bias_H + (self.first(masked.shown()) - bias_H) / (1 - self.mask_share)
        error_BG = (self._decoded(self._encoded(first_BH, noise), noise) - masked.logged_BG()).square()
        return (error_BG * masked.hidden_BG).sum(1) / masked.hidden_BG.sum(1).clamp(min=1)

    def _encoded(self, hidden: Tensor, noise: torch.Generator | None) -> Tensor:
        for layer in self.encoder:
            hidden = layer(dropout(functional.selu(hidden), self.dropout, noise))
        return hidden

    def _decoded(self, latent_BK: Tensor, noise: torch.Generator | None) -> Tensor:
        first, *deeper = self.decoder
        hidden: Tensor = first(latent_BK)
        for layer in deeper:
            hidden = layer(dropout(functional.selu(hidden), self.dropout, noise))
        return hidden
