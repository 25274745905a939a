"""Gaussian-process regression on a grid: kernels and noise levels are averaged by their evidence, not searched for.

With few runs the best kernel is not known, and a maximum of the evidence is often at an end (all noise, or none); the
average does not have to decide. One eigendecomposition serves all noise levels and outputs, which is why this isn't
scikit-learn's `GaussianProcessRegressor`: that searches, an output and a fold at a time. A test compares both at one
grid point.

Axes: R runs, F fits, O outputs, S noise levels, N new mixtures.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from corpuscle.mixture.surrogate import Array, Predictor, Runs

# Takes two sets of mixtures, shapes (N, K) and (R, K), and gives how alike they are, shape (N, R).
Kernel = Callable[[Array, Array], Array]
# Variance of the noise over the kernel's scale.
NOISE_S = np.geomspace(1e-4, 3, 14)
# Variance of the unknown level of scores, over the kernel's scale: large, so that the level is learnt.
LEVEL = 100.0


def fit_kernels(kernels: Sequence[Kernel], runs: Runs) -> Predictor:
    """Fit every output and fold by the evidence-weighted average over kernels and noise levels.

    Scores are normal with covariance v (K + s I), where v has the scale-free prior 1 / v and is integrated out
    (Rasmussen & Williams 2006, chapter 5, http://gaussianprocess.org/gpml/).

    Parameters
    ----------
    kernels
        Covariances of about 1 on the diagonal.
    runs
        What is learnt from. A mixture that was run again informs the noise by itself.
    """
    weights_RK, known_FRO = runs.weights_RK, runs.known_FRO
    scores_RO = np.nan_to_num(runs.scores_RO)
    alike = [kernel(weights_RK, weights_RK) + LEVEL for kernel in kernels]
    # What each run adds to a prediction, for every kernel.
    parts = [np.zeros(known_FRO.shape) for _ in kernels]
    for fit, known_RO in enumerate(known_FRO):
        patterns_PR, pattern_O = np.unique(known_RO.T, axis=0, return_inverse=True)
        for pattern, known_R in enumerate(patterns_PR):
            rows, columns = np.flatnonzero(known_R), np.flatnonzero(pattern_O.ravel() == pattern)
            found = _coefficients([matrix[np.ix_(rows, rows)] for matrix in alike], scores_RO[np.ix_(rows, columns)])
            for part_FRO, part_RO in zip(parts, found, strict=True):
                part_FRO[fit][np.ix_(rows, columns)] = part_RO

    def predict(weights_NK: Array, n_fits: int | None = None) -> Array:
        found_FNO = np.zeros((len(known_FRO[:n_fits]), len(weights_NK), scores_RO.shape[1]))
        for kernel, part_FRO in zip(kernels, parts, strict=True):
            found_FNO += np.matmul(kernel(weights_NK, weights_RK) + LEVEL, part_FRO[:n_fits])
        return found_FNO

    return predict


def _coefficients(alike: Sequence[Array], scores_RO: Array) -> list[Array]:
    """Return for each kernel the coefficients of its runs, shape (R, O), times the kernel's weight."""
    n_runs = len(scores_RO)
    evidence, solved = [], []
    for alike_RR in alike:
        values_R, vectors_RR = np.linalg.eigh(alike_RR)
        turned_RO = vectors_RR.T @ scores_RO
        # Rounding can leave eigenvalues just below 0.
        spread_SR = np.maximum(values_R, 0) + NOISE_S[:, None]
        fit_SO = (turned_RO**2 / spread_SR[:, :, None]).sum(axis=1)
        # The small constant keeps outputs without any difference from an evidence without bounds.
        evidence.append(-0.5 * np.log(spread_SR).sum(axis=1)[:, None] - 0.5 * n_runs * np.log(fit_SO + 1e-6))
        solved.append((vectors_RR, turned_RO, spread_SR))
    weights_HSO: NDArray[np.float64] = np.exp(np.stack(evidence) - np.max(evidence, axis=(0, 1)))
    weights_HSO /= weights_HSO.sum(axis=(0, 1))
    return [
        vectors_RR @ (turned_RO * np.einsum("so,sr->ro", weights_SO, 1 / spread_SR))
        for weights_SO, (vectors_RR, turned_RO, spread_SR) in zip(weights_HSO, solved, strict=True)
    ]
