"""Jackknife+ intervals: how far off predictions of left-out mixtures were, around what the same fits say of a new one.

Axes: R runs, N new mixtures, O outputs.
"""

import numpy as np

from corpuscle.mixture.surrogate import Array


def jackknife_plus(left_out_RNO: Array, residuals_RO: Array, shares_RO: Array, level: float) -> tuple[Array, Array]:
    """Return the ends of conformal intervals for the score of one new run, each of shape (N, O).

    With p_i the prediction of a new mixture by the fit without run i, and r_i how far that fit was off run i, the
    interval is from the lower quantile of p_i - r_i to the upper quantile of p_i + r_i. It holds the score of a run of
    an exchangeable mixture in at least 2 `level` - 1 of cases, whatever the truth and the surrogate, and in about
    `level` in practice (Barber et al. 2021, https://doi.org/10.1214/20-AOS1965; with folds of several runs it is
    their CV+). A mixture chosen for its prediction is not exchangeable with those that were run.

    Parameters
    ----------
    left_out_RNO
        p_i for every run.
    residuals_RO
        r_i, at least 0; NaN where a run has no score.
    shares_RO
        Weight of each run, 0 where it has no score, 1 over the number of its mixture's runs otherwise: runs of one
        mixture count as one (Lee, Barber & Willett 2024, https://arxiv.org/abs/2306.06342).
    level
        Share of runs to hold, from 0 to 1. With n mixtures of which n + 1 < 1 / (1 - level), the ends are infinite.
    """
    off_RNO = np.nan_to_num(residuals_RO)[:, None, :]
    high_NO = _upper(left_out_RNO + off_RNO, shares_RO, level)
    low_NO = -_upper(off_RNO - left_out_RNO, shares_RO, level)
    return low_NO, high_NO


def _upper(values_RNO: Array, shares_RO: Array, level: float) -> Array:
    """Return weighted quantiles, one more mixture at infinity counted."""
    order_RNO = np.argsort(values_RNO, axis=0)
    sorted_RNO = np.take_along_axis(values_RNO, order_RNO, axis=0)
    reached_RNO = np.cumsum(np.take_along_axis(np.broadcast_to(shares_RO[:, None], values_RNO.shape), order_RNO, 0), 0)
    # A whole number of mixtures is not missed for want of a last digit.
    needed_O = level * (shares_RO.sum(axis=0) + 1) - 1e-9
    enough_RNO = reached_RNO >= needed_O
    first_NO = enough_RNO.argmax(axis=0)
    found_NO = np.take_along_axis(sorted_RNO, first_NO[None], axis=0)[0]
    return np.where(enough_RNO.any(axis=0), found_NO, np.inf)
