"""Adam for networks with sparse input layers, whose gradients are never stored."""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from corpuscle.model import kernels
from corpuscle.model.nn.count_modules import SparseLinear

KEEP_MEAN, KEEP_SQUARE = 0.9, 0.999


class Parametrised(Protocol):
    """What has parameters in modules: a torch module."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Yield the modules."""
        ...


class _Moments(NamedTuple):
    mean: Tensor
    square: Tensor


class Adam:
    """Adam, as ``torch.optim.Adam`` and ``AdamW`` have it (Kingma and Ba 2015, arXiv 1412.6980).

    Parameters
    ----------
    network
        What is trained. Its `SparseLinear` layers leave their gradients as factors from now on.
    learning_rate, weight_decay, eps
        As ``torch.optim.Adam`` names them.
    decoupled
        Whether weights decay next to the step, as in AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), rather than
        through the gradient.
    """

    def __init__(
        self,
        network: Parametrised,
        *,
        learning_rate: float,
        weight_decay: float,
        eps: float,
        decoupled: bool = False,
    ) -> None:
        self._rate, self._eps = learning_rate, eps
        self._weight_decay, self._shrink = (0.0, 1 - learning_rate * weight_decay) if decoupled else (weight_decay, 1.0)
        self._steps = count(1)
        self._sparse: list[tuple[SparseLinear, _Moments]] = []
        for layer in network.modules():
            if isinstance(layer, SparseLinear) and kernels.serve(layer.weight):
                layer.factors = []
                self._sparse.append((layer, _Moments(*(torch.zeros_like(layer.weight) for _ in _Moments._fields))))
        of_sparse = {id(layer.weight) for layer, _ in self._sparse}
        self._rest_of = [parameter for parameter in network.parameters() if id(parameter) not in of_sparse]
        # Fused, it reads and writes each number once a step.
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        self._rest = kind(self._rest_of, lr=learning_rate, eps=eps, weight_decay=weight_decay, fused=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._rest_of:  # torch's own zero_grad takes a hundred times as long
            parameter.grad = None
        for layer, _ in self._sparse:
            if layer.factors:
                layer.factors.clear()

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights."""
        from corpuscle.model.kernels.products import AdamStep, step_along_product

        taken = next(self._steps)
        how = AdamStep(
            *(
                np.float32(number)
                for number in (
                    self._rate / (1 - KEEP_MEAN**taken),
                    KEEP_MEAN,
                    KEEP_SQUARE,
                    (1 - KEEP_SQUARE**taken) ** -0.5,
                    self._eps,
                    self._weight_decay,
                )
            )
        )
        self._rest.step()
        for layer, moments in self._sparse:
            for factors in layer.factors or ():
                if self._shrink < 1:
                    layer.weight.mul_(self._shrink)
                weights = (part.detach().numpy() for part in (layer.weight, *moments))
                step_along_product(*weights, factors.sparse, factors.upstream.numpy(), how)
