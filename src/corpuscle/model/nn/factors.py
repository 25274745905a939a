"""Gradients as factors: products that nobody makes as a whole, as the optimiser makes each part where it is used.

Axes in names: B cells of a batch, G genes, H units that a layer is given or gives.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from corpuscle.model.kernels.products import ByGene

# What there is of each cell and gene is kept in blocks of so many genes, (B, 1008) each, which the second-level cache
# holds: where a row has all of 20,000 genes, products take half as long again. No power of two, as the rows of such a
# block would fall on the same places of the cache.
BLOCK_GENES = 1008


def genes_of_blocks(n_genes: int) -> Iterator[slice]:
    """Yield the genes of each block.

    Examples
    --------
    >>> list(genes_of_blocks(2000))
    [slice(0, 1008, None), slice(1008, 2000, None)]
    """
    for first in range(0, n_genes, BLOCK_GENES):
        yield slice(first, min(first + BLOCK_GENES, n_genes))


class Blocks(NamedTuple):
    """Numbers of each cell and gene, block by block of genes.

    Attributes
    ----------
    whole
        All of them, shape (blocks, B, W); of the last block, the last genes may be none.
    parts
        Each block of it without those, shape (B, W) or narrower.
    """

    whole: Tensor
    parts: list[Tensor]

    @classmethod
    def empty(cls, n_cells: int, n_genes: int) -> "Blocks":
        """Make room for so many cells and genes."""
        from corpuscle.model.kernels.counts import ROOM

        genes = list(genes_of_blocks(n_genes))
        width = max(n_genes, ROOM) if len(genes) == 1 else BLOCK_GENES
        whole = torch.empty(len(genes), n_cells, width)
        return cls(whole, [part[:, : here.stop - here.start] for part, here in zip(whole, genes, strict=True)])


class SparseFactors(NamedTuple):
    """A gradient (G, H) as ``sparse.T @ upstream``: of a layer from genes to units."""

    sparse: "ByGene"
    upstream_BH: Tensor


class DenseFactors(NamedTuple):
    """A gradient (G, H) as ``slope.T @ given``: of a layer from units to genes; the slopes are in blocks of genes."""

    slopes: list[Tensor]
    given_BH: Tensor
