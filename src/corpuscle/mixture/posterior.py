"""Posterior: how good mixtures may be, as draws that agree with each other, so that the best and its rivals are known.

Axes: R runs, N mixtures, D draws, H settings of length and noise.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from corpuscle.core.errors import InputError
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.surrogates.gaussian_process import matern
from corpuscle.mixture.utility import Utility

LENGTHS = np.geomspace(0.2, 2, 6)
# Variance of a run's noise over that of what the surrogates miss.
NOISE = np.geomspace(1e-3, 10, 9)
N_DRAWS = 512
# Settings with so little of the evidence are left out.
LITTLE = 0.01


class Posterior:
    """What is known of the utility of mixtures after the runs.

    The mean is that of the fitted average. What it misses is taken for a Gaussian process over √w, Matérn 5/2, of which
    the runs have shown what they can: at a mixture that was run it is nearly known, far from all it is not. Its size,
    length and noise come from the errors of left-out mixtures, each taken for what it is: the error of predicting a
    mixture from the others (Sundararajan & Keerthi 2001, https://doi.org/10.1162/08997660151134343). Single sources
    are hard to predict from the rest, and their large errors don't widen what is known between mixtures that were run.

    Attributes
    ----------
    utility_R
        Of the runs themselves, what fits without its mixture expect in place of a missing score; NaN for a run without
        any score.
    left_out_R
        What the fits without a run's mixture expect of it.
    """

    def __init__(self, fitted: FittedMixture, utility: Utility) -> None:
        self.fitted, self.utility = fitted, utility
        table = fitted.table
        # A run that lacks a score is not lost to the others: what the fits without its mixture expect stands for it.
        known_RO = np.isfinite(table.scores_RO)
        filled_RO = np.where(known_RO | ~known_RO.any(axis=1, keepdims=True), table.scores_RO, fitted.left_out)
        self.utility_R = utility.of(table, filled_RO)
        self.left_out_R = utility.of(table, fitted.left_out)
        known_R = np.isfinite(self.utility_R) & np.isfinite(self.left_out_R)
        if known_R.sum() < 2:
            raise InputError(
                "utility: no two runs have a score of the outputs that count; leave the emptiest output out (--of)"
            )
        self._places_RK = np.sqrt(table.weights_RK[known_R])
        fold_R = fitted.fold_R[known_R]
        self._folds = [np.flatnonzero(fold_R == fold) for fold in np.unique(fold_R)]
        self._missed_R = (self.utility_R - self.left_out_R)[known_R]
        self._settings = [(length, noise) for length in LENGTHS for noise in NOISE]
        self._share_H, self._fit_H = self._evidence()

    def mean(self, weights_NK: Array) -> Array:
        """Return the expected utility of mixtures, shape (N,)."""
        return self.utility.of(self.fitted.table, self.fitted.means(weights_NK))

    def draws(self, weights_NK: Array, rng: np.random.Generator, n_draws: int = N_DRAWS) -> Array:
        """Draw the utility of mixtures without a run's noise, shape (D, N)."""
        mean_N, places_NK = self.mean(weights_NK), np.sqrt(weights_NK)
        n_runs = len(self._missed_R)
        counts_H = rng.multinomial(n_draws, self._share_H)
        parts = []
        for at in np.flatnonzero(counts_H):
            length, noise = self._settings[at]
            factor = self._factor(length, noise)
            cross_NR = matern(places_NK, self._places_RK, length)
            left_NN = matern(places_NK, places_NK, length) - cross_NR @ cho_solve(factor, cross_NR.T)
            # Its size is unknown, too: the scale-free prior leaves an inverse gamma distribution.
            size_D = self._fit_H[at] / rng.chisquare(n_runs, counts_H[at])
            values_N, vectors_NN = np.linalg.eigh(left_NN)
            rooted_NN = vectors_NN * np.sqrt(np.maximum(values_N, 0))
            normal_DN = rng.standard_normal((counts_H[at], len(mean_N)))
            parts.append(mean_N + np.sqrt(size_D)[:, None] * (normal_DN @ rooted_NN.T))
        return np.concatenate(parts)

    def _factor(self, length: float, noise: float) -> tuple[Array, bool]:
        """Return the Cholesky factor of the covariance of what was missed, without its size."""
        alike_RR = matern(self._places_RK, self._places_RK, length)
        factor: tuple[Array, bool] = cho_factor(alike_RR + noise * np.eye(len(alike_RR)), lower=True)
        return factor

    def _evidence(self) -> tuple[Array, Array]:
        """Return how well each setting explains what was missed, shape (H,), and the sum of squares for its size.

        With C the covariance of what the runs show, the error of fold B is e_B = (C⁻¹)_BB⁻¹ (C⁻¹ y)_B: so C⁻¹ y, which
        has covariance C⁻¹, is known from the errors.
        """
        n_runs = len(self._missed_R)
        evidence_H, fit_H = np.empty(len(self._settings)), np.empty(len(self._settings))
        for at, (length, noise) in enumerate(self._settings):
            factor = self._factor(length, noise)
            inverse_RR, solved_R = cho_solve(factor, np.eye(n_runs)), np.empty(n_runs)
            volume = 0.0
            for rows in self._folds:
                block = inverse_RR[np.ix_(rows, rows)]
                solved_R[rows] = block @ self._missed_R[rows]
                volume += np.linalg.slogdet(block)[1]
            # The lower triangle's product with C⁻¹ y is white: the square of it is (C⁻¹ y)ᵀ C (C⁻¹ y).
            fit_H[at] = ((np.tril(factor[0]).T @ solved_R) ** 2).sum() + 1e-12
            evidence_H[at] = volume + np.log(np.diag(factor[0])).sum() - 0.5 * n_runs * np.log(fit_H[at])
        share_H = np.exp(evidence_H - evidence_H.max())
        share_H[share_H < LITTLE] = 0
        return share_H / share_H.sum(), fit_H
