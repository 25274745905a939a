"""Work done in parts whose inner numbers are not kept for the way back, but computed again: time for memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Return a function of tensors, keeping only what it was given for the way back; it must draw no random number.

    Examples
    --------
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> recomputed(lambda x: x.exp().log() ** 2, x).backward()
    >>> x.grad
    tensor(4.)
    """
    if not (torch.is_grad_enabled() and any(each.requires_grad for each in given)):
        return function(*given)
    found: Tensor = checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)
    return found
