"""Means over runs, and over runs and donors, of score rows, with their standard errors: a row per score and corpus."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import ScoresError
from corpuscle.core.scores import completed
from corpuscle.statistics import crossed, over_donors
from corpuscle.statistics.intervals import ONE_SEED, WHOLE, is_same, widening
from corpuscle.statistics.over_donors import DonorScores
from corpuscle.statistics.scales import ENDS, interval_of
from corpuscle.statistics.two_way import FEWEST_DONORS

# What must agree before two scores may be compared; `corpus` and `seed` tell apart what remains.
KEYS = ("model", "task", "target", "metric", "way", "version", "unit")
# What a score says of itself, the same in all rows of a metric and way.
ABOUT = ("better", "title", "meaning", "scale", "headline")
GROUP = (*KEYS, "corpus")
SAME_RESULT = "the same result at {} seeds: one replicate"
SAME_CELLS = "the same cells and the same result at {} seeds: one replicate"
# Which share of its cells a draw of a corpus has in common with another seed's; corpora that are not named: 0.
Overlaps = Mapping[str, float]
Array = NDArray[np.float64]


class Rows(NamedTuple):
    """Score rows that were checked, those of donors laid out, and what draws of each corpus have in common."""

    frame: pd.DataFrame
    donors: list[DonorScores]
    overlaps: Overlaps

    @classmethod
    def of(cls, scores: pd.DataFrame, overlaps: Overlaps | None = None) -> "Rows":
        """Check score rows, and lay them out; see `checked`."""
        frame = checked(scores)
        donors = over_donors.donor_scores(frame, [name for name in KEYS if name != "unit"])
        return cls(frame, list(donors), dict(overlaps or {}))


def over_seeds(scores: pd.DataFrame, level: float = 0.95, overlaps: Overlaps | None = None) -> pd.DataFrame:
    """Mean of every score, with its interval: `summarise` without the comparisons.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP` and `ABOUT`, ``n_cells``, ``mean``, ``low``, ``high``, ``over``, ``n_seeds``, ``n_donors``,
        ``cell_mean``, ``donor_mean``, ``deviation`` (over seeds), ``overlap``, ``reason``.
    """
    return over_runs(Rows.of(scores, overlaps), level).drop(columns=["error", "df"]).reset_index()


def over_runs(rows: Rows, level: float) -> pd.DataFrame:
    """Return the columns of `over_seeds`, and ``error`` and ``df``, indexed by `GROUP`."""
    frame = rows.frame
    by_group = grouped(frame)
    about = {name: (name, "first") for name in ABOUT}
    described = by_group.agg(**about, n_cells=("n_cells", "median"), rows=("seed", "size"))
    described["n_cells"] = described["n_cells"].round().astype("int64")
    sized = frame.assign(size=frame["value"].abs(), overlap=overlap(frame["corpus"], rows.overlaps))
    table = described.join(estimates(sized, "value"))
    table["cell_mean"], table["donor_mean"] = table["mean"], np.nan
    for scores, found in of_donors(rows, lambda scores: over_donors.estimates(scores, rows.overlaps), table):
        table.loc[places(scores, found), "donor_mean"] = found["mean"].to_numpy()
        put(table, scores, found)
    table["over"] = np.where(table["n_donors"] >= FEWEST_DONORS, "runs and donors", "runs")
    table["low"], table["high"] = ends(table, table["scale"], level)
    table["reason"] = _reasons(frame, table["rows"])
    _append_reason(table, "reason", table["n_seeds"].eq(1), ONE_SEED)
    for text, where in not_replicated(table):
        _append_reason(table, "reason", where, text)
    return table.drop(columns=["rows", "same"])


def of_donors(
    rows: Rows, estimate: Callable[[DonorScores], pd.DataFrame], table: pd.DataFrame
) -> list[tuple[DonorScores, pd.DataFrame]]:
    """Estimate what donors have scores of, where the table has a row over all cells that it belongs to."""
    found = []
    for scores in rows.donors:
        estimated = estimate(scores)
        found.append((scores, estimated[places(scores, estimated).isin(table.index)]))
    return found


def places(scores: DonorScores, found: pd.DataFrame) -> pd.MultiIndex:
    """Return which rows over all cells the estimates of corpora belong to."""
    return pd.MultiIndex.from_tuples([(*scores.key, "all", corpus) for corpus in found.index], names=list(GROUP))


def put(table: pd.DataFrame, scores: DonorScores, found: pd.DataFrame) -> None:
    """Take estimates over runs and donors for those over runs: of enough donors, or where others have other donors."""
    rows = places(scores, found)
    table.loc[rows, "n_donors"] = found["n_donors"].to_numpy()
    enough = (found["n_donors"].ge(FEWEST_DONORS) | found["uneven"].astype(bool)).to_numpy()
    for name in ("mean", "error", "df", "n_seeds", "same"):
        table.loc[rows[enough], name] = found.loc[enough, name].to_numpy()


def ends(table: pd.DataFrame, kinds: "pd.Series[str]", level: float) -> tuple[Array, Array]:
    """Return the ends of intervals, from ``mean``, ``error`` and ``df``."""
    mean, error, df = (table[name].to_numpy(float) for name in ("mean", "error", "df"))
    return interval_of(mean, error, df, kinds.to_numpy(object), level)


def checked(scores: pd.DataFrame) -> pd.DataFrame:
    """Copy the rows; refuse two values of one seed and values out of range; count an infinite value as missing."""
    frame = completed(scores).reset_index(drop=True).copy()
    twice = frame.duplicated([*GROUP, "seed"])
    if twice.any():
        row = frame.loc[twice, [*GROUP, "seed"]].iloc[0].to_dict()
        raise ScoresError(f"scores: expected one value per seed, got two for {row}; remove one of them")
    infinite = np.isinf(frame["value"])
    # Of a share or a correlation it is out of range; else it counts as missing.
    outside = infinite & frame["scale"].isin([name for name, ends in ENDS.items() if np.isfinite(ends).all()])
    infinite &= ~outside
    frame.loc[infinite, "value"] = np.nan
    frame.loc[infinite, "reason"] = "infinite value"
    for scale, (low, high) in ENDS.items():
        here = frame["scale"].eq(scale).to_numpy()
        # Rounding alone may carry a share a little above 1.
        slack = 1e-6
        outside = here & ((frame["value"] < low - slack) | (frame["value"] > high + slack)).to_numpy()
        if outside.any():
            row = frame.loc[outside].iloc[0]
            raise ScoresError(
                f"scores: metric {row['metric']!r} is a {scale}, from {low:g} to {high:g}, and has the value "
                f"{row['value']:g} (corpus {row['corpus']!r}, seed {row['seed']}); give it the scale 'real', "
                "or correct it"
            )
        if here.any():
            frame.loc[here, "value"] = frame.loc[here, "value"].clip(low, high)
    return frame


def grouped(frame: pd.DataFrame) -> "pd.core.groupby.DataFrameGroupBy[tuple[object, ...], bool]":
    """Group rows by score and corpus."""
    return frame.groupby(list(GROUP), sort=False, dropna=False, observed=True)


def estimates(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over runs of `column`, its standard error and degrees of freedom, indexed by `GROUP`.

    ``same`` says whether all of several values are one to rounding, given the ``size`` of the numbers that they were
    calculated from; they then have no standard error. ``overlap`` is that of the draws.
    """
    by_group = grouped(frame)
    found = by_group[column].agg(["mean", "std", "count", "min", "max"])
    size, overlap = by_group["size"].max(), by_group["overlap"].first()
    same = found["count"].gt(1) & is_same(found["max"] - found["min"], size)
    error = found["std"].where(~same) / np.sqrt(found["count"]) * widening(found["count"], overlap)
    found["df"] = (found["count"] - 1.0).where(found["count"] > 1)
    if crossed.fits_of(frame) > 1:
        codes = by_group.ngroup().to_numpy(np.int64)
        known = crossed.estimates(frame, column, codes, overlap.to_numpy(float))
        # Where no draw is complete, the mean is of what there is, and has no error.
        rows = found.index[known.index.to_numpy(np.int64)]
        error, found["df"] = pd.Series(np.nan, index=found.index), np.nan
        found.loc[rows, ["mean", "count", "df"]] = known[["mean", "count", "df"]].to_numpy(float)
        error.loc[rows] = known["error"].to_numpy(float)
        error = error.where(~same)
    return pd.DataFrame({
        "mean": found["mean"], "error": error, "df": found["df"],
        "n_seeds": found["count"].astype("int64"), "n_donors": 0, "deviation": found["std"], "overlap": overlap,
        "same": same,
    })  # fmt: skip


def overlap(corpora: pd.Series, overlaps: Overlaps) -> "pd.Series[float]":
    """Return what the draws of each row's corpus have in common; 0 where that is not known."""
    return corpora.map(dict(overlaps)).astype(float).fillna(0.0)


def not_replicated(table: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]"]]:
    """Return of which rows all seeds are one replicate, and why, number of seeds by number of seeds."""
    lone = table["error"].isna() & table["n_seeds"].gt(1) & ~table["same"] & table["n_donors"].eq(0)
    found = [(crossed.NOT_CROSSED, lone)] if lone.any() else []
    for n_seeds in sorted(table.loc[table["same"], "n_seeds"].unique()):
        here = table["same"] & table["n_seeds"].eq(n_seeds)
        one_draw = here & (table["overlap"] > WHOLE)
        found += [(SAME_CELLS.format(n_seeds), one_draw), (SAME_RESULT.format(n_seeds), here & ~one_draw)]
    return found


def _reasons(frame: pd.DataFrame, rows: pd.Series) -> pd.Series:
    """Return per group why values are NaN, what is to be said of the others, and in how many seeds; empty for none."""
    noted = frame[["reason", *GROUP]].assign(missing=frame["value"].isna())
    noted["reason"] = noted["reason"].fillna("")
    noted.loc[noted["missing"] & noted["reason"].eq(""), "reason"] = "no reason recorded"
    noted = noted[noted["reason"].ne("")]
    if noted.empty:
        return pd.Series("", index=rows.index, dtype=object)
    grouped = noted.groupby([*GROUP, "reason"], sort=False, dropna=False)
    counts = grouped.agg(count=("reason", "size"), missing=("missing", "any")).reset_index()
    counts = counts.join(rows.rename("rows"), on=list(GROUP))
    # Of what is missing it is always reported how much; of a remark, where it is not of all.
    partly = (counts["rows"] > 1) & (counts["missing"] | (counts["count"] < counts["rows"]))
    share = " (" + counts["count"].astype(str) + " of " + counts["rows"].astype(str) + " seeds)"
    counts["text"] = counts["reason"] + share.where(partly, "")
    texts = counts.groupby(list(GROUP), sort=False, dropna=False)["text"].agg("; ".join)
    return texts.reindex(rows.index).fillna("").astype(object)


def _append_reason(table: pd.DataFrame, column: str, where: Sequence[bool] | pd.Series, reason: str) -> None:
    """Add `reason` to what `column` already says in the rows `where`."""
    before = table.loc[where, column]
    table.loc[where, column] = np.where(before.eq(""), reason, before + "; " + reason)
