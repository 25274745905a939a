"""Compiled kernels: one file each for what they work on. Where numba cannot be had, plain torch does the same."""

import warnings
from functools import cache

import torch
from torch import Tensor


@cache
def available() -> bool:
    """Say whether kernels can be compiled here; warn once where not."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f"numba cannot be imported ({error}): count models train with plain torch, several times slower; "
            "install it again, in a version that knows this Python",
            stacklevel=2,
        )
        return False
    return True


def serve(x: Tensor) -> bool:
    """Say whether there are kernels for a tensor: of one model, in single precision, on the CPU."""
    return x.dim() == 2 and x.dtype == torch.float32 and x.device.type == "cpu" and available()
