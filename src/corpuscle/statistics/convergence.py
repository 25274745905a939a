"""Convergence: which trainings were still getting better when they ended, from their curves."""

import numpy as np
import pandas as pd
from scipy import stats

RUN = ["corpus", "model", "seed"]
ENDING = "_validation"
# The end of a training: its last fifth. Fewer points there say nothing of a trend.
LAST = 0.2
FEWEST_POINTS = 4
# A trend is more than noise where it is more than two standard errors from none.
SURELY = 2.0


def convergence(curves: pd.DataFrame) -> pd.DataFrame:
    """Judge of each training whether what it is judged by on held-out cells was still falling at its end.

    A run had not converged where, over the last fifth of its steps, the curve fell by more than both

    - *what seeds scatter*: the standard deviation, over the seeds of a corpus, of the median of the last fifth; the
      median of that over the model's corpora, since the deviation of a few seeds is itself a poor number;
    - *what the curve's own noise explains*: twice the standard error of the fall, from the points' scatter about the
      trend.

    The trend is Theil and Sen's, the median of the slopes between all pairs of points, which single outliers do not
    turn (Sen 1968, doi 10.1080/01621459.1968.10480934). With one seed only the second is asked for.

    Parameters
    ----------
    curves
        Training curves in long form: ``corpus``, ``model``, ``seed``, ``step``, ``epoch``, ``quantity``, ``value``. A
        model is judged by the first of its quantities that ends in ``_validation``; lower is better.

    Returns
    -------
    One row per run with at least four points in the last fifth: ``corpus``, ``model``, ``seed``, ``quantity``
    (without its ending), ``fall`` over the last fifth (in the quantity's unit, positive: it fell), ``noise`` (twice
    the standard error), ``scatter`` over seeds (NaN with one seed), and ``converged``.

    Examples
    --------
    >>> steps = np.arange(10, 1010, 10)
    >>> curve = pd.DataFrame({"corpus": "Blood", "model": "ldvae", "seed": 0, "step": steps, "epoch": 0.0,
    ...                       "quantity": "elbo_validation", "value": 2000.0 - steps})
    >>> convergence(curve)[["seed", "fall", "converged"]]
       seed   fall  converged
    0     0  200.0      False
    """
    judged = curves[curves["quantity"].astype(str).str.endswith(ENDING) & np.isfinite(curves["value"].astype(float))]
    first = judged.groupby("model", sort=False)["quantity"].transform("first")
    rows = [
        (*place, quantity.removesuffix(ENDING), *_end(curve))
        for (*place, quantity), curve in judged[judged["quantity"] == first].groupby([*RUN, "quantity"], sort=False)
        if len(_last(curve)) >= FEWEST_POINTS
    ]
    table = pd.DataFrame(rows, columns=[*RUN, "quantity", "fall", "noise", "level"])
    table["scatter"] = _scatter(table)
    table["converged"] = ~((table["fall"] > table["noise"]) & ~(table["fall"] <= table["scatter"]))
    return table.drop(columns="level")


def _last(curve: pd.DataFrame) -> pd.DataFrame:
    return curve[curve["step"] > (1 - LAST) * curve["step"].max()]


def _end(curve: pd.DataFrame) -> tuple[float, float, float]:
    """Return the fall over the last fifth, twice its standard error, and the level there."""
    last = _last(curve)
    step, value = last["step"].to_numpy(float), last["value"].to_numpy(float)
    slope, intercept, _, _ = stats.theilslopes(value, step)
    length = LAST * step.max()
    # Of the usual least-squares slope; Theil and Sen's is nearly as precise where noise is normal.
    residual_sd = np.sqrt(((value - intercept - slope * step) ** 2).sum() / max(len(step) - 2, 1))
    error = residual_sd / np.sqrt(((step - step.mean()) ** 2).sum())
    return -slope * length, SURELY * error * length, float(np.median(value))


def _scatter(table: pd.DataFrame) -> pd.Series:
    """Return the scatter over seeds of each row's model."""
    deviation = table.groupby(["model", "corpus"], sort=False)["level"].std()
    return table["model"].map(deviation.groupby(level="model").median()).astype(float)
