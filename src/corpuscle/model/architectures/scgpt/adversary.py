"""A head that guesses a cell's batch from its embedding, while what embeds learns to leave it no clue.

Ganin and Lempitsky 2015, arXiv 1409.7495. Axes in names: B cells, D width, C batches.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _Reversed(torch.autograd.Function):
    """What it is given, on the way forward; on the way back, the gradient with the other sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def reversed_gradient(x: Tensor) -> Tensor:
    """Return x, through which gradients pass with their sign reversed.

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> reversed_gradient(x).sum().backward()
    >>> x.grad
    tensor([-1., -1.])
    """
    reversed_x: Tensor = _Reversed.apply(x)  # type: ignore[no-untyped-call]
    return reversed_x


class Adversary(nn.Module):
    """Two layers with leaky ReLU and norm, and one of logits; behind a reversal of gradients.

    Parameters
    ----------
    width, n_batches
        D and C.
    """

    def __init__(self, width: int, n_batches: int) -> None:
        super().__init__()
        hidden = [(nn.Linear(width, width), nn.LeakyReLU(), nn.LayerNorm(width)) for _ in range(2)]
        self.hidden = nn.Sequential(*(layer for layers in hidden for layer in layers))
        self.out = nn.Linear(width, n_batches)

    def forward(self, cell_BD: Tensor) -> Tensor:
        """Return the logit of each batch, shape (B, C)."""
        logit_BC: Tensor = self.out(self.hidden(reversed_gradient(cell_BD)))
        return logit_BC
