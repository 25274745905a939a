"""Batches whose counts are dense: what plain torch works on, on any device and in any precision.

Axes in names: B cells of a batch, G genes.
"""

from typing import NamedTuple

from torch import Tensor


class DenseBatch(NamedTuple):
    """The counts of a few cells, dense.

    Attributes
    ----------
    counts
        Counts, float, shape (B, G).
    unmeasured
        True where the cell's source did not measure the gene, shape (B, G); None where all is measured.
    """

    counts: Tensor
    unmeasured: Tensor | None = None

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.counts)
