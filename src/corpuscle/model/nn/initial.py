"""First weights, drawn from a generator of our own: never from torch's global state."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

# Of a module, the name of one of its parameters and the parameter: gives it its first values.
Draw = Callable[[nn.Module, str, Tensor], None]
# The deviation of BERT's weights.
DEVIATION = 0.02
# The deviation that genes' vectors begin with where they are learned and published ones were given: at torch's 1, what
# tells genes apart hardly moves in hundreds of steps, and stays as it was drawn.
GENE_DEVIATION = 0.1


@torch.no_grad()
def draw_each(network: nn.Module, draw: Draw, names: Collection[str] | None = None) -> None:
    """Draw a network's parameters, one after the other.

    Parameters
    ----------
    network
        What is given them.
    draw
        Draws one.
    names
        Which parameters; None: all.
    """
    for place, module in network.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if names is None or f"{place}.{own}".lstrip(".") in names:
                draw(module, own, parameter)


def normal_weights(network: nn.Module, init: torch.Generator, names: Collection[str] | None = None) -> None:
    """Draw weights as BERT's are: of layers and embeddings normal with deviation 0.02, biases 0, norms 1.

    Parameters are those of `draw_each`; `init` draws.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> normal_weights(layer, torch.Generator().manual_seed(0))
    >>> layer.bias.tolist()
    [0.0, 0.0]
    """

    def draw(module: nn.Module, own: str, parameter: Tensor) -> None:
        if own == "weight" and isinstance(module, nn.LayerNorm):
            parameter.fill_(1)
        elif own == "weight":
            parameter.normal_(0, DEVIATION, generator=init)
        else:
            parameter.zero_()

    draw_each(network, draw, names)


def usual_weights(network: nn.Module, init: torch.Generator, names: Collection[str] | None = None) -> None:
    """Draw weights as torch does by default: of linear layers uniform within 1/√inputs, of embeddings standard normal.

    Norms do nothing at first. Parameters of other modules stay as they are: whoever makes such a module draws them.
    Parameters are those of `draw_each`; `init` draws.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> usual_weights(layer, torch.Generator().manual_seed(0))
    >>> bool(layer.weight.abs().max() <= 0.5)
    True
    """

    def draw(module: nn.Module, own: str, parameter: Tensor) -> None:
        match module:
            case nn.Linear():
                bound = module.in_features**-0.5
                parameter.uniform_(-bound, bound, generator=init)
            case nn.Embedding():
                parameter.normal_(generator=init)
            case nn.LayerNorm():
                parameter.fill_(1.0 if own == "weight" else 0.0)

    draw_each(network, draw, names)
