"""Every two corpora on every target: the difference over replicates next to the published test over cells."""

import itertools

import numpy as np
import pandas as pd
from claim import Estimate, values
from scipy import stats

from corpuscle.statistics.corrections import holm

ALPHA = 0.05


def compared(scores: pd.DataFrame, **which: str) -> pd.DataFrame:
    """Compare every two corpora on every target: a row each.

    Parameters
    ----------
    scores
        Scores of corpora and of their cells (``unit="cell=…"``), some seeds each.
    which
        Task, metric and way to compare by.

    Returns
    -------
    ``target``, ``corpus``, ``other``; ``difference`` of the two with its 95 % interval over replicates, ``low`` and
    ``high`` (NaN with one), and ``p_holm``, of the paired t test over replicates, after Holm's correction over all
    rows; ``significant_over_cells``, the share of seeds of which the published test, paired over cells, has P < .05.
    """
    cells = by_cell(scores, which["task"])
    corpora = list(dict.fromkeys(cells.columns.get_level_values("corpus")))
    rows = []
    for target, here in cells.groupby("target"):
        of_corpus = {name: values(scores, **which, corpus=name, target=str(target)) for name in corpora}
        for one, other in itertools.combinations(corpora, 2):
            change = (of_corpus[one] - of_corpus[other]).dropna()
            found = Estimate.of(change)
            over_cells = [significant(here, (one, seed), (other, seed)) for seed in change.index]
            rows.append({
                "target": target, "corpus": one, "other": other,
                "difference": found.mean, "low": found.low, "high": found.high,
                "p_holm": stats.ttest_1samp(change, 0.0).pvalue if found.n > 1 else np.nan,
                "significant_over_cells": np.mean(over_cells),
            })  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_holm"].to_numpy()))


def of_targets(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count for each target in how many pairs the corpora differ by either test; see `compared`."""
    found = pairs.assign(over_replicates=pairs["p_holm"] < ALPHA).groupby("target", sort=False)
    return pd.DataFrame({
        "pairs": found.size(),
        "differ over cells (mean over seeds)": found["significant_over_cells"].sum().round(1),
        "differ over replicates (Holm)": found["over_replicates"].sum(),
    }).reset_index()  # fmt: skip


def by_cell(scores: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the scores of cells: a row for each target and cell, a column for each corpus and seed."""
    rows = scores[(scores["task"] == task) & scores["unit"].str.startswith("cell=")]
    return rows.pivot_table(index=["target", "unit"], columns=["corpus", "seed"], values="value")


def significant(cells: pd.DataFrame, one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Return whether the t test, paired over cells, calls two trainings (corpus and seed) different at P < .05."""
    return bool(stats.ttest_1samp((cells[one] - cells[other]).dropna(), 0.0).pvalue < ALPHA)
