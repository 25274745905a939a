"""Front: mixtures that are best for one output, for all, or for what is between; what one costs the other.

Axes: K sources, N candidates, D draws, O outputs that count, W ways of weighing them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import InputError
from corpuscle.mixture.allowed import allowed
from corpuscle.mixture.candidates import best_of, candidates
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.utility import Utility, turned

# Ways of weighing outputs between the balanced one and each output alone, chosen far apart among so many.
N_BETWEEN, N_POOL = 8, 400
# What the others have where one output counts: among equals for it, what is also good for them (Knowles 2006).
OTHERS = 0.05


class Front(NamedTuple):
    """Mixtures that may be the best for some way of weighing the outputs, and draws of their scores.

    Scores are turned so that higher is better, in standard deviations over the mixtures that were run. The draws of
    one output say nothing of another's: what surrogates miss is taken for independent.

    Attributes
    ----------
    weights_NK
        Candidates, those that were run first, then those given by name; for each way, the mean of its draws' best last.
    n_run, n_named
        How many of them were run; how many were run or given by name.
    outputs
        Which outputs count.
    ways_WO
        Ways of weighing them, rows that sum to 1: the balanced one, each output nearly alone, and others between.
    mean_NO
        Expected scores.
    draws_DNO
        Draws of the scores.
    """

    weights_NK: Array
    n_run: int
    n_named: int
    outputs: tuple[str, ...]
    ways_WO: Array
    mean_NO: Array
    draws_DNO: Array

    @property
    def best_W(self) -> NDArray[np.int64]:
        """The candidate to take for each way; see `best_of`."""
        first = len(self.mean_NO) - len(self.ways_WO)
        return np.array([
            best_of(self.mean_NO @ way_O, self.draws_DNO @ way_O, first + at) for at, way_O in enumerate(self.ways_WO)
        ])  # fmt: skip

    def regret(self, quantile: float = 0.9) -> float:
        """Return how much the best candidate of any way may lack of the true best: a quantile over draws."""
        return max(
            float(np.quantile((self.draws_DNO @ way_O).max(axis=1) - self.draws_DNO[:, best] @ way_O, quantile))
            for way_O, best in zip(self.ways_WO, self.best_W, strict=True)
        )

    def open(self, level: float = 0.9) -> NDArray[np.bool_]:
        """Return which candidates are not shown to be dominated, shape (N,).

        A candidate is out where one other is better in every output in more of the draws than the upper half of an
        interval with `level` of them leaves: for 0.9, in 95 %.
        """
        found_N = np.ones(len(self.mean_NO), bool)
        for at in range(len(found_N)):
            # An equal mixture isn't better: rounding must not make it so.
            better_DN = (self.draws_DNO > self.draws_DNO[:, [at]] + 1e-12).all(axis=2)
            found_N[at] = better_DN.mean(axis=0).max() < (1 + level) / 2
        return found_N

    def chances(self, rows: NDArray[np.int64]) -> Array:
        """Return in how many of the draws each of some candidates is on the front of these, as shares."""
        draws_DNO = self.draws_DNO[:, rows]
        found_N = np.ones(len(rows))
        for at in range(len(rows)):
            better_DN = np.asarray((draws_DNO > draws_DNO[:, [at]] + 1e-12).all(axis=2))
            found_N[at] = 1 - better_DN.any(axis=1).mean()
        return found_N


def front(
    fitted: FittedMixture,
    utility: Utility | None = None,
    *,
    rng: np.random.Generator,
    caps: Mapping[str, float] | ArrayLike | None = None,
    also: pd.DataFrame | None = None,
) -> Front:
    """Find mixtures that may be on the front of several outputs.

    By weighted means of the outputs: where more of a source helps less and less, the scores that can be had form a
    convex set, and each point of its edge is the best for some weights.

    Parameters
    ----------
    fitted, rng, caps, also
        See `contest`.
    utility
        Which outputs count; what their balanced mean is. None: all outputs alike.

    Raises
    ------
    InputError
        When fewer than two outputs count that have scores of five different mixtures and are not all equal, or no
        mixture of sources that were run is within the caps.

    Examples
    --------
    >>> from corpuscle.mixture.fitting import fit
    >>> weights = np.random.default_rng(0).dirichlet(np.ones(3), size=16)
    >>> fitted = fit(weights, weights[:, :2] ** 0.5, better="higher", surrogates=["additive_powers"])
    >>> found = front(fitted, rng=np.random.default_rng(0))
    >>> found.outputs, found.weights_NK[found.best_W[:3]].round(1).tolist()
    (('output 1', 'output 2'), [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    """
    table, utility = fitted.table, utility or Utility(pareto=True)
    # Where all are the same, shares are kept; see `Utility.shares`.
    share_O = np.where(fitted.constant_O, 0.0, utility.shares(table))
    counted = np.flatnonzero(share_O)
    names = tuple(table.outputs[at] for at in counted)
    if len(names) < 2:
        raise InputError(
            f"utility: a front is of two outputs or more that differ between mixtures; got {', '.join(names) or 'none'}"
        )
    ways_WO = _ways(share_O[counted] / share_O[counted].sum(), rng)
    may = allowed(fitted, caps, also).checked()
    run_NK = may.run_NK(fitted)
    given_NK = run_NK if may.also is None else np.vstack([run_NK, fitted.weights_of(may.also)])

    def mean(weights_NK: Array) -> Array:
        return turned(table, fitted.means(weights_NK))[:, counted]

    weights_NK = candidates(given_NK, lambda weights_NK: mean(weights_NK) @ ways_WO.T, may.caps_K, rng)
    posteriors = [Posterior(fitted, Utility({name: 1.0})) for name in names]

    def draws(weights_NK: Array) -> Array:
        return np.stack([posterior.draws(weights_NK, rng) for posterior in posteriors], axis=2)

    drawn_DNO = draws(weights_NK)
    centres = [weights_NK[(drawn_DNO @ way_O).argmax(axis=1)].mean(axis=0) for way_O in ways_WO]
    weights_NK = np.vstack([weights_NK, *centres])
    return Front(weights_NK, len(run_NK), len(given_NK), names, ways_WO, mean(weights_NK), draws(weights_NK))


def _ways(share_O: Array, rng: np.random.Generator) -> Array:
    """Return ways of weighing outputs: the balanced one, each alone but for a little, and others far from these."""
    alone_OO = (1 - OTHERS) * np.eye(len(share_O)) + OTHERS * share_O
    found_WO, pool_NO = np.vstack([share_O, alone_OO]), rng.dirichlet(np.ones(len(share_O)), N_POOL)
    for _ in range(N_BETWEEN):
        far_N = np.abs(pool_NO[:, None] - found_WO).sum(axis=2).min(axis=1)
        found_WO = np.vstack([found_WO, pool_NO[far_N.argmax()]])
    return found_WO
