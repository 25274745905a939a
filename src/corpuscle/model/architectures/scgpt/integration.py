"""Fine-tuning of scGPT for integration: a cell is written with its zeros, and its batch is given and to be forgotten.

Cui et al. 2024, doi 10.1038/s41592-024-02201-0, as ``examples/finetune_integration.py`` of bowang-lab/scGPT. Axes in
names: B cells, T tokens of all of them, M masked tokens, D width, C batches.
"""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.core.components import component
from corpuscle.model.architectures.scgpt.adversary import Adversary
from corpuscle.model.architectures.scgpt.network import (
    EPS,
    CellDecoder,
    Encoded,
    Masked,
    Pooling,
    ScgptBody,
    ScgptNetwork,
    draw_mask,
    draw_weights,
    pooled_cells,
    value_decoder,
)
from corpuscle.model.architectures.scgpt.sizes import Size
from corpuscle.model.nn.layers import table
from corpuscle.model.nn.token_network import Objective, TokenNetwork, first_of_cells
from corpuscle.model.size import MOST_UNITS
from corpuscle.model.tokenisers.bins import BinTokeniser
from corpuscle.model.tokenisers.tokens import Tokens

# Cells should be as alike as this: cosine similarity.
ALIKE = 0.8
BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 6.1e-5, 0.1


@component
class Integration:
    """How scGPT is fine-tuned for integration.

    Parameters
    ----------
    batch
        A label, such as ``"batch"`` or ``"donor"``: each cell needs one. Cells of batches that were not in training
        cannot be embedded, and are refused.
    n_genes
        How many genes are written of each cell, zeros included: the corpus' most variable of those that the model
        knows.
    similarity_weight
        How much counts that cells are alike or are not, rather than in between (ECS).
    adversary_weight
        How much counts that batches cannot be recognised (DAR).

    Examples
    --------
    >>> Integration(batch="donor").n_genes
    1200
    """

    batch: Annotated[str, Field(min_length=1)]
    n_genes: Annotated[int, Field(gt=0, le=MOST_UNITS)] = 1200
    similarity_weight: Annotated[float, Field(ge=0)] = 10.0
    adversary_weight: Annotated[float, Field(ge=0)] = 1.0


class NormByBatch(nn.Module):
    """Batch norm without weights, with statistics of their own for the tokens of each batch of cells.

    Published minibatches are of one batch each, visited batch by batch; here, a minibatch has cells of all batches, and
    each batch's tokens in it are normalised by themselves.

    Attributes
    ----------
    mean, variance
        Running statistics, shape (C, D).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, n_batches: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_batches, width))
        self.register_buffer("variance", torch.ones(n_batches, width))

    def forward(self, x_TD: Tensor, batch_T: Tensor) -> Tensor:
        """Normalise: in training by the tokens themselves, else by the running statistics."""
        order_T = torch.argsort(batch_T, stable=True)
        batches, counts = torch.unique(batch_T, return_counts=True)
        parts = torch.split(x_TD[order_T], counts.tolist())
        normed = [
            functional.batch_norm(
                part, self.mean[batch], self.variance[batch], training=self.training,
                momentum=BATCH_NORM_MOMENTUM, eps=BATCH_NORM_EPS,
            )
            for batch, part in zip(batches.tolist(), parts, strict=True)
        ]  # fmt: skip
        return torch.cat(normed)[torch.argsort(order_T)] if normed else x_TD


class Errors(NamedTuple):
    """The six losses before they are averaged.

    Attributes
    ----------
    bin_error, cell_bin_error
        Squared errors of hidden bins, from the tokens and from the cell's embedding, shape (M,).
    zero_error, cell_zero_error
        Negative log-likelihood of which hidden bins are zero, nats, shape (M,).
    similarity_error
        1 - (cosine similarity - 0.8)², mean over a cell's pairs, shape (B,).
    batch_error
        Cross-entropy of the batch as the adversary guesses it, nats, shape (B,).
    """

    bin_error: Tensor
    zero_error: Tensor
    cell_bin_error: Tensor
    cell_zero_error: Tensor
    similarity_error: Tensor
    batch_error: Tensor


class IntegrationNetwork(TokenNetwork):
    """scGPT with norms by batch, decoders that are given the batch, and an adversary that guesses it.

    Parameters
    ----------
    size, n_tokens, mask_share, pooling
        As of `ScgptNetwork`.
    n_batches
        C; tokens come with the batch of each cell as its covariates: 1 for its own, 0 for the others.
    how
        The weights of the losses.
    """

    tokeniser: BinTokeniser

    def __init__(
        self, size: Size, n_tokens: int, n_batches: int, how: Integration, *, mask_share: float, pooling: Pooling
    ) -> None:
        super().__init__()
        self.n_latent, self.mask_share, self.pooling, self.how = size.width, mask_share, pooling, how
        self.body = ScgptBody(size, n_tokens)
        self.norms = NormByBatch(size.width, n_batches)
        self.batches = nn.Sequential(table(n_batches, size.width), nn.LayerNorm(size.width, EPS))
        self.decoder = value_decoder(2 * size.width, size.width)
        self.zero_decoder = value_decoder(2 * size.width, size.width)
        self.cell_decoder = CellDecoder(size.width, 2 * size.width, zeros=True)
        self.adversary = Adversary(size.width, n_batches)

    @property
    def blocks(self) -> list[nn.Module]:
        """Its blocks from first to last."""
        return list(self.body.blocks)

    def encoded(self, tokens: Tokens, noise: torch.Generator | None) -> Encoded:
        """Encode cells; in training mode, each batch's tokens are normalised by themselves."""
        batch_T = _batch_of(tokens)[tokens.cell_T]
        return self.body(tokens, noise, lambda x_TD: self.norms(x_TD, batch_T))  # type: ignore[no-any-return]

    def gene_vectors(self, token_M: Tensor) -> Tensor:
        """Return the vectors of genes, shape (M, D)."""
        return self.body.gene_vectors(token_M)

    def pooled(self, tokens: Tokens, noise: torch.Generator | None) -> Tensor:
        """Embed cells, shape (B, D), at length 1."""
        return pooled_cells(self.encoded(tokens, noise).hidden, tokens, self.pooling)

    def objective(self, tokens: Tokens, noise: torch.Generator, *, trains: bool) -> Objective:
        """Return the sum of the six losses, as published; their weights are in `how`."""
        masked = draw_mask(tokens, self.mask_share, noise, first_too=True)
        errors = self.errors(masked, self.encoded(masked.shown, noise if trains else None))
        terms = {
            name: error if name in ("similarity_error", "batch_error") else masked.per_cell(error)
            for name, error in errors._asdict().items()
        }
        return Objective(self.weighted(errors), terms)

    def errors(self, masked: Masked, encoded: Encoded) -> Errors:
        """Return the losses of some cells."""
        batch_B = _batch_of(masked.shown)
        batch_BD = self.batches(batch_B)
        cell_BD = first_of_cells(encoded.hidden, masked.shown)
        given_M = torch.cat([encoded.hidden[masked.is_hidden], batch_BD[masked.cell]], 1)
        bin_M, odds_M = (decoder(given_M)[:, 0] for decoder in (self.decoder, self.zero_decoder))
        given_B = torch.cat([cell_BD, batch_BD], 1)
        of_cell_M, of_cell_odds_M = self.cell_decoder(encoded.genes[masked.is_hidden], given_B, masked.cell)
        assert of_cell_odds_M is not None, "it was made with zeros"
        is_count_M = (masked.value > 0).to(bin_M.dtype)
        return Errors(
            (bin_M - masked.value) ** 2,
            functional.binary_cross_entropy_with_logits(odds_M, is_count_M, reduction="none"),
            (of_cell_M - masked.value) ** 2,
            functional.binary_cross_entropy_with_logits(of_cell_odds_M, is_count_M, reduction="none"),
            similarity_errors(cell_BD),
            functional.cross_entropy(self.adversary(cell_BD), batch_B, reduction="none"),
        )

    def weighted(self, errors: Errors) -> Tensor:
        """Return what is minimised: the mean of each loss, two of them weighted."""
        of_tokens = torch.stack([error_M.sum() for error_M in errors[:4]]).sum() / max(1, len(errors.bin_error))
        similarity = self.how.similarity_weight * errors.similarity_error.mean()
        return of_tokens + similarity + self.how.adversary_weight * errors.batch_error.mean()


def similarity_errors(cell_BD: Tensor) -> Tensor:
    """Return, per cell, the mean over all cells of 1 - (cosine similarity - 0.8)², shape (B,).

    Negative similarities count as 0, and so does a cell's with itself, as published.

    Examples
    --------
    >>> similarity_errors(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    tensor([0.6600, 0.6600])
    """
    cell_BD = functional.normalize(cell_BD, dim=1)
    alike_BB = (cell_BD @ cell_BD.T).relu()
    alike_BB = alike_BB.masked_fill(torch.eye(len(cell_BD), dtype=torch.bool, device=cell_BD.device), 0.0)
    return 1 - (alike_BB - ALIKE).square().mean(1)


def _batch_of(tokens: Tokens) -> Tensor:
    assert tokens.covariates is not None, "cells come with their batch"
    return tokens.covariates.argmax(1)


@torch.no_grad()
def begin_with(network: IntegrationNetwork, base: ScgptNetwork, init: torch.Generator) -> IntegrationNetwork:
    """Give a network the weights of a pre-trained one; those for the batch, zeros and the adversary are drawn.

    What decodes bins keeps its weights for the cell; the published script draws those anew, as it only takes tensors
    of equal shape.

    Parameters
    ----------
    network
        What is given them; it is without weights, on the device ``meta``.
    base
        The pre-trained network, of the same size; it is used up.
    init
        Draws the new weights.
    """
    network.body, network.norms = base.body, NormByBatch(network.n_latent, len(network.norms.mean))
    for part in (network.batches, network.decoder, network.zero_decoder, network.cell_decoder, network.adversary):
        draw_weights(part.to_empty(device="cpu"), init)
    for mine, theirs in zip(network.decoder.parameters(), base.decoder.parameters(), strict=True):
        _begin(mine, theirs)
    network.cell_decoder.query = base.cell_decoder.query
    _begin(network.cell_decoder.weight.weight, base.cell_decoder.weight.weight)
    return network


def _begin(ours: Tensor, theirs: Tensor) -> None:
    """Write a tensor over the beginning of another."""
    ours[tuple(slice(0, n) for n in theirs.shape)] = theirs
