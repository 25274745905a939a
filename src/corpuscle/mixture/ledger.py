"""Ledger: what each source is worth, from the scores of models trained on subsets of the sources.

Axes: R runs, S subsets, K sources, O outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from numpy.typing import ArrayLike

from corpuscle.mixture.output_values import OutputValues
from corpuscle.mixture.subset_runs import SubsetRuns

ENDS = ("", "_se", "_low", "_high")


@dataclass(frozen=True)
class Ledger:
    """What sources are worth; positive is good, whichever way an output is better.

    Attributes
    ----------
    values
        A row for each source and output: ``source``, ``output``; ``banzhaf``, how much better an output is with the
        source than without, the mean over all subsets of the others, and its standard error ``banzhaf_se`` and 95 %
        interval ``banzhaf_low``, ``banzhaf_high``; the same of ``shapley``, the mean over all orders in which sources
        can be added, which sum up to the difference of all and nothing. NaN where the runs do not tell.
    interactions
        A row for each output and two sources: ``source``, ``other``, ``output``, ``interaction``, how much more the two
        add together than each without the other, ``se``, ``low``, ``high``, ``p_holm`` (over all pairs of the output)
        and ``meaning``: *redundant*, *complementary*, or empty where it does not hold after the correction.
    fit
        A row for each output: ``n_subsets`` and ``n_missing`` (subsets without a score), ``noise`` (the standard
        deviation of a run), ``datamodel_score``: Spearman's correlation of subsets that were left out with the sum of
        their sources' values (Ilyas et al. 2022, https://arxiv.org/abs/2202.00622), and its chance ``p``.
    notes
        What the reader must know, a sentence each.
    """

    values: pd.DataFrame
    interactions: pd.DataFrame
    fit: pd.DataFrame
    notes: tuple[str, ...]


def ledger(
    members: pd.DataFrame,
    scores: pd.DataFrame | ArrayLike,
    *,
    seeds: ArrayLike | None = None,
    better: str | Mapping[str, str] = "higher",
) -> Ledger:
    """Return what each source is worth.

    The Banzhaf value is the main effect of a source in a two-level design. Shapley values are exact where all subsets
    were run, else a weighted regression on drawn pairs of complements (Musco & Witter 2025,
    https://arxiv.org/abs/2410.01917). Standard errors have the noise of runs (the residuals of subset + seed, where
    subsets have several runs), and, where not all subsets were run, what main effects and pairs leave unexplained.

    Parameters
    ----------
    members
        Runs × sources, whether each source was trained on; a row for each run, those of `coalitions`.
    scores
        Runs × outputs, in the same order; NaN where a run failed.
    seeds
        The seed of each run, whose effect on all subsets is taken out; None: runs have nothing in common.
    better
        ``"higher"`` or ``"lower"``, for all outputs or by output.

    Raises
    ------
    InputError
        When the tables do not match, a subset of the design was not run, or the full or empty one has no score.

    Examples
    --------
    >>> from corpuscle.mixture.coalitions import coalitions
    >>> import numpy as np
    >>> members = coalitions(["blood", "lung"], rng=np.random.default_rng(0))
    >>> found = ledger(members, {"r2": [0.0, 0.2, 0.6, 0.7]})
    >>> found.values[["source", "output", "banzhaf", "shapley"]].round(2).to_dict("list")
    {'source': ['blood', 'lung'], 'output': ['r2', 'r2'], 'banzhaf': [0.55, 0.15], 'shapley': [0.55, 0.15]}
    """
    runs = SubsetRuns.of(members, scores, seeds, better)
    values, interactions, fits = [], [], []
    for at, output in enumerate(runs.outputs):
        one = OutputValues.of(runs, at)
        values.append(one.values().assign(output=output))
        interactions.append(one.interactions().assign(output=output))
        fits.append({"output": output, **one.fit()})
    columns = ["source", "output", *(f"{kind}{end}" for kind in ("banzhaf", "shapley") for end in ENDS)]
    pairs = pd.concat(interactions, ignore_index=True)
    return Ledger(
        pd.concat(values, ignore_index=True)[columns],
        pairs[["source", "other", "output", "interaction", "se", "low", "high", "p_holm", "meaning"]],
        pd.DataFrame(fits),
        runs.notes(),
    )
