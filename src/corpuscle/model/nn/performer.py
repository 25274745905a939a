"""Attention whose cost grows with the tokens of a cell, not their square: the Performer's, by positive random features.

Choromanski et al. 2021, arXiv 2009.14794, as scBERT has it: features of keys are scaled by the largest of all heads.
That is the largest of the cell here, where the published code takes that of the whole batch, so that its cells change
with their company. Axes in names: B cells, L tokens of each, H heads, C channels of a head, M features.
"""

import torch
from torch import Tensor

from corpuscle.model.nn.recomputed import recomputed

# Features that are worked out at once, in place of all H × B·L × M: those of 512 tokens of the published network on a
# CPU (10 heads of 266), of 8,192 on a GPU. Of a small network, that is more tokens.
FEATURES, FEATURES_ON_GPU = 512 * 2660, 8192 * 2660
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


def attend_by_features(query_BLHC: Tensor, key_BLHC: Tensor, value_BLHC: Tensor, projection_MC: Tensor) -> Tensor:
    """Let the tokens of each cell attend to each other, all to all, shape (B, L, H, C); all cells have as many.

    With φ the features, a token gets φ(q)·Σφ(k)vᵀ / φ(q)·Σφ(k). Sums over keys are found first, a stretch of tokens at
    a time; on the way back, features are worked out anew.

    Examples
    --------
    >>> x, value = torch.zeros(1, 3, 1, 2), torch.tensor([1.0, 3.0, 5.0]).reshape(1, 3, 1, 1)
    >>> attend_by_features(x, x, value, torch.ones(4, 2)).flatten().round(decimals=3)
    tensor([3., 3., 3.])
    """
    device = query_BLHC.device.type
    if torch.is_autocast_enabled(device):
        # Exponentials of 16-bit numbers are too coarse to be summed.
        with torch.autocast(device, enabled=False):
            return attend_by_features(query_BLHC.float(), key_BLHC.float(), value_BLHC.float(), projection_MC)
    scaled_MC = projection_MC * query_BLHC.shape[-1] ** -0.25
    of_position = len(query_BLHC) * query_BLHC.shape[2] * len(projection_MC)
    stretch = max(1, (FEATURES_ON_GPU if query_BLHC.is_cuda else FEATURES) // of_position)

    def largest(key_BHLC: Tensor) -> Tensor:
        top_B111: Tensor = (key_BHLC @ scaled_MC.T).amax((1, 2, 3), keepdim=True)
        return top_B111

    def sums(key_BHLC: Tensor, value_BHLC: Tensor, top_B111: Tensor) -> Tensor:
        # A column of ones: the sum of the features themselves. EPS is added at the end, for all tokens at once.
        value_BHLC = torch.cat([value_BHLC, torch.ones_like(value_BHLC[..., :1])], -1)
        found: Tensor = _features(key_BHLC, scaled_MC, top_B111).mT @ value_BHLC
        return found + EPS * value_BHLC.sum(2, keepdim=True)

    def attended(query_BHLC: Tensor, sums_BHMC: Tensor) -> Tensor:
        found = _features(query_BHLC, scaled_MC, None) @ sums_BHMC + EPS * sums_BHMC.sum(2, keepdim=True)
        return found[..., :-1] / found[..., -1:]

    queries, keys, values = (
        torch.split(part.transpose(1, 2), stretch, dim=2) for part in (query_BLHC, key_BLHC, value_BLHC)
    )
    top_B111 = torch.stack([recomputed(largest, key) for key in keys]).amax(0)
    pairs = zip(keys, values, strict=True)
    sums_BHMC = torch.stack([recomputed(sums, key, value, top_B111) for key, value in pairs]).sum(0)
    return torch.cat([recomputed(attended, query, sums_BHMC) for query in queries], 2).transpose(1, 2)


def _features(x_BHLC: Tensor, scaled_MC: Tensor, top: Tensor | None) -> Tensor:
    """Return exp(w·x - |x|²/2 - top), but for `EPS` and a factor that cancels out; top None: each token's largest."""
    found_BHLM = x_BHLC @ scaled_MC.T
    shift_BHL1 = x_BHLC.square().sum(-1, keepdim=True) * (0.5 * x_BHLC.shape[-1] ** -0.5)
    shift_BHL1 = shift_BHL1 + (found_BHLM.amax(-1, keepdim=True) if top is None else top)
    # Not in place at first: the slope of a largest number needs what it was found in.
    features_BHLM: Tensor = (found_BHLM - shift_BHL1).exp_()
    return features_BHLM
