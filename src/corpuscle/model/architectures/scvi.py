"""scVI, the variational autoencoder of counts with a deep decoder.

Lopez et al. 2018, doi 10.1038/s41592-018-0229-2, as scvi-tools' ``SCVI`` defines it with the observed library size.
Axes in names: B cells of a batch, G genes, H hidden units, K latents, C covariates.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from corpuscle.core.components import component
from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.families.variational import PUBLISHED, FittedVariational, VariationalModel, VariationalNetwork
from corpuscle.model.nn.count_modules import DeepDecoder, Encoded, Encoder, GeneLinear
from corpuscle.model.nn.likelihoods import Decoded
from corpuscle.model.size import MOST_LAYERS, training_bytes
from corpuscle.model.training.budget import Budget, published_as


class ScviNetwork(VariationalNetwork):
    """Encoder, deep decoder, the layer from its units to genes (for zero inflation a second), and dispersions."""

    def __init__(
        self,
        n_genes: int,
        sizes: tuple[int, int, int],
        *,
        dropout: float,
        n_covariates: int,
        inflated: bool,
        init: torch.Generator,
    ) -> None:
        super().__init__()
        n_hidden, n_layers, n_latent = sizes
        self.encoder = Encoder(n_genes, sizes, dropout=dropout, with_library=False, init=init)
        self.decoder = DeepDecoder(n_latent, n_covariates, n_hidden, n_layers, init=init)
        self.share = GeneLinear(n_hidden, n_genes, init)
        self.lost = GeneLinear(n_hidden, n_genes, init) if inflated else None
        self.log_theta = nn.Parameter(torch.randn(n_genes, generator=init))

    def library(self, batch: Batch | DenseBatch, encoded: Encoded, noise: torch.Generator) -> tuple[Tensor, None]:
        """Return the log of the observed total; of an empty cell, as if it had one count."""
        return batch.totals.clamp(min=1).log(), None

    def decoded(self, z_BK: Tensor, library_B: Tensor, covariates_BC: Tensor | None) -> Decoded:
        """Decode latent positions; see `VariationalNetwork.decoded`."""
        hidden_BH = self.decoder(z_BK, covariates_BC)
        share, lost = self.share, self.lost
        decoded = Decoded(hidden_BH, share.weight, share.bias, library_B, self.log_theta, factors=[share.factors])
        if lost is None:
            return decoded
        return decoded._replace(lost_weight=lost.weight, lost_bias=lost.bias, factors=[share.factors, lost.factors])


@component
class SCVI(VariationalModel):
    """Settings of scVI; the defaults are scvi-tools'.

    Parameters
    ----------
    n_layers
        Hidden layers of encoder and decoder, each; dropout is in the encoder.
    likelihood
        ``"zinb"``: zero-inflated negative binomial; ``"nb"``: negative binomial.
    batch
        A label, such as ``"batch"`` or ``"donor"``, whose value the decoder gets at each layer; the encoder is
        not. Cells without it, or with a value that was not in training, can be embedded all the same; they are
        decoded as the training's average.
    budget
        ``{ epochs = 400 }`` or ``{ steps = 20000 }``; with ``patience``, at most that many; ``"published"``:
        ``{ epochs = 250 }``. See `Budget`.
    n_latent, n_hidden, dropout, learning_rate, batch_size, validation_share, kl_warmup_epochs, weight_decay, adam_eps
        See `VariationalModel`.

    Examples
    --------
    >>> SCVI(likelihood="nb", batch="donor", budget={"epochs": 50}).n_steps(n_cells=1500)
    550
    """

    fitted: ClassVar[type[FittedVariational]] = FittedVariational

    n_layers: Annotated[int, Field(gt=0, le=MOST_LAYERS)] = 1
    likelihood: Literal["zinb", "nb"] = "zinb"
    batch: str | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-3
    budget: Annotated[Budget, published_as(PUBLISHED)] = Budget(epochs=400)

    @property
    def covariate(self) -> str | None:
        """The label that the decoder is given for each cell."""
        return self.batch

    def network(self, n_genes: int, n_categories: int, init: torch.Generator) -> ScviNetwork:
        """Make an untrained network."""
        return ScviNetwork(
            n_genes,
            (self.n_hidden, self.n_layers, self.n_latent),
            dropout=float(self.dropout),
            n_covariates=n_categories,
            inflated=self.likelihood == "zinb",
            init=init,
        )

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes; see `corpuscle.model.size.TakesMemory`."""
        hidden = [self.n_hidden] * self.n_layers
        decoder = [self.n_latent, *hidden, n_genes * (2 if self.likelihood == "zinb" else 1)]
        return training_bytes([[n_genes, *hidden, 2 * self.n_latent], decoder], self.batch_size)
