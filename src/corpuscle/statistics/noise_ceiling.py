"""Noise ceiling: what the cells of a target leave open, however many runs there are, by split halves of its cells."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

# Fewer corpora and models have no correlation to speak of.
FEWEST = 4
COLUMNS = ("n_scores", "noise", "reliability", "ceiling")


def noise_ceilings(scores: pd.DataFrame, keys: Sequence[str], baseline: str | None = None) -> pd.DataFrame:
    """Compare what the two halves of a target's cells say of the same fits.

    Every corpus is evaluated on the same cells of a target, and intervals over runs do not count that these are a
    sample. Of a score that is a mean over cells, or behaves like one, each half's has twice the variance of the
    whole's, and the halves are independent: so half of their difference has the variance of the whole's.

    Parameters
    ----------
    scores
        Score rows, of which those of the units ``half=1`` and ``half=2`` are used; see `evaluation.task.units`.
    keys
        Columns that tell apart what is not compared: task, metric, target and the like; not corpus, model or seed.
    baseline
        The corpus that others are compared with; None: each is compared with the mean of all.

    Returns
    -------
    One row per group of `keys` with both halves, in the order in which they first appear: the keys and

    - ``n_scores``: pairs of a corpus and a model, each the mean over its seeds;
    - ``noise``: standard error, in the metric's unit, of a difference from the baseline of the same model (without
      one, from the mean of all) that is due to the target's cells alone: the root mean square of half of what the
      halves differ by. NaN where nothing is compared;
    - ``reliability``: the halves' Pearson correlation over corpora and models, for the whole target by Spearman and
      Brown, 2 r / (1 + r); 0 where r is negative; NaN for fewer than four, or where a half's are all equal;
    - ``ceiling``: its root, the largest correlation that anything without this noise can have with these scores.

    References
    ----------
    Spearman 1910 and Brown 1910, Br J Psychol 3:271 and 3:296.

    Examples
    --------
    >>> rows = [("Blood", 1, 0.50), ("Blood", 2, 0.52), ("Lung", 1, 0.60), ("Lung", 2, 0.64)]
    >>> frame = pd.DataFrame(rows, columns=["corpus", "half", "value"]).assign(model="pca", seed=0, task="annotation")
    >>> frame["unit"] = "half=" + frame["half"].astype(str)
    >>> noise_ceilings(frame, ["task"], baseline="Blood").round(3).to_dict("records")
    [{'task': 'annotation', 'n_scores': 2, 'noise': 0.01, 'reliability': nan, 'ceiling': nan}]
    """
    halves = scores[scores["unit"].isin(["half=1", "half=2"])]
    found = []
    for key, here in halves.groupby(list(keys), sort=False, dropna=False, observed=True):
        runs = here.pivot(index=["corpus", "model", "seed"], columns="unit", values="value")
        if runs.shape[1] < 2:
            continue
        means = runs.dropna().groupby(level=["corpus", "model"], sort=False).mean()
        if len(means):
            found.append((*key, len(means), *_of_halves(means, baseline)))
    return pd.DataFrame(found, columns=[*keys, *COLUMNS])


def _of_halves(means: pd.DataFrame, baseline: str | None) -> tuple[float, float, float]:
    """Return noise, reliability and ceiling of one table, of corpora and models × halves."""
    effects, others = means, pd.Series(data=True, index=means.index)
    if baseline is None:
        # The mean of all takes up a share of each one's noise.
        effects = (means - means.mean()) * math.sqrt(len(means) / max(len(means) - 1, 1))
    elif baseline in means.index.get_level_values("corpus"):
        effects = means.sub(means.xs(baseline, level="corpus").reindex(means.index, level="model"))
        others = pd.Series(means.index.get_level_values("corpus") != baseline, index=means.index)
    else:
        others[:] = False
    apart = (effects.iloc[:, 0] - effects.iloc[:, 1])[others].dropna().to_numpy(float)
    noise = float(np.sqrt((apart**2).mean()) / 2) if len(apart) and len(means) > 1 else float("nan")
    reliability = float("nan")
    if len(means) >= FEWEST and (means.std() > 0).all():
        r = max(0.0, float(np.corrcoef(means.to_numpy(float).T)[0, 1]))
        reliability = 2 * r / (1 + r)
    return noise, reliability, math.sqrt(reliability) if reliability >= 0 else float("nan")
