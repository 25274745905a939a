"""Rounds: which runs to add, and when more are not worth it.

Axes: K sources, N candidates, D draws.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import InputError
from corpuscle.mixture.allowed import allowed
from corpuscle.mixture.candidates import best_of, candidates
from corpuscle.mixture.fitting import FittedMixture
from corpuscle.mixture.front import Front, front
from corpuscle.mixture.posterior import Posterior
from corpuscle.mixture.surrogate import Array
from corpuscle.mixture.utility import Utility


class Contest(NamedTuple):
    """Mixtures that may be the best, and draws of their utility.

    Attributes
    ----------
    weights_NK
        Candidates, those that were run first.
    n_run
        How many of them were run.
    mean_N
        Expected utility.
    draws_DN
        Draws of the utility.
    """

    weights_NK: Array
    n_run: int
    mean_N: Array
    draws_DN: Array

    @property
    def best(self) -> int:
        """The candidate to take: the last, which is the mean of the draws' best, while it ties; see `best_of`."""
        return best_of(self.mean_N, self.draws_DN, len(self.mean_N) - 1)

    def regret(self, quantile: float = 0.9) -> float:
        """Return how much utility the best candidate may lack of the true best: a quantile over draws."""
        return float(np.quantile(self.draws_DN.max(axis=1) - self.draws_DN[:, self.best], quantile))

    def tied(self, level: float = 0.9) -> np.ndarray:
        """Return which candidates are not shown to be worse than the best, shape (N,): the credible set.

        A candidate is out where the interval of its distance to the best, which holds `level` of the draws, is all on
        one side.
        """
        behind_DN = self.draws_DN[:, [self.best]] - self.draws_DN
        return np.asarray(np.quantile(behind_DN, (1 - level) / 2, axis=0) <= 1e-12)


def contest(
    fitted: FittedMixture,
    utility: Utility | None = None,
    *,
    rng: np.random.Generator,
    caps: Mapping[str, float] | ArrayLike | None = None,
    also: pd.DataFrame | None = None,
) -> Contest:
    """Find mixtures that may be the best.

    Parameters
    ----------
    fitted
        What is known of scores.
    utility
        What is to be high; None: the mean of all outputs.
    rng
        The only source of randomness.
    caps
        The largest weight of each source; mixtures that were run, or given, are candidates where they are within.
        Sources that no run has are in no candidate.
    also
        Other mixtures to compare, such as baselines; they follow those that were run.

    Raises
    ------
    InputError
        When no mixture of sources that were run is within the caps.
    """
    utility = utility or Utility()
    may = allowed(fitted, caps, also).checked()
    posterior = Posterior(fitted, utility)
    run_NK = may.run_NK(fitted)
    given_NK = run_NK if may.also is None else np.vstack([run_NK, fitted.weights_of(may.also)])
    weights_NK = candidates(given_NK, lambda weights_NK: posterior.mean(weights_NK)[:, None], may.caps_K, rng)
    # The mean of the draws' best takes the place of the last candidate; see `Contest.best`.
    weights_NK[-1] = weights_NK[posterior.draws(weights_NK, rng).argmax(axis=1)].mean(axis=0)
    draws_DN = posterior.draws(weights_NK, rng)
    return Contest(weights_NK, len(run_NK), posterior.mean(weights_NK), draws_DN)


def next_runs(
    fitted: FittedMixture,
    n: int,
    utility: Utility | None = None,
    *,
    rng: np.random.Generator,
    caps: Mapping[str, float] | ArrayLike | None = None,
    repeats: int = 0,
) -> pd.DataFrame:
    """Choose mixtures to run next: those that may beat all that were run, then repeats of the best of these.

    New ones by noisy expected improvement (Letham et al. 2019, https://doi.org/10.1214/18-BA1110): the mean over draws
    of how far a mixture exceeds the best mixture that was run, in the same draw; each chosen one then counts as run, so
    that a round isn't one mixture many times.

    Parameters
    ----------
    fitted, utility, rng, caps
        See `contest`.
    n
        How many runs, repeats among them.
    repeats
        How many of them repeat mixtures that were run: those most often the best of the run ones, over their runs.

    Returns
    -------
    Mixtures × sources, named ``new 1``, ``again 1``.

    Raises
    ------
    InputError
        When fewer than one run is asked for, or more repeats than runs.
    """
    if n < 1 or not 0 <= repeats <= n:
        raise InputError(f"expected 1 run or more, of which {n} at most are repeats; got {n} and {repeats}")
    search = front if utility is not None and utility.pareto else contest
    found = search(fitted, utility, rng=rng, caps=caps)
    if repeats and not found.n_run:
        raise InputError("repeats: no mixture that was run is within the caps")
    rows, names = [], []
    left = np.arange(len(found.weights_NK)) >= found.n_run
    for at in range(n - repeats):
        mean_N, draws_DN = _weighed(found, rng)
        # Where there is nothing to improve on, the first is the best by its mean.
        best_D = draws_DN[:, ~left].max(axis=1, initial=draws_DN.min())
        gain_N = np.maximum(draws_DN - best_D[:, None], 0).mean(axis=0)
        # Where nothing improves, the one with the highest mean.
        value_N = np.where(left, gain_N + 1e-9 * (mean_N - mean_N.max()), -np.inf)
        chosen = int(value_N.argmax())
        left[chosen] = False
        rows.append(found.weights_NK[chosen])
        names.append(f"new {at + 1}")
    rows += _repeated(fitted, found, repeats, rng)
    names += [f"again {at + 1}" for at in range(repeats)]
    return pd.DataFrame(np.stack(rows), names, list(fitted.table.sources))


def _weighed(found: Contest | Front, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return expected utilities and draws of them; of a front, by outputs that are weighed at random."""
    if isinstance(found, Contest):
        return found.mean_N, found.draws_DN
    way_O = rng.dirichlet(np.ones(len(found.outputs)))
    return found.mean_NO @ way_O, found.draws_DNO @ way_O


def _repeated(fitted: FittedMixture, found: Contest | Front, repeats: int, rng: np.random.Generator) -> list[Array]:
    """Return mixtures to run again: how often each is the best of those that were run, over the runs it has."""
    if not repeats:
        return []
    if isinstance(found, Contest):
        run_DM = found.draws_DN[:, : found.n_run]
    else:
        ways_DO = rng.dirichlet(np.ones(len(found.outputs)), len(found.draws_DNO))
        run_DM = np.einsum("dmo,do->dm", found.draws_DNO[:, : found.n_run], ways_DO)
    often_M = np.bincount(run_DM.argmax(axis=1), minlength=found.n_run) + 1e-3
    table = fitted.table
    far_MR = np.abs(found.weights_NK[: found.n_run, None] - table.weights_RK[None]).max(axis=2)
    runs_M = (far_MR < 2e-6).sum(axis=1).astype(float)
    rows: list[Array] = []
    for _ in range(repeats):
        chosen = int((often_M / (runs_M + 1)).argmax())
        runs_M[chosen] += 1
        rows.append(found.weights_NK[chosen])
    return rows
