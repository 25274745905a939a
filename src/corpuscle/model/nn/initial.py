"""First weights of a network that is made without any: each from a generator, never from torch's global state."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def drawn(build: Callable[[], Network], init: torch.Generator) -> Network:
    """Return a network with random weights, as torch draws them by default.

    Linear layers are uniform within 1/√inputs, vectors of tokens standard normal, and norms do nothing. Parameters and
    buffers of other modules are left empty: whoever makes such a module draws them.

    Parameters
    ----------
    build
        Makes the network; it is called where torch allocates nothing, so that a network of any size is quick to make.
    init
        Draws the weights.

    Examples
    --------
    >>> drawn(lambda: nn.Linear(4, 2), torch.Generator().manual_seed(0)).weight.abs().max() <= 0.5
    tensor(True)
    """
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    for module in network.modules():
        match module:
            case nn.Linear():
                _uniform(module.weight, module.in_features, init)
                if module.bias is not None:
                    _uniform(module.bias, module.in_features, init)
            case nn.LayerNorm():
                module.reset_parameters()
            case nn.Embedding():
                nn.init.normal_(module.weight, generator=init)
            case _:
                pass
    return network


def _uniform(weight: Tensor, n_in: int, init: torch.Generator) -> None:
    bound = n_in**-0.5
    nn.init.uniform_(weight, -bound, bound, generator=init)
