"""The parts that count models are built of: sparse-input encoders and decoders, each layer as scvi-tools defines it.

What scvi-tools 1.4.2 does was read off its source and is held by ``tests/parity``; nothing is copied. Every random
number comes from a generator that is handed in. Axes in names: B cells of a batch, G genes, H hidden units, K latents,
C covariates; "nz" runs over a batch's nonzero counts.

Layers are written in plain torch, and for the CPU also compiled (`corpuscle.model.kernels`).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model import kernels
from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn.factors import DenseFactors, SparseFactors
from corpuscle.model.nn.layers import Linear
from corpuscle.model.nn.likelihoods import normal_kl

# Batch normalisation as scvi-tools sets it, after the first scVI's TensorFlow.
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
# What the encoders' variances cannot fall below; the library prior's neither, so that its divergence stays finite.
VARIANCE_FLOOR = 1e-4
# In a run's first epochs, before batch-norm's running statistics have settled, an evaluation meets logarithms whose
# exponential is no 32-bit number. Nothing that is trained comes near these ceilings.
LOG_VARIANCE_CEILING, LOG_LIBRARY_CEILING = 30.0, 50.0


class NormRelu(nn.Module):
    """Batch-norm with scale and shift, ReLU, and in training dropout.

    Attributes
    ----------
    scale, shift
        Learned, shape (H,).
    running_mean, running_variance
        What normalises in evaluation, shape (H,).
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, n_units: int, share: float = 0.0) -> None:
        super().__init__()
        self.share = share
        self.scale = nn.Parameter(torch.ones(n_units))
        self.shift = nn.Parameter(torch.zeros(n_units))
        self.register_buffer("running_mean", torch.zeros(n_units))
        self.register_buffer("running_variance", torch.ones(n_units))

    def forward(self, x_BH: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Normalise over the batch in training, else as it ran; with a generator, drop a share of units out."""
        seed = None
        if noise is not None and self.share:
            seed = torch.randint(2**32, (), generator=noise, device=x_BH.device)
        if self.training and kernels.serve(x_BH):
            output: Tensor = _NormRelu.apply(x_BH, self.scale, self.shift, (self, seed))  # type: ignore[no-untyped-call]
            return output
        mean_H, variance_H = self.running_mean, self.running_variance
        if self.training:
            mean_H, variance_H = x_BH.mean(0), x_BH.var(0, correction=0)
            self.run(mean_H.detach(), variance_H.detach() * (len(x_BH) / (len(x_BH) - 1)))
        factor_H = self.scale * (variance_H + NORM_EPS).rsqrt()
        hidden_BH = ((x_BH - mean_H) * factor_H + self.shift).relu()
        if seed is None:
            return hidden_BH
        place_BH = torch.arange(hidden_BH.numel(), device=hidden_BH.device).view(hidden_BH.shape)
        return hidden_BH * (_hashed(place_BH, seed) >= int(self.share * 2**32)) / (1 - self.share)

    def run(self, mean_H: Tensor, variance_H: Tensor) -> None:
        """Move the running statistics towards a batch's."""
        self.running_mean.lerp_(mean_H, NORM_MOMENTUM)
        self.running_variance.lerp_(variance_H, NORM_MOMENTUM)


def _hashed(place: Tensor, seed: Tensor) -> Tensor:
    """Return 32 random bits of each place and a seed: what `corpuscle.model.kernels.hidden.hashed` does."""
    low = 2**32 - 1
    bits = (place * 0x9E3779B1 & low) ^ seed
    for _ in range(2):
        bits = (bits ^ (bits >> 16)) * 0x85EBCA6B & low
        bits = (bits ^ (bits >> 13)) * 0xC2B2AE35 & low
    return bits ^ (bits >> 16)


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_BH: Tensor, scale_H: Tensor, shift_H: Tensor, how: tuple[NormRelu, Tensor | None]
    ) -> Tensor:
        from corpuscle.model.kernels.hidden import normalise

        norm, seed = how
        y_BH, batch = torch.empty_like(x_BH), (torch.empty_like(scale_H), torch.empty_like(scale_H))
        share = 0.0 if seed is None else norm.share
        normalise(
            x_BH.detach().numpy(),
            (scale_H.detach().numpy(), shift_H.detach().numpy()),
            (norm.running_mean.numpy(), norm.running_variance.numpy()),
            (np.float32(NORM_EPS), np.float32(NORM_MOMENTUM), share),
            np.uint32(0 if seed is None else seed.item()),
            (batch[0].numpy(), batch[1].numpy(), y_BH.numpy()),
        )
        ctx.save_for_backward(x_BH, y_BH, scale_H, *batch)
        ctx.upscale = 1 / (1 - share)
        return y_BH

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        from corpuscle.model.kernels.hidden import normalise_back

        x_BH, y_BH, scale_H, mean_H, over_sd_H = ctx.saved_tensors
        slopes = torch.empty_like(x_BH), torch.empty_like(scale_H), torch.empty_like(scale_H)
        normalise_back(
            x_BH.detach().numpy(),
            y_BH.detach().numpy(),
            (mean_H.numpy(), over_sd_H.numpy()),
            scale_H.detach().numpy(),
            np.float32(ctx.upscale),
            upstream[0].contiguous().numpy(),
            (slopes[0].numpy(), slopes[1].numpy(), slopes[2].numpy()),
        )
        return *slopes, None


class SparseLinear(nn.Module):
    """A linear layer on log1p of sparse counts; its cost goes with the nonzeros, forward and backward.

    Attributes
    ----------
    weight
        Gene-major, shape (G, n_out): the transpose of ``nn.Linear``'s.
    factors
        None: the weight's gradient is stored in ``weight.grad``, as is usual. A list: its factors are left there,
        for an optimiser that never needs the product (`corpuscle.model.training.optimiser.Adam`).
    """

    def __init__(self, n_genes: int, n_out: int, init: torch.Generator) -> None:
        super().__init__()
        layer = Linear(n_genes, n_out, init)
        self.weight = nn.Parameter(layer.weight.detach().T.contiguous())
        self.bias = nn.Parameter(layer.bias.detach())
        self.factors: list[SparseFactors] | None = None

    def forward(self, batch: Batch | DenseBatch) -> Tensor:
        """Return the layer's output, shape (B, n_out)."""
        if isinstance(batch, Batch) and not kernels.available():
            batch = batch.dense()
        if isinstance(batch, DenseBatch):
            return batch.counts.log1p() @ self.weight + self.bias
        product: Tensor = _SparseProduct.apply(self.weight, self.bias, batch, self.factors)  # type: ignore[no-untyped-call]
        return product


class _SparseProduct(torch.autograd.Function):
    """log1p(counts) @ weight + bias: a sum of embeddings, weighted; torch's is quicker than its sparse matrices."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, batch: Batch, factors: list[SparseFactors] | None) -> Tensor:
        ctx.batch, ctx.values, ctx.factors = batch, batch.counts.log1p(), factors
        return _weighted_sums(weight, batch.genes, batch.starts, ctx.values).add_(bias)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        from corpuscle.model.kernels.products import by_gene

        batch: Batch = ctx.batch
        sparse = by_gene(batch.starts.numpy(), batch.genes.numpy(), ctx.values.numpy(), batch.n_genes)
        upstream_BH = upstream[0].contiguous()
        if ctx.factors is not None:
            ctx.factors.append(SparseFactors(sparse, upstream_BH))
            return None, upstream_BH.sum(0), None, None
        starts, cells, values = (torch.from_numpy(part) for part in sparse)
        return _weighted_sums(upstream_BH, cells.long(), starts, values.contiguous()), upstream_BH.sum(0), None, None


def _weighted_sums(rows: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return functional.embedding_bag(
        indices, rows, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def posterior_moments(head_B2K: Tensor) -> tuple[Tensor, Tensor]:
    """Return a posterior's means and variances, (B, K) each, from what its encoder says: means, then log variances."""
    mean_BK, log_variance_BK = head_B2K.chunk(2, dim=-1)
    return mean_BK, log_variance_BK.clamp(max=LOG_VARIANCE_CEILING).exp() + VARIANCE_FLOOR


def draw_latents(head_B2K: Tensor, noise_BK: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Draw from posteriors, differentiably, and say how far they are from a prior.

    Parameters
    ----------
    head_B2K
        Means, then log variances; see `posterior_moments`.
    noise_BK
        Standard normal numbers.
    prior
        Mean and variance of the normal prior, shape (2,).

    Returns
    -------
    The draw (B, K), and KL(posterior || prior) in nats, summed over the latents (B,).
    """
    if kernels.serve(head_B2K):
        drawn_BK, kl_B = _Draw.apply(head_B2K, noise_BK, prior)  # type: ignore[no-untyped-call]
        return drawn_BK, kl_B
    mean_BK, variance_BK = posterior_moments(head_B2K)
    kl_BK = normal_kl(mean_BK, variance_BK, prior[0], prior[1])
    return mean_BK + variance_BK.sqrt() * noise_BK, kl_BK.sum(1)


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head_B2K: Tensor, noise_BK: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        from corpuscle.model.kernels import hidden

        ctx.settings = tuple(np.float32(part) for part in (LOG_VARIANCE_CEILING, VARIANCE_FLOOR, *prior.tolist()))
        ctx.save_for_backward(head_B2K, noise_BK)
        drawn_BK, kl_B = torch.empty_like(noise_BK), torch.empty(len(noise_BK))
        parts = head_B2K.detach().contiguous().numpy(), noise_BK.numpy()
        hidden.draw_and_diverge(*parts, ctx.settings, drawn_BK.numpy(), kl_B.numpy())
        return drawn_BK, kl_B

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None, None]:
        from corpuscle.model.kernels import hidden

        head_B2K, noise_BK = ctx.saved_tensors
        slope_B2K, slopes = torch.empty_like(head_B2K), tuple(part.contiguous().numpy() for part in upstream)
        parts = head_B2K.detach().contiguous().numpy(), noise_BK.numpy()
        hidden.draw_back(*parts, ctx.settings, slopes, slope_B2K.numpy())
        return slope_B2K, None, None


class Encoded(NamedTuple):
    """What the encoders say of each cell, as `posterior_moments` and `draw_latents` take it.

    Attributes
    ----------
    z
        Of the latent position, shape (B, 2 K).
    library
        Of the log library size, shape (B, 2), where it has an encoder.
    """

    z: Tensor
    library: Tensor | None


class Encoder(nn.Module):
    """The encoder of the latent position (`n_layers` deep), and where asked of the library size (always one layer).

    Each layer is linear, then `NormRelu`. The two encoders' first layers are one layer of 2 H units, of which z's goes
    on with the first H: what follows is per unit, so this is the same function, and counts are read once.
    """

    def __init__(
        self,
        n_genes: int,
        sizes: tuple[int, int, int],
        *,
        dropout: float,
        with_library: bool,
        init: torch.Generator,
    ) -> None:
        super().__init__()
        n_hidden, n_layers, n_latent = sizes
        self.n_hidden, n_first = n_hidden, n_hidden * (1 + with_library)
        self.first = SparseLinear(n_genes, n_first, init)
        self.first_norm = NormRelu(n_first, dropout)
        self.deeper = nn.ModuleList(Linear(n_hidden, n_hidden, init) for _ in range(n_layers - 1))
        self.deeper_norms = nn.ModuleList(NormRelu(n_hidden, dropout) for _ in range(n_layers - 1))
        self.z_head = Linear(n_hidden, 2 * n_latent, init)
        self.library_head = Linear(n_hidden, 2, init) if with_library else None

    def forward(self, batch: Batch | DenseBatch, noise: torch.Generator | None = None) -> Encoded:
        """Encode a batch; with a generator, dropping units out."""
        z_hidden, *rest = torch.split(self.first_norm(self.first(batch), noise), self.n_hidden, dim=-1)
        for layer, norm in zip(self.deeper, self.deeper_norms, strict=True):
            z_hidden = norm(layer(z_hidden), noise)
        library = self.library_head(*rest) if self.library_head is not None else None
        return Encoded(self.z_head(z_hidden), library)


class GeneLinear(Linear):
    """A linear layer from hidden units to genes, which the likelihood of counts multiplies by.

    Attributes
    ----------
    factors
        Where the weight's gradient is left as factors, as in `SparseLinear`; None: it is stored as usual.
    """

    def __init__(self, n_units: int, n_genes: int, init: torch.Generator) -> None:
        super().__init__(n_units, n_genes, init)
        self.factors: list[DenseFactors] | None = None


class LinearDecoder(nn.Module):
    """Latents to logits: a linear map without bias, then batch-norm with scale and shift.

    Logits are linear in z, so that their mean and variance over a batch follow from those of z: batch-norm is a
    change of weights and never touches the B × G logits.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, n_latent: int, n_genes: int, init: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(Linear(n_latent, n_genes, init).weight.detach())
        self.scale = nn.Parameter(torch.ones(n_genes))
        self.shift = nn.Parameter(torch.zeros(n_genes))
        self.register_buffer("running_mean", torch.zeros(n_genes))
        self.register_buffer("running_variance", torch.ones(n_genes))

    def folded(self, z_BK: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return weights (G, K) and shifts (G,) with the normalisation in: over this batch, else as it ran."""
        if z_BK is None:
            factor_G = self.scale * (self.running_variance + NORM_EPS).rsqrt()
            return self.weight * factor_G[:, None], self.shift - self.running_mean * factor_G
        weight_GK, shift_G, mean_G, variance_G = _Folded.apply(z_BK, self.weight, self.scale, self.shift)  # type: ignore[no-untyped-call]
        n_cells = len(z_BK)
        self.running_mean.lerp_(mean_G, NORM_MOMENTUM)
        self.running_variance.lerp_(variance_G * (n_cells / (n_cells - 1)), NORM_MOMENTUM)
        return weight_GK, shift_G


class _Folded(torch.autograd.Function):
    """Weights and shifts with a batch's normalisation in; also its mean and variance, without a gradient.

    With W the weights, m and C the mean and covariance of z, the logits' means are W m and their variances the
    diagonal of W C Wᵀ; so that a gradient needs products of genes × latents and nothing larger.
    """

    @staticmethod
    def forward(ctx: Any, z_BK: Tensor, weight_GK: Tensor, scale_G: Tensor, shift_G: Tensor) -> tuple[Tensor, ...]:
        z_mean_K = z_BK.mean(0)
        centred_BK = z_BK - z_mean_K
        mean_G = weight_GK @ z_mean_K
        spread_GK = weight_GK @ (centred_BK.T @ centred_BK / len(z_BK))
        variance_G = (spread_GK * weight_GK).sum(1)
        over_sd_G = (variance_G + NORM_EPS).rsqrt()
        factor_G = scale_G * over_sd_G
        ctx.save_for_backward(centred_BK, z_mean_K, weight_GK, scale_G, mean_G, spread_GK, over_sd_G)
        ctx.mark_non_differentiable(mean_G, variance_G)
        return weight_GK * factor_G[:, None], shift_G - mean_G * factor_G, mean_G, variance_G

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centred_BK, z_mean_K, weight_GK, scale_G, mean_G, spread_GK, over_sd_G = ctx.saved_tensors
        slope_GK, shift_slope_G = upstream[:2]
        factor_G = scale_G * over_sd_G
        factor_slope_G = (slope_GK * weight_GK).sum(1) - shift_slope_G * mean_G
        mean_slope_G = -shift_slope_G * factor_G
        variance_slope_G = -0.5 * factor_slope_G * scale_G * over_sd_G**3
        weighted_GK = weight_GK * variance_slope_G[:, None]
        weight_slope_GK = torch.addcmul(slope_GK * factor_G[:, None], spread_GK, variance_slope_G[:, None], value=2)
        weight_slope_GK += mean_slope_G[:, None] * z_mean_K
        z_slope_BK = centred_BK @ (weight_GK.T @ weighted_GK) * 2
        z_slope_BK += mean_slope_G @ weight_GK
        return z_slope_BK / len(centred_BK), weight_slope_GK, factor_slope_G * over_sd_G, shift_slope_G


class DeepDecoder(nn.Module):
    """Latents to hidden units, `n_layers` deep; covariates enter at each layer.

    Each layer is linear, then `NormRelu` without dropout.
    """

    def __init__(
        self, n_latent: int, n_covariates: int, n_hidden: int, n_layers: int, *, init: torch.Generator
    ) -> None:
        super().__init__()
        widths = [n_latent, *[n_hidden] * (n_layers - 1)]
        self.layers = nn.ModuleList(Linear(width + n_covariates, n_hidden, init) for width in widths)
        self.norms = nn.ModuleList(NormRelu(n_hidden) for _ in widths)

    def forward(self, z_BK: Tensor, covariates_BC: Tensor | None) -> Tensor:
        """Return the last layer's units, shape (B, H)."""
        hidden = z_BK
        for layer, norm in zip(self.layers, self.norms, strict=True):
            given = hidden if covariates_BC is None else torch.cat([hidden, covariates_BC], -1)
            hidden = norm(layer(given))
        return hidden
