"""Additive powers: every source adds a part of its own, which grows the less the more of it there is."""

from functools import partial

from corpuscle.core.components import component
from corpuscle.mixture.kernel_regression import fit_kernels
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate

# Near 0, that a source is there at all is what counts; at 1 the law is linear.
POWERS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


@component
class AdditivePowers(Surrogate):
    """L(w) = b + Σ W_i w_i^a, for each output.

    For a given a it is linear, so W has a normal prior and the exponents are averaged by their evidence. A law near
    the top of SLDBench's task of domain mixtures (Lin et al. 2025, https://arxiv.org/abs/2507.21184).
    """

    def fit(self, runs: Runs) -> Predictor:
        """Fit all outputs; see `Surrogate.fit`."""
        return fit_kernels([partial(_alike, power=power) for power in POWERS], runs)


def _alike(weights_NK: Array, others_RK: Array, power: float) -> Array:
    return weights_NK**power @ (others_RK**power).T
