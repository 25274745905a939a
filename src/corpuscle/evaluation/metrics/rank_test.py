"""Wilcoxon's rank-sum test of each group of cells against all others, gene by gene, on sparse expression.

Axes in names: N cells, G genes, C groups; "nz" runs over nonzeros.
"""

from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix, spmatrix
from scipy.stats import false_discovery_control, norm

# So many nonzeros are sorted at a time: about 1 GB.
MOST_SORTED = 20_000_000
# What scanpy adds to both means of a fold change.
NEARLY_ZERO = 1e-9


class RankTests(NamedTuple):
    """What the tests of groups against the rest came to, each of shape (C, G).

    Attributes
    ----------
    z_CG
        Standardised rank sum: above 0 where a gene is higher in the group than in the rest.
    p_CG
        Two-sided P of the normal approximation.
    adjusted_CG
        The same by Benjamini and Hochberg, over the genes of a group.
    log2_fold_CG
        log2 of the ratio of means in the group and the rest, as scanpy has it: of expm1 of means of log1p.
    """

    z_CG: NDArray[np.float64]
    p_CG: NDArray[np.float64]
    adjusted_CG: NDArray[np.float64]
    log2_fold_CG: NDArray[np.float64]

    def published_order(self, group: int) -> NDArray[np.intp]:
        """Return the genes by their adjusted P, as published; genes that go down stand among those that go up.

        Many have a P of 0 or 1, which the published code orders by chance; here the higher z stands first.
        """
        return np.lexsort((-self.z_CG[group], self.adjusted_CG[group]))

    def signed_order(self, group: int) -> NDArray[np.intp]:
        """Return the genes by z, those highest in the group first; of equals, the first in the gene space."""
        return np.argsort(-self.z_CG[group], kind="stable")


def rank_tests(log_NG: spmatrix, group_N: NDArray[np.int64], n_groups: int, *, tie_correct: bool = False) -> RankTests:
    """Test each group of cells against all other cells.

    Zeros are ranked without being stored: they are the lowest, and all tie.

    Parameters
    ----------
    log_NG
        Logarithms of expression, 0 or more, sparse, shape (N, G).
    group_N
        Which group each cell is in, from 0; -1: it is left out.
    n_groups
        How many groups there are, C.
    tie_correct
        Whether the variance of a rank sum is that with ties. Scanpy's default, and what is published, has none: P is
        then too high where many cells are 0.

    Raises
    ------
    ValueError
        When a value is below 0, or a group, or its rest, has no cell.

    References
    ----------
    Wilcoxon 1945, Biometrics Bulletin 1:80; ``scanpy.tl.rank_genes_groups`` with ``method="wilcoxon"``.

    Examples
    --------
    >>> found = rank_tests(csr_matrix([[0.0, 1], [0, 2], [1, 0], [2, 0]]), np.array([0, 0, 1, 1]), 2)
    >>> found.z_CG.round(2).tolist()
    [[-1.55, 1.55], [1.55, -1.55]]
    >>> found.signed_order(0).tolist()
    [1, 0]
    """
    kept_N = group_N >= 0
    values = csc_matrix(csr_matrix(log_NG)[kept_N]).astype(np.float64)
    values.eliminate_zeros()
    group_N = group_N[kept_N]
    size_C = np.bincount(group_N, minlength=n_groups).astype(np.float64)
    n_cells, n_genes = values.shape
    if (values.data < 0).any():
        raise ValueError("expected logarithms of counts, 0 or more; got values below 0")
    if (size_C == 0).any() or (size_C == n_cells).any():
        raise ValueError("a group, or all cells besides it, has no cell: there is nothing to compare")
    sums_CG, ties_G = np.empty((n_groups, n_genes)), np.empty(n_genes)
    for first, last in _stretches(values.indptr):
        sums_CG[:, first:last], ties_G[first:last] = _rank_sums(values[:, first:last], group_N, size_C)
    variance_C1 = (size_C * (n_cells - size_C) * (n_cells + 1) / 12)[:, None]
    factor_G = 1 - ties_G / (float(n_cells) ** 3 - n_cells) if tie_correct else np.ones(n_genes)
    above_CG = sums_CG - (size_C * (n_cells + 1) / 2)[:, None]
    spread_CG = np.sqrt(variance_C1 * factor_G)
    z_CG = np.divide(above_CG, spread_CG, out=np.zeros_like(above_CG), where=spread_CG > 0)
    p_CG = 2 * norm.sf(np.abs(z_CG))
    adjusted_CG = false_discovery_control(p_CG, axis=1) if n_genes else p_CG
    return RankTests(z_CG, p_CG, adjusted_CG, _log2_fold(values, group_N, size_C))


def _stretches(start_G: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Part genes into stretches of a limited number of nonzeros, of one gene at least."""
    found, first, n_genes = [], 0, len(start_G) - 1
    while first < n_genes:
        last = int(np.searchsorted(start_G, start_G[first] + MOST_SORTED, side="right")) - 1
        last = min(max(last, first + 1), n_genes)
        found.append((first, last))
        first = last
    return found


def _rank_sums(
    values: csc_matrix, group_N: NDArray[np.int64], size_C: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rank sums, shape (C, G), and for each gene the sum of t³ - t over its ties of t cells."""
    n_cells, n_genes = values.shape
    n_groups = len(size_C)
    count_G = np.diff(values.indptr)
    gene_nz = np.repeat(np.arange(n_genes), count_G)
    order = _sorted(values)
    sorted_nz, zeros_G = values.data[order], n_cells - count_G
    # Where a run of equal values of one gene begins.
    begins = np.ones(len(order), bool)
    begins[1:] = (sorted_nz[1:] != sorted_nz[:-1]) | (gene_nz[1:] != gene_nz[:-1])
    start = np.flatnonzero(begins)
    length = np.diff(np.append(start, len(order)))
    # Of a run from position a (from 0) of so many cells, the mean rank (from 1) is a + (length + 1) / 2.
    gene_of_run = gene_nz[start]
    rank_of_run = start - values.indptr[gene_of_run] + (length + 1) / 2 + zeros_G[gene_of_run]
    rank_nz = np.repeat(rank_of_run, length)
    place_nz = group_N[values.indices[order]] * n_genes + gene_nz
    shape = (n_groups, n_genes)
    # Of no nonzeros at all, numpy counts in whole numbers.
    sums_CG = np.bincount(place_nz, rank_nz, minlength=n_groups * n_genes).astype(np.float64).reshape(shape)
    stored_CG = np.bincount(place_nz, minlength=n_groups * n_genes).reshape(shape)
    sums_CG += (size_C[:, None] - stored_CG) * (zeros_G + 1) / 2
    ties_G = np.bincount(gene_of_run, length.astype(np.float64) ** 3 - length, minlength=n_genes)
    return sums_CG, ties_G + zeros_G.astype(np.float64) ** 3 - zeros_G


def _sorted(values: csc_matrix) -> NDArray[np.int64]:
    """Sort the nonzeros gene by gene: to sort all by gene and value takes several times as long."""
    order = np.empty(values.nnz, np.int64)
    for first, last in pairwise(values.indptr):
        order[first:last] = first + np.argsort(values.data[first:last])
    return order


def _log2_fold(values: csc_matrix, group_N: NDArray[np.int64], size_C: NDArray[np.float64]) -> NDArray[np.float64]:
    n_cells = values.shape[0]
    members = csr_matrix((np.ones(n_cells), (group_N, np.arange(n_cells))), shape=(len(size_C), n_cells))
    sum_CG = np.asarray((members @ values).todense())
    mean_CG = sum_CG / size_C[:, None]
    rest_CG = (sum_CG.sum(axis=0) - sum_CG) / (n_cells - size_C)[:, None]
    found: NDArray[np.float64] = np.log2((np.expm1(mean_CG) + NEARLY_ZERO) / (np.expm1(rest_CG) + NEARLY_ZERO))
    return found


class SortedGenes(NamedTuple):
    """Expression, sorted gene by gene: what tests of many pairs of groups have in common.

    Attributes
    ----------
    start_G
        Where each gene begins, and the last one ends, among the nonzeros.
    cell_nz
        The cell of each nonzero; in a gene, the lowest first.
    begins_nz
        Whether it is higher than the one before.
    """

    start_G: NDArray[np.int64]
    cell_nz: NDArray[np.int64]
    begins_nz: NDArray[np.bool_]

    @classmethod
    def of(cls, log_NG: spmatrix) -> "SortedGenes":
        """Sort logarithms of expression, 0 or more, sparse, shape (N, G)."""
        values = csc_matrix(log_NG, dtype=np.float64)
        values.eliminate_zeros()
        order = _sorted(values)
        sorted_nz = values.data[order]
        begins_nz = np.ones(len(order), bool)
        begins_nz[1:] = sorted_nz[1:] != sorted_nz[:-1]
        begins_nz[values.indptr[:-1][np.diff(values.indptr) > 0]] = True
        return cls(values.indptr.astype(np.int64), values.indices[order].astype(np.int64), begins_nz)

    def z_between(self, group_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Test the cells of group 1 against those of group 0; others, of group -1, are left out.

        Returns
        -------
        Standardised rank sums with the variance of ties, shape (G,): above 0 where a gene is higher in group 1; 0 where
        all cells have the same.
        """
        found: NDArray[np.float64] = _z_between(self.start_G, self.cell_nz, self.begins_nz, group_N)
        return found


@numba.njit(cache=True)
def _z_between(start_G, cell_nz, begins_nz, group_N):  # type: ignore[no-untyped-def]
    """Go through each gene's nonzeros twice: to count those of both groups, and to rank them."""
    n_zero, n_one = (group_N == 0).sum(), (group_N == 1).sum()
    n_genes, n = len(start_G) - 1, n_zero + n_one
    z_G = np.zeros(n_genes)
    for g in range(n_genes):
        stored, stored_one = 0, 0
        for at in range(start_G[g], start_G[g + 1]):
            group = group_N[cell_nz[at]]
            if group >= 0:
                stored += 1
                stored_one += group
        zeros = float(n - stored)
        ranks, ties = (n_one - stored_one) * (zeros + 1) / 2, zeros**3 - zeros
        below, length, length_one = zeros, 0.0, 0.0
        for at in range(start_G[g], start_G[g + 1]):
            if begins_nz[at]:
                ranks += length_one * (below + (length + 1) / 2)
                ties += length**3 - length
                below += length
                length, length_one = 0.0, 0.0
            group = group_N[cell_nz[at]]
            if group >= 0:
                length += 1
                length_one += group
        ranks += length_one * (below + (length + 1) / 2)
        ties += length**3 - length
        variance = n_zero * n_one / 12 * (n + 1 - ties / (float(n) * (n - 1)))
        if variance > 1e-9 * n:
            z_G[g] = (ranks - n_one * (n + 1) / 2) / np.sqrt(variance)
    return z_G
