"""Exchange: how many cells a corpus may lack, or must have more, to make up for how deeply its cells are sequenced.

Axes: R runs, P points (sizes at depths), G depths in falling order, B draws.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.statistics.ladders import ALL, CEILINGS, checked, turned
from corpuscle.statistics.learning_curves import PowerLaw, fit_power_law
from corpuscle.statistics.mean_draws import Runs, deviations
from corpuscle.statistics.saturation import FEWEST_SEEDS, LACK_OF_FIT, Range, Settings

Floats = NDArray[np.float64]
FEWEST_SIZES = 3


class Exchange(NamedTuple):
    """What one depth is worth.

    Attributes
    ----------
    depth
        Share of the molecules of the deepest corpora.
    fewer
        How many times fewer cells cost as much; NaN where it cannot be said. Below 1: depth does harm.
    says
        The same in a sentence, or why it cannot be said.
    """

    depth: float
    fewer: Range
    says: str


def exchange_rates(
    scores: pd.DataFrame,
    sizes: ArrayLike,
    depths: ArrayLike,
    *,
    by: Sequence[str] | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame:
    """Find how many times fewer cells cost as much as shallower ones do, from ladders at several depths.

    Fitted is y(N, d) = y_inf - b (N / x_d)^(-a): training on N cells at depth d is as good as on N / x_d of the
    deepest, whatever N is. Asymptote and exponent are common to all depths (`fit_power_law` with depths as groups), so
    x_d = (b_d / b)^(1/a). Whether one number describes all sizes is tested: where curves of shallow cells end lower,
    for example, the means are too far from the fit, and nothing is said. Intervals as in
    `corpuscle.statistics.saturation.learn`.

    Parameters
    ----------
    scores, sizes, by, settings
        As for `corpuscle.statistics.ladders.saturation`; rows of all cells count.
    depths
        Share of the molecules that are kept, of each row (1: all).

    Returns
    -------
    One row per curve and depth below the deepest: the columns of `by`, ``depth``, ``fewer`` with ``fewer_low`` and
    ``fewer_high``, and ``says``.

    Examples
    --------
    >>> size, depth = np.repeat(np.tile([100, 1000, 10_000, 100_000], 2), 3), np.repeat([1.0, 0.5], 12)
    >>> noise = np.tile([-0.01, 0.0, 0.01], 8)
    >>> value = 0.9 - 0.4 * (size / 100 / np.where(depth < 1, 3, 1)) ** -0.5 + noise
    >>> scores = pd.DataFrame({"metric": "f1", "seed": range(24), "value": value})
    >>> exchange_rates(scores, size, depth)["says"].item()
    'Halving depth costs as much as 3 times fewer cells (90 % interval 2.8 to 3.3).'
    """
    settings = settings or Settings()
    depth_N = np.asarray(depths, dtype=float)
    if depth_N.shape != (len(scores),) or not ((depth_N > 0) & (depth_N <= 1) | np.isnan(depth_N)).all():
        raise InputError(f"depths: expected a share above 0 and up to 1 for each of the {len(scores)} rows of scores")
    frame, names = checked(scores.assign(depth=depth_N), sizes, by, apart=("depth",))
    frame = frame[(frame["unit"].astype(str) == ALL) & (frame["size"] > 0) & np.isfinite(frame["depth"])]
    rows = []
    for place, here in frame.groupby(names, sort=False, dropna=False, observed=True):
        key = dict(zip(names, place if isinstance(place, tuple) else (place,), strict=True))
        for found in _exchanges(here, generator(0, "exchange", *map(str, key.values())), settings):
            ends = dict(zip(("fewer", "fewer_low", "fewer_high"), found.fewer, strict=True))
            rows.append({**key, "depth": found.depth, **ends, "says": found.says})
    return pd.DataFrame(rows, columns=[*names, "depth", "fewer", "fewer_low", "fewer_high", "says"])


def _exchanges(here: pd.DataFrame, rng: np.random.Generator, settings: Settings) -> list[Exchange]:
    """Judge all depths of one score."""
    runs = here.assign(value=turned(here))
    points = (
        runs.groupby(["depth", "size"], sort=False).size().sort_index(level=["depth", "size"], ascending=[False, True])
    )
    depth_P, size_P = (points.index.get_level_values(name).to_numpy(float) for name in ("depth", "size"))
    depth_G = np.unique(depth_P)[::-1]
    if len(depth_G) < 2:
        return []
    unknown = Range(np.nan, np.nan, np.nan)
    per_depth = np.array([(depth_P == depth).sum() for depth in depth_G])
    if per_depth[0] < FEWEST_SIZES or per_depth.min() < 2 or points.min() < FEWEST_SEEDS:
        lack = f"{FEWEST_SIZES} sizes at full depth, 2 at others, and {FEWEST_SEEDS} seeds of each are needed"
        return [Exchange(float(depth), unknown, f"{_named(depth)}: {lack}.") for depth in depth_G[1:]]
    shared = bool(runs["seed"].duplicated().any())
    columns = [runs[(runs["depth"] == depth) & (runs["size"] == size)].set_index("seed")["value"]
               for depth, size in zip(depth_P, size_P, strict=True)]  # fmt: skip
    columns = columns if shared else [column.reset_index(drop=True) for column in columns]
    measured = Runs(pd.concat(columns, axis=1).to_numpy(float), shared)
    group_P = (depth_P[:, None] < depth_G).sum(axis=1)
    ceiling = CEILINGS.get((str(here["better"].iloc[0]), str(here["scale"].iloc[0])), np.inf)
    fitted = _Fitted(measured, size_P, group_P, ceiling, settings)
    return fitted.judged(depth_G, rng)


class _Fitted(NamedTuple):
    """What is fitted, and how."""

    runs: Runs
    size_P: Floats
    group_P: NDArray[np.int64]
    ceiling: float
    settings: Settings

    def fit(self, means: Floats) -> PowerLaw:
        return fit_power_law(means, self.size_P, self.runs.n, ceiling=self.ceiling, groups=self.group_P)

    def judged(self, depth_G: Floats, rng: np.random.Generator) -> list[Exchange]:
        means_P, level = self.runs.means, self.settings.level
        off_BP = deviations(self.runs, level, self.settings.n_draws, rng)
        one, drawn = self.fit(means_P), self.fit(means_P + off_BP)
        curve_P = np.array([one.at([size], group)[0, 0] for size, group in zip(self.size_P, self.group_P, strict=True)])
        misfit = float((self.fit(curve_P + off_BP).rss >= one.rss[0]).mean())
        deepest = np.flatnonzero(self.group_P == 0)
        gain_B = (means_P + off_BP)[:, deepest[-1]] - (means_P + off_BP)[:, deepest[0]]
        no_gain = not np.quantile(gain_B, (1 - level) / 2) > 0
        found = []
        for group, depth in enumerate(depth_G.tolist()[1:], start=1):
            fewer = _range(_times(one, group), _times(drawn, group), level)
            why = (
                "no gain with cells is shown, so there is nothing to exchange depth for"
                if no_gain
                else "one number does not describe all sizes (the means are too far from such a fit)"
                if misfit < LACK_OF_FIT
                else ""
            )
            fewer = Range(np.nan, np.nan, np.nan) if why else fewer
            says = f"{_named(depth)}: {why}." if why else self._said(depth, fewer)
            found.append(Exchange(depth, fewer, says))
        return found

    def _said(self, depth: float, fewer: Range) -> str:
        span = float(self.size_P.max() / self.size_P.min())
        percent = f"{100 * self.settings.level:g} %"
        if fewer.high > span:
            least = f"at least {fewer.low:.2g} times fewer cells" if fewer.low > 1 else "anything from no cells"
            return f"{_named(depth)} costs as much as {least} ({percent} interval; no upper end within the ladder)."
        ends = f"({percent} interval {fewer.low:.2g} to {fewer.high:.2g})"
        if fewer.low <= 1 <= fewer.high:
            what = f"{_named(depth, start=False)} is worth {fewer.value:.2g} times fewer cells"
            return f"No cost of depth is shown: {what} {ends}."
        return f"{_named(depth)} costs as much as {fewer.value:.2g} times fewer cells {ends}."


def _times(law: PowerLaw, group: int) -> Floats:
    """Return how many times fewer cells cost as much; infinite where there is no curve."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = law.fall[:, group] / law.fall[:, 0]
        return np.asarray(np.where(law.fall[:, 0] > 0, ratio ** (1 / law.exponent), np.inf))


def _range(value: Floats, draws_B: Floats, level: float) -> Range:
    low = np.quantile(draws_B, (1 - level) / 2, method="lower")
    high = np.quantile(draws_B, (1 + level) / 2, method="higher")
    return Range(float(value[0]), float(low), float(high))


def _named(depth: Any, *, start: bool = True) -> str:
    name = "halving depth" if depth == 0.5 else f"keeping {100 * depth:g} % of the molecules"
    return name[0].upper() + name[1:] if start else name
