"""Products of the columns of a sparse matrix with each other, added up in float64: the covariance of few-count genes.

A cell in which a tenth of the genes is counted has a hundredth of the products that a dense multiplication computes.
scipy's product of two sparse matrices builds a sparse result and finds each product twice, which takes as long as a
dense one.
Axes in names: N cells, H genes.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def add_products(values_NH: csr_matrix, square_HH: NDArray[np.float64]) -> None:
    """Add the products of each two columns to the upper triangle of `square_HH`; what is below it stays as it is.

    Parameters
    ----------
    values_NH
        Values with sorted indices, none twice in a row.
    square_HH
        Where to add, shape (H, H).

    Examples
    --------
    >>> square = np.zeros((2, 2))
    >>> add_products(csr_matrix([[1.0, 2.0], [0.0, 3.0]]), square)
    >>> square.tolist()
    [[1.0, 2.0], [0.0, 13.0]]
    """
    # By gene, then by cell: one row of the result at a time stays in the processor's nearest cache.
    places = np.arange(values_NH.nnz, dtype=values_NH.indices.dtype)
    by_gene = csr_matrix((places, values_NH.indices, values_NH.indptr), shape=values_NH.shape).tocsc()
    rests_P = np.column_stack([by_gene.data, values_NH.indptr[1:][by_gene.indices]])
    _add(values_NH.data, values_NH.indices, by_gene.indptr, rests_P, square_HH)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add(value_P: Any, gene_P: Any, start_H: Any, rests_P: Any, square_HH: Any) -> None:
    for h in range(len(square_HH)):
        row = square_HH[h]
        for at in range(start_H[h], start_H[h + 1]):
            first, last = rests_P[at, 0], rests_P[at, 1]
            # The rest of the cell: this gene and those after it.
            values, genes = value_P[first:last], gene_P[first:last]
            mine = np.float64(values[0])
            for other in range(len(values)):
                row[genes[other]] += mine * values[other]
