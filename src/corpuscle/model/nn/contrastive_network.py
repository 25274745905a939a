"""The network of the contrastive model: cells to the unit sphere, where triplets pull and push them, and back to genes.

Axes in names: B cells of a batch, G genes, H hidden units, K latents, L labels.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn.count_modules import SparseLinear
from corpuscle.model.nn.layers import Linear, dropout
from corpuscle.model.nn.masked_network import scaled, with_counts
from corpuscle.model.nn.triplets import pairs, triplet_loss
from corpuscle.model.training.budget import Moment

# As torch's BatchNorm1d has them.
NORM_EPS, NORM_MOMENTUM = 1e-5, 0.1


class NormPrelu(nn.Module):
    """Batch-norm with scale and shift, then PReLU.

    Attributes
    ----------
    scale, shift
        Learned, shape (H,).
    slope
        Of the PReLU, learned, shape (1,).
    running_mean, running_variance
        What normalises in evaluation, and where a batch is one cell, shape (H,).
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(n_units)), nn.Parameter(torch.zeros(n_units))
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.register_buffer("running_mean", torch.zeros(n_units))
        self.register_buffer("running_variance", torch.ones(n_units))

    def forward(self, x_BH: Tensor) -> Tensor:
        """Return what follows, shape (B, H)."""
        normed_BH = functional.batch_norm(
            x_BH,
            self.running_mean,
            self.running_variance,
            self.scale,
            self.shift,
            training=self.training and len(x_BH) > 1,
            momentum=NORM_MOMENTUM,
            eps=NORM_EPS,
        )
        return functional.prelu(normed_BH, self.slope)


class Losses(NamedTuple):
    """What a batch is scored by: the mean loss of its triplets, and each cell's reconstruction error, shape (B,)."""

    triplet: Tensor
    error_B: Tensor


class ContrastiveNetwork(nn.Module):
    """Linear layers to the unit sphere, and their mirror image back to all genes; batch-norm, PReLU, dropout between.

    A batch's covariates are the codes of each cell's type and group; see `pairs`.

    Parameters
    ----------
    n_genes
        How many genes there are.
    widths
        Units of the encoder's hidden layers.
    n_latent
        Numbers of a cell's embedding.
    dropout, input_dropout
        Share of hidden units, and of a cell's genes, dropped in training.
    margin, triplet_weight
        By how much further cells of other types should lie, and the weight of that; the reconstruction has the rest.
    ambiguous_LL
        Which types may be one; see `pairs`.
    init
        Draws the weights.
    """

    ambiguous_LL: Tensor

    def __init__(  # noqa: PLR0913  # its settings
        self,
        n_genes: int,
        widths: Sequence[int],
        n_latent: int,
        *,
        dropout: float,
        input_dropout: float,
        margin: float,
        triplet_weight: float,
        ambiguous_LL: Tensor,
        init: torch.Generator,
    ) -> None:
        super().__init__()
        self.dropout, self.input_dropout = dropout, input_dropout
        self.margin, self.triplet_weight = margin, triplet_weight
        self.register_buffer("ambiguous_LL", ambiguous_LL, persistent=False)
        self.first = SparseLinear(n_genes, widths[0], init)
        self.encoder = nn.ModuleList(Linear(*sizes, init) for sizes in pairwise([*widths, n_latent]))
        self.encoder_norms = nn.ModuleList(map(NormPrelu, widths))
        self.decoder = nn.ModuleList(Linear(*sizes, init) for sizes in pairwise([n_latent, *reversed(widths), n_genes]))
        self.decoder_norms = nn.ModuleList(map(NormPrelu, reversed(widths)))

    def encode(self, batch: Batch | DenseBatch, noise: torch.Generator | None = None) -> Tensor:
        """Return cells' places on the unit sphere, shape (B, K); with a generator, dropping genes and units out."""
        return self._encoded(scaled(batch), noise)

    def loss(
        self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised, and its terms, summed over the batch; the same at any moment."""
        found = self._losses(batch, noise, noise)
        weighted = self._weighted(found.triplet, found.error_B.mean())
        terms = weighted.detach(), found.triplet.detach(), found.error_B.detach().mean()
        return weighted, {name: term * len(batch) for name, term in zip(TERMS, terms, strict=True)}

    @torch.no_grad()
    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return each cell's terms, shape (B,), nothing dropped out; triplets are a batch's."""
        found = self._losses(batch, noise, None)
        triplet_B = found.triplet.expand(len(batch))
        terms = self._weighted(triplet_B, found.error_B), triplet_B, found.error_B
        return dict(zip(TERMS, terms, strict=True))

    def _weighted(self, triplet: Tensor, error: Tensor) -> Tensor:
        return self.triplet_weight * triplet + (1 - self.triplet_weight) * error

    def _losses(self, batch: Batch | DenseBatch, draws: torch.Generator, noise: torch.Generator | None) -> Losses:
        assert batch.covariates is not None, "types are given with the cells"
        cells = scaled(batch)
        z_BK = self._encoded(cells, noise)
        logged_BG = (cells.dense() if isinstance(cells, Batch) else cells).counts.log1p()
        square_BG = (self._decoded(z_BK, noise) - logged_BG).square()
        if batch.unmeasured is None:
            error_B = square_BG.mean(1)
        else:
            error_B = (square_BG * ~batch.unmeasured).sum(1) / (~batch.unmeasured).sum(1)
        found = pairs(batch.covariates[:, 0], batch.covariates[:, 1], self.ambiguous_LL)
        return Losses(triplet_loss(z_BK, found, self.margin, draws), error_B)

    def _encoded(self, cells: Batch | DenseBatch, noise: torch.Generator | None) -> Tensor:
        hidden = self._first(cells, noise)
        for norm, layer in zip(self.encoder_norms, self.encoder, strict=True):
            # No dropout before the last layer, as published.
            hidden = norm(hidden)
            hidden = layer(hidden if layer is self.encoder[-1] else dropout(hidden, self.dropout, noise))
        return functional.normalize(hidden)

    def _first(self, cells: Batch | DenseBatch, noise: torch.Generator | None) -> Tensor:
        if noise is None or not self.input_dropout:
            hidden_BH: Tensor = self.first(cells)
            return hidden_BH
        kept = torch.rand(cells.counts.shape, generator=noise, device=noise.device) >= self.input_dropout
        hidden_BH = self.first(with_counts(cells, cells.counts * kept))
        # The layer is linear in log1p of its counts, so what is kept is scaled up after it.
        return self.first.bias + (hidden_BH - self.first.bias) / (1 - self.input_dropout)

    def _decoded(self, z_BK: Tensor, noise: torch.Generator | None) -> Tensor:
        first, *deeper = self.decoder
        hidden: Tensor = first(z_BK)
        for norm, layer in zip(self.decoder_norms, deeper, strict=True):
            hidden = norm(hidden)
            hidden = layer(hidden if layer is deeper[-1] else dropout(hidden, self.dropout, noise))
        return hidden


# The terms of the loss by name; what is minimised is the first.
TERMS = ("contrastive_loss", "triplet_loss", "squared_error")
