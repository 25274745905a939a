"""How much memory a network would take in training, from its layers' widths alone: nothing is allocated to find out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

# Bounds of a network's settings. A network within them may still be larger than a machine: see `TakesMemory`.
MOST_LAYERS, MOST_UNITS, MOST_CELLS = 100, 1_000_000, 1_000_000
# In training, a weight has a gradient and Adam's two moments, and a unit of a cell its value, its slope and a copy.
BYTES_OF_WEIGHT, BYTES_OF_UNIT = 16, 12


@runtime_checkable
class TakesMemory(Protocol):
    """A model whose settings may ask for more memory than a machine has."""

    def memory(self, n_genes: int) -> int:
        """Return about how many bytes a training takes on so many genes, besides the corpus."""
        ...


@runtime_checkable
class HasSizes(Protocol):
    """A model that comes in sizes, so that it can say which of them a machine can hold."""

    def would_fit(self, n_genes: int, limit: int) -> str:
        """Return what to change, in words, so that a training takes at most `limit` bytes; empty: nothing would do."""
        ...


@runtime_checkable
class TakesMemoryWhenFineTuned(Protocol):
    """A model whose network may take more memory than a machine has when it is fine-tuned."""

    def memory_to_fine_tune(self, n_genes: int, n_cells: int, n_blocks: int | None) -> int:
        """Return about how many bytes it takes on so many genes.

        Parameters
        ----------
        n_genes
            The study's genes.
        n_cells
            How many cells are worked through at once.
        n_blocks
            How many of the network's last blocks learn; None: all of it.
        """
        ...


def memory_to_fine_tune(model: object, n_genes: int, n_cells: int, n_blocks: int | None) -> int:
    """Return about how many bytes a model's fine-tuning takes; 0 where that is not known, or little."""
    if not isinstance(model, TakesMemoryWhenFineTuned):
        return 0
    return model.memory_to_fine_tune(n_genes, n_cells, n_blocks)


def memory_of(model: object, n_genes: int) -> int:
    """Return about how many bytes a model's training takes; 0 where that does not depend on its settings."""
    return model.memory(n_genes) if isinstance(model, TakesMemory) else 0


def training_bytes(stacks: Sequence[Sequence[int]], batch_size: int) -> int:
    """Return about how many bytes a training takes.

    Parameters
    ----------
    stacks
        Stacks of fully connected layers, each given by the units from its input to its output.
    batch_size
        Cells per step.

    Examples
    --------
    >>> training_bytes([[2000, 128, 10]], batch_size=128)
    7402656
    """
    n_weights = sum((before + 1) * after for stack in stacks for before, after in pairwise(stack))
    n_units = batch_size * sum(map(sum, stacks))
    return BYTES_OF_WEIGHT * n_weights + BYTES_OF_UNIT * n_units
