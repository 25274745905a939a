"""First weights as torch gives them, but from a generator: never from torch's global state."""

from collections.abc import Collection

import torch
from torch import nn


def usual_weights(network: nn.Module, init: torch.Generator, names: Collection[str] | None = None) -> None:
    """Draw weights as torch does by default: of linear layers uniform within 1/√inputs, of embeddings standard normal.

    Norms do nothing at first. Parameters of other modules stay as they are: whoever makes such a module draws them.

    Parameters
    ----------
    network
        What is given them.
    init
        Draws them.
    names
        Which parameters; None: all.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> usual_weights(layer, torch.Generator().manual_seed(0))
    >>> bool(layer.weight.abs().max() <= 0.5)
    True
    """
    for module_name, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if names is not None and f"{module_name}.{own}".lstrip(".") not in names:
                continue
            with torch.no_grad():
                match module:
                    case nn.Linear():
                        bound = module.in_features**-0.5
                        parameter.uniform_(-bound, bound, generator=init)
                    case nn.Embedding():
                        parameter.normal_(generator=init)
                    case nn.LayerNorm():
                        parameter.fill_(1.0 if own == "weight" else 0.0)
                    case _:
                        pass
