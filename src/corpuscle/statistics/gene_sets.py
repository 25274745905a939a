"""Gene sets: how each set stands in each ranking of genes, a row each; and the best one of each ranking."""

import pandas as pd

from corpuscle.core.scores import completed

UNIT, SET_UNIT = "set=", "gene_set="
# The task's metrics, and what they are called here.
VALUES = {"nes": "nes", "enrichment_p": "p", "enrichment_fdr": "fdr", "leading_edge": "leading_share"}
PLACE = ("task", "target", "model", "way", "corpus", "seed")
COLUMNS = (*PLACE, "vector", "set", "n_genes", "share_found", *VALUES.values(), "leading_genes", "reason")
# At which rate a set counts as found.
FOUND_AT = 0.05


def gene_set_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Gather what the task `gene_sets` found.

    Parameters
    ----------
    scores
        Score rows, of which those of units ``set=VECTOR: SET`` and ``gene_set=SET`` are used; see
        `corpuscle.evaluation.tasks.gene_sets`.

    Returns
    -------
    One row per corpus, seed, model, target, way (``loadings`` or ``residual``), vector and set, sorted by these:
    ``n_genes`` of the set and which share of them was ranked (``share_found``); ``nes``, ``p`` and ``fdr``; where it
    was kept, which share of the ranked genes is the leading edge (``leading_share``), and ``leading_genes``, those
    furthest from 0 first; and the ``reason`` where there is no value.

    Examples
    --------
    >>> rows = pd.DataFrame({"unit": "set=Z_5: mitosis", "metric": ["nes", "enrichment_fdr"], "value": [2.1, 0.001]})
    >>> rows = rows.assign(task="gene_sets", target="blood", model="ldvae", way="loadings", corpus="Blood", seed=0)
    >>> gene_set_table(rows)[["vector", "set", "nes", "fdr"]].to_dict("records")
    [{'vector': 'Z_5', 'set': 'mitosis', 'nes': 2.1, 'fdr': 0.001}]
    """
    rows = completed(scores[_starts(scores, UNIT) & scores["metric"].isin(VALUES).fillna(value=False).astype(bool)])
    if rows.empty:
        return pd.DataFrame(columns=[*COLUMNS])
    key = [*PLACE, "unit"]
    rows = rows.drop_duplicates([*key, "metric"], keep="last")
    leading, rows_of_nes = (rows[rows["metric"] == name].set_index(key) for name in ("leading_edge", "nes"))
    table = rows.pivot(index=key, columns="metric", values="value").reindex(columns=[*VALUES]).rename(columns=VALUES)
    # What else is to be known of the target follows.
    table["leading_genes"] = leading["reason"].str.split("; ", n=1).str[0].reindex(table.index).fillna("")
    table["reason"] = rows_of_nes["reason"].reindex(table.index).fillna("")
    table = table.reset_index()
    # A set's name may have a colon and a space; the task leaves a vector's without.
    named = table["unit"].str.removeprefix(UNIT).str.partition(": ")
    return _with_sizes(table.assign(vector=named[0], set=named[2]), scores)[[*COLUMNS]]


def _with_sizes(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Add how many genes sets have, and how many of them were ranked."""
    rows = completed(scores[_starts(scores, SET_UNIT)])
    rows = rows.assign(set=rows["unit"].str.removeprefix(SET_UNIT))
    for metric, column in (("set_size", "n_genes"), ("genes_ranked", "share_found")):
        # A set has its size whatever is ranked.
        by = [name for name in PLACE if metric != "set_size" or name != "way"]
        here = (
            rows[rows["metric"] == metric].rename(columns={"value": column}).drop_duplicates([*by, "set"], keep="last")
        )
        table = table.merge(here[[*by, "set", column]], on=[*by, "set"], how="left")
    return table


def _starts(scores: pd.DataFrame, prefix: str) -> pd.Series:
    return scores["unit"].str.startswith(prefix).fillna(value=False).astype(bool)


def best_sets(table: pd.DataFrame) -> pd.DataFrame:
    """Return the row of the surest set of each vector, the one with the larger NES of several; in the same order.

    Parameters
    ----------
    table
        What `gene_set_table` returned.
    """
    known = table[table["fdr"].notna()].assign(size=lambda rows: rows["nes"].abs())
    first = known.sort_values(["fdr", "p", "size"], ascending=[True, True, False], kind="stable")
    return first.drop_duplicates([*PLACE, "vector"]).sort_index().drop(columns="size")


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each set and corpus how strongly it is enriched in the vector where it stands out most.

    Parameters
    ----------
    table
        What `gene_set_table` returned.

    Returns
    -------
    One row per task, target, model, way, corpus and set: ``nes``, the mean over seeds of the NES of the vector where it
    is furthest from 0 (its absolute value for loadings, whose sign means nothing); ``n_found``, at how many seeds some
    vector has the set at a false discovery rate of 5 %, of ``n_seeds``; and ``share_found`` of its genes, mean.
    """
    known = table[table["nes"].notna()]
    size = known["nes"].abs()
    known = known.assign(size=size, nes=known["nes"].mask(known["way"] == "loadings", size))
    by_seed = known.sort_values("size", ascending=False, kind="stable").drop_duplicates([*PLACE, "set"])
    found = known[known["fdr"] <= FOUND_AT].drop_duplicates([*PLACE, "set"])[[*PLACE, "set"]].assign(found=1)
    by_seed = by_seed.merge(found, on=[*PLACE, "set"], how="left").fillna({"found": 0})
    place = [name for name in PLACE if name != "seed"]
    groups = by_seed.groupby([*place, "set"], observed=True, sort=True)
    return groups.agg(
        nes=("nes", "mean"), n_found=("found", "sum"), n_seeds=("seed", "nunique"), share_found=("share_found", "mean")
    ).reset_index()
