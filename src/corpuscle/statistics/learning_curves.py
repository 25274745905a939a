"""Learning curves: how a score grows with the number of training cells, as a power law, a log law or not at all.

Axes: B draws of the means (1: the means themselves), P points (sizes, or sizes at several depths), G groups of points
with a slope of their own (depths), A exponents on a grid.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
# Smaller exponents are log laws to any data; larger ones are over after the smallest size.
LOWEST, HIGHEST, N_GRID = 0.05, 2.0, 60
GRID = np.geomspace(LOWEST, HIGHEST, N_GRID)
GOLDEN = (np.sqrt(5) - 1) / 2
# The bracket around the best exponent is two steps of the grid, 13 %, and shrinks to GOLDEN ** 26 of that for a fit
# that is shown (5e-7 of the exponent), to GOLDEN ** 12 for one of many draws (4e-4, far below what draws differ).
REFINED, ROUGH, MANY = 26, 12, 100
# The number of parameters of each law, with the variance of the noise.
PARAMETERS = {"power": 4, "log": 3, "constant": 2}


@dataclass(frozen=True)
class PowerLaw:
    """Fitted curves y(N) = asymptote - fall_g (N / first)^(-exponent), one for each draw of the means.

    Attributes
    ----------
    first
        The smallest size: `fall` is how far below the asymptote the curve is there.
    asymptote, exponent, rss
        Shape (B,); `rss` is the weighted sum of squares that is left.
    fall
        Shape (B, G). All of a draw are 0 where its best curve would fall with size.
    at_edge
        Whether the best exponent is the smallest or the largest that was tried, shape (B,).
    converged
        Whether the refinement ended no worse than the best of the grid, shape (B,).
    """

    first: float
    asymptote: Floats
    fall: Floats
    exponent: Floats
    rss: Floats
    at_edge: NDArray[np.bool_]
    converged: NDArray[np.bool_]

    def at(self, sizes: ArrayLike, group: int = 0) -> Floats:
        """Return the curves' values at some sizes, shape (B, n)."""
        times = np.asarray(sizes, dtype=float) / self.first
        return np.asarray(self.asymptote[:, None] - self.fall[:, [group]] * times ** -self.exponent[:, None])

    def size_at(self, gap: Floats, group: int = 0) -> Floats:
        """Return the size from which on each curve is less than `gap` below its asymptote; 0 for a flat one."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            times = np.where(gap > 0, self.fall[:, group] / gap, np.inf) ** (1 / self.exponent)
        flat = (self.fall[:, group] == 0) & (gap > 0)
        return np.asarray(np.where(flat, 0.0, self.first * times))


class _Sums(NamedTuple):
    """Weighted sums over points, those of a group in the last axis: what the linear part of a fit needs."""

    weight: float
    r: Floats
    rr: Floats
    ry: Floats
    y: Floats
    yy: Floats


class _Linear(NamedTuple):
    asymptote: Floats
    fall: Floats
    rss: Floats


def fit_power_law(
    means: ArrayLike,
    sizes: ArrayLike,
    weights: ArrayLike,
    *,
    ceiling: float = np.inf,
    groups: ArrayLike | None = None,
) -> PowerLaw:
    """Fit power laws with an asymptote by weighted least squares, for many draws at once.

    The exponent is the only parameter that is not linear, so it is looked for alone (variable projection, Golub and
    Pereyra 1973, https://doi.org/10.1137/0710036): for each of a grid of exponents the others have their exact
    solution, which for all draws is one matrix product; the best is then refined by golden sections.

    Parameters
    ----------
    means
        Scores at each point, higher is better, shape (B, P) or (P,).
    sizes
        Number of training cells of each point, shape (P,).
    weights
        Of each point, such as its number of runs, shape (P,).
    ceiling
        The largest value that the metric can have: no asymptote is above it.
    groups
        Which group each point is of, from 0, shape (P,): groups share asymptote and exponent. None: one group.

    Examples
    --------
    >>> sizes = np.array([100, 1000, 10_000, 100_000])
    >>> fit = fit_power_law(0.9 - 0.4 * (sizes / 100) ** -0.5, sizes, np.ones(4))
    >>> fit.asymptote.round(4).tolist(), fit.fall.round(4).tolist(), fit.exponent.round(4).tolist()
    ([0.9], [[0.4]], [0.5])
    """
    y_BP, sizes_P, weight_P = (
        np.atleast_2d(np.asarray(means, float)),
        np.asarray(sizes, float),
        np.asarray(weights, float),
    )
    group_P = np.zeros(len(sizes_P), int) if groups is None else np.asarray(groups)
    member_PG = (group_P[:, None] == np.arange(group_P.max() + 1)).astype(float)
    # Sums of squares of centred values keep their digits.
    centre = float(np.average(y_BP[0], weights=weight_P))
    y_BP = y_BP - centre
    log_P = np.log(sizes_P / sizes_P.min())
    problem = _Problem(y_BP, log_P, weight_P, member_PG, ceiling - centre)
    tried = problem.on_grid()
    best_B = tried.rss.argmin(axis=1)
    steps = np.log(GRID)[np.clip(best_B[:, None] + [-1, 1], 0, N_GRID - 1)]
    exponent_B = _golden(problem, steps[:, 0], steps[:, 1])
    found = problem.at(exponent_B)
    on_grid_B = tried.rss.min(axis=1)
    # On a plateau rounding decides; the grid's own point is then as good.
    worse_B = found.rss > on_grid_B
    if worse_B.any():
        exponent_B = np.where(worse_B, GRID[best_B], exponent_B)
        found = problem.at(exponent_B)
    edge_B = (exponent_B < LOWEST * 1.001) | (exponent_B > HIGHEST / 1.001)
    converged_B = found.rss <= on_grid_B * (1 + 1e-9) + 1e-15
    return PowerLaw(
        float(sizes_P.min()), found.asymptote + centre, found.fall, exponent_B, found.rss, edge_B, converged_B
    )


@dataclass(frozen=True)
class _Problem:
    """Points to fit, centred, with the linear solution at any exponent."""

    y_BP: Floats
    log_P: Floats
    weight_P: Floats
    member_PG: Floats
    ceiling: float

    def on_grid(self) -> _Linear:
        """Solve for every exponent of the grid: arrays of shape (B, A) and (B, A, G)."""
        r_AP = np.exp(-GRID[:, None] * self.log_P)
        wr_APG = (self.weight_P * r_AP)[:, :, None] * self.member_PG
        n_A, n_P, n_G = wr_APG.shape
        ry_BAG = (self.y_BP @ wr_APG.transpose(1, 0, 2).reshape(n_P, -1)).reshape(-1, n_A, n_G)
        rr_AG = (self.weight_P * r_AP**2) @ self.member_PG
        sums = _Sums(self._weight, wr_APG.sum(axis=1), rr_AG, ry_BAG, self._y_B[:, None], self._yy_B[:, None])
        return _solve(sums, self.ceiling)

    def at(self, exponent_B: Floats) -> _Linear:
        """Solve each draw for an exponent of its own: arrays of shape (B,) and (B, G)."""
        r_BP = np.exp(-exponent_B[:, None] * self.log_P)
        wr_BP = self.weight_P * r_BP
        sums = (wr_BP, wr_BP * r_BP, wr_BP * self.y_BP)
        r_BG, rr_BG, ry_BG = (values @ self.member_PG for values in sums)
        return _solve(_Sums(self._weight, r_BG, rr_BG, ry_BG, self._y_B, self._yy_B), self.ceiling)

    @cached_property
    def _weight(self) -> float:
        return float(self.weight_P.sum())

    @cached_property
    def _y_B(self) -> Floats:
        return np.asarray(self.y_BP @ self.weight_P)

    @cached_property
    def _yy_B(self) -> Floats:
        return np.asarray(self.y_BP**2 @ self.weight_P)


def _solve(s: _Sums, ceiling: float) -> _Linear:
    """Return the best asymptote and falls at given exponents; a constant where a fall would be negative."""
    within = s.weight - (s.r**2 / s.rr).sum(axis=-1)
    asymptote = np.minimum((s.y - (s.r * s.ry / s.rr).sum(axis=-1)) / within, ceiling)
    fall = (asymptote[..., None] * s.r - s.ry) / s.rr
    falling = (fall < 0).any(axis=-1)
    asymptote = np.where(falling, np.minimum(s.y / s.weight, ceiling), asymptote)
    fall = np.where(falling[..., None], 0.0, fall)
    rss = s.yy + s.weight * asymptote**2 - 2 * asymptote * s.y
    rss = rss + (fall * (fall * s.rr + 2 * s.ry - 2 * asymptote[..., None] * s.r)).sum(axis=-1)
    return _Linear(asymptote, fall, np.maximum(rss, 0.0))


def _golden(problem: _Problem, low_B: Floats, high_B: Floats) -> Floats:
    """Narrow brackets of log exponents around their minima, all draws together."""
    one_B, two_B = high_B - GOLDEN * (high_B - low_B), low_B + GOLDEN * (high_B - low_B)
    f_one_B, f_two_B = problem.at(np.exp(one_B)).rss, problem.at(np.exp(two_B)).rss
    for _ in range(ROUGH if len(low_B) > MANY else REFINED):
        left_B = f_one_B < f_two_B
        low_B, high_B = np.where(left_B, low_B, one_B), np.where(left_B, two_B, high_B)
        kept_B, f_kept_B = np.where(left_B, one_B, two_B), np.where(left_B, f_one_B, f_two_B)
        new_B = np.where(left_B, high_B - GOLDEN * (high_B - low_B), low_B + GOLDEN * (high_B - low_B))
        f_new_B = problem.at(np.exp(new_B)).rss
        one_B, two_B = np.where(left_B, new_B, kept_B), np.where(left_B, kept_B, new_B)
        f_one_B, f_two_B = np.where(left_B, f_new_B, f_kept_B), np.where(left_B, f_kept_B, f_new_B)
    return np.asarray(np.exp((low_B + high_B) / 2))


class Laws(NamedTuple):
    """The three laws fitted to the same means.

    Attributes
    ----------
    power
        The power law with its asymptote.
    level, slope
        Of the log law y(N) = level + slope log(N / first), shape (B,); the slope is never negative.
    constant
        The mean, shape (B,).
    rss
        For each law, shape (B,).
    """

    power: PowerLaw
    level: Floats
    slope: Floats
    constant: Floats
    rss: dict[str, Floats]

    def at(self, sizes: ArrayLike, shares: dict[str, float]) -> Floats:
        """Return the laws' average by `shares` (such as `akaike_weights`) at some sizes, shape (B, n)."""
        log_n = np.log(np.asarray(sizes, dtype=float) / self.power.first)
        parts = {
            "power": self.power.at(sizes),
            "log": self.level[:, None] + self.slope[:, None] * log_n,
            "constant": np.broadcast_to(self.constant[:, None], (len(self.constant), len(log_n))),
        }
        return np.asarray(sum(share * parts[name] for name, share in shares.items() if share > 0))


def fit_laws(means: ArrayLike, sizes: ArrayLike, weights: ArrayLike, ceiling: float = np.inf) -> Laws:
    """Fit power law, log law and constant: arguments as of `fit_power_law`."""
    y_BP, sizes_P, weight_P = (
        np.atleast_2d(np.asarray(means, float)),
        np.asarray(sizes, float),
        np.asarray(weights, float),
    )
    power = fit_power_law(y_BP, sizes_P, weight_P, ceiling=ceiling)
    share_P, log_P = weight_P / weight_P.sum(), np.log(sizes_P / sizes_P.min())
    mean_B, off_P = y_BP @ share_P, log_P - log_P @ share_P
    slope_B = np.maximum((y_BP @ (share_P * off_P)) / (share_P @ off_P**2), 0.0)
    level_B = mean_B - slope_B * (log_P @ share_P)
    off_log_BP = y_BP - level_B[:, None] - slope_B[:, None] * log_P
    rss = {
        "power": power.rss,
        "log": off_log_BP**2 @ weight_P,
        "constant": (y_BP - mean_B[:, None]) ** 2 @ weight_P,
    }
    return Laws(power, level_B, slope_B, mean_B, rss)


def akaike_weights(rss: dict[str, float], n_runs: int) -> dict[str, float]:
    """Weigh laws by Akaike's criterion for small samples (AICc; Hurvich and Tsai 1989, doi 10.1093/biomet/76.2.297).

    Parameters
    ----------
    rss
        For each law, the sum of squares of all runs about it.
    n_runs
        How many runs there are.

    Examples
    --------
    >>> {name: round(w, 3) for name, w in akaike_weights({"power": 0.010, "log": 0.012, "constant": 0.5}, 25).items()}
    {'power': 0.701, 'log': 0.299, 'constant': 0.0}
    """
    # A sum of squares of 0 is rounding: no law is infinitely better than another.
    least = max(max(rss.values()) * 1e-12, 1e-300)
    found = {}
    for name, left in rss.items():
        k = PARAMETERS[name]
        small = 2 * k * (k + 1) / (n_runs - k - 1) if n_runs > k + 1 else np.inf
        found[name] = n_runs * np.log(max(left, least) / n_runs) + 2 * k + small
    best = min(found.values())
    if np.isinf(best):
        # As few runs bear no law but a mean.
        return {name: float(name == "constant") for name in rss}
    likelihood = {name: float(np.exp(-(value - best) / 2)) for name, value in found.items()}
    return {name: value / sum(likelihood.values()) for name, value in likelihood.items()}
