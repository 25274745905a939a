"""Ladders: from any table of scores with a size per row to learning curves, and to one row of verdict each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.core.errors import ScoresError
from corpuscle.core.randomness import generator
from corpuscle.statistics.mean_draws import FEWEST_DONORS, Runs
from corpuscle.statistics.saturation import Ladder, Learned, Settings, learn, published_rule

# What keeps curves apart, as far as a table has it.
KEYS = ("ladder", "model", "task", "target", "metric", "way", "version")
ALL, DONOR, DONORS = "all", "donor=", "mean over donors"
UNTRAINED = "untrained"
WAYS = ("higher", "lower", "zero", "none")
# The largest value that a metric can have, turned so that higher is better, by its direction and scale.
CEILINGS = {
    ("higher", "share"): 1.0, ("higher", "correlation"): 1.0, ("lower", "share"): 0.0, ("lower", "positive"): 0.0,
    ("lower", "correlation"): 1.0, ("zero", "share"): 0.0, ("zero", "positive"): 0.0, ("zero", "correlation"): 0.0,
    ("zero", "real"): 0.0,
}  # fmt: skip


class Curve(NamedTuple):
    """What was learned of one ladder.

    Attributes
    ----------
    key
        What the curve is of: a value for each column that curves were kept apart by.
    unit
        ``"all"``: the score of all cells, with intervals over seeds; ``"mean over donors"``: over seeds and donors.
    runs
        The runs behind it: columns ``seed``, ``size`` and ``value``.
    learned
        The curve.
    better
        Which way is better.
    """

    key: dict[str, Any]
    unit: str
    runs: pd.DataFrame
    learned: Learned
    better: str


def saturation(
    scores: pd.DataFrame,
    sizes: ArrayLike,
    *,
    by: Sequence[str] | None = None,
    starts: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame:
    """Judge from which number of training cells on each score is saturated.

    Parameters
    ----------
    scores
        One row per run and score: ``seed`` and ``value``; what keeps curves apart; and, where there are, ``better``
        (else higher is better), ``scale`` (else any value is possible) and ``unit``: rows of ``all`` count, and those
        of ``donor=NAME``, where there are at least five, for a second row with intervals over seeds and donors.
    sizes
        How many cells the model of each row was trained on. Rows of size 0 are untrained models, of which gains are
        counted; NaN: the row is of no ladder.
    by
        Which columns keep curves apart; by default those of `KEYS` that the table has.
    starts
        For a model, the model whose mean score gains are counted from, such as an untrained one or PCA; both names are
        values of the column ``model``. Without it, and without rows of size 0, gains are over the smallest size.
    settings
        Level, margin and draws.

    Returns
    -------
    One row per curve: the columns of `by`; ``unit``; ``n_sizes``, ``smallest``, ``largest`` (cells), ``n_seeds`` (the
    fewest at a size); ``start`` and ``gain`` over it with ``gain_low`` and ``gain_high`` (the metric's unit, positive:
    better); ``asymptote`` and ``exponent`` of the power law, ``misfit`` (how probable means so far from one are), and
    ``power``, ``log``, ``constant``, the laws' weights; ``n95`` and ``n95_of_asymptote`` with ``_low`` and ``_high``
    (cells; see `corpuscle.statistics.saturation.Learned`), ``equivalent_from``; ``status`` and ``reason``; and the
    published rule's size, ``published``, and ``published_of_means``, the same of means (higher is better only).

    Raises
    ------
    InputError
        When a column is missing, sizes are not one number of at least 0 per row, or a seed has two values.

    Examples
    --------
    >>> size = np.repeat([100, 1000, 10_000, 100_000], 3)
    >>> noise = np.tile([-0.002, 0.0, 0.002], 4)
    >>> scores = pd.DataFrame({"model": "m", "metric": "f1", "seed": range(12), "scale": "share",
    ...                        "value": 0.9 - 0.4 * (size / 100.0) ** -0.9 + noise})
    >>> saturation(scores, size)[["model", "metric", "equivalent_from", "published", "status"]]
      model metric  equivalent_from  published     status
    0     m     f1          10000.0    10000.0  saturated
    """
    return saturation_rows(learning_curves(scores, sizes, by=by, starts=starts, settings=settings))


def saturation_rows(curves: Sequence[Curve]) -> pd.DataFrame:
    """Return what `saturation` does, of curves that were fitted before."""
    return pd.DataFrame([_row(curve) for curve in curves])


def learning_curves(
    scores: pd.DataFrame,
    sizes: ArrayLike,
    *,
    by: Sequence[str] | None = None,
    starts: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> list[Curve]:
    """Fit the curves of `saturation`, which has the arguments; curves that have fewer than two sizes are left out."""
    frame, names = checked(scores, sizes, by)
    starts = starts or {}
    groups = {_place(place): here for place, here in frame.groupby(names, sort=False, dropna=False, observed=True)}
    found = []
    for place, here in groups.items():
        key = dict(zip(names, place, strict=True))
        start = starts.get(str(key.get("model")), "")
        beginning = groups.get(tuple(start if name == "model" else key[name] for name in names)) if start else None
        for unit, runs in _units(here):
            if runs.loc[runs["size"] > 0, "size"].nunique() < 2:
                continue
            measured = _of_unit(beginning, unit)
            donors = _donor_means(here, unit, beginning if len(measured) else None)
            ladder = _ladder(runs, start if len(measured) else "", measured, donors)
            # Of two tables that have a curve in common, both say the same of it.
            rng = generator(0, "saturation", *map(str, place), unit)
            learned = learn(ladder, rng, settings)
            found.append(Curve(key, unit, runs[["seed", "size", "value"]], learned, str(here["better"].iloc[0])))
    return found


def _place(place: object) -> tuple[Any, ...]:
    return place if isinstance(place, tuple) else (place,)


def checked(
    scores: pd.DataFrame, sizes: ArrayLike, by: Sequence[str] | None, apart: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Return rows that have a size and a value, with all columns that are asked for, and what keeps curves apart.

    Two rows of a seed and size are refused, unless they differ in one of the columns `apart`.
    """
    names = [name for name in KEYS if name in scores] if by is None else list(by)
    lacking = [name for name in ("seed", "value", *names) if name not in scores]
    if lacking or not names:
        expected = "'seed', 'value' and what keeps curves apart, such as 'model' or 'metric'"
        raise ScoresError(f"scores: expected the columns {expected}; there is no {', no '.join(lacking or KEYS[:2])}")
    size_N = pd.to_numeric(pd.Series(np.asarray(sizes)), errors="coerce").to_numpy(float)
    if size_N.shape != (len(scores),) or (size_N < 0).any() or np.isinf(size_N).any():
        raise ScoresError(
            f"sizes: expected a number of cells, 0 or more, for each of the {len(scores)} rows of scores; "
            f"got {size_N.size} of which {int((size_N < 0).sum() + np.isinf(size_N).sum())} are negative or infinite"
        )
    if not pd.api.types.is_numeric_dtype(scores["value"]):
        raise ScoresError(f"scores: expected numbers in the column 'value', got {scores['value'].dtype} values")
    defaults = {"better": "higher", "scale": "real", "unit": ALL}
    frame = scores.assign(**{name: value for name, value in defaults.items() if name not in scores}, size=size_N)
    unknown = sorted(set(frame["better"].astype(str)) - set(WAYS))
    if unknown:
        raise ScoresError(f"scores: expected one of {', '.join(WAYS)} in the column 'better', got {unknown[0]!r}")
    frame = frame[np.isfinite(frame["size"]) & np.isfinite(frame["value"]) & (frame["better"] != "none")]
    ways = frame.groupby(names, sort=False, dropna=False, observed=True)["better"].nunique()
    if (ways > 1).any():
        raise ScoresError(f"scores: expected one way to be better for each curve, got two for {ways.idxmax()}")
    unit = frame["unit"].astype(str)
    frame = frame[(unit == ALL) | unit.str.startswith(DONOR)].reset_index(drop=True)
    one = [*names, *apart, "unit", "size", "seed"]
    twice = frame.duplicated(one)
    if twice.any():
        row = frame.loc[twice, one].iloc[0].to_dict()
        raise ScoresError(
            f"scores: expected one value per seed and size, got two for {row}; remove one of them, "
            "or keep curves apart by a column 'ladder'"
        )
    return frame, names


def _units(here: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the runs of all cells and, where there are enough donors, those of the mean over donors."""
    for unit in (ALL, DONORS):
        runs = _of_unit(here, unit)
        if len(runs):
            yield unit, runs


def _of_unit(here: pd.DataFrame | None, unit: str) -> pd.DataFrame:
    if here is None:
        return pd.DataFrame(columns=["seed", "size", "value"])
    if unit == ALL:
        return here[here["unit"].astype(str) == ALL]
    kept = _whole_donors(here)
    about = ["better", "scale"]
    return kept.groupby(["seed", "size", *about], sort=False, observed=True)["value"].mean().reset_index()


def _whole_donors(here: pd.DataFrame) -> pd.DataFrame:
    """Return rows of donors that have a value wherever any has one; none where these are too few."""
    rows = here[here["unit"].astype(str).str.startswith(DONOR)]
    counts = rows.groupby(rows["unit"].astype(str), sort=False)["value"].size()
    whole = counts.index[counts == counts.max()]
    return rows[rows["unit"].isin(whole if len(whole) >= FEWEST_DONORS else [])]


def _donor_means(here: pd.DataFrame, unit: str, beginning: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the mean over runs of each donor at each size; at size 0, of the starting value."""
    if unit == ALL:
        return None
    table = _by_donor(here)
    if beginning is not None:
        start = _by_donor(beginning.assign(size=0.0, better=here["better"].iloc[0]))
        table[0.0] = start[0.0].reindex(table.index)
    return table


def _by_donor(here: pd.DataFrame) -> pd.DataFrame:
    rows = _whole_donors(here)
    rows = rows.assign(unit=rows["unit"].astype(str), value=turned(rows))
    return rows.pivot_table(index="unit", columns="size", values="value", aggfunc="mean")


def turned(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return values of which higher is better."""
    better = rows["better"].iloc[0] if len(rows) else "higher"
    values = rows["value"].astype(float)
    return values if better == "higher" else -values.abs() if better == "zero" else -values


def _ladder(runs: pd.DataFrame, start: str, measured: pd.DataFrame, donors: pd.DataFrame | None) -> Ladder:
    """Lay runs out by size; the starting value is the column after the largest size."""
    better, scale = (str(runs[name].iloc[0]) for name in ("better", "scale"))
    runs = runs.assign(value=turned(runs))
    trained, untrained = runs[runs["size"] > 0], runs[runs["size"] == 0]
    sizes = np.sort(trained["size"].unique())
    shared = bool(trained["seed"].duplicated().any())
    if start:
        measured = measured.assign(value=turned(measured.assign(better=better)))
        untrained = measured.groupby("seed", sort=False)["value"].mean().reset_index()
    elif len(untrained):
        start = UNTRAINED
    columns = [trained.loc[trained["size"] == size, ["seed", "value"]] for size in sizes]
    columns += [untrained[["seed", "value"]]] if start else []
    values = [column.set_index("seed")["value"] if shared else column["value"].reset_index(drop=True)
              for column in columns]  # fmt: skip
    table = pd.concat(values, axis=1).to_numpy(float)
    by_donor = None if donors is None else donors[[*sizes, *([0.0] if start else [])]].to_numpy(float)
    ceiling = CEILINGS.get((better, scale), np.inf)
    return Ladder(
        sizes.astype(float), Runs(table, shared, by_donor), 1 if better == "higher" else -1, ceiling, start
    )  # fmt: skip


def _row(curve: Curve) -> dict[str, Any]:
    """Lay out what `saturation` returns of a curve."""
    found, runs = curve.learned, curve.runs
    ladder, power = found.ladder, found.laws.power
    ranges = {"gain": found.gain, "n95": found.n95, "n95_of_asymptote": found.n95_of_asymptote}
    ends = {
        name: {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        for name, value in ranges.items()
    }
    rules = {"published": False, "published_of_means": True}
    value_N, size_N = runs["value"].to_numpy(float), runs["size"].to_numpy(float)
    upwards = curve.better == "higher"
    return {
        **curve.key, "unit": curve.unit,
        "n_sizes": len(ladder.sizes), "smallest": ladder.sizes[0], "largest": ladder.sizes[-1],
        "n_seeds": int(ladder.n.min()), "start": ladder.start_name, **ends["gain"],
        "asymptote": found.asymptote, "exponent": float(power.exponent[0]), "misfit": found.misfit,
        **found.shares, **ends["n95"], **ends["n95_of_asymptote"], "equivalent_from": found.equivalent_from,
        "status": found.status, "reason": found.reason,
        **{name: published_rule(value_N, size_N, of_means=means) if upwards else float("nan")
           for name, means in rules.items()},
    }  # fmt: skip
