"""Gaussian process: near mixtures have near scores, whatever the law."""

from functools import partial

import numpy as np
from scipy.spatial.distance import cdist

from corpuscle.core.components import component
from corpuscle.mixture.kernel_regression import fit_kernels
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate

# Two single sources are √2 apart.
LENGTHS = np.geomspace(0.2, 4, 8)
# Of the part that is not linear in √w, over the linear part.
CURVED = 0.3


@component
class GaussianProcess(Surrogate):
    """A Gaussian process with a Matérn 5/2 kernel of the distance between √w, around a linear function of √w.

    The first bit of a source changes a score the most, which √w evens out; two mixtures' distance is then that of
    Hellinger. Lengths and noise are averaged by their evidence; mixtures that were run again inform the noise.
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        return fit_kernels([partial(_alike, length=length) for length in LENGTHS], runs)


def _alike(weights_NK: Array, others_RK: Array, length: float) -> Array:
    roots_NK, roots_RK = np.sqrt(weights_NK), np.sqrt(others_RK)
    return np.asarray(roots_NK @ roots_RK.T + CURVED * matern(roots_NK, roots_RK, length))


def matern(places_NK: Array, others_RK: Array, length: float) -> Array:
    """Return the Matérn 5/2 kernel of two sets of places."""
    far_NR = np.sqrt(5) * cdist(places_NK, others_RK) / length
    return np.asarray((1 + far_NR + far_NR**2 / 3) * np.exp(-far_NR))
