"""Copula: draws of correlated counts, each gene negative binomial, genes tied together by a few Gaussian factors.

A cell's counts are ``F_g^-1(Phi(z_g))`` with ``F_g`` the gene's distribution and z a standard normal vector, ``z_g =
Λ_g f + sqrt(1 - |Λ_g|²) e_g``: a Gaussian copula (Sun et al. 2021, doi 10.1186/s13059-021-02367-2, with a full
correlation matrix in place of factors). Axes in names: N cells, G genes, H correlated genes, K factors.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from scipy.special import ndtr, ndtri

from corpuscle.corpus.corpus import Corpus

# Counts beyond this quantile are drawn as it.
TAIL = 1e-8
# No gene is a function of the factors alone.
LARGEST_COMMUNALITY = 0.98
N_CORRELATED = 1000
ROUNDS = 2


class Margins:
    """The distributions of G genes' counts, as tables from which quantiles are looked up.

    Parameters
    ----------
    mean_G
        Expected counts.
    size_G
        Inverse dispersions: the variance is mean + mean² / size. Infinite: Poisson.
    """

    def __init__(self, mean_G: NDArray[np.float64], size_G: NDArray[np.float64]) -> None:
        from scipy.stats import nbinom, poisson  # takes a second to import

        is_poisson = ~np.isfinite(size_G)
        size = np.where(is_poisson, 1.0, size_G)
        chance = size / (size + mean_G)
        top_G = np.where(is_poisson, poisson.ppf(1 - TAIL, mean_G), nbinom.ppf(1 - TAIL, size, chance))
        top_G = np.where(mean_G > 0, top_G, 0)
        self.length_G = top_G.astype(np.int64) + 1
        self.start_G = np.concatenate([[0], np.cumsum(self.length_G)[:-1]])
        gene = np.repeat(np.arange(len(mean_G)), self.length_G)
        count = np.arange(len(gene)) - self.start_G[gene]
        below = np.empty(len(gene))
        free = is_poisson[gene]
        below[free] = poisson.cdf(count[free], mean_G[gene[free]])
        below[~free] = nbinom.cdf(count[~free], size[gene[~free]], chance[gene[~free]])
        below[self.start_G + self.length_G - 1] = 1.0
        # One ascending table for all genes: gene g's lies in (g, g + 1].
        self._flat = gene + below

    def quantiles(self, u_G: NDArray[np.float64], genes: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """Return the counts at some probabilities in [0, 1), one for each of the genes (all by default)."""
        at = np.arange(len(self.start_G))[genes]
        found = np.searchsorted(self._flat, at + u_G, side="right") - self.start_G[genes]
        counts_G: NDArray[np.int64] = np.minimum(found, self.length_G[genes] - 1)
        return counts_G


class CorrelationFactors(NamedTuple):
    """What ties genes together: which genes, and their loadings on the factors."""

    genes_H: NDArray[np.int64]
    loadings_HK: NDArray[np.float64]


def find_factors(
    cells: Corpus, margins: Margins, mean_G: NDArray[np.float64], n_factors: int, progress: Callable[[float], None]
) -> CorrelationFactors:
    """Find the factors that give the most expressed genes the correlations of their log counts.

    Correlations of ``log(1 + count)`` are measured on the cells; the normal scores behind them correlate more, by the
    two genes' attenuation (to first order: the correlation of a gene's log count with its own normal score), for which
    they are corrected. Principal factors of that matrix, a few rounds of them, are the loadings.

    Parameters
    ----------
    cells
        The cells, read once.
    margins, mean_G
        Their genes' distributions and means.
    n_factors
        How many factors at most.
    progress
        Called with which share is done.
    """
    genes_H = np.sort(np.argsort(-mean_G, kind="stable")[:N_CORRELATED])
    genes_H = genes_H[mean_G[genes_H] > 0]
    correlation_HH = _log_correlation(cells, genes_H, progress)
    attenuation_H = _attenuation(margins, genes_H)
    varies_H = (np.diag(correlation_HH) > 0) & (attenuation_H > 0.05)
    genes_H, correlation_HH = genes_H[varies_H], correlation_HH[np.ix_(varies_H, varies_H)]
    latent_HH = np.clip(correlation_HH / np.outer(attenuation_H[varies_H], attenuation_H[varies_H]), -0.99, 0.99)
    n_factors = min(n_factors, len(genes_H) - 2)
    if n_factors < 1:
        return CorrelationFactors(genes_H[:0], np.zeros((0, 1)))
    np.fill_diagonal(latent_HH, np.abs(latent_HH - np.diag(np.diag(latent_HH))).max(axis=1))
    for _ in range(ROUNDS):
        values, vectors = eigsh(latent_HH, k=n_factors, which="LA", v0=np.ones(len(genes_H)))
        loadings_HK = vectors * np.sqrt(np.maximum(values, 0))
        communality_H = np.minimum((loadings_HK**2).sum(axis=1), LARGEST_COMMUNALITY)
        np.fill_diagonal(latent_HH, communality_H)
    length_H = np.sqrt((loadings_HK**2).sum(axis=1))
    too_long_H = np.maximum(length_H / np.sqrt(LARGEST_COMMUNALITY), 1)
    # Rounded, so that they do not depend on how many threads added up.
    return CorrelationFactors(genes_H, np.round(loadings_HK / too_long_H[:, None], 6))


def _log_correlation(
    cells: Corpus, genes_H: NDArray[np.int64], progress: Callable[[float], None]
) -> NDArray[np.float64]:
    """Correlate log(1 + count) of some genes; 0 where a gene does not vary, on the diagonal too."""
    times_N = cells.cells["times"].to_numpy(np.float64)
    total_H, square_HH = np.zeros(len(genes_H)), np.zeros((len(genes_H), len(genes_H)))
    for rows, counts_BG in cells.blocks():
        log_BH = np.log1p(counts_BG[:, genes_H].toarray().astype(np.float64))
        weighted_BH = log_BH * times_N[rows, None]
        total_H += weighted_BH.sum(axis=0)
        square_HH += log_BH.T @ weighted_BH
        progress(rows.stop / len(cells))
    mean_H = total_H / times_N.sum()
    covariance_HH = square_HH / times_N.sum() - np.outer(mean_H, mean_H)
    sd_H = np.sqrt(np.maximum(np.diag(covariance_HH), 0))
    scale_H = np.divide(1, sd_H, out=np.zeros_like(sd_H), where=sd_H > 1e-9)
    correlation_HH: NDArray[np.float64] = covariance_HH * np.outer(scale_H, scale_H)
    return correlation_HH


def _attenuation(margins: Margins, genes_H: NDArray[np.int64], n_points: int = 512) -> NDArray[np.float64]:
    """Correlate each gene's log count with the normal score that it is the quantile of."""
    u_P = (np.arange(n_points) + 0.5) / n_points
    z_P = ndtri(u_P)
    log_PH = np.log1p([margins.quantiles(np.full(len(genes_H), u), genes_H) for u in u_P])
    log_PH -= log_PH.mean(axis=0)
    spread_H = np.sqrt((log_PH**2).mean(axis=0) * (z_P**2).mean())
    zeros_H = np.zeros(len(genes_H))
    found_H: NDArray[np.float64] = np.divide(z_P @ log_PH / n_points, spread_H, out=zeros_H, where=spread_H > 0)
    return found_H


def draw_counts(margins: Margins, factors: CorrelationFactors, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one cell's counts, shape (G,)."""
    z_G = rng.standard_normal(len(margins.start_G))
    if len(factors.genes_H):
        f_K = rng.standard_normal(factors.loadings_HK.shape[1])
        own_H = np.sqrt(1 - (factors.loadings_HK**2).sum(axis=1))
        z_G[factors.genes_H] = factors.loadings_HK @ f_K + own_H * z_G[factors.genes_H]
    # Below 1: the largest float that searchsorted can place.
    return margins.quantiles(np.minimum(ndtr(z_G), 1 - 1e-12))
