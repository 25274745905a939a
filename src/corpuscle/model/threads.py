"""One thread: what is fitted is the same to the bit, whatever other libraries did to the threads before."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

# What libraries read, when they are loaded, to know how many threads to start: OpenMP's, those of BLAS, numba's.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, BLAS, OpenMP and numba use one thread in the block; afterwards they have what they had.

    The order in which several threads add numbers up is not fixed, so a fit's last bits would depend on their number.
    It is set here and not only where workers start: numba's threads, when first used (by UMAP, say), set OpenMP's
    number anew, which is torch's, whatever it was set to before.

    Examples
    --------
    >>> import torch
    >>> before = torch.get_num_threads()
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    # Torch takes long to import, and whoever reads a study's file imports this module.
    import torch

    # Torch's number is OpenMP's in part, so it is noted before that is limited, and set again last.
    n_torch, n_numba = torch.get_num_threads(), _numba_threads()
    try:
        with threadpool_limits(limits=1):
            torch.set_num_threads(1)
            _set_numba_threads(n_numba and 1)
            yield
    finally:
        torch.set_num_threads(n_torch)
        _set_numba_threads(n_numba)


def _numba_threads() -> int | None:
    """Return how many threads numba uses; None where it has started none (to ask it would start them)."""
    numba = sys.modules.get("numba")
    if numba is None:
        return None
    try:
        numba.threading_layer()
    except ValueError:
        return None
    return int(numba.get_num_threads())


def _set_numba_threads(n_threads: int | None) -> None:
    if n_threads is not None:
        sys.modules["numba"].set_num_threads(n_threads)
