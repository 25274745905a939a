"""The parts that LDVAE is built of: sparse-input encoders and a linear decoder, each layer as scvi-tools defines it.

What scvi-tools 1.4.2 does was read off its source and is held by ``tests/parity/test_ldvae.py``; nothing is copied.
Every random number comes from a generator that is handed in. Axes in names: B cells of a batch, G genes, H hidden
units, K latents; "nz" runs over a batch's nonzero counts.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.batches import Batch
from corpuscle.model.dense import DenseBatch
from corpuscle.model.likelihoods import Decoded, log_likelihood, negative_log_likelihood, normal_kl

if TYPE_CHECKING:
    from corpuscle.model.kernels.products import ByGene

# Batch normalisation as scvi-tools sets it, after the first scVI's TensorFlow.
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
# What the encoders' variances cannot fall below; the library prior's neither, so that its divergence stays finite.
VARIANCE_FLOOR = 1e-4
# In a run's first epochs, before batch-norm's running statistics have settled, an evaluation meets logarithms whose
# exponential is no 32-bit number. Nothing that is trained comes near these ceilings.
LOG_VARIANCE_CEILING, LOG_LIBRARY_CEILING = 30.0, 50.0


def linear(n_in: int, n_out: int, init: torch.Generator) -> nn.Linear:
    """Make a linear layer with torch's default initialisation, drawn from a generator of our own."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    bound = n_in**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=init)
    nn.init.uniform_(layer.bias, -bound, bound, generator=init)
    return layer


def batch_norm(n: int) -> nn.BatchNorm1d:
    """Make a batch normalisation, its scale and shift learned."""
    return nn.BatchNorm1d(n, eps=NORM_EPS, momentum=NORM_MOMENTUM)


def dropout(hidden: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Set a random share to zero and scale the rest up, as in training; without a generator, do nothing."""
    if noise is None or share == 0:
        return hidden
    kept = torch.rand(hidden.shape, generator=noise) >= share
    return hidden * kept / (1 - share)


class SparseLinear(nn.Module):
    """A linear layer on log1p of sparse counts; its cost goes with the nonzeros, forward and backward.

    Attributes
    ----------
    weight
        Gene-major, shape (G, n_out): the transpose of ``nn.Linear``'s.
    factors
        None: the weight's gradient is stored in ``weight.grad``, as is usual. A list: its factors are left there,
        for an optimiser that never needs the product (`corpuscle.model.adam.Adam`).
    """

    def __init__(self, n_genes: int, n_out: int, init: torch.Generator) -> None:
        super().__init__()
        layer = linear(n_genes, n_out, init)
        self.weight = nn.Parameter(layer.weight.detach().T.contiguous())
        self.bias = nn.Parameter(layer.bias.detach())
        self.factors: list[Factors] | None = None

    def forward(self, batch: Batch | DenseBatch) -> Tensor:
        """Return the layer's output, shape (B, n_out)."""
        if isinstance(batch, DenseBatch):
            return batch.counts.log1p() @ self.weight + self.bias
        product: Tensor = _SparseProduct.apply(self.weight, batch, self.factors)  # type: ignore[no-untyped-call]
        return product + self.bias


class Factors(NamedTuple):
    """A gradient as ``sparse.T @ upstream``."""

    sparse: "ByGene"
    upstream: Tensor


class _SparseProduct(torch.autograd.Function):
    """log1p(counts) @ weight: a sum of embeddings, weighted by the counts; torch's is quicker than its matrices."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, batch: Batch, factors: list[Factors] | None) -> Tensor:
        ctx.batch, ctx.values, ctx.factors = batch, batch.counts.log1p(), factors
        return _weighted_sums(weight, batch.genes, batch.starts, ctx.values)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None, None]:
        from corpuscle.model.kernels.products import by_gene

        batch: Batch = ctx.batch
        sparse = by_gene(batch.starts.numpy(), batch.genes.numpy(), ctx.values.numpy(), batch.n_genes)
        upstream_BH = upstream[0].contiguous()
        if ctx.factors is not None:
            ctx.factors.append(Factors(sparse, upstream_BH))
            return None, None, None
        starts, cells, values = (torch.from_numpy(part) for part in sparse)
        return _weighted_sums(upstream_BH, cells, starts, values), None, None


def _weighted_sums(rows: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return functional.embedding_bag(
        indices, rows, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


class Posterior(NamedTuple):
    """What the encoders say of each cell: normal distributions, independent in each dimension."""

    z_mean: Tensor
    z_variance: Tensor
    library_mean: Tensor
    library_variance: Tensor

    def sample(self, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a latent position (B, K) and a log library size (B,) for each cell, differentiably."""
        z_noise = torch.randn(self.z_mean.shape, generator=noise)
        library_noise = torch.randn(self.library_mean.shape, generator=noise)
        return (
            self.z_mean + self.z_variance.sqrt() * z_noise,
            self.library_mean + self.library_variance.sqrt() * library_noise,
        )


class Encoders(nn.Module):
    """The encoders of the latent position (`n_layers` deep) and of the library size (always one layer).

    Each layer is linear, batch-norm, ReLU, dropout. The two first layers are one layer of 2 H units, of which z's
    encoder goes on with the first H: batch-norm and ReLU are per unit, so this is the same function, read once.
    """

    def __init__(
        self,
        n_genes: int,
        n_hidden: int,
        n_layers: int,
        n_latent: int,
        *,
        dropout: float,
        init: torch.Generator,
    ) -> None:
        super().__init__()
        self.n_hidden, self.dropout = n_hidden, dropout
        self.first = SparseLinear(n_genes, 2 * n_hidden, init)
        self.first_norm = batch_norm(2 * n_hidden)
        self.deeper = nn.ModuleList(linear(n_hidden, n_hidden, init) for _ in range(n_layers - 1))
        self.deeper_norms = nn.ModuleList(batch_norm(n_hidden) for _ in range(n_layers - 1))
        self.z_mean = linear(n_hidden, n_latent, init)
        self.z_log_variance = linear(n_hidden, n_latent, init)
        self.library_mean = linear(n_hidden, 1, init)
        self.library_log_variance = linear(n_hidden, 1, init)

    def forward(self, batch: Batch, noise: torch.Generator | None = None) -> Posterior:
        """Encode a batch; with a generator, dropping units out."""
        hidden = dropout(functional.relu(self.first_norm(self.first(batch))), self.dropout, noise)
        z_hidden, library_hidden = torch.split(hidden, self.n_hidden, dim=1)
        for layer, norm in zip(self.deeper, self.deeper_norms, strict=True):
            z_hidden = dropout(functional.relu(norm(layer(z_hidden))), self.dropout, noise)
        return Posterior(
            self.z_mean(z_hidden),
            _variance(self.z_log_variance(z_hidden)),
            self.library_mean(library_hidden)[:, 0],
            _variance(self.library_log_variance(library_hidden)[:, 0]),
        )


def _variance(log_variance: Tensor) -> Tensor:
    """Return a posterior's variance, from its logarithm."""
    return log_variance.clamp(max=LOG_VARIANCE_CEILING).exp() + VARIANCE_FLOOR


class LinearDecoder(nn.Module):
    """Latents to logits: a linear map without bias, then batch-norm with scale and shift.

    Logits are linear in z, so that their mean and variance over a batch follow from those of z: batch-norm is a
    change of weights and never touches the B × G logits.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, n_latent: int, n_genes: int, init: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear(n_latent, n_genes, init).weight.detach())
        self.scale = nn.Parameter(torch.ones(n_genes))
        self.shift = nn.Parameter(torch.zeros(n_genes))
        self.register_buffer("running_mean", torch.zeros(n_genes))
        self.register_buffer("running_variance", torch.ones(n_genes))

    def folded(self, z_BK: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return weights (G, K) and shifts (G,) with the normalisation in: over this batch, else as it ran."""
        if z_BK is None:
            mean_G, variance_G = self.running_mean, self.running_variance
        else:
            z_mean_K = z_BK.mean(0)
            centred_BK = z_BK - z_mean_K
            mean_G = self.weight @ z_mean_K
            variance_G = ((self.weight @ (centred_BK.T @ centred_BK / len(z_BK))) * self.weight).sum(1)
            self._run(mean_G.detach(), variance_G.detach() * len(z_BK) / (len(z_BK) - 1))
        factor_G = self.scale * (variance_G + NORM_EPS).rsqrt()
        return self.weight * factor_G[:, None], self.shift - mean_G * factor_G

    def _run(self, mean_G: Tensor, variance_G: Tensor) -> None:
        self.running_mean.lerp_(mean_G, NORM_MOMENTUM)
        self.running_variance.lerp_(variance_G, NORM_MOMENTUM)


class LdvaeNetwork(nn.Module):
    """The linearly decoded VAE: encoders, decoder, per-gene dispersion and the prior of the log library size."""

    library_prior: Tensor

    def __init__(
        self,
        n_genes: int,
        n_hidden: int,
        n_layers: int,
        n_latent: int,
        *,
        dropout: float,
        init: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoders = Encoders(n_genes, n_hidden, n_layers, n_latent, dropout=dropout, init=init)
        self.decoder = LinearDecoder(n_latent, n_genes, init)
        self.log_theta = nn.Parameter(torch.randn(n_genes, generator=init))
        self.register_buffer("library_prior", torch.tensor([0.0, 1.0]))

    def set_library_prior(self, mean: float, variance: float) -> None:
        """Set the prior of the log library size: a normal distribution."""
        self.library_prior.copy_(torch.tensor([mean, max(variance, VARIANCE_FLOOR)]))

    def decoded(self, z_BK: Tensor, library_B: Tensor) -> Decoded:
        """Decode latent positions; in training the batch's own statistics normalise."""
        weight_GK, bias_G = self.decoder.folded(z_BK if self.training else None)
        return Decoded(z_BK, weight_GK, bias_G, library_B, self.log_theta)

    def fractions(self, z_BK: Tensor, unmeasured_BG: Tensor | None) -> Tensor:
        """Return the expected share of each gene, shape (B, G); rows sum to one over the measured genes."""
        weight_GK, bias_G = self.decoder.folded()
        logit_BG = torch.addmm(bias_G, z_BK, weight_GK.T)
        if unmeasured_BG is not None:
            logit_BG.masked_fill_(unmeasured_BG, -torch.inf)
        return logit_BG.softmax(1)

    def _divergences(self, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Return KL(posterior || prior) of z and of the log library size, in nats, shape (B,) each."""
        prior_mean, prior_variance = self.library_prior
        zero, one = torch.zeros(()), torch.ones(())
        kl_z_B = normal_kl(posterior.z_mean, posterior.z_variance, zero, one).sum(1)
        kl_library_B = normal_kl(posterior.library_mean, posterior.library_variance, prior_mean, prior_variance)
        return kl_z_B, kl_library_B

    def loss(self, batch: Batch, noise: torch.Generator, kl_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised (per cell, the divergence of z weighted) and its parts, summed over the batch."""
        posterior = self.encoders(batch, noise)
        reconstruction = negative_log_likelihood(self.decoded(*posterior.sample(noise)), batch)
        kl_z, kl_library = (term.sum() for term in self._divergences(posterior))
        loss = (reconstruction + kl_weight * kl_z + kl_library) / len(batch)
        return loss, _terms(reconstruction.detach(), kl_z.detach(), kl_library.detach())

    @torch.no_grad()
    def score(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the parts of each cell's negative ELBO, shape (B,) each, from one sample of its posterior."""
        posterior = self.encoders(batch)
        z_BK, library_B = posterior.sample(noise)
        likelihood_B = log_likelihood(self.decoded(z_BK, library_B.clamp(max=LOG_LIBRARY_CEILING)), batch)
        return _terms(-likelihood_B, *self._divergences(posterior))


def _terms(reconstruction: Tensor, kl_z: Tensor, kl_library: Tensor) -> dict[str, Tensor]:
    """Name the parts of the negative ELBO (nats, lower is better); `elbo` is their sum, nothing weighted."""
    kl = kl_z + kl_library
    return {
        "elbo": reconstruction + kl,
        "reconstruction": reconstruction,
        "kl": kl,
        "kl_z": kl_z,
        "kl_library": kl_library,
    }
