"""LDVAE, the linearly decoded variational autoencoder: a deep encoder, and a decoder whose weights can be read.

Svensson et al. 2020, doi 10.1093/bioinformatics/btaa169, as scvi-tools' ``LinearSCVI`` defines it. Axes in names: N
cells, B cells of a batch, G genes, K latents.
"""

from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.model.data.batches import Batch, TrainingCounts
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.families.variational import PUBLISHED, FittedVariational, VariationalModel, VariationalNetwork
from corpuscle.model.nn.count_modules import VARIANCE_FLOOR, Encoded, Encoder, LinearDecoder, draw_latents
from corpuscle.model.nn.likelihoods import Decoded
from corpuscle.model.size import MOST_LAYERS, training_bytes
from corpuscle.model.training.budget import Budget, published_as


class LdvaeNetwork(VariationalNetwork):
    """The linearly decoded VAE: encoders, decoder, per-gene dispersion and the prior of the log library size."""

    library_prior: Tensor

    def __init__(self, n_genes: int, sizes: tuple[int, int, int], *, dropout: float, init: torch.Generator) -> None:
        super().__init__()
        self.encoder = Encoder(n_genes, sizes, dropout=dropout, with_library=True, init=init)
        self.decoder = LinearDecoder(sizes[-1], n_genes, init)
        self.log_theta = nn.Parameter(torch.randn(n_genes, generator=init))
        self.register_buffer("library_prior", torch.tensor([0.0, 1.0]))

    def set_library_prior(self, mean: float, variance: float) -> None:
        """Set the prior of the log library size: a normal distribution."""
        self.library_prior.copy_(torch.tensor([mean, max(variance, VARIANCE_FLOOR)]))

    def library(self, batch: Batch | DenseBatch, encoded: Encoded, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the log library size from its posterior; see `VariationalNetwork.library`."""
        assert encoded.library is not None, "its encoder was made with a library"
        noise_B1 = torch.randn(len(encoded.library), 1, generator=noise, device=encoded.library.device)
        library_B1, kl_B = draw_latents(encoded.library, noise_B1, self.library_prior)
        return library_B1[:, 0], kl_B

    def decoded(self, z_BK: Tensor, library_B: Tensor, covariates_BC: Tensor | None = None) -> Decoded:
        """Decode latent positions; see `VariationalNetwork.decoded`."""
        weight_GK, bias_G = self.decoder.folded(z_BK if self.training else None)
        return Decoded(z_BK, weight_GK, bias_G, library_B, self.log_theta)


class FittedLDVAE(FittedVariational):
    """An LDVAE with weights; see `FittedVariational`."""

    @torch.no_grad()
    def loadings(self) -> pd.DataFrame:
        """Return the decoder's weights, batch-norm folded in: genes × latents, in log expected share per unit of z."""
        weight_GK, _ = self.network.decoder.folded()
        columns = [f"Z_{latent}" for latent in range(self.settings.n_latent)]
        return pd.DataFrame(weight_GK.numpy(), index=pd.Index(self.genes, name="gene"), columns=columns)


@component
class LDVAE(VariationalModel):
    """Settings of an LDVAE; the defaults are the published study's.

    Parameters
    ----------
    n_layers
        Hidden layers of the latent encoder; the library size's encoder always has one.
    budget
        ``{ epochs = 250 }``, which ``"published"`` stands for, or ``{ steps = 20000 }``; with ``patience``, at most
        that many. See `Budget`.
    n_latent, n_hidden, dropout, learning_rate, batch_size, validation_share, kl_warmup_epochs, weight_decay, adam_eps
        See `VariationalModel`.

    Examples
    --------
    >>> LDVAE(budget={"steps": 20_000}).n_steps(n_cells=3000)
    20000
    >>> LDVAE().n_steps(n_cells=1500)           # 250 epochs of 1350 cells, 128 at a time
    2750
    """

    fitted: ClassVar[type[FittedVariational]] = FittedLDVAE

    n_layers: Annotated[int, Field(gt=0, le=MOST_LAYERS)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 5e-3
    budget: Annotated[Budget, published_as(PUBLISHED)] = PUBLISHED

    def network(self, n_genes: int, n_categories: int, init: torch.Generator) -> LdvaeNetwork:
        """Make an untrained network."""
        sizes = self.n_hidden, self.n_layers, self.n_latent
        return LdvaeNetwork(n_genes, sizes, dropout=float(self.dropout), init=init)

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes; see `corpuscle.model.size.TakesMemory`."""
        hidden = [self.n_hidden] * self.n_layers
        encoders = [n_genes, *hidden, 2 * self.n_latent], [n_genes, self.n_hidden, 2]
        return training_bytes([*encoders, [self.n_latent, n_genes]], self.batch_size)

    def adapt(self, network: LdvaeNetwork, table: TrainingCounts) -> None:
        """Take the library size's prior from all cells of the corpus, as scvi-tools does."""
        network.set_library_prior(*library_prior(table))


def library_prior(table: TrainingCounts) -> tuple[float, float]:
    """Return mean and variance of the log total counts over all uses of cells; an empty cell counts as one count.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from corpuscle.model.data.batches import CountTable
    >>> library_prior(CountTable(csr_matrix(np.array([[1, 0], [3, 4]], np.float32))))
    (0.972..., 0.946...)
    """
    log_N = np.log(np.where(table.total_N > 0, table.total_N, 1))
    mean = float(np.average(log_N, weights=table.times_N))
    return mean, float(np.average((log_N - mean) ** 2, weights=table.times_N))
