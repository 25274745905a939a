"""Shown: which corpora a page has in its tables and figures, where a study has more than a reader can look at."""

from collections.abc import Sequence

import pandas as pd

# More than these would make heatmaps that nobody reads, and a page that a browser does not open.
MOST_CORPORA = 30


def shown_corpora(corpora: Sequence[str], baseline: str, summary: pd.DataFrame) -> list[str]:
    """Choose the corpora that a page shows, in their order: all, or `MOST_CORPORA` of them.

    Of more, the baseline is shown, then the corpora whose scores moved furthest from it, by ratios or by differences as
    the metric is compared: the comparisons (model, task, target, metric, way) take turns in naming them. Without
    scores, the first are shown.

    Parameters
    ----------
    corpora
        All corpora in the order of the report.
    baseline
        What they are compared with.
    summary
        What `corpuscle.statistics.comparisons.summarise` returns.

    Examples
    --------
    >>> columns = ["corpus", "unit", "model", "task", "target", "metric", "way"]
    >>> columns += ["log2_fold_change", "difference", "compared_by"]
    >>> len(shown_corpora([f"C{at}" for at in range(500)], "C0", pd.DataFrame(columns=columns)))
    30
    """
    if len(corpora) <= MOST_CORPORA:
        return list(corpora)
    moved = summary[(summary["unit"] == "all") & (summary["corpus"] != baseline)]
    # All rows of a metric are compared in one way.
    size = moved["log2_fold_change"].where(moved["compared_by"] == "ratio", moved["difference"])
    moved = moved.assign(size=pd.to_numeric(size).abs()).dropna(subset=["size"])
    moved["turn"] = moved.groupby(["model", "task", "target", "metric", "way"])["size"].rank(
        ascending=False, method="first"
    )
    ordered = moved.sort_values(["turn", "size"], ascending=[True, False], kind="stable")["corpus"]
    chosen = set(list(dict.fromkeys([baseline, *ordered, *corpora]))[:MOST_CORPORA])
    return [corpus for corpus in corpora if corpus in chosen]


def of_corpora(table: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some corpora."""
    return table[table["corpus"].isin(list(corpora))]
