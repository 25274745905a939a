"""Forecast: which mixtures are expected to be good before anything is trained, by how near they are to the targets."""

from collections.abc import Mapping

import pandas as pd

# Directed, of equal numbers of cells: what a mean rank is taken of.
MEASURES = ("knn_distance", "moment_proxy", "squared_mmd")


def forecast(measures: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Rank mixtures by the distance to the nearest cells, the moment proxy and the MMD, and take the mean rank.

    This costs no training, and is what any search has to beat.

    Parameters
    ----------
    measures
        Rows of `corpuscle.execution.measuring.MEASURES`, or such as have ``corpus``, ``measure``, ``target``, ``size``,
        ``value`` and ``better``.
    weights
        How much each target counts.

    Returns
    -------
    A row per mixture, best first: ``mean_rank`` (1 is the best possible), and under ``MEASURE on TARGET`` the values.
    Mixtures that lack a measure are ranked last in it; without any value there is no row.

    Examples
    --------
    >>> rows = [("A", "knn_distance", 1.0, "lower"), ("B", "knn_distance", 2.0, "lower"),
    ...         ("A", "moment_proxy", 0.6, "higher"), ("B", "moment_proxy", 0.5, "higher")]
    >>> table = pd.DataFrame(rows, columns=["corpus", "measure", "value", "better"]).assign(target="t", size="equal")
    >>> forecast(table, {"t": 1.0})["mean_rank"].to_dict()
    {'A': 1.0, 'B': 2.0}
    """
    kept = measures[measures["measure"].isin(MEASURES) & measures["target"].isin(list(weights))]
    kept = kept[(kept["size"] == "equal") | (kept["measure"] == "moment_proxy")].dropna(subset=["value"])
    columns, ranks, shares = {}, {}, {}
    for (measure, target), here in kept.groupby(["measure", "target"], sort=False):
        value = here.groupby("corpus", sort=False)["value"].mean()
        name = f"{measure} on {target}"
        columns[name] = value
        ranks[name] = value.rank(ascending=bool((here["better"] == "lower").all()))
        shares[name] = weights[str(target)]
    if not columns:
        return pd.DataFrame(columns=["mean_rank"])
    ranked, share = pd.DataFrame(ranks), pd.Series(shares)
    mean = (ranked.fillna(len(ranked)) * share / share.sum()).sum(axis=1)
    return pd.DataFrame(columns).assign(mean_rank=mean).sort_values("mean_rank", kind="stable")[
        ["mean_rank", *columns]
    ]  # fmt: skip
