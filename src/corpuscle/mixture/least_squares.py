"""Many small non-linear least-squares problems at once: laws with priors, and how well each noise level explains them.

A study has few runs and asks for many fits: outputs × folds. Each has some tens of numbers, so that a fit by
`scipy.optimize.least_squares` is mostly Python's overhead, and a table of 13 outputs with 33 fits and seven noise
levels asks for 3,003; here all take their Levenberg–Marquardt steps together. A test compares the optima with scipy's.

Axes: B problems, R runs, P parameters, S noise levels, N new mixtures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpuscle.mixture.surrogate import Array, Predictor, Runs

# Takes parameters, shape (B, P), and mixtures, shape (R, K); gives values (B, R) and their slopes (B, R, P).
Law = Callable[[Array, Array], tuple[Array, Array]]
# Variance of the noise over that of the scores. From all noise to next to none; what is between is averaged.
NOISE_S = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
MOST_STEPS = 60
# A step that lowers the objective by a smaller share is the last.
SMALL_GAIN = 1e-5
# Numbers in the slopes of problems that are solved together: what stays in a processor's cache.
BLOCK = 400_000


@dataclass(frozen=True)
class Prior:
    """Independent normal priors of a law's parameters: their means and standard deviations, each of shape (P,)."""

    means_P: Array
    spreads_P: Array


def fit_law(law: Law, prior: Prior, runs: Runs) -> Predictor:
    """Fit a law of scores above the best one, for every output and fold, averaged over noise levels.

    With noise variance s² the parameters are those that minimise sum (y - f)² / s² + sum (t - m)² / v²; they are
    averaged over seven s², each weighted by its evidence in Laplace's approximation (MacKay 1992,
    https://doi.org/10.1162/neco.1992.4.3.415), so that nothing has to be tuned to a table: many noisy outputs are
    shrunk more than a few exact ones.

    Parameters
    ----------
    law
        Values and slopes of the score minus the lowest one in the fit.
    prior
        Of its parameters, in the unit of scores.
    runs
        What is learnt from.
    """
    known_FRO = runs.known_FRO
    n_all, n_runs, n_outputs = known_FRO.shape
    scores_FOR = np.broadcast_to(np.nan_to_num(runs.scores_RO).T, (n_all, n_outputs, n_runs))
    known_FOR = np.ascontiguousarray(known_FRO.transpose(0, 2, 1))
    lowest_FO1 = np.where(known_FOR, scores_FOR, np.inf).min(axis=2, keepdims=True)
    # A fit may have none of an output that few runs have.
    lowest_FO1 = np.where(np.isfinite(lowest_FO1), lowest_FO1, 0.0)
    above_FOR = np.where(known_FOR, scores_FOR - lowest_FO1, 0.0)
    start_BP = np.tile(prior.means_P, (n_outputs, 1))
    whole_SBP, weights_SB = _over_noise(law, prior, runs.weights_RK, (above_FOR[0], known_FOR[0]), [start_BP])
    found, shares = [whole_SBP], [weights_SB]
    if n_all > 1:
        rest = (above_FOR[1:].reshape(-1, n_runs), known_FOR[1:].reshape(-1, n_runs))
        # A fit without a fold is near to the fit of all, where it begins.
        starts = [np.tile(whole_BP, (n_all - 1, 1)) for whole_BP in whole_SBP]
        fewer_SBP, fewer_SB = _over_noise(law, prior, runs.weights_RK, rest, starts)
        found, shares = [*found, fewer_SBP], [*shares, fewer_SB]
    parameters_SBP, share_SB = np.concatenate(found, axis=1), np.concatenate(shares, axis=1)

    def predict(weights_NK: Array, n_fits: int | None = None) -> Array:
        lowest = lowest_FO1[:n_fits]
        values_BN = np.zeros((lowest.size, len(weights_NK)))
        for parameters_BP, share_B in zip(parameters_SBP, share_SB, strict=True):
            values_BN += share_B[: lowest.size, None] * _values(law, parameters_BP[: lowest.size], weights_NK)
        return np.asarray((values_BN.reshape(len(lowest), n_outputs, -1) + lowest).transpose(0, 2, 1))

    return predict


def _values(law: Law, parameters_BP: Array, weights_NK: Array) -> Array:
    """Return a law's values, a block of problems at a time, since it gives its slopes, too."""
    size = max(1, BLOCK // (len(weights_NK) * parameters_BP.shape[1] + 1))
    parts = [law(parameters_BP[at : at + size], weights_NK)[0] for at in range(0, len(parameters_BP), size)]
    return np.concatenate(parts)


def _over_noise(
    law: Law, prior: Prior, weights_RK: Array, scores: tuple[Array, NDArray[np.bool_]], starts: list[Array]
) -> tuple[Array, Array]:
    """Return the parameters at each noise level, shape (S, B, P), and the levels' weights, shape (S, B)."""
    above_BR, known_BR = scores
    n_problems, n_parameters = starts[0].shape
    found_SBP = np.empty((len(NOISE_S), n_problems, n_parameters))
    evidence_SB = np.empty((len(NOISE_S), n_problems))
    size = max(1, BLOCK // (above_BR.shape[1] * n_parameters))
    for at in range(0, n_problems, size):
        here = slice(at, at + size)
        parameters_BP = starts[0][here]
        for level, noise in enumerate(NOISE_S):
            # Of the fit of all runs, a level begins where the last ended.
            start_BP = starts[level][here] if len(starts) > 1 else parameters_BP
            data = (weights_RK, above_BR[here], known_BR[here].astype(float))
            parameters_BP, evidence_B = _solve(law, prior, data, start_BP, noise)
            found_SBP[level, here], evidence_SB[level, here] = parameters_BP, evidence_B
    weights_SB = np.exp(evidence_SB - evidence_SB.max(axis=0))
    return found_SBP, weights_SB / weights_SB.sum(axis=0)


def _solve(
    law: Law, prior: Prior, data: tuple[Array, Array, Array], start_BP: Array, noise: float
) -> tuple[Array, Array]:
    """Minimise by Levenberg–Marquardt steps; return the parameters and the log evidence of the noise level."""
    weights_RK, above_BR, known_BR = data
    pull_P = noise / prior.spreads_P**2
    parameters_BP, damping_B = start_BP.copy(), np.full(len(start_BP), 1e-2)
    values_BR, slopes_BRP = law(parameters_BP, weights_RK)
    slopes_BRP *= known_BR[:, :, None]
    objective_B = _objective(above_BR, values_BR, known_BR, pull_P * (parameters_BP - prior.means_P) ** 2)
    moving = np.arange(len(start_BP))
    for _ in range(MOST_STEPS):
        slopes, rest = slopes_BRP[moving], known_BR[moving] * (above_BR[moving] - values_BR[moving])
        curvature_BPP, pull_BP = _normal(slopes, pull_P), pull_P * (prior.means_P - parameters_BP[moving])
        downhill_BP = np.matmul(rest[:, None, :], slopes)[:, 0] + pull_BP
        diagonal = np.einsum("bpp->bp", curvature_BPP)
        diagonal *= 1 + damping_B[moving, None]
        tried_BP = parameters_BP[moving] + np.linalg.solve(curvature_BPP, downhill_BP[:, :, None])[:, :, 0]
        values, slopes = law(tried_BP, weights_RK)
        objective = _objective(above_BR[moving], values, known_BR[moving], pull_P * (tried_BP - prior.means_P) ** 2)
        better = np.isfinite(objective) & (objective < objective_B[moving])
        gain = (objective_B[moving] - objective) / (objective_B[moving] + 1e-12)
        taken = moving[better]
        parameters_BP[taken], values_BR[taken] = tried_BP[better], values[better]
        slopes_BRP[taken] = slopes[better] * known_BR[taken][:, :, None]
        objective_B[taken] = objective[better]
        damping_B[moving] = np.clip(damping_B[moving] * np.where(better, 0.3, 4.0), 1e-8, 1e6)
        moving = moving[~(better & (gain < SMALL_GAIN)) & (damping_B[moving] < 1e5)]
        if not len(moving):
            break
    curvature_BPP = _normal(slopes_BRP, pull_P) / noise
    n_known_B = known_BR.sum(axis=1)
    # Laplace: the posterior is taken for normal around its mode, with the curvature of Gauss and Newton.
    volume_B = np.linalg.slogdet(curvature_BPP)[1] + 2 * np.log(prior.spreads_P).sum()
    return parameters_BP, -0.5 * (n_known_B * np.log(noise) + objective_B / noise + volume_B)


def _objective(above_BR: Array, values_BR: Array, known_BR: Array, pulled_BP: Array) -> Array:
    """Return the squared residuals of what is known plus what the priors add."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((known_BR * (above_BR - values_BR) ** 2).sum(axis=1) + pulled_BP.sum(axis=1))


def _normal(slopes_BRP: Array, pull_P: Array) -> Array:
    """Return the matrices of the normal equations, with the priors' share."""
    matrix_BPP = np.matmul(slopes_BRP.transpose(0, 2, 1), slopes_BRP)
    np.einsum("bpp->bp", matrix_BPP)[...] += pull_P
    return np.asarray(matrix_BPP)
