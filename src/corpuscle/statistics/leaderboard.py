"""Leaderboard: how well each measure of a corpus predicts the scores of models trained on it.

Axes: C corpora, P places (a score of a model).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from corpuscle.core.errors import InputError

# Of fewer corpora, ranks say nothing that an interval would not swallow.
FEWEST = 6
LEVEL = 0.95
MEASURE = ["measure", "of", "size"]
SCORE = ["model", "task", "target", "metric", "way"]
# Fisher's z of a perfect correlation has no end.
LARGEST = 0.999


def leaderboard(measures: pd.DataFrame, scores: pd.DataFrame, seen: Mapping[str, bool] | None = None) -> pd.DataFrame:
    """Correlate measures with scores over corpora: one row per measure and score.

    Parameters
    ----------
    measures
        Rows of measured corpora: ``corpus``, ``seed``, ``measure``, ``of``, ``size``, ``target`` (empty: of the corpus
        alone, which is compared with the scores of all targets), ``value`` and ``better`` (``"lower"`` turns the sign;
        else high values are taken for good).
    scores
        Score rows, see `corpuscle.core.scores.COLUMNS`: of all cells, of the metric that each task is known for.
    seen
        Which targets a model may have learnt from; others are unseen, and without it nothing is known.

    Returns
    -------
    With the columns of measure and score, ``seen``, ``n_corpora``, and Spearman's ``correlation`` between means over
    seeds, positive where what the measure calls better scores better, with a 95 % interval ``low``, ``high``: Student's
    t on Fisher's z, its standard error by leaving out one corpus at a time. NaN where all corpora measure, or score,
    alike.

    Raises
    ------
    InputError
        When fewer than six corpora have measures and scores.

    Examples
    --------
    >>> corpora = [f"c{at}" for at in range(8)]
    >>> measures = pd.DataFrame({"corpus": corpora, "seed": 0, "measure": "knn_distance", "of": "components",
    ...     "size": "equal", "target": "blood", "value": range(8), "better": "lower"})
    >>> scores = pd.DataFrame({"corpus": corpora, "seed": 0, "model": "pca", "task": "reconstruction",
    ...     "target": "blood", "metric": "r2_log", "way": "", "unit": "all", "headline": True, "better": "higher",
    ...     "value": [0.9, 0.8, 0.7, 0.5, 0.6, 0.4, 0.3, 0.2]})
    >>> leaderboard(measures, scores)[["measure", "target", "n_corpora", "correlation"]].round(2).to_dict("records")
    [{'measure': 'knn_distance', 'target': 'blood', 'n_corpora': 8, 'correlation': 0.98}]
    """
    measured, scored = _measured(measures), _scored(scores)
    rows = []
    for place, value_C in scored.items():
        target = str(place[SCORE.index("target")])
        for (name, of, size, about), measure_C in measured.items():
            if about not in {"", target}:
                continue
            both = _paired(measure_C, value_C)
            if len(both) >= FEWEST:
                known = None if seen is None else bool(seen.get(target, False))
                rows.append((name, of, size, *place, known, len(both), *_correlation([both])))
    if not rows:
        n = len(set(measures["corpus"]) & set(scores["corpus"]))
        raise InputError(
            f"expected at least {FEWEST} corpora with measures and scores, to see which measure ranks them as scores "
            f"do; got {n}. More corpora, or mixtures of them, in the study file make more"
        )
    return pd.DataFrame(rows, columns=[*MEASURE, *SCORE, "seen", "n_corpora", "correlation", "low", "high"])


def standings(measures: pd.DataFrame, scores: pd.DataFrame, board: pd.DataFrame) -> pd.DataFrame:
    """Return each measure's mean correlation over scores, of seen and of unseen targets apart, best first.

    Parameters
    ----------
    measures, scores
        As `leaderboard` took them.
    board
        What it returned.

    Returns
    -------
    Columns of the measure, ``seen``, ``n_scores``, ``n_corpora`` (those that any of these scores has), and
    ``correlation``, ``low``, ``high`` of the mean: each score has its own corpora, as not every model is trained on
    all of them, and a corpus is left out of all scores that have it at a time.
    """
    measured, scored = _measured(measures), _scored(scores)
    rows = []
    known = board[board["correlation"].notna()]
    for (name, of, size, seen), here in known.groupby([*MEASURE, "seen"], sort=False, dropna=False):
        pairs = []
        for place in here[SCORE].itertuples(index=False, name=None):
            target = str(place[SCORE.index("target")])
            key = next(key for key in ((name, of, size, target), (name, of, size, "")) if key in measured)
            pairs.append(_paired(measured[key], scored[place]))
        n_corpora = len(set().union(*(pair.index for pair in pairs)))
        rows.append((name, of, size, seen, len(pairs), n_corpora, *_correlation(pairs)))
    table = pd.DataFrame(rows, columns=[*MEASURE, "seen", "n_scores", "n_corpora", "correlation", "low", "high"])
    return table.sort_values(["seen", "correlation"], ascending=[True, False], kind="stable", ignore_index=True)


def _measured(measures: pd.DataFrame) -> dict[tuple[str, str, str, str], "pd.Series[float]"]:
    """Return by measure and target (empty: any) the mean over seeds of each corpus, high ones good."""
    known = measures[np.isfinite(measures["value"])]
    sign = np.where(known["better"] == "lower", -1.0, 1.0)
    table = known.assign(value=known["value"] * sign, target=known["target"].fillna(""))
    return {
        (str(one), str(of), str(size), str(target)): here.groupby("corpus")["value"].mean()
        for (one, of, size, target), here in table.groupby([*MEASURE, "target"], sort=False)
    }


def _scored(scores: pd.DataFrame) -> dict[tuple[str, ...], "pd.Series[float]"]:
    """Return by score the mean over seeds of each corpus, high ones good."""
    known = scores[(scores["unit"] == "all") & scores["headline"] & np.isfinite(scores["value"])]
    sign = np.where(known["better"] == "lower", -1.0, 1.0)
    table = known.assign(value=known["value"] * sign)
    return {
        tuple(map(str, place)): here.groupby("corpus")["value"].mean()
        for place, here in table.groupby(SCORE, sort=False)
    }


def _paired(measure_C: "pd.Series[float]", value_C: "pd.Series[float]") -> pd.DataFrame:
    """Return measure and score of the corpora that have both."""
    return pd.concat([measure_C, value_C], axis=1, join="inner").dropna()


def _correlation(pairs: Sequence[pd.DataFrame]) -> tuple[float, float, float]:
    """Return the mean Spearman correlation of places, and its interval by leaving out one corpus at a time."""
    found_P = np.array([_rank_correlation(pair.to_numpy(float)) for pair in pairs])
    found = float(found_P.mean())
    corpora = list(dict.fromkeys(name for pair in pairs for name in pair.index))
    n = len(corpora)
    if np.isnan(found):
        return found, np.nan, np.nan
    without_C = [
        np.mean([
            _rank_correlation(pair.drop(name).to_numpy(float)) if name in pair.index else one
            for pair, one in zip(pairs, found_P, strict=True)
        ])
        for name in corpora
    ]  # fmt: skip
    z_C = np.arctanh(np.clip(without_C, -LARGEST, LARGEST))
    se = float(np.sqrt((n - 1) / n * ((z_C - np.nanmean(z_C)) ** 2).sum()))
    centre = float(np.arctanh(np.clip(found, -LARGEST, LARGEST)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * se
    return found, float(np.tanh(centre - half)), float(np.tanh(centre + half))


def _rank_correlation(pair_C2: NDArray[np.float64]) -> float:
    """Return Spearman's correlation; NaN where one side is all alike."""
    rank_C2 = stats.rankdata(pair_C2, axis=0)
    rank_C2 = rank_C2 - rank_C2.mean(axis=0)
    size = float(np.sqrt((rank_C2**2).sum(axis=0)).prod())
    return float(rank_C2[:, 0] @ rank_C2[:, 1] / size) if size else float("nan")
