"""Fit: a table of mixtures and scores becomes something that predicts the scores of any mixture.

Axes: R runs, K sources, O outputs, F fits (all runs; then without each fold), S surrogates, N new mixtures.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.components import find
from corpuscle.core.errors import InputError
from corpuscle.core.randomness import is_seed
from corpuscle.core.text import shortened
from corpuscle.mixture.folds import fold_runs
from corpuscle.mixture.jackknife import jackknife_plus
from corpuscle.mixture.matching import as_array, framed
from corpuscle.mixture.surrogate import Array, Predictor, Runs, Surrogate
from corpuscle.mixture.table import FEWEST_MIXTURES, SAME_WEIGHTS, Table, checked_weights, laid_out
from corpuscle.mixture.units import centre_and_unit

SURROGATES = ("saturating", "log_linear", "additive_powers", "gaussian_process", "many_kinds")
# Of the mean squared error of left-out runs; see `fit`.
SHARPNESS = 2
# New mixtures that are predicted at once: intervals hold runs × mixtures × outputs numbers.
CHUNK = 2_000_000


class Prediction(NamedTuple):
    """What is expected of mixtures: three tables of mixtures × outputs, arrays where the weights were one.

    Attributes
    ----------
    mean
        The score, in the output's own unit.
    low, high
        Ends of the interval for the score of one new run; infinite with too few runs for one, and for a mixture
        with a source that no run has. NaN for an output that too few mixtures have.
    """

    mean: pd.DataFrame | Array
    low: pd.DataFrame | Array
    high: pd.DataFrame | Array


class FittedMixture:
    """What `fit` found.

    Attributes
    ----------
    table
        The runs.
    shares
        Share of each surrogate in the average.
    fold_R
        Which runs were left out together.
    enough_O, constant_O
        Which outputs have scores of five different mixtures, and which are the same in all runs.
    left_out
        What the fits without a run's mixture predict of it, shape (R, O), in the outputs' own units.
    """

    def __init__(self, table: Table, surrogates: Sequence[str], seed: int = 0) -> None:
        self.table = table
        scores_RO = table.scores_RO
        known_O = np.isfinite(scores_RO).any(axis=0)
        self._centre_O, self._unit_O = centre_and_unit(scores_RO)
        n_known_O = np.isfinite(table.means_MO(scores_RO)).sum(axis=0)
        self.enough_O: NDArray[np.bool_] = n_known_O >= FEWEST_MIXTURES
        self.constant_O: NDArray[np.bool_] = known_O & (self._unit_O == 0)
        self._fitted_O = self.enough_O & ~self.constant_O
        self.fold_R: NDArray[np.int64] = fold_runs(table, seed)
        fold_R = self.fold_R
        used_FR = np.vstack([np.ones(len(fold_R), bool), np.arange(fold_R.max() + 1)[:, None] != fold_R])
        self._fit_R = fold_R + 1
        runs = Runs(table.weights_RK, self._standard(scores_RO)[:, self._fitted_O], used_FR)
        self._predictors: list[Predictor] = []
        shares_SF = np.full((len(surrogates), len(used_FR)), 1 / len(surrogates))
        if self._fitted_O.any():
            self._predictors = [find(Surrogate, name)().fit(runs) for name in surrogates]
            left_out_SRO = np.stack([self._of_left_out(predict(table.weights_RK)) for predict in self._predictors])
            shares_SF = _shares(left_out_SRO, runs.scores_RO, used_FR)
        self._shares_SF = shares_SF
        self.shares: dict[str, float] = dict(zip(surrogates, shares_SF[:, 0].tolist(), strict=True))
        self.left_out: Array = self._in_units(self._of_left_out(self._all_fits(table.weights_RK)))

    def predict(self, weights: pd.DataFrame | ArrayLike, level: float = 0.9, *, normalise: bool = False) -> Prediction:
        """Predict the scores of mixtures, with intervals for one new run of each.

        Parameters
        ----------
        weights
            Mixtures × sources. Columns of a DataFrame are found by name, in any order; sources that it lacks have
            weight 0. A Series is one mixture, by the names of its index; by order where that has none.
        level
            Share of new runs that the intervals should hold.
        normalise
            Divide each row of weights by its sum.

        Raises
        ------
        InputError
            When the weights are no mixtures of these sources, or the level is not between 0 and 1.
        """
        if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
            raise InputError(f"level: expected a share between 0 and 1; got {level!r}")
        if isinstance(weights, pd.Series):
            weights = self._row_of(weights)
        weights_NK = self.weights_of(weights, normalise=normalise)
        size = max(1, CHUNK // (self.table.scores_RO.size + 1))
        parts = [self._predicted(weights_NK[at : at + size], level) for at in range(0, max(len(weights_NK), 1), size)]
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        if isinstance(weights, pd.DataFrame):
            return Prediction(*(pd.DataFrame(one, weights.index, list(self.table.outputs)) for one in found))
        return Prediction(*found)

    def weights_of(self, weights: pd.DataFrame | ArrayLike, *, normalise: bool = False) -> Array:
        """Return mixtures as shares, shape (N, K), in the order of the table's sources; see `predict`."""
        sources = self.table.sources
        if isinstance(weights, pd.Series):
            weights = self._row_of(weights)
        if isinstance(weights, pd.DataFrame):
            frame = framed(weights, "source")
            unknown = [name for name in frame.columns if name not in sources]
            if unknown:
                known = shortened(", ".join(sources))
                raise InputError(f"weights: there is no source {shortened(unknown[0])!r}; there are {known}")
            frame = frame.reindex(columns=list(sources), fill_value=0.0)
        else:
            array = np.atleast_2d(as_array(weights, "weights"))
            if array.ndim != 2 or array.shape[1] != len(sources):
                raise InputError(
                    f"weights: expected an array of mixtures × {len(sources)} sources; got shape {array.shape}"
                )
            frame = pd.DataFrame(array, columns=list(sources))
        return checked_weights(frame, normalise=normalise)[0]

    def _row_of(self, weights: "pd.Series[float]") -> pd.DataFrame:
        """Return a mixture as a table of one row."""
        if isinstance(weights.index, pd.RangeIndex) and len(weights) == len(self.table.sources):
            weights = weights.set_axis(list(self.table.sources))
        return weights.to_frame().T

    def means(self, weights_NK: Array) -> Array:
        """Return what is expected of mixtures, shape (N, O), in the outputs' own units: `predict` without intervals."""
        return self._in_units(self._all_fits(weights_NK, 1)[0])

    def _predicted(self, weights_NK: Array, level: float) -> tuple[Array, Array, Array]:
        """Return mean, low and high."""
        found_FNO = self._all_fits(weights_NK)
        known_RO = np.isfinite(self.table.scores_RO)
        residuals_RO = np.abs(self.table.scores_RO - self.left_out)
        n_runs_MO = np.zeros((self.table.n_mixtures, known_RO.shape[1]))
        np.add.at(n_runs_MO, self.table.mixture_R, known_RO)
        shares_RO = known_RO / np.maximum(n_runs_MO[self.table.mixture_R], 1)
        left_out_RNO = self._in_units(found_FNO)[self._fit_R]
        low_NO, high_NO = jackknife_plus(left_out_RNO, residuals_RO, shares_RO, level)
        mean_NO = self._in_units(found_FNO[0])
        # A law says something of any mixture; of what a source does that no run has, nothing is known.
        reach_NO = np.where((weights_NK[:, ~self.table.used_K] > SAME_WEIGHTS).any(axis=1), np.inf, 0.0)[:, None]
        reach_NO = reach_NO + np.where(self.enough_O, 0.0, np.nan)
        return mean_NO, low_NO - reach_NO, high_NO + reach_NO

    def _all_fits(self, weights_NK: Array, n_fits: int | None = None) -> Array:
        """Return the average of surrogates by each fit, shape (F, N, outputs that are fitted)."""
        shares_SF = self._shares_SF[:, :n_fits]
        found_FNO = np.zeros((shares_SF.shape[1], len(weights_NK), int(self._fitted_O.sum())))
        for predict, share_F in zip(self._predictors, shares_SF, strict=False):
            found_FNO += share_F[:, None, None] * _bounded(predict(weights_NK, n_fits))
        return found_FNO

    def _of_left_out(self, found_FRO: Array) -> Array:
        """Return for each run what the fit without its fold says."""
        return np.asarray(_bounded(found_FRO[self._fit_R, np.arange(len(self._fit_R))]))

    def _standard(self, scores_RO: Array) -> Array:
        """Return scores with mean 0 and standard deviation 1, lower better."""
        sign_O = np.where(self.table.lower_O, 1.0, -1.0)
        return np.asarray(sign_O * (scores_RO - self._centre_O) / np.where(self._unit_O > 0, self._unit_O, 1.0))

    def _in_units(self, standard: Array) -> Array:
        """Return scores of all outputs in their own units; the last axis had those that are fitted."""
        sign_O = np.where(self.table.lower_O, 1.0, -1.0)
        found = np.zeros((*standard.shape[:-1], len(self.table.outputs)))
        found[..., self._fitted_O] = standard
        return np.asarray(np.where(self.enough_O, self._centre_O + sign_O * self._unit_O * found, np.nan))


def fit(
    weights: pd.DataFrame | ArrayLike,
    scores: pd.DataFrame | ArrayLike,
    *,
    better: str | Mapping[str, str] = "lower",
    surrogates: Sequence[str] = SURROGATES,
    normalise: bool = False,
    seed: int = 0,
) -> FittedMixture:
    """Fit surrogates to mixtures that were run, to predict the scores of any mixture.

    The prediction is an average of surrogates, each weighted by 1 over the square of its mean squared error of left-out
    mixtures (geometric mean over outputs): a law that does not suit a table gets a small share, and nothing is fitted
    to the few left-out runs but one number a surrogate.

    Parameters
    ----------
    weights
        Runs × sources: shares that sum to 1, or percentages.
    scores
        Runs × outputs; NaN where a score is missing. Rows are matched by the columns that both tables have (a run's
        name, which is then neither source nor output), else by the names of rows where both tables have such, else by
        their order. A mixture may be in several rows, one for each seed.
    better
        Whether ``"lower"`` or ``"higher"`` scores are better, for all outputs or by output.
    surrogates
        Which to average: names of files in ``mixture/surrogates``.
    normalise
        Divide each row of weights by its sum: for amounts, such as numbers of cells.
    seed
        Which mixtures share a fold, where there are more than ten and many outputs.

    Raises
    ------
    InputError
        When the tables do not match, hold what they cannot, or have fewer than five different mixtures; or the seed is
        not a whole number of 0 or more.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.dirichlet(np.ones(3), size=24)
    >>> loss = 1 / (0.1 + weights @ [1.0, 0.3, 0.1])
    >>> fitted = fit(weights, loss)
    >>> mean, low, high = fitted.predict([[0.5, 0.5, 0.0]])
    >>> bool(low[0, 0] < 1 / 0.75 < high[0, 0]), round(float(mean[0, 0]), 1)
    (True, 1.3)
    """
    named = [] if isinstance(surrogates, str) or not isinstance(surrogates, Iterable) else [*surrogates]
    if not named or not all(isinstance(name, str) for name in named) or len({*named}) < len(named):
        raise InputError(
            f"surrogates: expected a list of names, none twice, such as {list(SURROGATES)}; got {surrogates!r:.200}"
        )
    if not is_seed(seed):
        raise InputError(f"seed: expected a whole number of 0 or more; got {seed!r:.80}")
    return FittedMixture(laid_out(weights, scores, better, normalise=normalise), tuple(named), seed)


def _bounded(standard: Array) -> Array:
    """Keep predictions within ten standard deviations: a law's tail beyond the runs is no knowledge."""
    return np.clip(standard, -10.0, 10.0)


def _shares(left_out_SRO: Array, scores_RO: Array, used_FR: NDArray[np.bool_]) -> Array:
    """Return each surrogate's share in each fit, shape (S, F), by its errors of the runs that the fit uses."""
    known_RO = np.isfinite(scores_RO)
    squares_SRO = np.where(known_RO, (left_out_SRO - np.nan_to_num(scores_RO)) ** 2, 0)
    n_FO = np.maximum(used_FR.astype(float) @ known_RO, 1)
    errors_SFO = np.einsum("fr,sro->sfo", used_FR.astype(float), squares_SRO) / n_FO
    # An output that is predicted to rounding must not decide alone.
    logs_SF = np.log(errors_SFO + 1e-6).mean(axis=2)
    shares_SF = np.exp(-SHARPNESS * (logs_SF - logs_SF.min(axis=0)))
    return np.asarray(shares_SF / shares_SF.sum(axis=0))
