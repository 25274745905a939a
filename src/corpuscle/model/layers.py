"""Layers whose random numbers come from a generator that is handed in."""

import torch
from torch import Tensor, nn


def linear(n_in: int, n_out: int, init: torch.Generator) -> nn.Linear:
    """Make a linear layer with torch's default initialisation, drawn from a generator of our own."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    bound = n_in**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=init)
    nn.init.uniform_(layer.bias, -bound, bound, generator=init)
    return layer


def dropout(hidden: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Set a random share to zero and scale the rest up, as in training; without a generator, do nothing.

    Examples
    --------
    >>> dropout(torch.ones(4), 0.5, torch.Generator().manual_seed(0))
    tensor([0., 2., 0., 0.])
    """
    if noise is None or share == 0:
        return hidden
    kept = torch.rand(hidden.shape, generator=noise, device=noise.device) >= share
    return hidden * kept / (1 - share)
