"""Adam for networks with layers on genes, whose gradients are never stored."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corpuscle.model import kernels
from corpuscle.model.nn.count_modules import GeneLinear, SparseLinear
from corpuscle.model.nn.factors import DenseFactors, SparseFactors

if TYPE_CHECKING:
    from corpuscle.model.kernels.products import AdamStep

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
        What is trained. Its `SparseLinear` and `GeneLinear` layers leave their gradients as factors from now on.
    learning_rate, weight_decay, eps
        As ``torch.optim.Adam`` names them.
    decoupled
        Whether weights decay next to the step, as in AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), rather than
        through the gradient.
    spares_vectors
        Whether biases and norms, all parameters with one axis, do not decay, as is usual for transformers.
    multiple
        Of a step, counted from 0: what the learning rate is multiplied by; None: it is constant.
    clip_norm
        The norm of all gradients together above which they are scaled down to it; None: no limit.
    in_parts
        Whether gradients of several losses are added up before a step. For that, as for a norm, layers keep whole
        gradients.
    """

    def __init__(  # noqa: PLR0913
        self,
        network: Parametrised,
        *,
        learning_rate: float,
        weight_decay: float,
        eps: float,
        decoupled: bool = False,
        spares_vectors: bool = False,
        multiple: Callable[[int], float] | None = None,
        clip_norm: float | None = None,
        in_parts: bool = False,
    ) -> None:
        self._rate, self._multiple, self._eps, self._clip_norm = learning_rate, multiple, eps, clip_norm
        # Through the gradient, and next to the step.
        self._weight_decay, self._decoupled_decay = (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
        self._taken, needs_whole = 0, in_parts or clip_norm is not None
        self._factored: list[tuple[SparseLinear | GeneLinear, _Moments]] = []
        for layer in network.modules():
            if not isinstance(layer, SparseLinear | GeneLinear):
                continue
            layer.factors = [] if kernels.serve(layer.weight) and not needs_whole else None
            if layer.factors is not None:
                self._factored.append((layer, _Moments(*(torch.zeros_like(layer.weight) for _ in _Moments._fields))))
        factored = {id(layer.weight) for layer, _ in self._factored}
        self._rest_of = [parameter for parameter in network.parameters() if id(parameter) not in factored]
        # Fused, it reads and writes each number once a step.
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        spared = [parameter for parameter in self._rest_of if spares_vectors and parameter.dim() == 1]
        decayed = [parameter for parameter in self._rest_of if not (spares_vectors and parameter.dim() == 1)]
        groups: list[dict[str, Any]] = [{"params": decayed}]
        if spared:
            groups.append({"params": spared, "weight_decay": 0.0})
        self._rest = kind(groups, lr=learning_rate, eps=eps, weight_decay=weight_decay, fused=True)

    def state(self) -> dict[str, Tensor]:
        """Return all that steps change besides the weights, by name."""
        found = {"taken": torch.tensor(self._taken)}
        for number, moments in self._rest.state_dict()["state"].items():
            found |= {f"{number}.{name}": tensor for name, tensor in moments.items()}
        for place, (_, of_layer) in enumerate(self._factored):
            found |= {f"sparse {place}.{name}": tensor for name, tensor in of_layer._asdict().items()}
        return found

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._taken = int(state["taken"])
        rest: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            number, _, name = key.partition(".")
            if number.isdigit():
                rest.setdefault(int(number), {})[name] = tensor
        self._rest.load_state_dict(self._rest.state_dict() | {"state": rest})
        for place, (_, of_layer) in enumerate(self._factored):
            for name, tensor in of_layer._asdict().items():
                tensor.copy_(state[f"sparse {place}.{name}"])

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._rest_of:  # torch's own zero_grad takes a hundred times as long
            parameter.grad = None
        for layer, _ in self._factored:
            if layer.factors:
                layer.factors.clear()

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights."""
        from corpuscle.model.kernels.products import AdamStep

        rate = self._rate
        if self._multiple is not None:
            rate *= self._multiple(self._taken)
            for group in self._rest.param_groups:
                group["lr"] = rate
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._rest_of, self._clip_norm)
        self._taken += 1
        how = AdamStep(
            *(
                np.float32(number)
                for number in (
                    rate / (1 - KEEP_MEAN**self._taken),
                    KEEP_MEAN,
                    KEEP_SQUARE,
                    (1 - KEEP_SQUARE**self._taken) ** -0.5,
                    self._eps,
                    self._weight_decay,
                )
            )
        )
        self._rest.step()
        for layer, moments in self._factored:
            for factors in layer.factors or ():
                if self._decoupled_decay:
                    layer.weight.mul_(1 - rate * self._decoupled_decay)
                _step(_Moving(layer.weight, *moments), factors, how)


class _Moving(NamedTuple):
    weight_GH: Tensor
    mean_GH: Tensor
    square_GH: Tensor

    def numpy(self, rows: slice = slice(None)) -> list[NDArray[np.float32]]:
        """Return some rows of each."""
        return [part[rows].detach().numpy() for part in self]


def _step(moving: _Moving, factors: SparseFactors | DenseFactors, how: "AdamStep") -> None:
    """Take a step with weights whose gradient is a product; what is made of it at once stays in the cache."""
    from corpuscle.model.kernels.products import step_along, step_along_product

    if isinstance(factors, SparseFactors):
        step_along_product(*moving.numpy(), factors.sparse, factors.upstream_BH.numpy(), how)
        return
    first, buffer = 0, torch.empty_like(moving.weight_GH[: factors.slopes[0].shape[1]])
    for slope_BW in factors.slopes:
        rows = slice(first, first + slope_BW.shape[1])
        gradient = torch.mm(slope_BW.T, factors.given_BH, out=buffer[: rows.stop - first])
        step_along(*moving.numpy(rows), gradient.numpy(), how)
        first = rows.stop
