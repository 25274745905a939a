"""Compiled kernels: one file each for what they work on. Where numba cannot be had, plain torch does the same.

A helper of a kernel that is kept on disk (``cache=True``) needs ``forceinline=True``. A call that the compiler leaves
is linked, in the process that compiles, to the helper as it was compiled by itself, and in a process that loads the
kernel to the helper as it was compiled for it: sums are then in another order, and the first run after an installation
differs in its last digits from all others.
"""

import warnings
from functools import cache

import torch
from torch import Tensor


@cache
def available() -> bool:
    """Return whether kernels can be compiled here; warn once where not."""
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
    """Return whether there are kernels for a tensor: in single precision, on the CPU."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and available()
