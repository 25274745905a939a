"""Likelihoods of sparse counts under a log-linear softmax decoder: negative binomial, zero-inflated where asked.

Two implementations of one definition, chosen by the batch: a sparse `Batch` is swept on the CPU by
`corpuscle.model.kernels.counts`, which finds value and gradients at once and keeps nothing of size cells × genes
beyond a chunk; a `DenseBatch` is scored by plain torch, as the formula is written, on any device. Axes in names:
B cells, C cells of a chunk, G genes, K inputs of the decoder's last layer.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from corpuscle.model import kernels
from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch

# Floats of one chunk × genes buffer; a chunk is large enough for quick matrix products, small enough to stay in cache.
CHUNK_FLOATS = 1 << 20


class Decoded(NamedTuple):
    """What a log-linear decoder says of a batch.

    The expected count of gene g in cell b is ``exp(library_b) · softmax_g(z_b · weight_g + bias_g)``, the softmax
    being over the genes that the cell's source measured.

    Attributes
    ----------
    z
        Input of the last layer: latent positions, or hidden units computed of them; shape (B, K).
    weight
        Weights of the layer, any normalisation folded in, shape (G, K).
    bias
        Its shifts, shape (G,).
    library
        Log of the cell's expected total, shape (B,).
    log_theta
        Log of the genes' inverse dispersion θ (variance = μ + μ²/θ), shape (G,).
    lost_weight, lost_bias
        For zero inflation: a second layer on `z`, shapes (G, K) and (G,), whose output is the log odds that a count
        is lost and reads 0.
    """

    z: Tensor
    weight: Tensor
    bias: Tensor
    library: Tensor
    log_theta: Tensor
    lost_weight: Tensor | None = None
    lost_bias: Tensor | None = None


def log_likelihood(decoded: Decoded, batch: Batch | DenseBatch) -> Tensor:
    """Return the log-likelihood of each cell in nats (higher is better), shape (B,).

    ``Σ_g -θ log1p(μ/θ) + Σ_{x>0} x (log μ - log θ - log1p(μ/θ)) + lnΓ(x+θ) - lnΓ(θ) - lnΓ(x+1)``; unmeasured genes
    have μ = 0 and x = 0, so that they add nothing (Lopez et al. 2018, doi 10.1038/s41592-018-0229-2). Of a sparse
    batch without gradients: see `negative_log_likelihood`.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> cell = Batch(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([2.0]), n_genes=1)
    >>> decoded = Decoded(one[:, None], one[:, None], one, torch.log(3 * one), torch.log(4 * one))
    >>> round(log_likelihood(decoded, cell).exp().item(), 5)        # scipy.stats.nbinom.pmf(2, 4, 4 / 7)
    0.19584
    """
    if isinstance(batch, DenseBatch) or not kernels.available():
        return _dense_log_likelihood(decoded, batch if isinstance(batch, DenseBatch) else batch.dense())
    with torch.no_grad():
        return _swept(decoded, batch)[0]


def negative_log_likelihood(decoded: Decoded, batch: Batch | DenseBatch) -> Tensor:
    """Return the summed negative log-likelihood of a batch (nats, lower is better), differentiable in `decoded`."""
    if isinstance(batch, DenseBatch) or not kernels.available():
        return -_dense_log_likelihood(decoded, batch if isinstance(batch, DenseBatch) else batch.dense()).sum(-1)
    given = [part for part in decoded if part is not None]
    loss: Tensor = _NegativeLogLikelihood.apply(batch, *given)  # type: ignore[no-untyped-call]
    return loss


def _dense_log_likelihood(decoded: Decoded, batch: DenseBatch) -> Tensor:
    logit_BG = decoded.z @ decoded.weight.mT + decoded.bias.unsqueeze(-2)
    if batch.unmeasured is not None:
        # Finite, so that no gradient is 0 · ∞; its softmax is 0 all the same.
        logit_BG = logit_BG.masked_fill(batch.unmeasured, torch.finfo(logit_BG.dtype).min / 2)
    log_mean_BG = decoded.library[..., None] + logit_BG.log_softmax(-1)
    log_theta_G, x_BG = decoded.log_theta.unsqueeze(-2), batch.counts
    theta_G = log_theta_G.exp()
    # log(1 + μ/θ) without forming μ/θ
    log1p_BG = functional.softplus(log_mean_BG - log_theta_G)
    value_BG = torch.lgamma(x_BG + theta_G) - torch.lgamma(theta_G) - torch.lgamma(x_BG + 1) - theta_G * log1p_BG
    seen_BG = x_BG > 0
    value_BG = value_BG + torch.where(seen_BG, x_BG * (log_mean_BG - log_theta_G - log1p_BG), 0)
    if decoded.lost_weight is not None and decoded.lost_bias is not None:
        lost_BG = decoded.z @ decoded.lost_weight.mT + decoded.lost_bias.unsqueeze(-2)
        kept_BG = functional.softplus(-lost_BG)
        zero_BG = functional.softplus(-lost_BG - theta_G * log1p_BG) - kept_BG
        value_BG = torch.where(seen_BG, value_BG - kept_BG - lost_BG, zero_BG)
    if batch.unmeasured is not None:
        value_BG = value_BG.masked_fill(batch.unmeasured, 0)
    return value_BG.sum(-1)


def expected_fractions(decoded: Decoded, unmeasured: Tensor | None) -> Tensor:
    """Return the expected share of each gene in a cell's counts, shape (B, G); the shares of measured genes sum to 1.

    With zero inflation, the shares of what there is before counts are lost.
    """
    logit_BG = torch.addmm(decoded.bias, decoded.z, decoded.weight.mT)
    if unmeasured is not None:
        logit_BG.masked_fill_(unmeasured, -torch.inf)
    return logit_BG.softmax(1)


class _NegativeLogLikelihood(torch.autograd.Function):
    """Value and gradients in one sweep: the gradients are small (no B × G among them), so they are made at once."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, *parts: Tensor) -> Tensor:
        likelihood_B, slopes = _swept(Decoded(*parts), batch)
        ctx.save_for_backward(*slopes)
        return -likelihood_B.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(slope * -upstream[0] for slope in ctx.saved_tensors)


def _swept(decoded: Decoded, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Sweep over a batch; return each cell's log-likelihood and the slopes of their sum in each part of `decoded`."""
    from corpuscle.model.kernels import counts

    n_cells, n_genes = len(batch), batch.n_genes
    layers = [(decoded.weight, decoded.bias)]
    if decoded.lost_weight is not None and decoded.lost_bias is not None:
        layers.append((decoded.lost_weight, decoded.lost_bias))
    theta_G = decoded.log_theta.exp()
    genes = tuple(part.detach().numpy() for part in (decoded.log_theta, theta_G, 1 / theta_G))
    tables = tuple(torch.empty(counts.TABULATED, n_genes).numpy() for _ in range(2))
    counts.tabulate_gamma(genes[1], *tables)
    starts, *nonzeros = (part.numpy() for part in batch[:3])

    z_slope_BK, library_slope_B = torch.zeros_like(decoded.z), torch.empty(n_cells)
    theta_slope_G, likelihood_B = torch.zeros(n_genes), torch.empty(n_cells)
    bias_slopes = [torch.zeros(n_genes) for _ in layers]
    # Weights are kept as K × G: the products with them are thrice as fast so.
    weights = [weight.T.contiguous() for weight, _ in layers]
    weight_slopes = [torch.zeros_like(weight_KG) for weight_KG in weights]
    size = min(n_cells, max(1, CHUNK_FLOATS // n_genes))
    buffers = [torch.empty(size, n_genes) for _ in layers]
    for first in range(0, n_cells, size):
        chunk = slice(first, min(first + size, n_cells))
        logits = [buffer[: chunk.stop - first] for buffer in buffers]
        for logit_CG, weight_KG, (_, bias_G) in zip(logits, weights, layers, strict=True):
            torch.addmm(bias_G, decoded.z[chunk], weight_KG, out=logit_CG)
        if batch.unmeasured is not None:
            logits[0].masked_fill_(batch.unmeasured[chunk], -torch.inf)
        cells = logits[0].amax(1).numpy(), decoded.library[chunk].detach().numpy()
        per_gene = [slope_G.numpy() for slope_G in (theta_slope_G, *bias_slopes)]
        counts.sweep_counts(
            tuple(logit_CG.numpy() for logit_CG in logits),
            cells,
            (starts[first : chunk.stop + 1], *nonzeros),
            genes,
            tables,
            (library_slope_B[chunk].numpy(), *per_gene),
            likelihood_B[chunk].numpy(),
        )
        for slope_CG, slope_KG, (weight_GK, _) in zip(logits, weight_slopes, layers, strict=True):
            slope_KG.addmm_(decoded.z[chunk].T, slope_CG)
            z_slope_BK[chunk].addmm_(slope_CG, weight_GK)
    per_layer = [(slope_KG.T, slope_G) for slope_KG, slope_G in zip(weight_slopes, bias_slopes, strict=True)]
    lost = per_layer[1] if len(per_layer) > 1 else ()
    return likelihood_B, [z_slope_BK, *per_layer[0], library_slope_B, theta_slope_G, *lost]


def normal_kl(mean: Tensor, variance: Tensor, prior_mean: Tensor, prior_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(prior)) in nats, elementwise; 0 where they are equal.

    Examples
    --------
    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> normal_kl(2 * one, one, zero, one).item()
    2.0
    """
    ratio = variance / prior_variance
    return 0.5 * (ratio - 1 - ratio.log() + (mean - prior_mean).square() / prior_variance)
