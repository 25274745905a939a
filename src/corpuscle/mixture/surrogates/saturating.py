"""Saturating law: every source counts as so many cells of the target, and more of them help less and less."""

import numpy as np

from corpuscle.core.components import component
from corpuscle.mixture.least_squares import Prior, fit_law
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate


@component
class Saturating(Surrogate):
    """L(w) = c + b (e + Σ s_i w_i)^(-a), for each output.

    s_i is how much a cell of source i is worth to the output, e what is known without any. With few runs it is the
    best of the laws by itself. Priors: a around 0.3, e around 0.02, s_i around 1 within a factor of 12, c below the
    best score. A mixture law of the family of Shukor et al. 2025, https://arxiv.org/abs/2507.09404.
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        n_sources = runs.weights_RK.shape[1]
        means = np.r_[np.log(0.3), 0.0, np.log(0.3), np.log(0.02), np.zeros(n_sources)]
        return fit_law(_law, Prior(means, np.r_[0.5, 3.0, 0.5, 1.0, np.full(n_sources, 2.5)]), runs)


def _law(parameters_BP: Array, weights_RK: Array) -> tuple[Array, Array]:
    """Return values above the best score and their slopes.

    Parameters are logarithms, of: how far c is below the best score; b; a; e; s_i for each source.
    """
    below, scale, power, start = (parameters_BP[:, at : at + 1] for at in range(4))
    # Far out, steps that are refused anyway must not overflow.
    worth_BK = np.exp(np.clip(parameters_BP[:, 4:], -20, 20))
    power, start, below = (np.exp(np.clip(one, -20, 20)) for one in (power, start, below))
    known_BR = start + worth_BK @ weights_RK.T
    logs_BR = np.log(known_BR)
    fall_BR = np.exp(np.clip(scale - power * logs_BR, -40, 40))
    slopes_BRP = np.empty((*fall_BR.shape, parameters_BP.shape[1]))
    slopes_BRP[:, :, 0] = -below
    slopes_BRP[:, :, 1] = fall_BR
    slopes_BRP[:, :, 2] = -fall_BR * power * logs_BR
    share_BR = -fall_BR * power / known_BR
    slopes_BRP[:, :, 3] = share_BR * start
    np.multiply(share_BR[:, :, None], worth_BK[:, None, :], out=slopes_BRP[:, :, 4:])
    slopes_BRP[:, :, 4:] *= weights_RK
    return fall_BR - below, slopes_BRP
