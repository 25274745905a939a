"""A perceptron of one hidden layer that says which label a cell has: on an embedding, or on its counts.

Axes in names: B cells of a batch, H hidden units, C labels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from corpuscle.model.nn.layers import Linear, dropout
from corpuscle.model.training.class_losses import SCALE


class Perceptron(nn.Module):
    """A first layer, ReLU, dropout and a layer to labels.

    Parameters
    ----------
    first
        A layer of what cells are given as to hidden units.
    n_hidden, n_labels
        Its hidden units; the labels.
    dropout
        Share of hidden units dropped in training.
    cosine
        Whether logits are cosines times 30, as the LDAM loss needs them, in place of a linear layer's.
    init
        Draws the last layer's weights.
    """

    def __init__(
        self, first: nn.Module, n_hidden: int, n_labels: int, *, dropout: float, cosine: bool, init: torch.Generator
    ) -> None:
        super().__init__()
        self.first, self.dropout, self.cosine = first, dropout, cosine
        self.last = Linear(n_hidden, n_labels, init)
        if cosine:
            self.last.register_parameter("bias", None)

    def hidden(self, cells: Any) -> Tensor:
        """Return the hidden units, shape (B, H)."""
        return functional.relu(self.first(cells))

    def forward(self, cells: Any, noise: torch.Generator | None = None) -> Tensor:
        """Return the labels' logits, shape (B, C); with a generator, dropping units out."""
        hidden_BH = dropout(self.hidden(cells), self.dropout, noise)
        if self.cosine:
            return SCALE * functional.normalize(hidden_BH) @ functional.normalize(self.last.weight).T
        logit_BC: Tensor = self.last(hidden_BH)
        return logit_BC
