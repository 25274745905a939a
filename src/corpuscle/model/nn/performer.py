"""Attention whose cost grows with the tokens of a cell, not their square: the Performer's, by positive random features.

Choromanski et al. 2021, arXiv 2009.14794, as scBERT has it: features of keys are scaled by the largest of all heads.
That is the largest of the cell here, where the published code takes that of the whole batch, so that its cells change
with their company. Axes in names: L tokens of one cell, H heads, C channels of a head, M features.
"""

import torch
from torch import Tensor

from corpuscle.model.nn.recomputed import recomputed

# Tokens whose features are worked out at once, which take H × POSITIONS × M numbers in place of H × L × M.
POSITIONS, POSITIONS_ON_GPU = 512, 8192
# Added to each feature.
EPS = 1e-4


def drawn_projection(n_features: int, n_channels: int, noise: torch.Generator) -> Tensor:
    """Draw random directions, shape (M, C): orthogonal in groups of C, each as long as a normal vector would be.

    Examples
    --------
    >>> found = drawn_projection(6, 4, torch.Generator().manual_seed(0))
    >>> found.shape, bool(abs(found[0] @ found[1]) < 1e-5)
    (torch.Size([6, 4]), True)
    """
    rows = []
    for start in range(0, n_features, n_channels):
        square = torch.randn(n_channels, n_channels, generator=noise, device=noise.device)
        rows.append(torch.linalg.qr(square)[0].T[: n_features - start])
    length = torch.randn(n_features, n_channels, generator=noise, device=noise.device).norm(dim=1)
    drawn_MC: Tensor = torch.cat(rows) * length[:, None]
    return drawn_MC


def attend_by_features(query_LHC: Tensor, key_LHC: Tensor, value_LHC: Tensor, projection_MC: Tensor) -> Tensor:
    """Let the tokens of one cell attend to each other, all to all, shape (L, H, C).

    With φ the features, a token gets φ(q)·Σφ(k)vᵀ / φ(q)·Σφ(k). Sums over keys are found first, a stretch of tokens at
    a time; on the way back, features are worked out anew.

    Examples
    --------
    >>> x, value = torch.zeros(3, 1, 2), torch.tensor([1.0, 3.0, 5.0]).reshape(3, 1, 1)
    >>> attend_by_features(x, x, value, torch.ones(4, 2)).flatten().round(decimals=3)
    tensor([3., 3., 3.])
    """
    scaled_MC = projection_MC * query_LHC.shape[-1] ** -0.25
    stretch = POSITIONS_ON_GPU if query_LHC.is_cuda else POSITIONS

    def largest(key_HLC: Tensor) -> Tensor:
        top: Tensor = (key_HLC @ scaled_MC.T).amax()
        return top

    def sums(key_HLC: Tensor, value_HLC: Tensor, top: Tensor) -> Tensor:
        # A column of ones: the sum of the features themselves. EPS is added at the end, for all tokens at once.
        value_HLC = torch.cat([value_HLC, torch.ones_like(value_HLC[..., :1])], -1)
        found: Tensor = _features(key_HLC, scaled_MC, top).mT @ value_HLC
        return found + EPS * value_HLC.sum(1, keepdim=True)

    def attended(query_HLC: Tensor, sums_HMC: Tensor) -> Tensor:
        found = _features(query_HLC, scaled_MC, None) @ sums_HMC + EPS * sums_HMC.sum(1, keepdim=True)
        return found[..., :-1] / found[..., -1:]

    queries, keys, values = (
        torch.split(part.transpose(0, 1), stretch, dim=1) for part in (query_LHC, key_LHC, value_LHC)
    )
    top = torch.stack([recomputed(largest, key) for key in keys]).amax()
    sums_HMC = torch.stack([recomputed(sums, key, value, top) for key, value in zip(keys, values, strict=True)]).sum(0)
    return torch.cat([recomputed(attended, query, sums_HMC) for query in queries], 1).transpose(0, 1)


def _features(x_HLC: Tensor, scaled_MC: Tensor, top: Tensor | None) -> Tensor:
    """Return exp(w·x - |x|²/2 - top), but for `EPS` and a factor that cancels out; top None: each token's largest."""
    found_HLM = x_HLC @ scaled_MC.T
    shift_HL1 = x_HLC.square().sum(-1, keepdim=True) * (0.5 * x_HLC.shape[-1] ** -0.5)
    shift_HL1 = shift_HL1 + (found_HLM.amax(-1, keepdim=True) if top is None else top)
    # Not in place at first: the slope of a largest number needs what it was found in.
    return (found_HLM - shift_HL1).exp_()
