"""Likelihoods of sparse counts under a log-linear softmax decoder: negative binomial, zero-inflated where asked.

Two implementations of one definition, chosen by the batch: a sparse `Batch` is swept on the CPU by
`corpuscle.model.kernels.counts`, which finds value and slopes at once and keeps nothing of size cells × genes but the
logits, which it overwrites; a `DenseBatch` is scored by plain torch, as the formula is written, on any device. Axes in
names: B cells, G genes, W genes of a block, K inputs of the decoder's last layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from corpuscle.model import kernels
from corpuscle.model.data.batches import Batch
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn.factors import Blocks, DenseFactors, genes_of_blocks

# Cells are scored without gradients in chunks of at most this many floats of cells × genes.
CHUNK_FLOATS = 1 << 20
# With fewer inputs than this, products with weights are several times as fast where these are kept as K × G.
FEW_INPUTS = 32


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
    factors
        Lists to leave the gradients of `weight` and `lost_weight` in, as factors; None: they are returned, as is usual.
    """

    z: Tensor
    weight: Tensor
    bias: Tensor
    library: Tensor
    log_theta: Tensor
    lost_weight: Tensor | None = None
    lost_bias: Tensor | None = None
    factors: Sequence[list[DenseFactors] | None] | None = None

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weights and shifts of the layers that there are."""
        layers = [(self.weight, self.bias)]
        if self.lost_weight is not None and self.lost_bias is not None:
            layers.append((self.lost_weight, self.lost_bias))
        return layers


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
    size, likelihoods = max(1, CHUNK_FLOATS // batch.n_genes), []
    with torch.no_grad():
        for first in range(0, len(batch), size):
            cells = slice(first, first + size)
            part = decoded._replace(z=decoded.z[cells], library=decoded.library[cells])
            likelihoods.append(_sweep(part, batch.part(cells)).likelihood_B)
    return torch.cat(likelihoods)


def negative_log_likelihood(decoded: Decoded, batch: Batch | DenseBatch) -> Tensor:
    """Return the summed negative log-likelihood of a batch (nats, lower is better), differentiable in `decoded`."""
    if isinstance(batch, DenseBatch) or not kernels.available():
        return -_dense_log_likelihood(decoded, batch if isinstance(batch, DenseBatch) else batch.dense()).sum()
    given = [part for part in decoded[:-1] if part is not None]
    loss: Tensor = _NegativeLogLikelihood.apply(batch, decoded.factors, *given)  # type: ignore[no-untyped-call]
    return loss


def _dense_log_likelihood(decoded: Decoded, batch: DenseBatch) -> Tensor:
    logit_BG = decoded.z @ decoded.weight.T + decoded.bias
    if batch.unmeasured is not None:
        # Finite, so that no gradient is 0 · ∞; its softmax is 0 all the same.
        logit_BG = logit_BG.masked_fill(batch.unmeasured, torch.finfo(logit_BG.dtype).min / 2)
    log_mean_BG = decoded.library[:, None] + logit_BG.log_softmax(1)
    log_theta_G, x_BG = decoded.log_theta, batch.counts
    theta_G = log_theta_G.exp()
    # log(1 + μ/θ) without forming μ/θ
    log1p_BG = functional.softplus(log_mean_BG - log_theta_G)
    value_BG = torch.lgamma(x_BG + theta_G) - torch.lgamma(theta_G) - torch.lgamma(x_BG + 1) - theta_G * log1p_BG
    seen_BG = x_BG > 0
    value_BG = value_BG + torch.where(seen_BG, x_BG * (log_mean_BG - log_theta_G - log1p_BG), 0)
    if decoded.lost_weight is not None and decoded.lost_bias is not None:
        lost_BG = decoded.z @ decoded.lost_weight.T + decoded.lost_bias
        kept_BG = functional.softplus(-lost_BG)
        zero_BG = functional.softplus(-lost_BG - theta_G * log1p_BG) - kept_BG
        value_BG = torch.where(seen_BG, value_BG - kept_BG - lost_BG, zero_BG)
    if batch.unmeasured is not None:
        value_BG = value_BG.masked_fill(batch.unmeasured, 0)
    return value_BG.sum(1)


def expected_fractions(decoded: Decoded, unmeasured: Tensor | None) -> Tensor:
    """Return the expected share of each gene in a cell's counts, shape (B, G); the shares of measured genes sum to 1.

    With zero inflation, the shares of what there is before counts are lost.
    """
    logit_BG = torch.addmm(decoded.bias, decoded.z, decoded.weight.T)
    if unmeasured is not None:
        logit_BG.masked_fill_(unmeasured, -torch.inf)
    return logit_BG.softmax(1)


class _NegativeLogLikelihood(torch.autograd.Function):
    """Value and slopes in one sweep; the products with slopes in the logits, which are B × G, come with backward."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, factors: Sequence[list[DenseFactors] | None] | None, *parts: Tensor) -> Tensor:
        swept = _sweep(Decoded(*parts), batch)  # type: ignore[arg-type]  # tensors only: no factors among them
        ctx.swept, ctx.factors = swept, factors
        ctx.save_for_backward(*parts)
        return -swept.likelihood_B.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        decoded, swept, factor = Decoded(*ctx.saved_tensors), ctx.swept, -upstream[0]
        layers = decoded.layers()
        # To scale the inputs scales the gradient of the weights, which are many more.
        scaled_BK, z_slope_BK = decoded.z * factor, torch.zeros_like(decoded.z)
        per_layer: list[Tensor | None] = []
        for at, (slopes, bias_slope_G) in enumerate(zip(swept.slopes, swept.bias_slopes, strict=True)):
            _add_product(z_slope_BK, slopes, layers[at][0])
            left = ctx.factors[at] if ctx.factors is not None else None
            if left is not None:
                left.append(DenseFactors(slopes, scaled_BK))
            per_layer += [_weight_slope(slopes, scaled_BK) if left is None else None, bias_slope_G * factor]
        others = [slope * factor for slope in (swept.library_slope_B, swept.theta_slope_G)]
        return None, None, z_slope_BK * factor, *per_layer[:2], *others, *per_layer[2:]


def _add_product(z_slope_BK: Tensor, slopes: Sequence[Tensor], weight_GK: Tensor) -> None:
    """Add a layer's part to the slopes in z."""
    if weight_GK.shape[1] < FEW_INPUTS:
        weight_GK = weight_GK.T.contiguous().T
    for genes, slope_BW in zip(genes_of_blocks(len(weight_GK)), slopes, strict=True):
        z_slope_BK.addmm_(slope_BW, weight_GK[genes])


def _weight_slope(slopes: Sequence[Tensor], z_BK: Tensor) -> Tensor:
    n_genes, n_inputs = sum(slope_BW.shape[1] for slope_BW in slopes), z_BK.shape[1]
    weight_slope_GK = (
        z_BK.new_empty(n_inputs, n_genes).T if n_inputs < FEW_INPUTS else z_BK.new_empty(n_genes, n_inputs)
    )
    for genes, slope_BW in zip(genes_of_blocks(n_genes), slopes, strict=True):
        torch.mm(slope_BW.T, z_BK, out=weight_slope_GK[genes])
    return weight_slope_GK


class _Swept(NamedTuple):
    """What a sweep finds of a batch: each cell's log-likelihood, and the slopes of their sum.

    Attributes
    ----------
    likelihood_B
        The log-likelihoods.
    slopes, bias_slopes
        Of each layer of `Decoded.layers`, slopes in what it gives, in blocks of genes, and in its shifts, shape (G,).
    library_slope_B, theta_slope_G
        Slopes in the log totals and in log θ.
    """

    likelihood_B: Tensor
    slopes: list[list[Tensor]]
    bias_slopes: list[Tensor]
    library_slope_B: Tensor
    theta_slope_G: Tensor


def _fill_logits(logits: Sequence[Blocks], decoded: Decoded, unmeasured: Tensor | None) -> Tensor:
    """Fill in what each layer gives, -inf where a gene was not measured; return each cell's largest logit, (B,)."""
    tops, layers = [], decoded.layers()
    for at, genes in enumerate(genes_of_blocks(len(decoded.bias))):
        for of_layer, (weight_GK, bias_G) in zip(logits, layers, strict=True):
            torch.addmm(bias_G[genes], decoded.z, weight_GK[genes].T, out=of_layer.parts[at])
        if unmeasured is not None:
            logits[0].parts[at].masked_fill_(unmeasured[:, genes], -torch.inf)
        tops.append(logits[0].parts[at].amax(1))
    return torch.stack(tops).amax(0)


def _parameters(log_theta_G: Tensor) -> Sequence[Tensor]:
    """Return log θ, θ and 1/θ, each with `ROOM`."""
    from corpuscle.model.kernels.counts import ROOM

    n_genes = len(log_theta_G)
    found = torch.empty(3, max(n_genes, ROOM))[:, :n_genes]
    found[0] = log_theta_G
    torch.exp(log_theta_G, out=found[1])
    torch.reciprocal(found[1], out=found[2])
    return [*found]


def _sweep(decoded: Decoded, batch: Batch) -> _Swept:
    from corpuscle.model.kernels import counts

    n_cells, n_genes = len(batch), batch.n_genes
    of_genes = tuple(part.numpy() for part in _parameters(decoded.log_theta.detach()))
    tables = tuple(torch.empty(counts.TABULATED, n_genes).numpy() for _ in range(2))
    counts.tabulate_gamma(of_genes[1], *tables)
    layers = decoded.layers()
    slopes = [*torch.zeros(1 + len(layers), max(n_genes, counts.ROOM))[:, :n_genes]]
    logits = [Blocks.empty(n_cells, n_genes) for _ in layers]
    top_B = _fill_logits(logits, decoded, batch.unmeasured)
    swept = _Swept(
        torch.empty(n_cells),
        [each.parts for each in logits],
        slopes[1:],
        torch.empty(n_cells),
        slopes[0],
    )
    counts.sweep_counts(
        tuple(each.whole.numpy() for each in logits),
        (top_B.numpy(), decoded.library.detach().numpy()),
        tuple(part.numpy() for part in batch[:3]),
        of_genes,
        tables,
        (swept.library_slope_B.numpy(), *(slope_G.numpy() for slope_G in slopes)),
        swept.likelihood_B.numpy(),
    )
    return swept


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
