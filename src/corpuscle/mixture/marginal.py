"""Marginal values: what a source that nobody has trained on would add, from what the known ones add.

Axes: K known sources, O outputs, N = K × O pairs of them, F features.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from corpuscle.core.errors import InputError
from corpuscle.core.text import plural, shortened
from corpuscle.mixture.surrogate import Array

LEVEL = 0.9
# Fewer known sources give no idea of how far features lead astray.
FEWEST = 3
# Standard deviations, in units of the values' own spread, that are averaged over by their evidence: of what a source
# adds to all outputs alike beyond its features, and of one source and output alone.
SPREADS = (0.03, 0.1, 0.2, 0.35, 0.6, 1.0)


@dataclass(frozen=True)
class Marginal:
    """What candidates are expected to add.

    Attributes
    ----------
    values
        A row for each candidate and output: ``source``, ``output``, ``value`` (how much better the output is expected
        to be with the source than without; positive is good), ``low`` and ``high``, a 90 % interval, and ``chance``,
        the probability that it adds anything.
    slopes
        By feature: how much value a standard deviation of it is expected to bring, in standard deviations of values.
    """

    values: pd.DataFrame
    slopes: "pd.Series[float]"


def marginal(known: pd.DataFrame, features: pd.DataFrame, candidates: pd.DataFrame) -> Marginal:
    """Predict what candidates add from how features and values go together in known sources.

    A linear model with a normal prior of its slopes, shared by all outputs, a deviation of each source (common to all
    of its outputs) and one of each source and output: a hierarchical prior, by which candidates are placed among the
    known sources. Values are in units of their metric's (their root mean square over all sources and outputs), features
    in units of their own over all outputs: in units of a single output, one to which no known source is near would have
    tiny units, and a source that is near would be taken for enormous. The sizes of the deviations are averaged over by
    their evidence. Errors of the known values count.

    Parameters
    ----------
    known
        ``source``, ``output``, ``metric``, ``value`` and ``se``: what each source adds to the others, positive is good;
        a row for each source and output. Outputs of one metric are in one unit. Rows without a value are left out.
    features
        ``source``, ``output`` and a column for each feature, numbers that are large where a source should add much,
        such as how much nearer the target is with it; in one unit for all outputs.
    candidates
        The same, of sources without values.

    Raises
    ------
    InputError
        When fewer than three sources have values, or a feature is missing.

    Examples
    --------
    >>> known = pd.DataFrame({"source": list("abcdef"), "output": "r2 on blood", "metric": "r2", "se": 0.01,
    ...                       "value": [0.1, 0.2, 0.3, 0.0, 0.1, 0.4]})
    >>> features = pd.DataFrame({"source": list("abcdef"), "output": "r2 on blood", "nearer": [1.0, 2, 3, 0, 1, 4]})
    >>> new = pd.DataFrame({"source": ["g"], "output": ["r2 on blood"], "nearer": [2.0]})
    >>> marginal(known, features, new).values[["source", "value"]].round(2).to_dict("records")
    [{'source': 'g', 'value': 0.2}]
    """
    table = _joined(known, features)
    names = _features(features, candidates)
    scale = _scales(table)
    unit_F = _units(table, names)
    model = _Fitted.of(table, names, scale, unit_F)
    rows = []
    for source, output, *values_F in candidates[["source", "output", *names]].itertuples(index=False):
        if output not in scale:
            raise InputError(f"candidates: no known source has a value of the output {shortened(str(output))!r}")
        x_F = np.array([1.0, *np.divide(values_F, unit_F)])
        mean, low, high, chance = model.predicts(x_F)
        rows.append((source, output, *(scale[output] * np.array([mean, low, high])), chance))
    columns = ["source", "output", "value", "low", "high", "chance"]
    return Marginal(pd.DataFrame(rows, columns=columns), pd.Series(model.slope_F[1:], names))


def left_out(known: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Predict each known source from the others, as if nobody had trained on it.

    Returns
    -------
    `known` with ``predicted``, ``low``, ``high`` and ``chance``.
    """
    parts = []
    for source in dict.fromkeys(known["source"]):
        here, new = known["source"] == source, features["source"] == source
        found = marginal(known[~here], features[~new], features[new]).values
        parts.append(known[here].merge(found.rename(columns={"value": "predicted"}), on=["source", "output"]))
    return pd.concat(parts, ignore_index=True)


def _joined(known: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    table = known[np.isfinite(known["value"])].merge(features, on=["source", "output"], how="left")
    if (n := table["source"].nunique()) < FEWEST:
        raise InputError(
            f"expected values of at least {FEWEST} known sources, to learn from what a new one would add; got "
            f"{plural(n, 'source')}"
        )
    return table


def _features(features: pd.DataFrame, candidates: pd.DataFrame) -> list[str]:
    names = [str(name) for name in features.columns if name not in {"source", "output"}]
    for one in (features, candidates):
        if lacking := [name for name in names if name not in one or not np.isfinite(one[name].to_numpy(float)).all()]:
            raise InputError(f"features: expected a number of each source and output for {shortened(lacking[0])!r}")
    return names


def _scales(table: pd.DataFrame) -> dict[str, float]:
    """Return for each output the root mean square of its metric's values; 1 where all are 0."""
    found = table.groupby("metric", sort=False)["value"].transform(lambda one: float(np.sqrt((one**2).mean())))
    return {str(name): value or 1.0 for name, value in zip(table["output"], found, strict=True)}


def _units(table: pd.DataFrame, names: list[str]) -> Array:
    """Return the root mean square of each feature; 1 where all are 0."""
    found_F = np.sqrt((table[names].to_numpy(float) ** 2).mean(axis=0))
    return np.where(found_F > 0, found_F, 1.0)


@dataclass(frozen=True)
class _Fitted:
    """Posteriors of the slopes for each pair of spreads, and their evidence."""

    slope_SF: Array
    covariance_SFF: Array
    rest_S: Array
    share_S: Array
    df: int

    @property
    def slope_F(self) -> Array:
        """The slopes, averaged."""
        return np.asarray(self.share_S @ self.slope_SF)

    @classmethod
    def of(cls, table: pd.DataFrame, names: list[str], scale: dict[str, float], unit_F: Array) -> "_Fitted":
        """Average over the sizes of deviations by their evidence."""
        scale_N = table["output"].map(scale).to_numpy(float)
        x_NF = np.column_stack([np.ones(len(table)), table[names].to_numpy(float) / unit_F])
        y_N = table["value"].to_numpy(float) / scale_N
        noise_N = (table["se"].fillna(0).to_numpy(float) / scale_N) ** 2
        source_N = pd.factorize(table["source"])[0]
        same_NN = source_N[:, None] == source_N
        slopes, covariances, rests, evidences = [], [], [], []
        for of_source in SPREADS:
            for of_pair in SPREADS:
                # The features have a share each of what values are, the intercept likewise.
                error_NN = of_source**2 * same_NN + np.diag(of_pair**2 + noise_N)
                whole_NN = error_NN + x_NF @ x_NF.T / x_NF.shape[1]
                precision = np.linalg.inv(
                    np.eye(x_NF.shape[1]) * x_NF.shape[1] + x_NF.T @ np.linalg.solve(error_NN, x_NF)
                )
                slopes.append(precision @ x_NF.T @ np.linalg.solve(error_NN, y_N))
                covariances.append(precision)
                rests.append(of_source**2 + of_pair**2)
                evidences.append(float(stats.multivariate_normal.logpdf(y_N, np.zeros(len(y_N)), whole_NN)))
        share_S = np.exp(np.array(evidences) - max(evidences))
        return cls(
            np.array(slopes), np.array(covariances), np.array(rests), share_S / share_S.sum(),
            table["source"].nunique() - 1,
        )  # fmt: skip

    def predicts(self, x_F: Array) -> tuple[float, float, float, float]:
        """Return mean, interval, and the probability to be above 0."""
        mean_S = self.slope_SF @ x_F
        variance_S = np.einsum("f,sfg,g->s", x_F, self.covariance_SFF, x_F) + self.rest_S
        mean = float(self.share_S @ mean_S)
        spread = float(np.sqrt(self.share_S @ (variance_S + (mean_S - mean) ** 2)))
        # Few sources have shown how far features lead astray.
        half = float(stats.t.ppf((1 + LEVEL) / 2, self.df)) * spread
        return mean, mean - half, mean + half, float(stats.t.cdf(mean / spread, self.df))
