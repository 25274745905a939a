"""The most variable genes of a corpus, from moments that are streamed: no dense cells × genes array.

Axes in names: N cells, G genes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus

TARGET_SUM = 1e4
N_BINS = 20


class GeneMoments(NamedTuple):
    """Mean and variance (n - 1 in the denominator) of each gene's counts per 10,000, each of shape (G,)."""

    mean_G: NDArray[np.float64]
    variance_G: NDArray[np.float64]


def cp10k(counts_NG: csr_matrix) -> csr_matrix:
    """Scale each cell's counts to a sum of 10,000; a cell without counts stays zero.

    Parameters
    ----------
    counts_NG
        Counts, shape (N, G).

    Returns
    -------
    float64, the same shape and pattern.
    """
    scaled = counts_NG.data * np.repeat(cell_scales(counts_NG), np.diff(counts_NG.indptr))
    return csr_matrix((scaled, counts_NG.indices, counts_NG.indptr), shape=counts_NG.shape)


def cell_scales(counts_NG: csr_matrix) -> NDArray[np.float64]:
    """Return what each cell's counts are multiplied by to sum to 10,000, shape (N,); 0 for a cell without counts."""
    totals = np.asarray(counts_NG.sum(axis=1, dtype=np.float64)).ravel()
    scale_N: NDArray[np.float64] = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    return scale_N


def gene_moments(
    cells: Corpus, progress: Callable[[float], None] | None = None, *, block_cells: int = BLOCK_CELLS
) -> GeneMoments:
    """Stream through a corpus for the moments of its counts per 10,000; `times` is not applied.

    Memory is that of one block of cells, whatever the corpus' size.

    Parameters
    ----------
    cells
        What to look at.
    progress
        Called now and then with which share is done.
    block_cells
        How many cells to read at once: more are quicker, and take more memory.
    """
    total_G, square_G = np.zeros(cells.n_genes), np.zeros(cells.n_genes)
    for rows, counts_NG in cells.blocks(block_cells):
        scaled_NG = cp10k(counts_NG)
        total_G += np.bincount(scaled_NG.indices, weights=scaled_NG.data, minlength=cells.n_genes)
        square_G += np.bincount(scaled_NG.indices, weights=scaled_NG.data**2, minlength=cells.n_genes)
        if progress:
            progress(rows.stop / len(cells))
    n = len(cells)
    mean_G = total_G / n
    variance_G = np.maximum(square_G / n - mean_G**2, 0) * (n / max(n - 1, 1))
    return GeneMoments(mean_G, variance_G)


def most_variable(found: GeneMoments, n_genes: int) -> NDArray[np.int64]:
    """Choose the most variable genes as scanpy's ``highly_variable_genes(flavor="seurat")`` does.

    Genes are binned by log mean; within a bin the log dispersion (variance over mean) is standardised; the genes with
    the largest standardised dispersion are chosen (Satija et al. 2015, doi 10.1038/nbt.3192).

    Parameters
    ----------
    found
        Moments of counts per 10,000.
    n_genes
        How many to choose; where fewer genes vary, all that do.

    Returns
    -------
    Positions of the genes, sorted.
    """
    mean_G = np.where(found.mean_G == 0, 1e-12, found.mean_G)
    dispersion_G = found.variance_G / mean_G
    with np.errstate(divide="ignore"):
        log_dispersion = pd.Series(np.where(dispersion_G == 0, np.nan, np.log(dispersion_G)))
    bins = pd.Series(pd.cut(np.log1p(mean_G), bins=N_BINS, labels=False))
    grouped = log_dispersion.groupby(bins)
    centre, spread = grouped.transform("mean"), grouped.transform("std")
    # A bin of one gene has no spread: scanpy gives its gene a standardised dispersion of 1.
    alone = spread.isna()
    standardised = (log_dispersion - centre.mask(alone, 0.0)) / spread.mask(alone, centre)
    # In a bin of equal dispersions each gene is at the centre.
    standardised = standardised.mask(spread == 0, log_dispersion - centre)
    order = np.argsort(-standardised.fillna(-np.inf).to_numpy(), kind="stable")
    n_varying = int(standardised.notna().sum())
    return np.sort(order[: min(n_genes, n_varying)])
