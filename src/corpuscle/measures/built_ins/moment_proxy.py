"""Moment proxy: a forecast of how well a model trained on a corpus would reconstruct a target, without training.

A linear model of K latents knows of its corpus the mean and the K directions of most variance; both follow from the
first and second moments of the cells. Expression is log1p of counts per 10,000, in H variable genes. Axes in names: N
cells, H genes, K latents.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.measures.donor_bootstrap import mean_interval
from corpuscle.measures.measure import Measure
from corpuscle.measures.summary import BLOCK_CELLS, Moments, Summary
from corpuscle.measures.table import Book, attempt, demand
from corpuscle.measures.view import View

# As many as the linearly decoded VAE of the published studies has.
N_LATENT = 10
MOMENT_PROXY = Metric(
    "moment_proxy",
    "Moment proxy, R²",
    "Reconstruction of the target forecast by the corpus' ten main directions.",
    "higher",
    "share",
)


@component
class MomentProxy(Measure):
    """A forecast of how well a model trained on the corpus would reconstruct each target."""

    of = "genes"
    needs_targets = True
    metrics = (MOMENT_PROXY,)

    def measure(self, view: View, book: Book) -> None:
        """Reconstruct each target's cells from the corpus' mean and main directions."""
        found = view.profile
        known = attempt(lambda: basis(found.moments))
        for target in view.study.targets:
            with book.row(MOMENT_PROXY, len(found.use_U), target=target.name) as row:
                r2_T = _forecast(demand(known), target.profile)
                row.value = float(np.nanmean(r2_T))
                row.low, row.high = mean_interval(r2_T, target.profile.donors)


def _forecast(known: "Basis", target: Summary) -> NDArray[np.float64]:
    starts = range(0, len(target.cells), BLOCK_CELLS)
    r2_N = np.concatenate([forecast(known, target.log_NH[at : at + BLOCK_CELLS].toarray()) for at in starts])
    if np.isnan(r2_N).all():
        raise MeasureError("no cell of the target varies in the variable genes")
    return r2_N[target.use_U]


class Basis(NamedTuple):
    """What a linear model would know: the mean, and orthonormal directions (H, K)."""

    mean_H: NDArray[np.float64]
    axes_HK: NDArray[np.float64]


def basis(found: Moments, n_latent: int = N_LATENT) -> Basis:
    """Find the directions of most variance from moments.

    Raises
    ------
    MeasureError
        When expression does not vary, moments are not finite, or there are not more genes than latents.
    """
    n_genes = len(found.mean_H)
    if n_genes <= n_latent:
        raise MeasureError(
            f"the moment proxy needs more variable genes than its {n_latent} latents; there are {n_genes:,}"
        )
    second_HH, mean_H = found.second_HH, found.mean_H
    variance = float(np.trace(second_HH) - mean_H @ mean_H)
    if not (np.isfinite(variance) and np.isfinite(second_HH).all()):
        raise MeasureError("moments hold NaN or infinite values")
    if not variance > 1e-9:
        raise MeasureError("the corpus' expression does not vary")
    # The covariance is applied, never made: it would be as large as the second moments.
    covariance = LinearOperator(second_HH.shape, lambda v_H: second_HH @ v_H - mean_H * (mean_H @ v_H), dtype=float)
    # A fixed start: the same corpus gives the same forecast.
    _, axes_HK = eigsh(covariance, k=n_latent, which="LA", v0=np.ones(n_genes))
    return Basis(mean_H, axes_HK)


def forecast(known: Basis, log_NH: NDArray[np.floating]) -> NDArray[np.float64]:
    """Reconstruct cells and return each one's squared Pearson correlation with itself over genes, shape (N,).

    x is reconstructed as m + VVᵀ(x - m). 0 to 1, higher is better; NaN where a cell's expression does not vary. It is
    the published studies' R², of a model that was never trained: compare corpora, not its size with a trained model's.

    Examples
    --------
    >>> log_NH = np.random.default_rng(0).gamma(1.0, size=(50, 12))
    >>> moments = Moments(log_NH.mean(axis=0), log_NH.T @ log_NH / 50)
    >>> r2_N = forecast(basis(moments, 3), log_NH)
    >>> r2_N.shape, bool(0 < r2_N.mean() < 1)
    ((50,), True)
    """
    centred_NH = log_NH - known.mean_H
    made_NH = known.mean_H + (centred_NH @ known.axes_HK) @ known.axes_HK.T
    truth_NH = log_NH - log_NH.mean(axis=1, keepdims=True)
    made_NH -= made_NH.mean(axis=1, keepdims=True)
    shared_N = np.einsum("nh,nh->n", truth_NH, made_NH) ** 2
    size_N = np.einsum("nh,nh->n", truth_NH, truth_NH) * np.einsum("nh,nh->n", made_NH, made_NH)
    r2_N: NDArray[np.float64] = np.divide(shared_N, size_N, out=np.full(len(log_NH), np.nan), where=size_N > 0)
    return r2_N
