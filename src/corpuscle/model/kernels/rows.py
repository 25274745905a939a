"""Cut rows out of packed counts, compiled: a batch is cut at every step, and scipy can take twice as long."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def gather(
    starts: NDArray[np.int64], genes: NDArray[Any], counts: NDArray[Any], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return starts, genes and counts of some rows, in the order given, as a batch has them."""
    starts_B = np.zeros(len(rows) + 1, np.int64)
    for at, row in enumerate(rows):
        starts_B[at + 1] = starts_B[at] + starts[row + 1] - starts[row]
    genes_nz, counts_nz = np.empty(starts_B[-1], np.int64), np.empty(starts_B[-1], np.float32)
    for at, row in enumerate(rows):
        source, target = starts[row], starts_B[at]
        for nz in range(starts_B[at + 1] - target):
            genes_nz[target + nz] = genes[source + nz]
            counts_nz[target + nz] = counts[source + nz]
    return starts_B, genes_nz, counts_nz
