"""Many kinds: a target needs many kinds of cells, sources have some of each, and more of a kind helps less and less."""

from functools import partial

import numpy as np

from corpuscle.core.components import component
from corpuscle.mixture.kernel_regression import Kernel, fit_kernels
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate

# How many sources have a kind (shapes of gamma distributions): from nearly one, as in additive laws, to all.
SHAPES = (0.1, 0.3, 1.0)
# How much there is of a kind in the mean, in units of what brings 1 - 1/e of all that it can.
AMOUNTS = (1.0, 3.0, 10.0, 30.0)
# Variance of what all kinds do alike over that of what each does.
ALIKE = 1.0


@component
class ManyKinds(Surrogate):
    """L(w) = c - Σ_k b_k (1 - exp(-Σ_i s_ik w_i)), for each output, summed over all kinds that there may be.

    Neither kinds nor what a source has of them are fitted. The s are independent gamma variates and the b normal around
    an unknown mean, so that L is a Gaussian process, of which the covariance is the mean over kinds and has a closed
    form: no sampling, and sources are alike before the runs. Such terms sum up to any law of diminishing returns whose
    slope is completely monotone, such as logarithms, powers and u / (u + h) (Schilling, Song & Vondraček 2012,
    https://doi.org/10.1515/9783110269338). How many sources share a kind, how much of it there is and the noise are
    averaged by their evidence.
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        return fit_kernels(kernels(runs.weights_RK), runs)


def kernels(usual_NK: Array) -> list[Kernel]:
    """Return the covariances of scores, for each shape and amount; of about 1 for usual mixtures.

    Parameters
    ----------
    usual_NK
        Mixtures of which the mean variance is 1.
    """
    found: list[Kernel] = []
    for shape in SHAPES:
        for amount in AMOUNTS:
            size = float(np.diag(_alike(usual_NK, usual_NK, shape, amount, 1.0)).mean())
            found.append(partial(_alike, shape=shape, amount=amount, size=size))
    return found


def _alike(weights_NK: Array, others_RK: Array, shape: float, amount: float, size: float) -> Array:
    """Return the covariance of how much better two mixtures are than equal parts of all sources."""
    n_sources = weights_NK.shape[1]
    equal_1K, nothing_1K = np.full((1, n_sources), 1 / n_sources), np.zeros((1, n_sources))
    left = partial(_left, shape=shape, scale=amount / shape)
    of_kinds_NR = left(weights_NK, others_RK) - left(weights_NK, equal_1K) - left(equal_1K, others_RK)
    of_kinds_NR += left(equal_1K, equal_1K)
    usual = left(equal_1K, nothing_1K)
    alike_NR = (left(weights_NK, nothing_1K) - usual) * (left(nothing_1K, others_RK) - usual)
    return np.asarray((of_kinds_NR + ALIKE * alike_NR) / size)


def _left(weights_NK: Array, others_RK: Array, shape: float, scale: float) -> Array:
    """Return the mean over kinds of exp(-s·w) exp(-s·v): the Laplace transform of the gamma distribution."""
    product_NR = np.ones((len(weights_NK), len(others_RK)))
    # A source at a time: mixtures × mixtures × sources would not fit. Weights sum to 1, which bounds the product.
    for of_N, of_R in zip(scale * weights_NK.T, 1 + scale * others_RK.T, strict=True):
        product_NR *= of_N[:, None] + of_R
    return np.asarray(product_NR**-shape)
