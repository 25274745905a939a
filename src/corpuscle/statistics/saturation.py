"""Saturation: from how many training cells on more of them hardly raise a score, and what cannot be said of that.

In a `Ladder` scores are turned so that higher is better. Axes: R runs, S sizes in rising order, P points (the sizes,
and last the starting value where it was measured), B draws.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.statistics.learning_curves import HIGHEST, Laws, akaike_weights, fit_laws, fit_power_law
from corpuscle.statistics.mean_draws import Runs, deviations

Floats = NDArray[np.float64]
Status = Literal["saturated", "not saturated", "censored", "undetermined"]
# What is still missing of the gain, or of the asymptote, at N95.
REST = 0.05
# A curve has three parameters: it fits three sizes whatever they are.
FEWEST_SIZES, FEWEST_SEEDS = 4, 3
# How improbable means as far from a curve as these may be, where the curve is true.
LACK_OF_FIT = 0.01
# Curves are not believed further out than this, in largest sizes.
FURTHEST = 10.0
PUBLISHED_SHARE = 0.95


def published_rule(values: ArrayLike, sizes: ArrayLike, *, of_means: bool = False) -> float:
    """Return the learning saturation point as it was published: one lucky run decides it.

    It is the smallest size of which any single run is strictly above 95 % of the best single run; size 0 (untrained
    models) is left out. A maximum over runs rises with their number and their noise, and one run above the line makes
    a size saturated, wherever its mean is; nothing is said of how sure that is. A model that learns nothing is
    saturated at its smallest size. Use it to compare with published figures, and `learn` to conclude.

    Parameters
    ----------
    values
        One per run, higher is better, shape (n_runs,). Those that are not finite are left out.
    sizes
        The size of each run.
    of_means
        The same rule on the means of each size.

    Returns
    -------
    The size; NaN where there is no run, or none above the line (the best is negative).

    Examples
    --------
    >>> values, sizes = [0.50, 0.96, 0.90, 0.92, 0.99, 1.0], [1, 1, 10, 10, 100, 100]
    >>> published_rule(values, sizes), published_rule(values, sizes, of_means=True)
    (1.0, 100.0)
    """
    value_N, size_N = np.asarray(values, dtype=float), np.asarray(sizes, dtype=float)
    counts = np.isfinite(value_N) & (size_N > 0)
    value_N, size_N = value_N[counts], size_N[counts]
    if of_means:
        size_N, group_N = np.unique(size_N, return_inverse=True)
        value_N = np.bincount(group_N, weights=value_N) / np.bincount(group_N)
    above = size_N[value_N > PUBLISHED_SHARE * value_N.max()] if len(value_N) else size_N
    return float(above.min()) if len(above) else float("nan")


class Range(NamedTuple):
    """A value with its interval; NaN where it has none."""

    value: float
    low: float
    high: float


UNKNOWN = Range(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Ladder:
    """Scores of one model, task and metric at rising sizes.

    Attributes
    ----------
    sizes
        Numbers of training cells in rising order, shape (S,).
    runs
        The scores at each size, turned so that higher is better; one column more where `start` was measured.
    sign
        -1 where they were turned: lower is better.
    ceiling
        The largest value that a turned score can have.
    start
        What gains are counted from: the name of what was measured, such as ``"untrained"``; empty: the smallest size.
    """

    sizes: Floats
    runs: Runs
    sign: int = 1
    ceiling: float = np.inf
    start: str = ""

    @property
    def start_at(self) -> int:
        """Which point gains are counted from."""
        return len(self.sizes) if self.start else 0

    @property
    def start_name(self) -> str:
        """What gains are counted from, in words."""
        return self.start or f"{self.sizes[0]:,.0f} cells"

    @property
    def n(self) -> NDArray[np.int64]:
        """How many runs each size has."""
        return self.runs.n[: len(self.sizes)]

    @property
    def is_positive(self) -> bool:
        """Whether shares of the values have a meaning: all are above 0."""
        values = self.sign * self.runs.values
        return bool((values[np.isfinite(values)] > 0).all())


class Settings(NamedTuple):
    """How a ladder is judged.

    Attributes
    ----------
    level
        Coverage of the intervals.
    margin
        Scores are equivalent where they differ by less than this share of the gain.
    n_draws
        Of the bootstrap.
    """

    level: float = 0.9
    margin: float = 0.05
    n_draws: int = 1000


@dataclass(frozen=True)
class Learned:
    """What a ladder says: see `learn`.

    Attributes
    ----------
    laws, shares
        The fitted laws, and how much each counts by AICc.
    drawn
        The laws fitted to draws of the means; None: there are too few sizes or seeds.
    gain
        Of the largest size over the start; positive: the score got better.
    n95, n95_of_asymptote
        The size at which 95 % of the gain from the start to the asymptote are reached, and at which the score is within
        5 % of the asymptote; NaN where no gain is shown or the curve does not fit. An end equal to the smallest size
        stands for "there or below", infinity for "not bounded by ten times the largest size".
    equivalent_from
        The smallest size from which on all are shown to be equivalent to the largest; NaN: none is.
    misfit
        How probable means so far from a curve are if the power law is true.
    status, reason
        The verdict, and in words what it rests on.
    """

    ladder: Ladder
    laws: Laws
    shares: dict[str, float]
    drawn: Laws | None
    gain: Range
    n95: Range
    n95_of_asymptote: Range
    equivalent_from: float
    misfit: float
    status: Status
    reason: str

    def curve(self, sizes: ArrayLike) -> Floats:
        """Return the average of the laws at some sizes, in the metric's own values, shape (n,)."""
        return np.asarray(self.ladder.sign * self.laws.at(sizes, self.shares)[0])

    def band(self, sizes: ArrayLike, level: float) -> tuple[Floats, Floats]:
        """Return the ends of the curve's intervals at some sizes; NaN where there are none."""
        if self.drawn is None:
            nothing = np.full(np.shape(sizes), np.nan)
            return nothing, nothing
        curves_BN = self.ladder.sign * self.drawn.at(sizes, self.shares)
        low_N, high_N = np.quantile(curves_BN, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low_N, high_N

    @property
    def fits(self) -> bool:
        """Whether the means may lie on a power law; also where that is not known."""
        return not self.misfit < LACK_OF_FIT

    @property
    def asymptote(self) -> float:
        """The power law's asymptote, in the metric's own values."""
        return float(self.ladder.sign * self.laws.power.asymptote[0])


def learn(ladder: Ladder, rng: np.random.Generator, settings: Settings | None = None) -> Learned:
    """Fit learning curves to a ladder, and judge whether its score is saturated.

    Three laws are fitted to the means of sizes, weighted by their runs: a power law with asymptote, y(N) = y_inf - b
    N^(-a) with a from 0.05 to 2, a log law and a constant, which are its limits for small a and for b = 0. Curves and
    bands are their average by AICc. N95 and its intervals are of the power law alone, which contains the others.
    Intervals are percentiles over draws of the means (`corpuscle.statistics.mean_draws`).

    The verdict is about the gain over the start:

    - *saturated*: N95 is, with its interval, within the sizes, and a smaller size is shown to be equivalent to the
      largest (two one-sided tests of the means, at a margin that is a share of the gain, whose own uncertainty counts).
      That no difference was found is not enough.
    - *not saturated*: the interval of N95 is beyond the largest size.
    - *censored*: its upper end alone is beyond the data.
    - *undetermined*: anything else; `reason` says what.

    Examples
    --------
    >>> sizes = np.array([100.0, 300, 1000, 3000, 10_000])
    >>> noise = 0.004 * np.random.default_rng(1).standard_normal((5, 5))
    >>> found = learn(Ladder(sizes, Runs(0.9 - 0.4 * (sizes / 100) ** -1.0 + noise, shared=False)),
    ...               np.random.default_rng(0))
    >>> found.status, found.equivalent_from, [round(size) for size in found.n95]
    ('saturated', 3000.0, [1933, 1793, 2079])
    """
    settings = settings or Settings()
    n_sizes, runs = len(ladder.sizes), ladder.runs
    means_P, weight_S = runs.means, ladder.n.astype(float)
    laws = fit_laws(means_P[:n_sizes], ladder.sizes, weight_S, ladder.ceiling)
    within = Runs(runs.values[:, :n_sizes], runs.shared).within
    shares = akaike_weights({name: float(rss[0]) + within for name, rss in laws.rss.items()}, int(weight_S.sum()))
    gain = float(means_P[n_sizes - 1] - means_P[ladder.start_at])
    if lack := _lack(ladder):
        none = Range(gain, np.nan, np.nan), UNKNOWN, UNKNOWN
        return Learned(ladder, laws, shares, None, *none, np.nan, np.nan, "undetermined", lack)
    off_BP = deviations(runs, settings.level, settings.n_draws, rng)
    drawn_BP = means_P + off_BP
    drawn = fit_laws(drawn_BP[:, :n_sizes], ladder.sizes, weight_S, ladder.ceiling)
    found = _Found(ladder, settings, laws, drawn, means_P, drawn_BP)
    misfit = _misfit(ladder, laws, off_BP[:, :n_sizes])
    status, reason = _verdict(found, misfit)
    believed = found.gain.low > 0 and misfit >= LACK_OF_FIT
    n95s = (found.n95, found.n95_of_asymptote) if believed else (UNKNOWN, UNKNOWN)
    return Learned(
        ladder, laws, shares, drawn, found.gain, *n95s, found.equivalent_from, misfit, status, reason
    )  # fmt: skip


def _lack(ladder: Ladder) -> str:
    """Return what a ladder lacks for an interval; empty where it has all."""
    if len(ladder.sizes) < FEWEST_SIZES:
        return f"{len(ladder.sizes)} sizes: a curve with an asymptote needs {FEWEST_SIZES} or more"
    fewest = int(ladder.n.min())
    if fewest < FEWEST_SEEDS:
        size = ladder.sizes[ladder.n.argmin()]
        return f"{fewest} seeds at {size:,.0f} cells: an interval needs {FEWEST_SEEDS} or more at each size"
    if ladder.start and ladder.runs.n[-1] < FEWEST_SEEDS:
        return f"{ladder.runs.n[-1]} seeds of {ladder.start}: an interval needs {FEWEST_SEEDS} or more"
    if ladder.runs.within <= 1e-14 * float(np.nansum(ladder.runs.values**2)):
        return "the same result at all seeds of every size: one replicate, which has no interval"
    return ""


@dataclass(frozen=True)
class _Found:
    """The means, drawn and fitted, and what follows from them."""

    ladder: Ladder
    settings: Settings
    laws: Laws
    drawn: Laws
    means_P: Floats
    drawn_BP: Floats

    def _range(self, value: float, draws_B: Floats) -> Range:
        tail = (1 - self.settings.level) / 2
        # Draws may be infinite: no average of two of them is taken.
        low = np.quantile(draws_B, tail, method="lower")
        high = np.quantile(draws_B, 1 - tail, method="higher")
        return Range(value, float(low), float(high))

    @cached_property
    def gain(self) -> Range:
        top, start = len(self.ladder.sizes) - 1, self.ladder.start_at
        return self._range(
            float(self.means_P[top] - self.means_P[start]), self.drawn_BP[:, top] - self.drawn_BP[:, start]
        )

    def _sizes_at(self, laws: Laws, means_BP: Floats) -> Floats:
        power = laws.power
        gain_B = power.asymptote - means_BP[:, -1] if self.ladder.start else power.fall[:, 0]
        return self._reached(laws, REST * gain_B)

    @staticmethod
    def _reached(laws: Laws, gap_B: Floats) -> Floats:
        """Return where the gap is reached; 0 where the curve may be steeper than any that was tried."""
        return np.where(laws.power.exponent > HIGHEST / 1.001, 0.0, laws.power.size_at(gap_B))

    def _bounded(self, found: Range) -> Range:
        first, furthest = self.ladder.sizes[0], FURTHEST * self.ladder.sizes[-1]
        kept = [float(max(size, first)) if size <= furthest else np.inf for size in found]
        return Range(*kept)

    @cached_property
    def n95(self) -> Range:
        value = self._sizes_at(self.laws, self.means_P[None])[0]
        return self._bounded(self._range(float(value), self._sizes_at(self.drawn, self.drawn_BP)))

    @cached_property
    def n95_of_asymptote(self) -> Range:
        if not self.ladder.is_positive:
            return UNKNOWN

        def sizes(laws: Laws) -> Floats:
            return self._reached(laws, REST * self.ladder.sign * laws.power.asymptote)

        return self._bounded(self._range(float(sizes(self.laws)[0]), sizes(self.drawn)))

    @cached_property
    def equivalent_from(self) -> float:
        """From the second largest size down, until one is not shown to be equivalent."""
        n_sizes, margin = len(self.ladder.sizes), self.settings.margin
        top_B = self.drawn_BP[:, n_sizes - 1]
        allowed_B = margin * (top_B - self.drawn_BP[:, self.ladder.start_at])
        equivalent = np.nan
        for at in range(n_sizes - 2, -1, -1):
            left_B = top_B - self.drawn_BP[:, at]
            below = self._range(0.0, left_B - allowed_B).high < 0
            above = self._range(0.0, left_B + allowed_B).low > 0
            if not (below and above):
                break
            equivalent = float(self.ladder.sizes[at])
        return equivalent


def _misfit(ladder: Ladder, laws: Laws, off_BS: Floats) -> float:
    """Return how often the means of a true curve would lie as far from their own fit as these do."""
    sizes, weights = ladder.sizes, ladder.n.astype(float)
    means = laws.power.at(sizes) + off_BS
    again = fit_power_law(means, sizes, weights, ceiling=ladder.ceiling)
    return float((again.rss >= laws.power.rss[0]).mean())


def _verdict(found: _Found, misfit: float) -> tuple[Status, str]:
    """Return the first of the verdicts that holds."""
    smallest, largest = found.ladder.sizes[[0, -1]]
    gain, n95, percent = found.gain, found.n95, f"{100 * found.settings.margin:g} %"
    path, beyond = f"from {found.ladder.start_name} to {largest:,.0f} cells", f"the largest size, {largest:,.0f} cells"
    no_smaller = np.isnan(found.equivalent_from)
    verdicts: list[tuple[bool, Status, str]] = [
        (gain.high < 0, "undetermined", f"the score gets worse {path}: there is no gain to be saturated"),
        (not gain.low > 0, "undetermined", f"no gain is shown {path}, so nothing can be said of where it ends"),
        (misfit < LACK_OF_FIT, "undetermined", "the means are too far from a power law for its N95 to be believed"),
        (
            n95.low <= smallest and n95.high > largest,
            "undetermined",
            "N95 may be at any of the sizes or beyond: more seeds or sizes are needed",
        ),
        (n95.low > largest, "not saturated", f"95 % of the gain are reached beyond {beyond}"),
        (n95.high > largest, "censored", f"95 % of the gain may be reached beyond {beyond}"),
        (no_smaller, "undetermined", f"no smaller size is shown to be within {percent} of the gain of the largest"),
    ]
    saturated: tuple[Status, str] = (
        "saturated",
        f"from {found.equivalent_from:,.0f} cells on within {percent} of the gain of the largest size",
    )
    return next(((status, reason) for holds, status, reason in verdicts if holds), saturated)
