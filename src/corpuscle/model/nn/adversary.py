"""Training an embedding that does not show which batch a cell is of: against an adversary that guesses it.

The published adversary (Ganin et al. 2016, arXiv 1505.07818) is a network of its own, whose gradients reach the
embedding reversed. It lags behind an embedding that moves. Here the adversary is a linear one that is solved for anew
at each step, so that it is always at its best; at its optimum, the gradient of its success is that of the embedding
alone (the envelope theorem): the reversed gradient. Of cells in two batches, a small Geneformer had 83 % of their
nearest neighbours in their own batch, 77 % with a trained head, 65 % here; a logistic regression found the batch of
95, 85 and 55 % of new cells, and the type of all (``benchmarks/adversary.py``).

Axes in names: B cells of a batch, K latents, L batches there are.
"""

import numpy as np
import torch
from torch import Tensor, nn

from corpuscle.model.data.batches import Batch, Rows
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.training.budget import Moment

TERM = "batch_share"
# How much the adversary's weights are shrunk, in cells of the batch: it sees few cells, and should guess of others.
SHRINKAGE = 0.1
# Added to deviations, so that a latent that is the same for all cells is 0.
LEAST_DEVIATION = 1e-3


class AdversarialNetwork(nn.Module):
    """A network that is trained as ever, and to embed cells so that their batch cannot be guessed.

    What is minimised is the network's own objective plus `weight` times the share of the labels' variance that an
    adversary explains, from 0 to 1.

    Parameters
    ----------
    network
        What is trained. Nothing of it is changed but its weights.
    n_batches
        L, at least 2. Batches of cells have as many covariates more, 1 for the cell's own; all 0 for a cell whose
        batch is not known, which the adversary does not see.
    weight
        See above.
    """

    takes_sparse = True

    def __init__(self, network: TokenNetwork, n_batches: int, weight: float) -> None:
        super().__init__()
        self.network, self.weight, self.n_batches = network, weight, n_batches

    def loss(self, batch: Batch | DenseBatch, noise: torch.Generator, at: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its terms, summed over cells; see `loop.Trainable`."""
        own, label_BL = self._parted(batch)
        loss, terms = self.network.loss(own, noise, at)
        share = explained_share(self.network.encode(own, noise), label_BL)
        return loss + self.weight * share, terms | {TERM: share.detach() * len(batch)}

    @torch.no_grad()
    def score(self, batch: Batch | DenseBatch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of each cell, shape (B,); the adversary's share is that of all of them."""
        own, label_BL = self._parted(batch)
        share = explained_share(self.network.encode(own, None), label_BL)
        return self.network.score(own, noise) | {TERM: share.expand(len(batch))}

    def _parted(self, batch: Batch | DenseBatch) -> tuple[Batch, Tensor]:
        """Return the batch as the network is given it, and its cells' batches."""
        assert isinstance(batch, Batch), "it takes sparse batches"
        assert batch.covariates is not None, "each cell has its batch"
        own, label_BL = batch.covariates[:, : -self.n_batches], batch.covariates[:, -self.n_batches :]
        given = Batch(*batch[:5], own if own.shape[1] else None)
        return given, label_BL.to(self.network.device)


def explained_share(z_BK: Tensor, label_BL: Tensor) -> Tensor:
    """Return which share of the labels' variance a ridge regression on the standardised latents explains, 0 to 1.

    Parameters
    ----------
    z_BK
        The embedding of cells.
    label_BL
        1 for a cell's own label, 0 for the others; all 0 for a cell that is left out.

    Examples
    --------
    >>> z, label = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.eye(2).repeat_interleave(2, 0)
    >>> round(float(explained_share(z, label)), 2), float(explained_share(z[[0, 2, 1, 3]], label))
    (0.91, 0.0)
    """
    known_B = label_BL.sum(1) > 0
    z_BK, label_BL = z_BK[known_B].float(), label_BL[known_B]
    if len(z_BK) < 2:
        return z_BK.new_zeros(())
    centred_BK, deviation_BL = z_BK - z_BK.mean(0), label_BL - label_BL.mean(0)
    scaled_BK = centred_BK / (centred_BK.square().mean(0).sqrt() + LEAST_DEVIATION)
    shrinkage = SHRINKAGE * len(z_BK) * torch.eye(z_BK.shape[1], device=z_BK.device)
    weight_KL = torch.linalg.solve(scaled_BK.T @ scaled_BK + shrinkage, scaled_BK.T @ deviation_BL)
    share: Tensor = (scaled_BK @ weight_KL * deviation_BL).sum() / deviation_BL.square().sum().clamp(min=1e-6)
    return share


def with_labels(own: Rows | None, labels: Rows) -> Rows:
    """Return the covariates of cells with more behind them.

    Examples
    --------
    >>> rows = with_labels(Rows(np.array([[1.0], [2.0]]), np.array([1, 0])), Rows(np.eye(2), np.array([0, 0])))
    >>> rows.table_RX[rows.row_N].tolist()
    [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    """
    if own is None:
        return labels
    n_own, n_labels = len(own.table_RX), len(labels.table_RX)
    table = np.hstack([np.repeat(own.table_RX, n_labels, axis=0), np.tile(labels.table_RX, (n_own, 1))])
    return Rows(table, own.row_N * n_labels + labels.row_N)
