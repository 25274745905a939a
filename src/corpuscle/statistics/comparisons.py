"""Each corpus against the baseline: one row per score with its interval, fold change, and what is missing."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from corpuscle.core.errors import InputError
from corpuscle.statistics.intervals import ONE_SEED, half_width

# What must agree before two scores may be compared; `corpus` and `seed` tell apart what remains.
KEYS = ("model", "task", "target", "metric", "version", "unit")
GROUP = (*KEYS, "corpus")

NOT_POSITIVE = "zero or negative value, so a fold change has no meaning"
NO_PAIR = "no seed has a value for both this corpus and the baseline"
NO_BASELINE = "the baseline has no such score"
IS_BASELINE = "is the baseline"


def summarise(scores: pd.DataFrame, baseline: str, level: float = 0.95) -> pd.DataFrame:
    """Summarise score rows to one row per (model, task, target, metric, version, unit, corpus).

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    baseline
        Name of the corpus that the others are compared with.
    level
        Coverage of the intervals, which are over seeds (see `seed_interval`).

    Returns
    -------
    pandas.DataFrame
        In order of first appearance: the key columns; ``better``; ``n_cells`` (median over seeds); ``mean``,
        ``low``, ``high`` (the metric's unit); ``n_seeds`` with a finite value; ``log2_fold_change``,
        ``fc_low``, ``fc_high``, ``n_pairs`` (see `log2_fold_changes`); ``reason`` and ``fc_reason``: why
        a value, an interval, or a fold change is NaN, what it had to leave out, or what the score had to say of
        itself; empty otherwise.

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
    table = over_seeds(scores, level).set_index(list(GROUP))
    changes = log2_fold_changes(scores, baseline, level).set_index(list(GROUP))
    return table.join(changes).reset_index()


def over_seeds(scores: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean over seeds of every score, with its interval: `summarise` without the fold changes.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP`, ``better``, ``n_cells``, ``mean``, ``low``, ``high``, ``n_seeds``, ``reason``.
    """
    frame = _checked(scores)
    grouped = frame.groupby(list(GROUP), sort=False, dropna=False)
    described = grouped.agg(better=("better", "first"), n_cells=("n_cells", "median"), rows=("seed", "size"))
    described["n_cells"] = described["n_cells"].round().astype("int64")
    table = described.join(_intervals(frame, "value", level))
    table["reason"] = _reasons(frame, table["rows"])
    _append_reason(table, "reason", table["n_seeds"].eq(1), ONE_SEED)
    return table.drop(columns="rows").reset_index()


def log2_fold_changes(scores: pd.DataFrame, baseline: str, level: float = 0.95) -> pd.DataFrame:
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
    pairs = _pairs(_checked(scores), baseline)
    both = np.isfinite(pairs["value"]) & np.isfinite(pairs["base"])
    usable = both & (pairs["value"] > 0) & (pairs["base"] > 0)
    pairs["change"] = np.nan
    pairs.loc[usable, "change"] = np.log2(pairs.loc[usable, "value"] / pairs.loc[usable, "base"])
    pairs["spoilt"] = both & ~usable
    table = _contrast(pairs, baseline, level)
    spoilt = pairs.groupby(list(GROUP), sort=False, dropna=False)["spoilt"].any()
    spoilt &= table["reason"].ne(IS_BASELINE)
    table.loc[spoilt, ["mean", "low", "high"]] = np.nan
    table.loc[spoilt, "n_seeds"] = 0
    table.loc[spoilt, "reason"] = NOT_POSITIVE
    names = {"mean": "log2_fold_change", "low": "fc_low", "high": "fc_high"}
    return table.rename(columns={**names, "n_seeds": "n_pairs", "reason": "fc_reason"}).reset_index()


def differences(scores: pd.DataFrame, baseline: str, level: float = 0.95) -> pd.DataFrame:
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
    pairs = _pairs(_checked(scores), baseline)
    pairs["change"] = pairs["value"] - pairs["base"]
    table = _contrast(pairs, baseline, level)
    names = {"mean": "difference", "low": "difference_low", "high": "difference_high"}
    return table.rename(columns={**names, "n_seeds": "n_pairs", "reason": "difference_reason"}).reset_index()


def _checked(scores: pd.DataFrame) -> pd.DataFrame:
    """Copy the rows; refuse two values of one seed; count an infinite value as missing, and say so."""
    frame = scores.reset_index(drop=True).copy()
    twice = frame.duplicated([*GROUP, "seed"])
    if twice.any():
        row = frame.loc[twice, [*GROUP, "seed"]].iloc[0].to_dict()
        raise InputError(f"scores: expected one value per seed, got two for {row}; remove one of them")
    infinite = np.isinf(frame["value"])
    frame.loc[infinite, "value"] = np.nan
    frame.loc[infinite, "reason"] = "infinite value"
    return frame


def _intervals(frame: pd.DataFrame, column: str, level: float) -> pd.DataFrame:
    """Mean, interval and count of finite values of `column`, indexed by `GROUP`."""
    grouped = frame.groupby(list(GROUP), sort=False, dropna=False)[column]
    table = grouped.agg(mean="mean", deviation="std", n_seeds="count")
    half = half_width(table.pop("deviation"), table["n_seeds"], level)
    table.insert(1, "low", table["mean"] - half)
    table.insert(2, "high", table["mean"] + half)
    return table


def _pairs(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Every row with ``base``, the baseline's value in the same seed (NaN where there is none)."""
    keys = [*KEYS, "seed"]
    base = frame.loc[frame["corpus"] == baseline, [*keys, "value"]].rename(columns={"value": "base"})
    pairs = frame[[*keys, "corpus", "value"]].merge(base, on=keys, how="left", indicator="found")
    pairs["found"] = pairs["found"] == "both"
    return pairs


def _contrast(pairs: pd.DataFrame, baseline: str, level: float) -> pd.DataFrame:
    """Summarise ``change`` per group; its interval, count and the reason for whatever is NaN."""
    table = _intervals(pairs, "change", level)
    found = pairs.groupby(list(GROUP), sort=False, dropna=False)["found"].any()
    table["reason"] = ""
    table.loc[table["n_seeds"].eq(1), "reason"] = ONE_SEED
    table.loc[table["n_seeds"].eq(0), "reason"] = NO_PAIR
    known = _baseline_keys(pairs, baseline)
    unknown = ~pd.Index(table.index.droplevel("corpus")).isin(known)
    table.loc[~found.to_numpy() & unknown, "reason"] = NO_BASELINE
    own = table.index.get_level_values("corpus") == baseline
    finite = pairs.groupby(list(GROUP), sort=False, dropna=False)["value"].count() > 0
    table.loc[own, "mean"] = np.where(finite[own], 0.0, np.nan)
    table.loc[own, ["low", "high"]] = np.nan
    table.loc[own, "reason"] = IS_BASELINE
    return table


def _baseline_keys(pairs: pd.DataFrame, baseline: str) -> pd.MultiIndex:
    """Every score, up to corpus and seed, that the baseline has."""
    return pd.MultiIndex.from_frame(pairs.loc[pairs["corpus"] == baseline, list(KEYS)].drop_duplicates())


def _reasons(frame: pd.DataFrame, rows: pd.Series) -> pd.Series:
    """Say per group why values are NaN, and what is to be said of the others, and in how many seeds; empty for none."""
    told = frame[["reason", *GROUP]].assign(missing=frame["value"].isna())
    told["reason"] = told["reason"].fillna("")
    told.loc[told["missing"] & told["reason"].eq(""), "reason"] = "no reason recorded"
    told = told[told["reason"].ne("")]
    if told.empty:
        return pd.Series("", index=rows.index, dtype=object)
    grouped = told.groupby([*GROUP, "reason"], sort=False, dropna=False)
    counts = grouped.agg(count=("reason", "size"), missing=("missing", "any")).reset_index()
    counts = counts.join(rows.rename("rows"), on=list(GROUP))
    # Of what is missing it is always told how much; of a remark, where it is not of all.
    partly = (counts["rows"] > 1) & (counts["missing"] | (counts["count"] < counts["rows"]))
    share = " (" + counts["count"].astype(str) + " of " + counts["rows"].astype(str) + " seeds)"
    counts["text"] = counts["reason"] + share.where(partly, "")
    texts = counts.groupby(list(GROUP), sort=False, dropna=False)["text"].agg("; ".join)
    return texts.reindex(rows.index).fillna("").astype(object)


def _append_reason(table: pd.DataFrame, column: str, where: Sequence[bool] | pd.Series, reason: str) -> None:
    """Add `reason` to what `column` already says in the rows `where`."""
    before = table.loc[where, column]
    table.loc[where, column] = np.where(before.eq(""), reason, before + "; " + reason)
