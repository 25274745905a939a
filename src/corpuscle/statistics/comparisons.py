"""Each corpus against the baseline: one row per score with its interval, fold change, and what is missing."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.core.scores import completed
from corpuscle.statistics.intervals import ONE_SEED, WHOLE, half_width, is_same

# What must agree before two scores may be compared; `corpus` and `seed` tell apart what remains.
KEYS = ("model", "task", "target", "metric", "way", "version", "unit")
# What a score says of itself, the same in all rows of a metric and way.
ABOUT = ("better", "title", "meaning", "scale", "headline")
GROUP = (*KEYS, "corpus")

NOT_POSITIVE = "zero or negative value, so a fold change has no meaning"
NO_PAIR = "no seed has a value for both this corpus and the baseline"
NO_BASELINE = "the baseline has no such score"
IS_BASELINE = "is the baseline"
SAME_RESULT = "the same result at {} seeds: one replicate"
SAME_CELLS = "the same cells and the same result at {} seeds: one replicate"
# Which share of its cells a draw of a corpus has in common with another seed's; corpora that are not named: 0.
Overlaps = Mapping[str, float]


class Scale(NamedTuple):
    """On which scale corpora are compared: the columns of `summarise` that have the comparison.

    Attributes
    ----------
    value, low, high, reason
        Names of columns.
    """

    value: str
    low: str
    high: str
    reason: str


RATIO = Scale("log2_fold_change", "fc_low", "fc_high", "fc_reason")
DIFFERENCE = Scale("difference", "difference_low", "difference_high", "difference_reason")
# A score that is to be high and is lower than this is near 0; so is a mean of less than three standard deviations.
NEAR_ZERO, NEAR_ZERO_DEVIATIONS = 0.05, 3.0


def summarise(
    scores: pd.DataFrame, baseline: str, level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Summarise score rows to one row per (model, task, target, metric, way, version, unit, corpus).

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    baseline
        Name of the corpus that the others are compared with.
    level
        Coverage of the intervals, which are over seeds (see `seed_interval`).
    overlaps
        For each corpus, which share of its cells a draw has in common with another seed's: intervals are widened by
        it (see `widening`), those of comparisons by the larger of the two corpora's.

    Returns
    -------
    pandas.DataFrame
        In order of first appearance: the key columns; ``better``, ``title``, ``meaning``, ``scale`` and ``headline``
        (see `corpuscle.core.scores.Score`); ``n_cells`` (median over seeds); ``mean``,
        ``low``, ``high`` (the metric's unit); ``n_seeds`` with a finite value; ``overlap``; ``log2_fold_change``,
        ``fc_low``, ``fc_high``, ``n_pairs`` (see `log2_fold_changes`); ``difference``, ``difference_low``,
        ``difference_high`` (see `differences`); ``pair_mean`` and ``pair_base``, the means of corpus and baseline over
        the seeds that both have; ``compared_by``, which of the two comparisons is to be read (see `scale_of`);
        ``reason``, ``fc_reason`` and ``difference_reason``: why a value, an interval, or a comparison is NaN, what it
        had to leave out, or what the score had to say of itself; empty otherwise.

    Raises
    ------
    InputError
        When a seed has two values for the same score.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> values = {("A", 0): 0.4, ("A", 1): 0.4, ("B", 0): 0.8, ("B", 1): 0.8}
    >>> scores = pd.concat(
    ...     score_table([Score("r2", "all", value, 10, "higher")],
    ...                 corpus=corpus, seed=seed, model="m", task="t", target="blood")
    ...     for (corpus, seed), value in values.items())
    >>> summarise(scores, baseline="A")[["corpus", "mean", "n_seeds", "log2_fold_change"]]
      corpus  mean  n_seeds  log2_fold_change
    0      A   0.4        2               0.0
    1      B   0.8        2               1.0
    """
    scores = completed(scores)
    table = over_seeds(scores, level, overlaps).set_index(list(GROUP))
    changes = log2_fold_changes(scores, baseline, level, overlaps).set_index(list(GROUP))
    apart = differences(scores, baseline, level, overlaps).set_index(list(GROUP)).drop(columns="n_pairs")
    pairs = _pairs(_checked(scores), baseline)
    pairs = pairs[pairs["value"].notna() & pairs["base"].notna()]
    means = pairs.groupby(list(GROUP), sort=False, dropna=False)[["value", "base"]].mean()
    means.columns = pd.Index(["pair_mean", "pair_base"])
    table = table.join(changes).join(apart).join(means).reset_index()
    table["compared_by"] = _compared_by(table, scores, baseline)
    return table


def scale_of(table: pd.DataFrame) -> Scale:
    """Return on which scale rows of `summarise` that stand together are compared: as ratios only if all of them are.

    A metric is compared by ratios where these have a meaning in all of a task's rows of it, whatever the target, model
    and corpus, so that one table has one unit; else by differences. They have none where a value is zero or negative,
    where the metric is a correlation, or is best at zero, where it is near zero (a baseline's mean under 0.05 of what
    is to be high, or any mean under three standard deviations over seeds), and where seeds differ so much that the
    mean ratio and the mean difference point to different sides.
    """
    return RATIO if bool((table["compared_by"] == "ratio").all()) else DIFFERENCE


def _compared_by(table: pd.DataFrame, scores: pd.DataFrame, baseline: str) -> "pd.Series[str]":
    """Choose between ratio and difference for each task's metrics: see `scale_of`."""
    kinds = ["task", "metric", "way", "version"]
    no_ratio = table["scale"].eq("correlation") | table["better"].eq("zero")
    smallest = scores.groupby(kinds, dropna=False)["value"].min().rename("smallest")
    no_ratio |= ~(table[kinds].join(smallest, on=kinds)["smallest"] > 0)
    is_overall = table["unit"].eq("all")
    overall = is_overall | ~is_overall.groupby([table[kind] for kind in kinds], dropna=False).transform("any")
    no_ratio |= overall & (table["mean"] < NEAR_ZERO_DEVIATIONS * table["deviation"])
    no_ratio |= overall & table["corpus"].eq(baseline) & table["better"].eq("higher") & (table["mean"] < NEAR_ZERO)
    resolved = (table["fc_low"] > 0) | (table["fc_high"] < 0)
    no_ratio |= resolved & (np.sign(table["log2_fold_change"]) != np.sign(table["difference"]))
    spoilt = no_ratio.groupby([table[kind] for kind in kinds], dropna=False).transform("any")
    return spoilt.map({True: "difference", False: "ratio"})


def over_seeds(scores: pd.DataFrame, level: float = 0.95, overlaps: Overlaps | None = None) -> pd.DataFrame:
    """Mean over seeds of every score, with its interval: `summarise` without the comparisons.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP` and `ABOUT`, ``n_cells``, ``mean``, ``low``, ``high``, ``n_seeds``, ``deviation`` (over
        seeds), ``overlap``, ``reason``.
    """
    frame = _checked(scores)
    grouped = frame.groupby(list(GROUP), sort=False, dropna=False)
    about = {name: (name, "first") for name in ABOUT}
    described = grouped.agg(**about, n_cells=("n_cells", "median"), rows=("seed", "size"))
    described["n_cells"] = described["n_cells"].round().astype("int64")
    frame["size"], frame["overlap"] = frame["value"].abs(), _overlap(frame["corpus"], overlaps)
    table = described.join(_intervals(frame, "value", level))
    table["reason"] = _reasons(frame, table["rows"])
    _append_reason(table, "reason", table["n_seeds"].eq(1), ONE_SEED)
    for text, where in _not_replicated(table):
        _append_reason(table, "reason", where, text)
    return table.drop(columns=["rows", "same"]).reset_index()


def log2_fold_changes(
    scores: pd.DataFrame, baseline: str, level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Log2 fold change of each corpus against the baseline: the mean of the per-seed log2 ratios.

    Seeds are the replicates, so the ratio is taken within a seed (corpus and baseline share what the seed
    fixes) and the t interval is over those ratios. A mean of log ratios treats doubling and halving alike and
    gives the interval directly; the log of a ratio of means would do neither. The two agree when seeds vary
    little, and differ in the last digits otherwise.

    A fold change is NaN, with its reason in ``fc_reason``, when any paired value is zero or negative (leaving
    that seed out would favour the corpus that failed), or when no seed is shared. Seeds in which either value
    is NaN are left out and ``n_pairs`` counts the rest.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP`, ``log2_fold_change`` (positive: higher than the baseline, whichever way is
        better), ``fc_low``, ``fc_high``, ``n_pairs``, ``fc_reason``. The baseline's own row is 0 by
        definition.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> place = {"seed": 0, "model": "m", "task": "t", "target": "blood"}
    >>> scores = pd.concat(score_table([Score("r2", "all", value, 10, "higher")], corpus=corpus, **place)
    ...                    for corpus, value in {"A": 0.5, "B": 0.0}.items())
    >>> log2_fold_changes(scores, baseline="A")[["corpus", "log2_fold_change", "fc_reason"]]
      corpus  log2_fold_change                                          fc_reason
    0      A               0.0                                    is the baseline
    1      B               NaN  zero or negative value, so a fold change has n...
    """
    pairs = _pairs(_checked(scores), baseline, overlaps)
    both = np.isfinite(pairs["value"]) & np.isfinite(pairs["base"])
    usable = both & (pairs["value"] > 0) & (pairs["base"] > 0)
    pairs["change"] = np.nan
    pairs.loc[usable, "change"] = np.log2(pairs.loc[usable, "value"] / pairs.loc[usable, "base"])
    pairs["spoilt"], pairs["size"] = both & ~usable, 1.0
    table = _contrast(pairs, baseline, level)
    spoilt = pairs.groupby(list(GROUP), sort=False, dropna=False)["spoilt"].any()
    spoilt &= table["reason"].ne(IS_BASELINE)
    table.loc[spoilt, ["mean", "low", "high"]] = np.nan
    table.loc[spoilt, "n_seeds"] = 0
    table.loc[spoilt, "reason"] = NOT_POSITIVE
    names = dict(zip(("mean", "low", "high"), RATIO, strict=False))
    return table.rename(columns={**names, "n_seeds": "n_pairs", "reason": "fc_reason"}).reset_index()


def differences(
    scores: pd.DataFrame, baseline: str, level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Difference of each corpus from the baseline (corpus minus baseline), paired by seed.

    For metrics that may be zero or negative, such as a residual, where a ratio has no meaning.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP`, ``difference``, ``difference_low``, ``difference_high`` (the metric's unit),
        ``n_pairs``, ``difference_reason``. The baseline's own row is 0 by definition.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> place = {"seed": 0, "model": "m", "task": "t", "target": "monocytes"}
    >>> scores = pd.concat(score_table([Score("residual", "gene=LYZ", value, 10, "zero")], corpus=corpus, **place)
    ...                    for corpus, value in {"A": -0.05, "B": 0.95}.items())
    >>> differences(scores, baseline="A")[["corpus", "difference", "difference_reason"]]
      corpus  difference                        difference_reason
    0      A         0.0                          is the baseline
    1      B         1.0  interval not estimable from one seed
    """
    pairs = _pairs(_checked(scores), baseline, overlaps)
    pairs["change"] = pairs["value"] - pairs["base"]
    pairs["size"] = np.maximum(pairs["value"].abs(), pairs["base"].abs())
    table = _contrast(pairs, baseline, level)
    names = dict(zip(("mean", "low", "high"), DIFFERENCE, strict=False))
    return table.rename(columns={**names, "n_seeds": "n_pairs", "reason": "difference_reason"}).reset_index()


def _checked(scores: pd.DataFrame) -> pd.DataFrame:
    """Copy the rows; refuse two values of one seed; count an infinite value as missing, and say so."""
    frame = completed(scores).reset_index(drop=True).copy()
    twice = frame.duplicated([*GROUP, "seed"])
    if twice.any():
        row = frame.loc[twice, [*GROUP, "seed"]].iloc[0].to_dict()
        raise InputError(f"scores: expected one value per seed, got two for {row}; remove one of them")
    infinite = np.isinf(frame["value"])
    frame.loc[infinite, "value"] = np.nan
    frame.loc[infinite, "reason"] = "infinite value"
    return frame


def _intervals(frame: pd.DataFrame, column: str, level: float) -> pd.DataFrame:
    """Mean, interval and count of finite values of `column`, indexed by `GROUP`.

    ``same`` says whether all of several values are one to rounding, given the ``size`` of the numbers that they were
    calculated from; they then have no interval. ``overlap`` is that of the draws.
    """
    grouped = frame.groupby(list(GROUP), sort=False, dropna=False)
    found = grouped[column].agg(["mean", "std", "count", "min", "max"])
    size, overlap = grouped["size"].max(), grouped["overlap"].first()
    same = found["count"].gt(1) & is_same(found["max"] - found["min"], size)
    half = half_width(found["std"].where(~same), found["count"], level, overlap)
    return pd.DataFrame({
        "mean": found["mean"], "low": found["mean"] - half, "high": found["mean"] + half, "n_seeds": found["count"],
        "deviation": found["std"], "overlap": overlap, "same": same,
    })  # fmt: skip


def _overlap(corpora: pd.Series, overlaps: Overlaps | None) -> "pd.Series[float]":
    """Return what the draws of each row's corpus have in common; 0 where that is not known."""
    return corpora.map(dict(overlaps or {})).astype(float).fillna(0.0)


def _not_replicated(table: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]"]]:
    """Return of which rows all seeds are one replicate, and why, number of seeds by number of seeds."""
    found = []
    for n_seeds in sorted(table.loc[table["same"], "n_seeds"].unique()):
        here = table["same"] & table["n_seeds"].eq(n_seeds)
        one_draw = here & (table["overlap"] > WHOLE)
        found += [(SAME_CELLS.format(n_seeds), one_draw), (SAME_RESULT.format(n_seeds), here & ~one_draw)]
    return found


def _pairs(frame: pd.DataFrame, baseline: str, overlaps: Overlaps | None = None) -> pd.DataFrame:
    """Every row with ``base``, the baseline's value in the same seed (NaN where there is none).

    ``overlap`` is the larger of the two corpora's.
    """
    keys = [*KEYS, "seed"]
    base = frame.loc[frame["corpus"] == baseline, [*keys, "value"]].rename(columns={"value": "base"})
    pairs = frame[[*keys, "corpus", "value"]].merge(base, on=keys, how="left", indicator="found")
    pairs["found"] = pairs["found"] == "both"
    pairs["overlap"] = _overlap(pairs["corpus"], overlaps).clip(lower=dict(overlaps or {}).get(baseline, 0.0))
    return pairs


def _contrast(pairs: pd.DataFrame, baseline: str, level: float) -> pd.DataFrame:
    """Summarise ``change`` per group; its interval, count and the reason for whatever is NaN."""
    table = _intervals(pairs, "change", level)
    found = pairs.groupby(list(GROUP), sort=False, dropna=False)["found"].any()
    table["reason"] = ""
    table.loc[table["n_seeds"].eq(1), "reason"] = ONE_SEED
    table.loc[table["n_seeds"].eq(0), "reason"] = NO_PAIR
    for text, where in _not_replicated(table):
        table.loc[where, "reason"] = text
    known = _baseline_keys(pairs, baseline)
    unknown = ~pd.Index(table.index.droplevel("corpus")).isin(known)
    table.loc[~found.to_numpy() & unknown, "reason"] = NO_BASELINE
    own = table.index.get_level_values("corpus") == baseline
    finite = pairs.groupby(list(GROUP), sort=False, dropna=False)["value"].count() > 0
    table.loc[own, "mean"] = np.where(finite[own], 0.0, np.nan)
    table.loc[own, ["low", "high"]] = np.nan
    table.loc[own, "reason"] = IS_BASELINE
    return table.drop(columns=["deviation", "overlap", "same"])


def _baseline_keys(pairs: pd.DataFrame, baseline: str) -> pd.MultiIndex:
    """Every score, up to corpus and seed, that the baseline has."""
    return pd.MultiIndex.from_frame(pairs.loc[pairs["corpus"] == baseline, list(KEYS)].drop_duplicates())


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
