"""Each corpus against the baseline: one row per score with its interval, comparison, verdict, and what is missing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.statistics import over_donors
from corpuscle.statistics.corrections import benjamini_hochberg, holm
from corpuscle.statistics.intervals import ONE_SEED
from corpuscle.statistics.over_runs import (
    GROUP,
    KEYS,
    Array,
    Overlaps,
    Rows,
    ends,
    estimates,
    grouped,
    not_replicated,
    of_donors,
    over_runs,
    overlap,
    places,
    put,
)
from corpuscle.statistics.scales import DIFFERENCES, interval_of, p_value
from corpuscle.statistics.two_way import FEWEST_DONORS
from corpuscle.statistics.verdicts import Margins, equivalence, verdicts

# Comparisons that a reader sees together, and that p values are corrected for.
FAMILY = ("task", "metric", "way", "version", "unit")

NOT_POSITIVE = "zero or negative value, so a fold change has no meaning"
NO_PAIR = "no seed has a value for both this corpus and the baseline"
NO_BASELINE = "the baseline has no such score"
IS_BASELINE = "is the baseline"


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


def summarise(
    scores: pd.DataFrame,
    baseline: str,
    level: float = 0.95,
    overlaps: Overlaps | None = None,
    *,
    control: str = "",
    margins: Margins | None = None,
) -> pd.DataFrame:
    """Summarise score rows to one row per (model, task, target, metric, way, version, unit, corpus).

    Where a target has at least five donors that all runs have a score of, ``mean`` is over runs and donors (see
    `corpuscle.statistics.two_way.two_way`): every donor counts alike, and the interval is about new runs and new
    donors. Else it is over runs alone, of the score over all cells, and nothing is known of other donors. A
    comparison is over the donors that the two corpora have, whatever a third one lacks; where these are fewer than
    five, and one of the two lacks some, it is over runs alone, of their means over the donors that both have.
    Intervals are formed on the metric's natural scale and never leave its range (see
    `corpuscle.statistics.scales.interval_of`).

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    baseline
        Name of the corpus that the others are compared with.
    level
        Coverage of the intervals; verdicts are at 1 - level.
    overlaps
        For each corpus, which share of its cells a draw has in common with another seed's: intervals are widened by
        it (see `corpuscle.statistics.intervals.widening`), those of comparisons by the larger of the two corpora's.
    control
        Name of the size control, which corpora are compared with besides; empty: none.
    margins
        For metrics, by name, which difference is too small to matter: in the metric's unit, or, for those that are
        compared by ratios, as a share (0.05 is 5 %).

    Returns
    -------
    pandas.DataFrame
        In order of first appearance: the key columns; ``better``, ``title``, ``meaning``, ``scale`` and ``headline``
        (see `corpuscle.core.scores.Score`); ``n_cells`` (median over seeds); ``mean``,
        ``low``, ``high`` (the metric's unit); ``over`` ("runs" or "runs and donors", which they are about);
        ``n_seeds`` with a finite value; ``n_donors`` with a value in all runs, ``cell_mean`` (of the scores over all
        cells) and ``donor_mean``; ``overlap``; ``log2_fold_change``,
        ``fc_low``, ``fc_high``, ``n_pairs`` (see `log2_fold_changes`); ``difference``, ``difference_low``,
        ``difference_high`` (see `differences`); ``pair_donors``, how many donors these are of; ``pair_mean`` and
        ``pair_base``, the means of corpus and baseline over what both have, geometric ones where they are compared by
        ratios; ``compared_by``, which of the two comparisons is to be read (see `scale_of`); of that
        one ``p`` (two-sided, paired), ``p_holm`` and ``p_bh`` (corrected over the comparisons of a task's metric:
        all models, targets and corpora), ``equivalent_low`` and ``equivalent_high`` (the interval at 1 - 2 (1 - level)
        that equivalence is read off), ``margin``, ``p_equivalent`` (Holm's, of the two one-sided tests);
        ``superiority``, the chance that a run of the corpus has a higher score than one of the baseline;
        ``control_difference``, ``control_low``, ``control_high``, ``control_p``, on the scale that ``compared_by``
        names, against the control; ``verdict`` (see `corpuscle.statistics.verdicts.verdicts`);
        ``reason``, ``fc_reason`` and ``difference_reason``: why a value, an interval, or a comparison is NaN, what it
        had to leave out, or what the score had to say of itself; empty otherwise.

    Raises
    ------
    InputError
        When a seed has two values for the same score, or a value is outside the range that its metric states.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> values = {("A", 0): 0.4, ("A", 1): 0.4, ("B", 0): 0.8, ("B", 1): 0.8}
    >>> scores = pd.concat(
    ...     score_table([Score("r2", "all", value, 10, "higher")],
    ...                 corpus=corpus, seed=seed, model="m", task="t", target="blood")
    ...     for (corpus, seed), value in values.items())
    >>> summarise(scores, baseline="A")[["corpus", "mean", "n_seeds", "difference", "verdict"]]
      corpus  mean  n_seeds  difference      verdict
    0      A   0.4        2         0.0     baseline
    1      B   0.8        2         0.4  no interval
    """
    rows = Rows.of(scores, overlaps)
    table, pairs = over_runs(rows, level), _pairs(rows, baseline)
    compared = {scale: _against(rows, pairs, baseline, scale) for scale in (RATIO, DIFFERENCE)}
    for scale, found in compared.items():
        table[list(scale[:3])] = np.column_stack([found["mean"], *ends(found, _kinds(table, scale), level)])
        table[scale.reason] = found["reason"]
    table["n_pairs"] = compared[DIFFERENCE]["n_seeds"]
    table["pair_donors"] = compared[DIFFERENCE]["n_donors"]
    table["compared_by"] = grouped(rows.frame.assign(compared_by=compared_by(rows.frame)))["compared_by"].first()
    means = [_pair_means(rows, pairs, baseline, logarithms=each) for each in (False, True)]
    table = table.join(means[0].where(table["compared_by"].reindex(means[0].index).ne("ratio"), means[1]))
    read = _read(compared, table["compared_by"])
    table = _tested(table, read, level, margins or {})
    table["superiority"] = _superiority(rows.frame, baseline)
    table = table.join(_controlled(rows, control, table, level))
    table["verdict"] = verdicts(table.reset_index(), baseline, 1 - level).to_numpy()
    return table.drop(columns=["error", "df"]).reset_index()


def scale_of(table: pd.DataFrame) -> Scale:
    """Return on which scale rows of `summarise` that stand together are compared: as ratios only if all of them are.

    Metrics that can only be positive, such as errors, are compared by ratios, where all their values are above zero and
    the nearer to zero is not the better. All others (shares, correlations, likelihoods) are compared by differences: of
    a small share, a ratio makes much out of little.
    """
    return RATIO if bool((table["compared_by"] == "ratio").all()) else DIFFERENCE


def compared_by(frame: pd.DataFrame) -> "pd.Series[str]":
    """Choose between "ratio" and "difference" for each score row, the same for all of a task's of a metric."""
    kinds = [frame[name] for name in ("task", "metric", "way", "version")]
    smallest = frame["value"].groupby(kinds, dropna=False, observed=True).transform("min")
    ratio = frame["scale"].eq("positive") & frame["better"].isin(["higher", "lower"]) & smallest.gt(0)
    ratio = ratio.groupby(kinds, dropna=False, observed=True).transform("all")
    return ratio.map({True: "ratio", False: "difference"})


def log2_fold_changes(
    scores: pd.DataFrame, baseline: str, level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Log2 fold change of each corpus against the baseline: the mean of the paired log2 ratios.

    The ratio is taken within a seed (corpus and baseline share what the seed fixes) and, where donors are compared, a
    donor. A mean of log ratios treats doubling and halving alike and
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
    return _comparison(Rows.of(scores, overlaps), baseline, RATIO, level)


def differences(
    scores: pd.DataFrame, baseline: str, level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Difference of each corpus from the baseline (corpus minus baseline), paired by seed (and donor).

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
    return _comparison(Rows.of(scores, overlaps), baseline, DIFFERENCE, level)


def _comparison(rows: Rows, baseline: str, scale: Scale, level: float) -> pd.DataFrame:
    """Return the columns of `differences` or `log2_fold_changes`."""
    found = _against(rows, _pairs(rows, baseline), baseline, scale)
    scales = grouped(rows.frame)[["scale"]].first()
    found["low"], found["high"] = ends(found, _kinds(scales, scale), level)
    names = {"mean": scale.value, "low": scale.low, "high": scale.high, "n_seeds": "n_pairs", "reason": scale.reason}
    return found.rename(columns=names)[list(names.values())].reset_index()


def _against(rows: Rows, pairs: pd.DataFrame, base: str, scale: Scale) -> pd.DataFrame:
    """Estimate the change from a corpus on a scale: ``mean``, ``error``, ``df``, …, ``reason``, indexed by `GROUP`."""
    change, spoilt = _changes(pairs, scale)
    size = 1.0 if scale == RATIO else np.maximum(pairs["value"].abs(), pairs["base"].abs())
    table = estimates(pairs.assign(change=change, size=size), "change")
    formula = log2_ratio if scale == RATIO else np.subtract
    with np.errstate(invalid="ignore", divide="ignore"):
        for scores, found in of_donors(rows, lambda s: over_donors.contrasts(s, base, formula, rows.overlaps), table):
            put(table, scores, found)
    table["reason"] = _comparison_reasons(table, pairs, base)
    own = _is_corpus(table, base)
    finite = grouped(pairs)["value"].count() > 0
    table.loc[own, "mean"] = np.where(finite[own], 0.0, np.nan)
    table.loc[own, ["error", "df"]] = np.nan
    if scale == RATIO:
        failed = spoilt.groupby([pairs[key] for key in GROUP], sort=False, dropna=False).any()
        failed &= ~own
        failed |= ~np.isfinite(table["mean"]) & table["n_seeds"].gt(0)
        table.loc[failed, ["mean", "error", "df"]] = np.nan
        table.loc[failed, "n_seeds"] = 0
        table.loc[failed, "reason"] = NOT_POSITIVE
    return table


def _is_corpus(table: pd.DataFrame, corpus: str) -> NDArray[np.bool_]:
    """Return which rows are a corpus' own."""
    return np.asarray(table.index.get_level_values("corpus") == corpus, bool)


def log2_ratio(after: Array, before: Array) -> Array:
    """Return log2 ratios, NaN where a number is not positive."""
    positive = (after > 0) & (before > 0)
    return np.where(positive, np.log2(np.where(positive, after / before, 1.0)), np.nan)


def _changes(pairs: pd.DataFrame, scale: Scale) -> tuple["pd.Series[float]", "pd.Series[bool]"]:
    """Return the change of each pair, and which of them have numbers that have none."""
    if scale == DIFFERENCE:
        return pairs["value"] - pairs["base"], pd.Series(data=False, index=pairs.index)
    both = np.isfinite(pairs["value"]) & np.isfinite(pairs["base"])
    usable = both & (pairs["value"] > 0) & (pairs["base"] > 0)
    return np.log2(pairs["value"].where(usable) / pairs["base"].where(usable)), both & ~usable


def _comparison_reasons(table: pd.DataFrame, pairs: pd.DataFrame, base: str) -> "pd.Series[str]":
    """Return why comparisons, or their intervals, are missing."""
    reason = pd.Series("", index=table.index, dtype=object)
    reason[table["n_seeds"].eq(1)] = ONE_SEED
    reason[table["n_seeds"].eq(0)] = NO_PAIR
    for text, where in not_replicated(table):
        reason[where] = text
    unknown = ~pd.Index(table.index.droplevel("corpus")).isin(_baseline_keys(pairs, base))
    reason[~grouped(pairs)["found"].any().to_numpy() & unknown] = NO_BASELINE
    reason[_is_corpus(table, base)] = IS_BASELINE
    return reason


def _read(compared: Mapping[Scale, pd.DataFrame], compared_by: "pd.Series[str]") -> pd.DataFrame:
    """Return of each row the comparison that is to be read."""
    ratio = compared_by.eq("ratio")
    return compared[DIFFERENCE].where(~ratio, compared[RATIO])


def _tested(table: pd.DataFrame, read: pd.DataFrame, level: float, margins: Margins) -> pd.DataFrame:
    """Add p values, corrected ones, and equivalence."""
    kind = _kinds(table, DIFFERENCE).where(table["compared_by"].eq("difference"), "real")
    numbers = (read["mean"].to_numpy(float), read["error"].to_numpy(float), read["df"].to_numpy(float))
    families = table.reset_index()
    table["p"] = p_value(*numbers, kind)
    families["p"] = table["p"].to_numpy()
    by_family = families.groupby(list(FAMILY), sort=False, dropna=False)
    table["p_holm"] = by_family["p"].transform(lambda p: pd.Series(holm(p), index=p.index)).to_numpy()
    table["p_bh"] = by_family["p"].transform(lambda p: pd.Series(benjamini_hochberg(p), index=p.index)).to_numpy()
    table["equivalent_low"], table["equivalent_high"] = interval_of(*numbers, kind, 2 * level - 1)
    table["margin"], p_equivalent = equivalence(families, numbers, kind, margins)
    families["p_equivalent"] = p_equivalent
    corrected = families.groupby(list(FAMILY), sort=False, dropna=False)["p_equivalent"]
    table["p_equivalent"] = corrected.transform(lambda p: pd.Series(holm(p), index=p.index)).to_numpy()
    return table


def _controlled(rows: Rows, control: str, table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Compare with the size control on the scale that the baseline is compared on; the control's own row is empty."""
    names = ["control_difference", "control_low", "control_high", "control_p"]
    if not control:
        return pd.DataFrame(np.nan, index=table.index, columns=names)
    pairs = _pairs(rows, control)
    compared = {scale: _against(rows, pairs, control, scale) for scale in (RATIO, DIFFERENCE)}
    read = _read(compared, table["compared_by"])
    kind = _kinds(table, DIFFERENCE).where(table["compared_by"].eq("difference"), "real")
    numbers = (read["mean"].to_numpy(float), read["error"].to_numpy(float), read["df"].to_numpy(float))
    low, high = interval_of(*numbers, kind, level)
    found = pd.DataFrame(
        np.column_stack([numbers[0], low, high, p_value(*numbers, kind)]), index=table.index, columns=names
    )
    found.loc[_is_corpus(table, control)] = np.nan
    return found


def _superiority(frame: pd.DataFrame, baseline: str) -> "pd.Series[float]":
    """Return of scores over all cells the chance that a run is higher than one of the baseline, whatever their seeds.

    Ties count half. It is Mann and Whitney's U over the number of pairs.
    """
    overall = frame.loc[frame["unit"].eq("all"), [*GROUP, "value"]].dropna(subset=["value"])
    base = overall[overall["corpus"] == baseline].drop(columns="corpus").rename(columns={"value": "base"})
    pairs = overall[overall["corpus"] != baseline].merge(base, on=list(KEYS))
    pairs["won"] = (np.sign(pairs["value"] - pairs["base"]) + 1) / 2
    return grouped(pairs)["won"].mean()


def _kinds(table: pd.DataFrame, scale: Scale) -> "pd.Series[str]":
    """Return what changes of the metrics are: see `corpuscle.statistics.scales.Kind`."""
    if scale == RATIO:
        return pd.Series("real", index=table.index)
    return table["scale"].astype(object).map(lambda name: DIFFERENCES.get(name, "real"))


def _pair_means(rows: Rows, pairs: pd.DataFrame, baseline: str, *, logarithms: bool) -> pd.DataFrame:
    """Return the means of corpus and baseline over what both have: seeds, or seeds and donors.

    Of `logarithms`: the geometric means, whose ratio is the mean ratio.
    """

    def turned(values: Any) -> Any:
        return np.log2(np.where(values > 0, values, np.nan)) if logarithms else values

    known = pairs[pairs["value"].notna() & pairs["base"].notna()]
    means = grouped(known.assign(value=turned(known["value"]), base=turned(known["base"])))[["value", "base"]].mean()
    means.columns = pd.Index(["pair_mean", "pair_base"])

    def both(scores: over_donors.DonorScores) -> pd.DataFrame:
        after = over_donors.contrasts(scores, baseline, lambda value, _: turned(value), {})
        before = over_donors.contrasts(scores, baseline, lambda _, base: turned(base), {})
        return after.assign(base=before["mean"])

    for scores, found in of_donors(rows, both, means):
        enough = found[found["n_donors"].ge(FEWEST_DONORS) | found["uneven"].astype(bool)]
        means.loc[places(scores, enough), ["pair_mean", "pair_base"]] = enough[["mean", "base"]].to_numpy()
    return 2.0**means if logarithms else means


def _pairs(rows: Rows, baseline: str) -> pd.DataFrame:
    """Every row with ``base``, the baseline's value in the same seed (NaN where there is none).

    ``overlap`` is the larger of the two corpora's.
    """
    frame, keys = rows.frame, [*KEYS, "seed"]
    base = frame.loc[frame["corpus"] == baseline, [*keys, "value"]].rename(columns={"value": "base"})
    runs = [name for name in ("draw", "fit") if name in frame]
    pairs = frame[[*keys, *runs, "corpus", "value"]].merge(base, on=keys, how="left", indicator="found")
    pairs["found"] = pairs["found"] == "both"
    pairs["overlap"] = overlap(pairs["corpus"], rows.overlaps).clip(lower=rows.overlaps.get(baseline, 0.0))
    return pairs


def _baseline_keys(pairs: pd.DataFrame, baseline: str) -> pd.MultiIndex:
    """Every score, up to corpus and seed, that the baseline has."""
    return pd.MultiIndex.from_frame(pairs.loc[pairs["corpus"] == baseline, list(KEYS)].drop_duplicates())
