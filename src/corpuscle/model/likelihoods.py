"""The negative binomial likelihood of sparse counts under a log-linear softmax decoder, with exact gradients.

Nothing of size cells × genes outlives a chunk that fits the processor's cache: dense work is one exp and one log1p
per entry, and everything with a gamma function is done at the nonzeros only. Axes in names: B cells, C cells of a
chunk, G genes, K latents; "nz" runs over nonzeros.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from corpuscle.model.batches import Batch

# Floats of one chunk × genes buffer: three of them should about fit a core's second-level cache (2 MB).
CHUNK_FLOATS = 1 << 18


class Decoded(NamedTuple):
    """What a log-linear decoder says of a batch.

    The expected count of gene g in cell b is ``exp(library_b) · softmax_g(z_b · weight_g + bias_g)``, the softmax
    being over the genes that the cell's source measured.

    Attributes
    ----------
    z
        Latent positions, shape (B, K).
    weight
        Weights of the decoder, any normalisation folded in, shape (G, K).
    bias
        Its shifts, shape (G,).
    library
        Log of the cell's expected total, shape (B,).
    log_theta
        Log of the genes' inverse dispersion θ (variance = μ + μ²/θ), shape (G,).
    """

    z: Tensor
    weight: Tensor
    bias: Tensor
    library: Tensor
    log_theta: Tensor


def nb_log_likelihood(decoded: Decoded, batch: Batch) -> Tensor:
    """Return the log-likelihood of each cell in nats (higher is better), shape (B,), without gradients.

    ``Σ_g -θ log1p(μ/θ) + Σ_{x>0} x (log μ - log θ - log1p(μ/θ)) + lnΓ(x+θ) - lnΓ(θ) - lnΓ(x+1)``; unmeasured genes
    have μ = 0 and x = 0, so that they add nothing (Lopez et al. 2018, doi 10.1038/s41592-018-0229-2).

    Examples
    --------
    >>> one = torch.ones(1)
    >>> cell = Batch(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([2.0]), n_genes=1)
    >>> decoded = Decoded(one[:, None], one[:, None], one, torch.log(3 * one), torch.log(4 * one))
    >>> round(nb_log_likelihood(decoded, cell).exp().item(), 5)        # scipy.stats.nbinom.pmf(2, 4, 4 / 7)
    0.19584
    """
    with torch.no_grad():
        score = _Score(decoded, batch)
        for chunk in score.chunks():
            score.add_likelihood(chunk)
        return score.likelihood_B


def nb_negative_log_likelihood(decoded: Decoded, batch: Batch) -> Tensor:
    """Return the summed negative log-likelihood of a batch (nats, lower is better), differentiable in `decoded`."""
    loss: Tensor = _NegativeLogLikelihood.apply(*decoded, batch)  # type: ignore[no-untyped-call]
    return loss


class _NegativeLogLikelihood(torch.autograd.Function):
    """Value and gradients in one sweep: the gradients are small (no B × G among them), so they are made at once."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *parameters, batch = inputs
        score = _Score(Decoded(*parameters), batch)
        for chunk in score.chunks():
            score.add_likelihood(chunk)
            score.add_gradients(chunk)
        score.finish_gradients()
        ctx.save_for_backward(*score.gradients)
        return -score.likelihood_B.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *(gradient * -upstream[0] for gradient in ctx.saved_tensors), None


class _Chunk(NamedTuple):
    """A few cells, and the buffers that hold what one sweep over them finds."""

    cells: slice
    nonzeros: slice
    entry_nz: Tensor  # where each nonzero lies in a flattened (C, G) buffer
    exp: Tensor  # exp(logit - row maximum)
    exp_sum: Tensor
    ratio: Tensor  # μ/θ; `add_gradients` overwrites it
    scratch: Tensor


class _Score:
    """The sums that one sweep over a batch builds up."""

    def __init__(self, decoded: Decoded, batch: Batch) -> None:
        self.decoded, self.batch = decoded, batch
        like = decoded.z
        self.theta_G, self.inverse_theta_G = decoded.log_theta.exp(), (-decoded.log_theta).exp()
        self.theta_nz = self.theta_G.index_select(0, batch.genes)
        self.weight_KG = decoded.weight.T.contiguous()
        self.cell_nz = torch.repeat_interleave(torch.arange(len(batch)), batch.starts.diff())
        self.likelihood_B = like.new_zeros(len(batch)).index_add_(0, self.cell_nz, self._gamma_terms())
        self.gradients = Decoded(*(torch.zeros_like(parameter) for parameter in decoded))
        # Kept as K × G: the products that fill it are thrice as fast so.
        self.slope_KG = torch.zeros_like(self.weight_KG)
        # Share of θ + μ that is μ, at the nonzeros: the gamma part of the gradient needs it after the sweep.
        self.share_nz = torch.empty_like(batch.counts)

    def _gamma_terms(self) -> Tensor:
        """Return lnΓ(x+θ) - lnΓ(θ) - lnΓ(x+1) at the nonzeros."""
        x_nz = self.batch.counts
        gamma_nz = torch.lgamma(self.theta_nz + x_nz).sub_(torch.lgamma(x_nz + 1))
        return gamma_nz.sub_(torch.lgamma(self.theta_G).index_select(0, self.batch.genes))

    def chunks(self) -> Iterator[_Chunk]:
        """Decode the batch a few cells at a time."""
        n_cells, n_genes = len(self.batch), self.batch.n_genes
        step = min(n_cells, max(1, CHUNK_FLOATS // n_genes))
        buffers = [self.decoded.z.new_empty(step, n_genes) for _ in range(3)]
        starts = self.batch.starts.tolist()
        for first in range(0, n_cells, step):
            last = min(first + step, n_cells)
            nonzeros = slice(starts[first], starts[last])
            entry_nz = (self.cell_nz[nonzeros] - first) * n_genes + self.batch.genes[nonzeros]
            yield self._decode(slice(first, last), nonzeros, entry_nz, [buffer[: last - first] for buffer in buffers])

    def _decode(self, cells: slice, nonzeros: slice, entry_nz: Tensor, buffers: list[Tensor]) -> _Chunk:
        exp_CG, ratio_CG, scratch_CG = buffers
        decoded = self.decoded
        torch.addmm(decoded.bias, decoded.z[cells], self.weight_KG, out=exp_CG)
        if self.batch.unmeasured is not None:
            exp_CG.masked_fill_(self.batch.unmeasured[cells], -torch.inf)
        top_C = exp_CG.amax(1)
        logit_nz = exp_CG.view(-1).index_select(0, entry_nz)
        exp_sum_C = exp_CG.sub_(top_C[:, None]).exp_().sum(1)
        # log μ comes from the logits, not from μ, so that it is exact however small μ is.
        log_scale_C = decoded.library[cells] - top_C - exp_sum_C.log()
        x_nz = self.batch.counts[nonzeros]
        log_odds_nz = logit_nz + log_scale_C.index_select(0, self.cell_nz[nonzeros] - cells.start)
        log_odds_nz -= decoded.log_theta.index_select(0, self.batch.genes[nonzeros])
        self.likelihood_B.index_add_(0, self.cell_nz[nonzeros], x_nz * log_odds_nz)
        torch.mul(exp_CG, (decoded.library[cells].exp() / exp_sum_C)[:, None], out=ratio_CG).mul_(self.inverse_theta_G)
        return _Chunk(cells, nonzeros, entry_nz, exp_CG, exp_sum_C, ratio_CG, scratch_CG)

    def add_likelihood(self, chunk: _Chunk) -> None:
        """Add the terms with log1p(μ/θ), and their part of the dispersion's gradient."""
        log1p_CG = torch.log1p(chunk.ratio, out=chunk.scratch)
        self.likelihood_B[chunk.cells] -= log1p_CG @ self.theta_G
        weighted_nz = self.batch.counts[chunk.nonzeros] * log1p_CG.view(-1).index_select(0, chunk.entry_nz)
        self.likelihood_B.index_add_(0, self.cell_nz[chunk.nonzeros], weighted_nz, alpha=-1)
        self.gradients.log_theta.sub_(log1p_CG.sum(0))

    def add_gradients(self, chunk: _Chunk) -> None:
        """Add the likelihood's gradients; in log μ it is x - (x + θ) μ/(θ + μ), without a transcendental function."""
        decoded, gradients = self.decoded, self.gradients
        share_CG = chunk.ratio.div_(torch.add(chunk.ratio, 1, out=chunk.scratch))
        gradients.log_theta.add_(share_CG.sum(0))
        share_nz = share_CG.view(-1).index_select(0, chunk.entry_nz)
        self.share_nz[chunk.nonzeros] = share_nz
        slope_CG = torch.mul(share_CG, -self.theta_G, out=share_CG)
        slope_CG.view(-1).index_add_(0, chunk.entry_nz, self.batch.counts[chunk.nonzeros] * (1 - share_nz))
        slope_sum_C = slope_CG.sum(1)
        gradients.library[chunk.cells] = slope_sum_C
        # Through the softmax: minus each gene's fraction of the cell's total slope.
        slope_CG.addcmul_(chunk.exp, (-slope_sum_C / chunk.exp_sum)[:, None])
        self.slope_KG.addmm_(decoded.z[chunk.cells].T, slope_CG)
        gradients.bias.add_(slope_CG.sum(0))
        torch.mm(slope_CG, decoded.weight, out=gradients.z[chunk.cells])

    def finish_gradients(self) -> None:
        """Finish the dispersion's gradient (the sums so far times θ, and what the nonzeros add) and the weights'."""
        genes, x_nz = self.batch.genes, self.batch.counts
        slope_nz = torch.digamma(self.theta_nz + x_nz).sub_(torch.digamma(self.theta_G).index_select(0, genes))
        slope_nz.mul_(self.theta_nz).sub_(x_nz * (1 - self.share_nz))
        self.gradients.log_theta.mul_(self.theta_G).index_add_(0, genes, slope_nz)
        self.gradients.weight.copy_(self.slope_KG.T)


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
