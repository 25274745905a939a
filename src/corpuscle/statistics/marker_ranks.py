"""Marker ranks: how far the places of marker genes scatter over replicates, gene by gene and type by type."""

import pandas as pd

from corpuscle.core.scores import completed

UNIT = "marker="
PLACE = ("task", "target", "model", "way", "corpus")
GROUP = (*PLACE, "altered_type", "cell_type", "gene")
COLUMNS = (*GROUP, "n_seeds", "mean", "deviation", "variance", "lowest", "highest", "range")


def marker_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise the places of each marker over seeds.

    Parameters
    ----------
    scores
        Score rows, of which those of units ``marker=TYPE: GENE`` are used; see `corpuscle.evaluation.tasks.markers`.

    Returns
    -------
    One row per corpus, model, target, way, type and marker, sorted by these: ``n_seeds`` with a place; ``mean``,
    ``variance`` (n - 1 in the denominator; NaN for one seed) and its root ``deviation``, the published measure of
    instability (Maan et al. 2024); ``lowest`` and ``highest`` place, and their ``range``. ``altered_type`` lists the
    types whose number of cells the corpus' steps changed (see `corpuscle.core.scores.label_list`). Where these are not
    the same at all seeds, a corpus has rows over all of its seeds, in which it is empty, and rows over the seeds of
    each such list.

    Examples
    --------
    >>> rows = pd.DataFrame({"unit": "marker=B: MS4A1", "seed": [0, 1], "value": [3.0, 7.0]})
    >>> rows = rows.assign(task="markers", target="blood", model="pca", way="signed", corpus="Blood")
    >>> marker_ranks(rows)[["cell_type", "gene", "mean", "variance", "range"]].to_dict("records")
    [{'cell_type': 'B', 'gene': 'MS4A1', 'mean': 5.0, 'variance': 8.0, 'range': 4.0}]
    """
    rows = completed(scores[scores["unit"].str.startswith(UNIT).fillna(value=False).astype(bool)])
    if rows.empty:
        return pd.DataFrame(columns=[*COLUMNS])
    # A type's name may have a colon; a gene's has none with a space behind it.
    named = rows["unit"].str.removeprefix(UNIT).str.rsplit(": ", n=1, expand=True)
    rows = rows.assign(cell_type=named[0], gene=named[1])
    altered = rows["altered_type"]
    several = altered.groupby([rows[name] for name in PLACE], observed=True).transform("nunique") > 1
    of_all = rows.assign(altered_type=altered.mask(several, ""))
    found = pd.concat([of_all, rows[several & altered.ne("")]]).groupby([*GROUP], observed=True)["value"]
    table = found.agg(n_seeds="count", mean="mean", deviation="std", variance="var", lowest="min", highest="max")
    return table.assign(range=table["highest"] - table["lowest"]).reset_index()[[*COLUMNS]]


def by_type(ranks: pd.DataFrame) -> pd.DataFrame:
    """Average deviations over the markers of each type: the published heat map of altered types × types.

    Parameters
    ----------
    ranks
        What `marker_ranks` returned, of one target, model and way.

    Returns
    -------
    Corpora and their altered types × cell types, in the order of their names; NaN where no marker has two places.
    """
    place = ["corpus", "altered_type"]
    return ranks.pivot_table(index=place, columns="cell_type", values="deviation", aggfunc="mean", observed=True)
