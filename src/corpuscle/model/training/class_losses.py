"""Losses of a cell's label, and the remedies for labels of unequal frequency that are losses.

Each is a loss per cell, in nats; lower is better. Axes in names: B cells of a batch, C labels.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Remedy = Literal["none", "resampling", "class_weights", "focal", "ldam"]
LabelLoss = Callable[[Tensor, Tensor], Tensor]

FOCUS = 2.0
LARGEST_MARGIN, SCALE = 0.5, 30.0


def label_loss(remedy: Remedy, count_C: NDArray[np.int64]) -> LabelLoss:
    """Return the loss that a remedy minimises: a function of logits (B, C) and label codes (B,), to losses (B,).

    Parameters
    ----------
    remedy
        ``"none"`` and ``"resampling"`` (a matter of which cells are drawn) minimise the cross-entropy.
    count_C
        How many cells of each label there are to train on.
    """
    match remedy:
        case "class_weights":
            weight_C = balanced_weights(count_C)
            return lambda logit_BC, code_B: weight_C.to(code_B.device)[code_B] * cross_entropy(logit_BC, code_B)
        case "focal":
            return focal
        case "ldam":
            margin_C = margins(count_C)
            return lambda logit_BC, code_B: ldam(logit_BC, code_B, margin_C.to(code_B.device))
        case _:
            return cross_entropy


def cross_entropy(logit_BC: Tensor, code_B: Tensor) -> Tensor:
    """Return minus the logarithm of the label's probability, shape (B,)."""
    return functional.cross_entropy(logit_BC, code_B, reduction="none")


def balanced_weights(count_C: NDArray[np.int64]) -> Tensor:
    """Weigh labels by one over their frequency, so that each counts as much; over the cells, weights average to 1.

    Examples
    --------
    >>> balanced_weights(np.array([30, 10]))
    tensor([0.6667, 2.0000])
    """
    return torch.from_numpy((count_C.sum() / (len(count_C) * count_C)).astype(np.float32))


def focal(logit_BC: Tensor, code_B: Tensor) -> Tensor:
    """Return the focal loss, shape (B,): (1 - p)^2 times the cross-entropy, p being the label's probability.

    Lin et al. 2017, arXiv 1708.02002, equation 4 with gamma = 2.

    Examples
    --------
    >>> focal(torch.tensor([[0.0, 0.0]]), torch.tensor([1])) / np.log(2)
    tensor([0.2500])
    """
    entropy_B = cross_entropy(logit_BC, code_B)
    return (1 - (-entropy_B).exp()) ** FOCUS * entropy_B


def margins(count_C: NDArray[np.int64]) -> Tensor:
    """Return each label's margin: one over the fourth root of its frequency, the rarest's being 0.5.

    Cao et al. 2019, arXiv 1906.07413, equation 10.

    Examples
    --------
    >>> margins(np.array([16, 1]))
    tensor([0.2500, 0.5000])
    """
    return torch.from_numpy((LARGEST_MARGIN * (count_C.min() / count_C) ** 0.25).astype(np.float32))


def ldam(logit_BC: Tensor, code_B: Tensor, margin_C: Tensor) -> Tensor:
    """Return the label-distribution-aware margin loss, shape (B,).

    Cao et al. 2019, arXiv 1906.07413, equation 12: the cross-entropy once the label's logit is lowered by its margin.
    Logits are cosines times 30, which is also what margins are multiplied by.

    Parameters
    ----------
    logit_BC
        Cosines of hidden unit and weight vectors, times `SCALE`.
    code_B
        The labels.
    margin_C
        Each label's margin, in cosines.
    """
    lowered_BC = logit_BC - SCALE * functional.one_hot(code_B, len(margin_C)) * margin_C
    return cross_entropy(lowered_BC, code_B)
