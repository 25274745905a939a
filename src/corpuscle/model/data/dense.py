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
    unmeasured, covariates
        As a `corpuscle.model.data.batches.Batch` has them.
    """

    counts: Tensor
    unmeasured: Tensor | None = None
    covariates: Tensor | None = None

    def __len__(self) -> int:
        """Count the cells."""
        return len(self.counts)

    def part(self, cells: slice) -> "DenseBatch":
        """Return some neighbouring cells."""
        others = (each if each is None else each[cells] for each in self[1:])
        return DenseBatch(self.counts[cells], *others)

    @property
    def totals(self) -> Tensor:
        """Each cell's total count, shape (B,)."""
        return self.counts.sum(1)
