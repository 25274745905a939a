"""Gradient of a product with sparse counts, and the step along it, compiled with numba: the gradient is never stored.

The weights of a layer on genes are most of a count model. Here each gene's row of the gradient is made where it is
used: weights and their two moments are read and written once a step, nothing else of their size is touched.

Axes in names: B cells, G genes, H units; "nz" runs over nonzeros.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Units whose sums are held at once; as a constant, so that the compiler unrolls the loop over them.
BLOCK = 128
SUMS = {"contract", "reassoc", "nsz"}
f = np.float32


class ByGene(NamedTuple):
    """Sparse numbers of a batch, gene by gene.

    Attributes
    ----------
    starts
        Where each gene's nonzeros start and end, shape (G + 1,).
    cells
        The cell of each nonzero, ascending within a gene, shape (nz,).
    values
        The number itself, shape (nz,); in memory each lies next to its cell.
    """

    starts: NDArray[np.int64]
    cells: NDArray[np.int32]
    values: Floats


class AdamStep(NamedTuple):
    """What a step of Adam needs to know, bias corrections worked in (Kingma and Ba 2015, arXiv 1412.6980, sec. 2)."""

    rate: Any
    keep_mean: Any
    keep_square: Any
    over_root: Any
    eps: Any
    weight_decay: Any


@njit(error_model="numpy", cache=True, nogil=True)
def _by_gene(starts: Any, gene_nz: Any, value_nz: Floats, gene_starts: Any, cell_nz: Any, sorted_nz: Floats) -> None:
    # As unsigned numbers: signed ones would be checked for counting from the end.
    one = np.uintp(1)
    for gene in gene_nz:
        gene_starts[np.uintp(gene) + one] += 1
    for g in range(1, len(gene_starts)):
        gene_starts[g] += gene_starts[g - 1]
    free = gene_starts[:-1].copy()
    for c in range(len(starts) - 1):
        for i in range(np.uintp(starts[c]), np.uintp(starts[c + 1])):
            gene = np.uintp(gene_nz[i])
            place = np.uintp(free[gene])
            cell_nz[place], sorted_nz[place] = c, value_nz[i]
            free[gene] = place + one


def by_gene(starts: NDArray[np.int64], gene_nz: NDArray[Any], value_nz: Floats, n_genes: int) -> ByGene:
    """Sort a batch's nonzeros by gene.

    Examples
    --------
    >>> sparse = by_gene(np.array([0, 2, 3]), np.array([0, 2, 0]), np.array([5, 6, 7], np.float32), n_genes=3)
    >>> sparse.starts.tolist(), sparse.cells.tolist(), sparse.values.tolist()
    ([0, 2, 2, 3], [0, 1, 0], [5.0, 7.0, 6.0])
    """
    # Cells and values go to places all over the array: side by side, half as many lines of the cache are touched.
    pair_nz2 = np.empty((len(gene_nz), 2), np.int32)
    sparse = ByGene(np.zeros(n_genes + 1, np.int64), pair_nz2[:, 0], pair_nz2.view(f)[:, 1])
    _by_gene(starts, gene_nz, value_nz, *sparse)
    return sparse


@njit(fastmath=SUMS, error_model="numpy", forceinline=True)
def _step(weight_H: Floats, mean_H: Floats, square_H: Floats, gradient_H: Floats, how: AdamStep) -> None:
    """Take Adam's step with one row of weights."""
    for h in range(len(weight_H)):
        slope = gradient_H[h] + how.weight_decay * weight_H[h]
        mean = how.keep_mean * mean_H[h] + (f(1) - how.keep_mean) * slope
        square = how.keep_square * square_H[h] + (f(1) - how.keep_square) * slope * slope
        mean_H[h], square_H[h] = mean, square
        weight_H[h] -= how.rate * mean / (np.sqrt(square) * how.over_root + how.eps)


@njit(fastmath=SUMS, error_model="numpy", cache=True, nogil=True)
def step_along_product(
    weight_GH: Floats, mean_GH: Floats, square_GH: Floats, sparse: ByGene, upstream_BH: Floats, how: AdamStep
) -> None:
    """Take Adam's step with weights whose gradient is ``sparse.T @ upstream``; moments and weights in place.

    Parameters
    ----------
    weight_GH, mean_GH, square_GH
        Weights, and Adam's running means of the gradient and of its square.
    sparse
        What the layer was given, gene by gene.
    upstream_BH
        Gradient of the loss in what the layer gave.
    how
        Adam's numbers for this step.
    """
    n_cells, n_units = upstream_BH.shape
    n_blocks = (n_units + BLOCK - 1) // BLOCK
    upstream = np.zeros((n_cells, n_blocks, BLOCK), f)
    upstream.reshape(n_cells, n_blocks * BLOCK)[:, :n_units] = upstream_BH
    sums = np.empty((n_blocks, BLOCK), f)
    gradient_H = sums.reshape(n_blocks * BLOCK)[:n_units]
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for g in range(len(weight_GH)):
        first, end = np.uintp(sparse.starts[g]), np.uintp(sparse.starts[g + 1])
        for k in range(n_blocks):
            total = sums[k]
            for h in range(BLOCK):
                total[h] = f(0)
            i = first
            # Four cells at a time: the sums are read and written a quarter as often.
            while i + three < end:
                a, b, c, d = sparse.cells[i], sparse.cells[i + one], sparse.cells[i + two], sparse.cells[i + three]
                x, y = sparse.values[i], sparse.values[i + one]
                v, w = sparse.values[i + two], sparse.values[i + three]
                rows = (
                    upstream[np.uintp(a), k],
                    upstream[np.uintp(b), k],
                    upstream[np.uintp(c), k],
                    upstream[np.uintp(d), k],
                )
                for h in range(BLOCK):
                    total[h] += x * rows[0][h] + y * rows[1][h] + v * rows[2][h] + w * rows[3][h]
                i += four
            while i < end:
                row, x = upstream[np.uintp(sparse.cells[i]), k], sparse.values[i]
                for h in range(BLOCK):
                    total[h] += x * row[h]
                i += one
        _step(weight_GH[g], mean_GH[g], square_GH[g], gradient_H, how)


@njit(fastmath=SUMS, error_model="numpy", cache=True, nogil=True)
def step_along(weight_GH: Floats, mean_GH: Floats, square_GH: Floats, gradient_GH: Floats, how: AdamStep) -> None:
    """Take Adam's step with some weights, given their gradient; moments and weights in place."""
    for g in range(len(weight_GH)):
        _step(weight_GH[g], mean_GH[g], square_GH[g], gradient_GH[g], how)
