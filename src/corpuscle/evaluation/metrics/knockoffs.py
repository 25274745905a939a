"""Knockoffs: genes that look like the real ones and know nothing of the cells, and what is surely larger than theirs.

Axes in names: N cells, G genes.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix, spmatrix
from scipy.special import lambertw
from scipy.stats import nbinom, norm, poisson, rankdata

Array = NDArray[np.float64]
Null = Literal["zip", "nb", "copula"]
# A gene that varies no more than Poisson's is drawn as Poisson's: so large a size has no dispersion to speak of.
MOST_SIZE = 1e6


def knockoffs(counts_NG: spmatrix, null: Null, rng: np.random.Generator) -> csr_matrix:
    """Draw for each gene counts of its own distribution, independently of the cells.

    Parameters
    ----------
    counts_NG
        Counts, shape (N, G).
    null
        What each gene's counts are taken for: ``"zip"``, a Poisson law with extra zeros, by maximum likelihood;
        ``"nb"``, a negative binomial law, by its moments; ``"copula"``, the same with the correlation of genes kept,
        by a Gaussian copula.
    rng
        The only source of randomness.

    Returns
    -------
    Counts of the same shape. A gene that is the same in all cells is drawn by Poisson's law of its mean.

    References
    ----------
    DenAdel et al. 2025, Am J Hum Genet (recall); the maximum-likelihood estimate of a zero-inflated Poisson law by
    Lambert's W: Dencks, Piepenbrock and Schmitz 2020, https://doi.org/10.1515/bmt-2018-0131.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = csr_matrix(rng.poisson(3.0, (2000, 1)) * (rng.random((2000, 1)) < 0.5))
    >>> drawn = knockoffs(counts, "zip", rng).toarray()
    >>> bool(abs(drawn.mean() - counts.mean()) < 0.1)
    True
    """
    counts = csc_matrix(counts_NG, dtype=np.float64)
    n_cells, n_genes = counts.shape
    mean_G = np.asarray(counts.mean(axis=0)).ravel()
    if null == "zip":
        rate_G, kept_G = _zip(mean_G, np.diff(counts.indptr) / n_cells)
        drawn = [
            rng.poisson(rate, n_cells) * (rng.random(n_cells) < kept) for rate, kept in zip(rate_G, kept_G, strict=True)
        ]
        return csr_matrix(_stacked(drawn, n_cells))
    square_G = np.asarray(counts.multiply(counts).mean(axis=0)).ravel()
    size_G = _size(mean_G, np.maximum(square_G - mean_G**2, 0) * n_cells / max(n_cells - 1, 1))
    if null == "nb":
        drawn = [rng.poisson(rng.gamma(size, mean / size, n_cells)) for mean, size in zip(mean_G, size_G, strict=True)]
        return csr_matrix(_stacked(drawn, n_cells))
    shares_NG = norm.cdf(_correlated(counts, rng))
    drawn = [_quantiles(shares_NG[:, g], mean_G[g], size_G[g]) for g in range(n_genes)]
    return csr_matrix(_stacked(drawn, n_cells))


def _stacked(drawn: list[NDArray[np.integer]], n_cells: int) -> csc_matrix:
    return csc_matrix(np.column_stack(drawn)) if drawn else csc_matrix((n_cells, 0))


def _zip(mean_G: Array, positive_G: Array) -> tuple[Array, Array]:
    """Return the rate of each gene's Poisson law, and the share of cells that follow it; the others have zeros."""
    # The mean of what is not zero is rate / (1 - exp(-rate)): solved by Lambert's W.
    above_G = np.divide(mean_G, positive_G, out=np.ones_like(mean_G), where=positive_G > 0)
    rate_G = np.real(lambertw(-above_G * np.exp(-above_G))) + above_G
    # Ones and zeros alone are as well a Poisson law with hardly any rate; more than its zeros, none has too few.
    kept_G = np.divide(mean_G, rate_G, out=np.full_like(mean_G, np.inf), where=rate_G > 1e-9)
    plain_G = kept_G >= 1
    return np.where(plain_G, mean_G, rate_G), np.where(plain_G, 1.0, kept_G)


def _size(mean_G: Array, variance_G: Array) -> Array:
    """Return the size of negative binomial laws, mean² / (variance - mean); very large where that is Poisson's."""
    over_G = variance_G - mean_G
    found: Array = np.divide(
        mean_G**2, over_G, out=np.full_like(mean_G, MOST_SIZE), where=over_G > mean_G**2 / MOST_SIZE
    )
    return np.clip(found, 1e-6, MOST_SIZE)


def _quantiles(share_N: Array, mean: float, size: float) -> NDArray[np.int64]:
    law = poisson(mean) if size >= MOST_SIZE else nbinom(size, size / (size + mean)) if mean > 0 else poisson(0)
    found: NDArray[np.int64] = np.nan_to_num(law.ppf(share_N)).astype(np.int64)
    return found


def _correlated(counts: csc_matrix, rng: np.random.Generator) -> Array:
    """Draw normal numbers that are correlated as the genes' are, by the ranks of their counts; ties in any order."""
    n_cells, n_genes = counts.shape
    scores_NG = np.empty((n_cells, n_genes))
    for g in range(n_genes):
        value_N = counts[:, [g]].toarray().ravel()
        ranks_N = rankdata(value_N + rng.random(n_cells) * 1e-6)
        scores_NG[:, g] = norm.ppf(ranks_N / (n_cells + 1))
    scores_NG -= scores_NG.mean(axis=0)
    scores_NG /= np.maximum(scores_NG.std(axis=0), 1e-12)
    # R of QR has the scores' products, RᵀR, in no more rows than there are genes: normal weights over its rows make
    # draws of the correlation as it is, whatever the numbers of cells and genes, without cells × cells of memory.
    root = np.linalg.qr(scores_NG, mode="r")
    found: Array = rng.standard_normal((n_cells, len(root))) @ root / np.sqrt(n_cells)
    return found


def log10_p(z: Array) -> Array:
    """Return log10 of the two-sided P of normal scores, also where P itself would be 0."""
    found: Array = (np.log(2) + norm.logsf(np.abs(z))) / np.log(10)
    return np.minimum(found, 0.0)


def threshold(w_G: Array, q: float, offset: Literal[0, 1] = 1) -> float:
    """Return from which W on genes are taken, at a false discovery rate of `q`; infinity: none is.

    Parameters
    ----------
    w_G
        How much more surely than its knockoff each gene differs; below 0 where the knockoff differs more.
    q
        The false discovery rate.
    offset
        1: knockoff+, which holds the rate; 0: a little more is found, of a modified rate.

    References
    ----------
    Barber and Candès 2015, Ann Stat 43:2055, equations 1.8 and 1.9.

    Examples
    --------
    >>> threshold(np.array([5.0, 4, 3, 2, -1]), q=0.3), threshold(np.array([1.0, -1]), q=0.3)
    (2.0, inf)
    """
    for t in np.unique(np.concatenate([[0.0], np.abs(w_G)])):
        if (offset + (w_G <= -t).sum()) / max(1, (w_G >= t).sum()) <= q:
            return float(t)
    return float("inf")


def half(counts_NG: csr_matrix, rng: np.random.Generator) -> tuple[csr_matrix, csr_matrix]:
    """Part counts in two, each count by coin flips: of Poisson counts, the parts are independent.

    References
    ----------
    Neufeld et al. 2024, Biostatistics 25:270 (count splitting).
    """
    counts = csr_matrix(counts_NG)
    first = counts.copy()
    first.data = rng.binomial(counts.data.astype(np.int64), 0.5).astype(counts.data.dtype)
    second = counts - first
    first.eliminate_zeros()
    second.eliminate_zeros()
    return first, csr_matrix(second)
