"""Layers whose random numbers come from a generator that is handed in. Axes in names: B cells of a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Module):
    """A linear layer with torch's default initialisation, drawn from a generator of our own.

    Attributes
    ----------
    weight, bias
        Shapes (n_out, n_in) and (n_out,).
    """

    def __init__(self, n_in: int, n_out: int, init: torch.Generator) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(nn.init.uniform_(torch.empty(n_out, n_in), -bound, bound, generator=init))
        self.bias = nn.Parameter(nn.init.uniform_(torch.empty(n_out), -bound, bound, generator=init))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, shape (B, n_out)."""
        return functional.linear(x, self.weight, self.bias)


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


def table(n_rows: int, width: int) -> nn.Embedding:
    """Make a table of so many rows, not drawn: on the device ``meta``, torch's own draw loads a compiler first."""
    return nn.Embedding(n_rows, width, _weight=torch.empty(n_rows, width))
