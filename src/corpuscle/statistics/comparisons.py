"""Each corpus against the baseline: one row per score with its interval, comparison, verdict, and what is missing."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import InputError
from corpuscle.core.scores import completed
from corpuscle.statistics import crossed, over_donors
from corpuscle.statistics.corrections import benjamini_hochberg, holm
from corpuscle.statistics.intervals import ONE_SEED, WHOLE, is_same, widening
from corpuscle.statistics.scales import DIFFERENCES, ENDS, interval_of, p_value
from corpuscle.statistics.two_way import FEWEST_DONORS
from corpuscle.statistics.verdicts import Margins, equivalence, verdicts

# What must agree before two scores may be compared; `corpus` and `seed` tell apart what remains.
KEYS = ("model", "task", "target", "metric", "way", "version", "unit")
# What a score says of itself, the same in all rows of a metric and way.
ABOUT = ("better", "title", "meaning", "scale", "headline")
GROUP = (*KEYS, "corpus")
# Comparisons that a reader sees together, and that p values are corrected for.
FAMILY = ("task", "metric", "way", "version", "unit")

NOT_POSITIVE = "zero or negative value, so a fold change has no meaning"
NO_PAIR = "no seed has a value for both this corpus and the baseline"
NO_BASELINE = "the baseline has no such score"
IS_BASELINE = "is the baseline"
SAME_RESULT = "the same result at {} seeds: one replicate"
SAME_CELLS = "the same cells and the same result at {} seeds: one replicate"
# Which share of its cells a draw of a corpus has in common with another seed's; corpora that are not named: 0.
Overlaps = Mapping[str, float]
Array = NDArray[np.float64]


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

    Where a target has at least five donors that all runs have a score of, ``mean`` and the comparisons are over runs
    and donors (see `corpuscle.statistics.two_way.two_way`): every donor counts alike, and the interval is about new
    runs and new donors. Else they are over runs alone, of the score over all cells, and nothing is known of other
    donors. Intervals are formed on the metric's natural scale and never leave its range (see
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
        ``difference_high`` (see `differences`); ``pair_mean`` and ``pair_base``, the means of corpus and baseline over
        the seeds that both have; ``compared_by``, which of the two comparisons is to be read (see `scale_of`); of that
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
    frame = checked(scores)
    table = _over_runs(frame, level, overlaps)
    compared = {scale: _against(frame, baseline, scale, overlaps) for scale in (RATIO, DIFFERENCE)}
    for scale, found in compared.items():
        ends = _ends(found, _kinds(table, scale), level)
        table[list(scale[:3])] = np.column_stack([found["mean"], *ends])
        table[scale.reason] = found["reason"]
    table["n_pairs"] = compared[DIFFERENCE]["n_seeds"]
    table = table.join(_pair_means(frame, baseline))
    frame["compared_by"] = compared_by(frame)
    table["compared_by"] = _grouped(frame)["compared_by"].first()
    read = _read(compared, table["compared_by"])
    table = _tested(table, read, level, margins or {})
    table["superiority"] = _superiority(frame, baseline)
    table = table.join(_controlled(frame, control, table, level, overlaps))
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


def over_seeds(scores: pd.DataFrame, level: float = 0.95, overlaps: Overlaps | None = None) -> pd.DataFrame:
    """Mean of every score, with its interval: `summarise` without the comparisons.

    Returns
    -------
    pandas.DataFrame
        The columns `GROUP` and `ABOUT`, ``n_cells``, ``mean``, ``low``, ``high``, ``over``, ``n_seeds``, ``n_donors``,
        ``cell_mean``, ``donor_mean``, ``deviation`` (over seeds), ``overlap``, ``reason``.
    """
    return _over_runs(checked(scores), level, overlaps).drop(columns=["error", "df"]).reset_index()


def _over_runs(frame: pd.DataFrame, level: float, overlaps: Overlaps | None) -> pd.DataFrame:
    """Return the columns of `over_seeds`, and ``error`` and ``df``, indexed by `GROUP`."""
    grouped = _grouped(frame)
    about = {name: (name, "first") for name in ABOUT}
    described = grouped.agg(**about, n_cells=("n_cells", "median"), rows=("seed", "size"))
    described["n_cells"] = described["n_cells"].round().astype("int64")
    frame["size"], frame["overlap"] = frame["value"].abs(), _overlap(frame["corpus"], overlaps)
    table = described.join(_estimates(frame, "value"))
    table["cell_mean"], table["donor_mean"] = table["mean"], np.nan
    for key, found in _of_donors(frame, lambda scores: over_donors.estimates(scores, dict(overlaps or {}))):
        rows = _rows(table, key, found)
        table.loc[rows, "donor_mean"] = found["mean"].to_numpy()
        _put(table, rows, found)
    table["over"] = np.where(table["n_donors"] >= FEWEST_DONORS, "runs and donors", "runs")
    table["low"], table["high"] = _ends(table, table["scale"], level)
    table["reason"] = _reasons(frame, table["rows"])
    _append_reason(table, "reason", table["n_seeds"].eq(1), ONE_SEED)
    for text, where in _not_replicated(table):
        _append_reason(table, "reason", where, text)
    return table.drop(columns=["rows", "same"])


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
    return _comparison(checked(scores), baseline, RATIO, level, overlaps)


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
    return _comparison(checked(scores), baseline, DIFFERENCE, level, overlaps)


def _comparison(
    frame: pd.DataFrame, baseline: str, scale: Scale, level: float, overlaps: Overlaps | None
) -> pd.DataFrame:
    """Return the columns of `differences` or `log2_fold_changes`."""
    found = _against(frame, baseline, scale, overlaps)
    scales = _grouped(frame)[["scale"]].first()
    found["low"], found["high"] = _ends(found, _kinds(scales, scale), level)
    names = {"mean": scale.value, "low": scale.low, "high": scale.high, "n_seeds": "n_pairs", "reason": scale.reason}
    return found.rename(columns=names)[list(names.values())].reset_index()


def _against(frame: pd.DataFrame, base: str, scale: Scale, overlaps: Overlaps | None) -> pd.DataFrame:
    """Estimate the change from a corpus on a scale: ``mean``, ``error``, ``df``, …, ``reason``, indexed by `GROUP`."""
    pairs = _pairs(frame, base, overlaps)
    change, spoilt = _changes(pairs, scale)
    pairs["change"] = change
    pairs["size"] = 1.0 if scale == RATIO else np.maximum(pairs["value"].abs(), pairs["base"].abs())
    table = _estimates(pairs, "change")
    formula = log2_ratio if scale == RATIO else np.subtract
    with np.errstate(invalid="ignore", divide="ignore"):
        per_donor = _of_donors(frame, lambda s: over_donors.contrasts(s, base, formula, dict(overlaps or {})))
        for key, found in per_donor:
            _put(table, _rows(table, key, found), found)
    table["reason"] = _comparison_reasons(table, pairs, base)
    own = _is_corpus(table, base)
    finite = _grouped(pairs)["value"].count() > 0
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
    for text, where in _not_replicated(table):
        reason[where] = text
    unknown = ~pd.Index(table.index.droplevel("corpus")).isin(_baseline_keys(pairs, base))
    reason[~_grouped(pairs)["found"].any().to_numpy() & unknown] = NO_BASELINE
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


def _controlled(
    frame: pd.DataFrame, control: str, table: pd.DataFrame, level: float, overlaps: Overlaps | None
) -> pd.DataFrame:
    """Compare with the size control on the scale that the baseline is compared on; the control's own row is empty."""
    names = ["control_difference", "control_low", "control_high", "control_p"]
    if not control:
        return pd.DataFrame(np.nan, index=table.index, columns=names)
    compared = {scale: _against(frame, control, scale, overlaps) for scale in (RATIO, DIFFERENCE)}
    read = _read(compared, table["compared_by"])
    kind = _kinds(table, DIFFERENCE).where(table["compared_by"].eq("difference"), "real")
    numbers = (read["mean"].to_numpy(float), read["error"].to_numpy(float), read["df"].to_numpy(float))
    ends, p = interval_of(*numbers, kind, level), p_value(*numbers, kind)
    found = pd.DataFrame(np.column_stack([numbers[0], *ends, p]), index=table.index, columns=names)
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
    return _grouped(pairs)["won"].mean()


def _kinds(table: pd.DataFrame, scale: Scale) -> "pd.Series[str]":
    """Return what changes of the metrics are: see `corpuscle.statistics.scales.Kind`."""
    if scale == RATIO:
        return pd.Series("real", index=table.index)
    return table["scale"].astype(object).map(lambda name: DIFFERENCES.get(name, "real"))


def _ends(table: pd.DataFrame, kinds: "pd.Series[str]", level: float) -> tuple[Array, Array]:
    """Return the ends of intervals, from ``mean``, ``error`` and ``df``."""
    mean, error, df = (table[name].to_numpy(float) for name in ("mean", "error", "df"))
    return interval_of(mean, error, df, kinds.to_numpy(object), level)


def _of_donors(
    frame: pd.DataFrame, estimate: Callable[[over_donors.DonorScores], pd.DataFrame]
) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    """Estimate what donors have scores of; with the keys, all but the unit, of each table."""
    keys = [name for name in KEYS if name != "unit"]
    return [(scores.key, estimate(scores)) for scores in over_donors.donor_scores(frame, keys)]


def _rows(table: pd.DataFrame, key: tuple[object, ...], found: pd.DataFrame) -> pd.MultiIndex:
    """Return the rows over all cells that estimates over donors belong to; drop estimates that have no such row."""
    rows = pd.MultiIndex.from_tuples([(*key, "all", corpus) for corpus in found.index], names=list(GROUP))
    known = rows.isin(table.index)
    found.drop(found.index[~known], inplace=True)
    return rows[known]


def _put(table: pd.DataFrame, rows: pd.MultiIndex, found: pd.DataFrame) -> None:
    """Take estimates over runs and donors for those over runs, where there are donors enough."""
    table.loc[rows, "n_donors"] = found["n_donors"].to_numpy()
    enough = found["n_donors"].to_numpy() >= FEWEST_DONORS
    for name in ("mean", "error", "df", "n_seeds", "same"):
        table.loc[rows[enough], name] = found.loc[enough, name].to_numpy()


def checked(scores: pd.DataFrame) -> pd.DataFrame:
    """Copy the rows; refuse two values of one seed and values out of range; count an infinite value as missing."""
    frame = completed(scores).reset_index(drop=True).copy()
    twice = frame.duplicated([*GROUP, "seed"])
    if twice.any():
        row = frame.loc[twice, [*GROUP, "seed"]].iloc[0].to_dict()
        raise InputError(f"scores: expected one value per seed, got two for {row}; remove one of them")
    infinite = np.isinf(frame["value"])
    frame.loc[infinite, "value"] = np.nan
    frame.loc[infinite, "reason"] = "infinite value"
    for scale, (low, high) in ENDS.items():
        here = frame["scale"].eq(scale).to_numpy()
        # Rounding alone may carry a share a little above 1.
        slack = 1e-6
        outside = here & ((frame["value"] < low - slack) | (frame["value"] > high + slack)).to_numpy()
        if outside.any():
            row = frame.loc[outside].iloc[0]
            raise InputError(
                f"scores: metric {row['metric']!r} is a {scale}, from {low:g} to {high:g}, and has the value "
                f"{row['value']:g} (corpus {row['corpus']!r}, seed {row['seed']}); give it the scale 'real', "
                "or correct it"
            )
        if here.any():
            frame.loc[here, "value"] = frame.loc[here, "value"].clip(low, high)
    return frame


def _grouped(frame: pd.DataFrame) -> "pd.core.groupby.DataFrameGroupBy[tuple[object, ...], bool]":
    return frame.groupby(list(GROUP), sort=False, dropna=False, observed=True)


def _estimates(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over runs of `column`, its standard error and degrees of freedom, indexed by `GROUP`.

    ``same`` says whether all of several values are one to rounding, given the ``size`` of the numbers that they were
    calculated from; they then have no standard error. ``overlap`` is that of the draws.
    """
    grouped = _grouped(frame)
    found = grouped[column].agg(["mean", "std", "count", "min", "max"])
    size, overlap = grouped["size"].max(), grouped["overlap"].first()
    same = found["count"].gt(1) & is_same(found["max"] - found["min"], size)
    error = found["std"].where(~same) / np.sqrt(found["count"]) * widening(found["count"], overlap)
    found["df"] = (found["count"] - 1.0).where(found["count"] > 1)
    if crossed.fits_of(frame) > 1:
        codes = grouped.ngroup().to_numpy(np.int64)
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


def _pair_means(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the means of corpus and baseline over what both have: seeds, or seeds and donors."""
    pairs = _pairs(frame, baseline)
    pairs = pairs[pairs["value"].notna() & pairs["base"].notna()]
    means = _grouped(pairs)[["value", "base"]].mean()
    means.columns = pd.Index(["pair_mean", "pair_base"])

    def both(scores: over_donors.DonorScores) -> pd.DataFrame:
        after = over_donors.contrasts(scores, baseline, lambda value, _: value, {})
        before = over_donors.contrasts(scores, baseline, lambda _, base: base, {})
        return after.assign(base=before["mean"])

    for key, found in _of_donors(frame, both):
        rows = _rows(means, key, found)
        enough = found["n_donors"].to_numpy() >= FEWEST_DONORS
        means.loc[rows[enough], ["pair_mean", "pair_base"]] = found.loc[enough, ["mean", "base"]].to_numpy()
    return means


def _overlap(corpora: pd.Series, overlaps: Overlaps | None) -> "pd.Series[float]":
    """Return what the draws of each row's corpus have in common; 0 where that is not known."""
    return corpora.map(dict(overlaps or {})).astype(float).fillna(0.0)


def _not_replicated(table: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]"]]:
    """Return of which rows all seeds are one replicate, and why, number of seeds by number of seeds."""
    lone = table["error"].isna() & table["n_seeds"].gt(1) & ~table["same"] & table["n_donors"].eq(0)
    found = [(crossed.NOT_CROSSED, lone)] if lone.any() else []
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
    runs = [name for name in ("draw", "fit") if name in frame]
    pairs = frame[[*keys, *runs, "corpus", "value"]].merge(base, on=keys, how="left", indicator="found")
    pairs["found"] = pairs["found"] == "both"
    pairs["overlap"] = _overlap(pairs["corpus"], overlaps).clip(lower=dict(overlaps or {}).get(baseline, 0.0))
    return pairs


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
