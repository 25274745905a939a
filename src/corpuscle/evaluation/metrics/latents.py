"""Latents: what two embeddings of the same cells have in common, and what loadings have to do with expression.

Axes in names: N cells, K and M dimensions of two embeddings, G genes.
"""

import numpy as np
from numpy.typing import NDArray

TRAIN_SHARE = 0.7


def latent_r2(
    reference_NK: NDArray[np.floating], z_NM: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Regress each latent of one embedding on all latents of another; return R² on cells left out.

    As published (Nadig et al. 2025): ordinary least squares with an intercept on 70 % of the cells, and the squared
    Pearson correlation of prediction and truth on the other 30 %.

    Parameters
    ----------
    reference_NK
        What is regressed on.
    z_NM
        What is explained.
    rng
        Decides which cells are left out.

    Returns
    -------
    Shape (M,), from 0 to 1, higher is better; NaN for a latent that is constant, or predicted to be.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(100, 2))
    >>> latent_r2(z, z @ np.array([[1.0, 2.0], [3.0, 4.0]]), rng).round(6).tolist()
    [1.0, 1.0]
    """
    n_cells = len(z_NM)
    order = rng.permutation(n_cells)
    train, test = np.split(order, [round(TRAIN_SHARE * n_cells)])
    design_NK = np.column_stack([np.ones(n_cells), reference_NK.astype(np.float64)])
    weights, *_ = np.linalg.lstsq(design_NK[train], z_NM[train].astype(np.float64), rcond=None)
    return correlations(design_NK[test] @ weights, z_NM[test].astype(np.float64)) ** 2


def correlations(one_NM: NDArray[np.float64], other_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Pearson correlation of each column with the same column of another array; NaN where one is constant.

    Examples
    --------
    >>> correlations(np.array([[1.0, 1], [2, 1], [3, 1]]), np.array([[3.0, 1], [2, 2], [1, 3]]))
    array([-1., nan])
    """
    one, other = one_NM - one_NM.mean(axis=0), other_NM - other_NM.mean(axis=0)
    spread_M = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    # Rounding leaves a constant column a spread of about eps² of its size, not 0.
    size_M = np.sqrt((one_NM**2).sum(axis=0) * (other_NM**2).sum(axis=0))
    cross_M = (one * other).sum(axis=0)
    defined = spread_M > size_M * 1e-12
    found = np.divide(cross_M, spread_M, out=np.full(len(cross_M), np.nan), where=defined)
    clipped: NDArray[np.float64] = np.clip(found, -1, 1)
    return clipped


def cka(one_NK: NDArray[np.floating], other_NM: NDArray[np.floating]) -> float:
    """Return the linear centred kernel alignment of two embeddings: 0 to 1, 1: a rotation and a scale apart.

    With centred columns: abs(YᵀX)² / (abs(XᵀX) · abs(YᵀY)), Frobenius norms; no N × N array is made.

    References
    ----------
    Kornblith et al. 2019, Similarity of neural network representations revisited, https://arxiv.org/abs/1905.00414.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(cka(z, -2 * z[:, ::-1] + 1), 6)
    1.0
    """
    one = one_NK.astype(np.float64) - one_NK.mean(axis=0, dtype=np.float64)
    other = other_NM.astype(np.float64) - other_NM.mean(axis=0, dtype=np.float64)
    cross = np.linalg.norm(other.T @ one) ** 2
    return float(cross / (np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)))


def procrustes_distance(one_NK: NDArray[np.floating], other_NM: NDArray[np.floating]) -> float:
    """Return what is left between two embeddings after the best shift, scale and rotation: 0 to 1, lower is more alike.

    Both are centred and scaled to one size; the distance is 1 - (Σ singular values of YᵀX)². The embedding with fewer
    dimensions is as if it had more that are zero.

    References
    ----------
    Gower 1975, Generalized Procrustes analysis, https://doi.org/10.1007/BF02291478.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(50, 3))
    >>> abs(round(procrustes_distance(z, -2 * z[:, ::-1] + 1), 6))
    0.0
    """
    one = one_NK.astype(np.float64) - one_NK.mean(axis=0, dtype=np.float64)
    other = other_NM.astype(np.float64) - other_NM.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(other.T @ one, compute_uv=False).sum()
    return float(max(0.0, 1 - (singular / (np.linalg.norm(one) * np.linalg.norm(other))) ** 2))
