"""Log-linear law: every source changes the distance from the best possible score by a factor."""

import numpy as np

from corpuscle.core.components import component
from corpuscle.mixture.least_squares import Prior, fit_law
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate


@component
class LogLinear(Surrogate):
    """L(w) = c + exp(b + Σ t_i w_i), for each output.

    The data mixing law of Ye et al. 2024, https://arxiv.org/abs/2403.16952, with normal priors: t_i around 0 with a
    standard deviation of 5, c below the best score.
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        n_sources = runs.weights_RK.shape[1]
        means = np.r_[np.log(0.3), 0.5, np.zeros(n_sources)]
        return fit_law(_law, Prior(means, np.r_[1.0, 3.0, np.full(n_sources, 5.0)]), runs)


def _law(parameters_BP: Array, weights_RK: Array) -> tuple[Array, Array]:
    """Return values above the best score and their slopes.

    Parameters: the logarithm of how far c is below the best score; b; t_i for each source.
    """
    below = np.exp(np.clip(parameters_BP[:, :1], -20, 20))
    rise_BR = np.exp(np.clip(parameters_BP[:, 1:2] + parameters_BP[:, 2:] @ weights_RK.T, -40, 40))
    slopes_BRP = np.empty((*rise_BR.shape, parameters_BP.shape[1]))
    slopes_BRP[:, :, 0] = -below
    slopes_BRP[:, :, 1] = rise_BR
    np.multiply(rise_BR[:, :, None], weights_RK, out=slopes_BRP[:, :, 2:])
    return rise_BR - below, slopes_BRP
