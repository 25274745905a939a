"""All pairs of corpora: which can be told apart, and which tie with the best."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from corpuscle.core.scores import completed
from corpuscle.statistics.comparisons import compared_by, log2_ratio
from corpuscle.statistics.corrections import benjamini_hochberg, holm
from corpuscle.statistics.crossed import complete, fits_of, mean_of_runs
from corpuscle.statistics.intervals import is_same, widening
from corpuscle.statistics.over_donors import Part, donor_scores
from corpuscle.statistics.over_runs import KEYS, Array, Overlaps
from corpuscle.statistics.scales import DIFFERENCES, interval_of, p_value
from corpuscle.statistics.two_way import FEWEST_DONORS, two_way

PLACE = tuple(name for name in KEYS if name != "unit")
COLUMNS = (
    *PLACE, "corpus", "other", "compared_by", "change", "low", "high", "p", "p_holm", "p_bh", "superiority",
    "n_seeds", "n_donors",
)  # fmt: skip


def all_pairs(
    scores: pd.DataFrame, corpora: Sequence[str], level: float = 0.95, overlaps: Overlaps | None = None
) -> pd.DataFrame:
    """Compare every two corpora in the metric that each task is known for.

    As `corpuscle.statistics.comparisons.summarise` compares each corpus with the baseline: paired by seed, and by donor
    where there are at least five.

    Parameters
    ----------
    scores
        Score rows, with the columns of `corpuscle.core.scores.COLUMNS`.
    corpora
        Which corpora; their order decides which of two is the first.
    level, overlaps
        As in `summarise`.

    Returns
    -------
    pandas.DataFrame
        One row per score over all cells and pair: model to version, ``corpus`` and ``other``, ``compared_by``,
        ``change`` (corpus minus other, or log2 of their ratio) with ``low`` and ``high``, ``p`` (two-sided, paired),
        ``p_holm`` and ``p_bh`` (corrected over the pairs of one model, task, target, metric and way), ``superiority``
        (the chance that a run of corpus is higher than one of the other), ``n_seeds`` and ``n_donors`` (0: over runs
        alone) that they have in common.

    Examples
    --------
    >>> from corpuscle.core.scores import Score, score_table
    >>> values = {"A": [0.50, 0.52], "B": [0.61, 0.63], "C": [0.70, 0.73]}
    >>> scores = pd.concat(
    ...     score_table([Score("r2", "all", value, 10, "higher", headline=True)],
    ...                 corpus=corpus, seed=seed, model="m", task="t", target="blood")
    ...     for corpus, row in values.items() for seed, value in enumerate(row))
    >>> all_pairs(scores, ["A", "B", "C"])[["corpus", "other", "change", "n_seeds"]].round(3)
      corpus other  change  n_seeds
    0      A     B  -0.110        2
    1      A     C  -0.205        2
    2      B     C  -0.095        2
    """
    frame = completed(scores).reset_index(drop=True)
    # By all corpora, as in the summary: which ones are shown changes no comparison.
    ratios = compared_by(frame)
    frame = frame[frame["headline"] & frame["corpus"].isin(list(corpora))]
    donors = {scores.key: scores.values for scores in donor_scores(frame, PLACE)}
    fits = fits_of(frame)
    found = []
    for key, here in frame[frame["unit"] == "all"].groupby(list(PLACE), sort=False, observed=True):
        wide = here.pivot(index="corpus", columns="seed", values="value")
        wide = wide.reindex([corpus for corpus in corpora if corpus in wide.index])
        scale, by = str(here["scale"].iloc[0]), str(ratios.loc[here.index[0]])
        values_CSD = _values(wide, donors.get(key))
        rows = [(*key, *row) for row in _pairs(values_CSD, wide, by, overlaps or {}, fits)]
        found.append(_tested(pd.DataFrame(rows, columns=[*PLACE, *RAW]), by, scale, level))
    # Of one corpus there is no pair; pandas warns of joining tables without rows.
    found = [table for table in found if len(table)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


RAW = ("corpus", "other", "compared_by", "change", "error", "df", "superiority", "n_seeds", "n_donors")


def _values(wide: pd.DataFrame, of_donors: pd.DataFrame | None) -> Array | None:
    """Return corpora × seeds × donors, NaN where missing; None where no donors are known."""
    if of_donors is None:
        return None
    runs = pd.MultiIndex.from_product([wide.index, wide.columns])
    return np.asarray(of_donors.reindex(runs), float).reshape(*wide.shape, -1)


def _pairs(
    values_CSD: Array | None, wide: pd.DataFrame, by: str, overlaps: Overlaps, fits: int
) -> Iterator[tuple[object, ...]]:
    """Estimate the change of every pair."""
    corpora, overall_CS = list(wide.index), wide.to_numpy(float)
    change = log2_ratio if by == "ratio" else np.subtract
    for one in range(len(corpora)):
        for other in range(one + 1, len(corpora)):
            a_SD, b_SD = overall_CS[one][:, None], overall_CS[other][:, None]
            known_S, n_donors = np.isfinite(a_SD + b_SD)[:, 0], 0
            change_SD = change(a_SD, b_SD)[known_S]
            if values_CSD is not None:
                part = Part.of(values_CSD[one], values_CSD[other])
                n_donors = int(part.donors.sum())
                if n_donors >= FEWEST_DONORS or part.uneven:
                    a_SD, b_SD, known_S = values_CSD[one], values_CSD[other], part.runs
                    change_SD = part.cut(change(a_SD, b_SD))
            change_SD = change_SD[complete(wide.columns[known_S], fits)]
            n_seeds = len(change_SD) if change_SD.size else 0
            shared = max(overlaps.get(corpora[one], 0.0), overlaps.get(corpora[other], 0.0))
            widened = float(widening(n_seeds // fits, shared))
            mean, error, df = np.nan, np.nan, np.nan
            if n_seeds:
                mean = float(change_SD.mean())
                size = np.nanmax(np.abs([a_SD, b_SD])) if by == "difference" else 1.0
                if n_seeds > 1 and not is_same(np.ptp(change_SD, axis=0).max(), size):
                    error, df = _error(change_SD, widened, fits)
            won = np.sign(overall_CS[one][:, None] - overall_CS[other])
            won = won[np.isfinite(won)]
            superiority = float((won.mean() + 1) / 2) if won.size else np.nan
            yield corpora[one], corpora[other], by, mean, error, df, superiority, n_seeds, n_donors


def _error(change_SD: Array, wide: float, fits: int) -> tuple[float, float]:
    """Return the standard error of a mean change and its degrees of freedom."""
    n_seeds, n_donors = change_SD.shape
    if fits > 1:
        _, error, df = mean_of_runs(change_SD, fits, wide)
        return float(error), float(df)
    if n_donors > 1:
        _, error, df = two_way(change_SD, wide)
        return float(error), float(df)
    return float(change_SD.std(ddof=1) / np.sqrt(n_seeds)) * wide, n_seeds - 1.0


def _tested(rows: pd.DataFrame, by: str, scale: str, level: float) -> pd.DataFrame:
    """Add intervals and p values."""
    kind = np.full(len(rows), "real" if by == "ratio" else DIFFERENCES.get(scale, "real"), object)
    mean, error, df = (rows[name].to_numpy(float) for name in ("change", "error", "df"))
    low, high = interval_of(mean, error, df, kind, level)
    p = p_value(mean, error, df, kind)
    return rows.assign(low=low, high=high, p=p, p_holm=holm(p), p_bh=benjamini_hochberg(p))[list(COLUMNS)]


def ties_with_best(summary: pd.DataFrame, pairs: pd.DataFrame, alpha: float = 0.05) -> "pd.Series[bool]":
    """Return which corpora may be the best of their model, task, target, metric and way: none is shown to be better.

    Another is shown to be better where their paired difference survives Holm's correction over all pairs (the chance of
    leaving out any that is as good as the best is then below `alpha`), or where a verdict of the summary says so.
    Where some pairs can be tested, a corpus of which none can (it has one run, say) is not among them: nothing is
    known of it. Where neither way is better, there is no best.

    Parameters
    ----------
    summary
        Rows of `summarise`.
    pairs
        Rows of `all_pairs`; scores that they do not have are not ranked.
    alpha
        The level of the tests.
    """
    sign = summary["better"].map({"higher": 1.0, "lower": -1.0}).astype(float)
    # Nearer to zero is better: of residuals, the smallest.
    merit = (sign * summary["mean"].astype(float)).where(sign.notna(), -summary["mean"].abs())
    known = summary["unit"].eq("all") & summary["better"].ne("none") & merit.notna()
    found = pd.Series(data=False, index=summary.index)
    of_place = dict(list(pairs.groupby(list(PLACE), sort=False, observed=True)))
    for key, of_key in summary[known].groupby(list(PLACE), sort=False, observed=True):
        tests = of_place.get(key)
        if tests is None:
            continue
        merits = dict(zip(of_key["corpus"], merit[of_key.index], strict=True))
        up = {"higher": 1.0, "lower": -1.0}.get(str(of_key["better"].iloc[0]))
        compared, tested, beaten = set[str](), set[str](), set[str]()
        for one, other, change, p in tests[["corpus", "other", "change", "p_holm"]].itertuples(index=False, name=None):
            compared |= {one, other}
            if np.isfinite(p):
                tested |= {one, other}
            if p <= alpha:
                # Of paired differences; of means where nearer to zero is better.
                is_up = change * up > 0 if up else merits.get(one, -np.inf) > merits.get(other, -np.inf)
                beaten.add(other if is_up else one)
        verdict = of_key["verdict"].astype(str)
        beaten |= set(of_key.loc[verdict.eq("worse"), "corpus"])
        if verdict.eq("better").any():
            beaten |= set(of_key.loc[verdict.eq("baseline"), "corpus"])
        left = (tested or compared) - beaten
        found[of_key.index] = of_key["corpus"].isin(left)
    return found
