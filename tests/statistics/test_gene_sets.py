"""Tests for corpuscle.statistics.gene_sets, and of its section of the report."""

import numpy as np
import pandas as pd

from corpuscle.report.sections.gene_sets import gene_set_tables
from corpuscle.statistics.gene_sets import COLUMNS, best_sets, gene_set_table, strongest

PLACE = {"task": "gene_sets", "target": "blood", "model": "ldvae"}


def _found(corpus: str, seed: int, way: str, vector: str, **sets: tuple[float, float]) -> pd.DataFrame:
    rows = [
        {"unit": f"set={vector}: {name}", "metric": metric, "value": value, "reason": reason}
        for name, (nes, fdr) in sets.items()
        for metric, value, reason in (
            ("nes", nes, ""),
            ("enrichment_p", fdr / 2, ""),
            ("enrichment_fdr", fdr, ""),
            *([("leading_edge", 0.5, "MKI67, TOP2A; on 10 of 20 genes")] if fdr < 0.25 else []),
        )
    ]
    for name in sets:
        rows.append({"unit": f"gene_set={name}", "metric": "genes_ranked", "value": 0.8, "reason": "", "way": way})
        rows.append({"unit": f"gene_set={name}", "metric": "set_size", "value": 54.0, "reason": "", "way": ""})
    return pd.DataFrame(rows).fillna({"way": way}).assign(corpus=corpus, seed=seed, **PLACE)


# A set's name may have what parts a unit.
ROWS = pd.concat(
    [
        _found("Blood", 0, "loadings", "Z_0", **{"G2: M": (1.0, 0.6), "T": (-1.9, 0.04)}),
        _found("Blood", 0, "loadings", "Z_1", **{"G2: M": (-2.5, 0.001), "T": (2.0, 0.001)}),
        _found("Blood", 1, "loadings", "Z_0", **{"G2: M": (1.5, 0.2), "T": (np.nan, np.nan)}),
        _found("Lung", 0, "loadings", "Z_0", **{"G2: M": (1.1, 0.3), "T": (0.9, 0.9)}),
        _found("Lung", 0, "residual", "residual", **{"G2: M": (-1.1, 0.3), "T": (0.9, 0.9)}),
    ],
    ignore_index=True,
)


def test_a_row_has_all_that_is_known_of_a_vector_and_a_set():
    table = gene_set_table(ROWS)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 10
    row = table.set_index(["corpus", "seed", "vector", "set"]).loc[("Blood", 0, "Z_1", "G2: M")]
    assert row[["nes", "p", "fdr", "n_genes", "share_found"]].tolist() == [-2.5, 0.0005, 0.001, 54, 0.8]
    assert (row["leading_share"], row["leading_genes"]) == (0.5, "MKI67, TOP2A")
    assert gene_set_table(ROWS[ROWS["unit"] == "all"]).empty


def test_the_best_set_of_a_vector_is_the_surest_and_then_the_strongest():
    best = best_sets(gene_set_table(ROWS)).set_index(["corpus", "seed", "vector"])["set"]
    assert best["Blood", 0].tolist() == ["T", "G2: M"]
    assert best["Blood", 1].tolist() == ["G2: M"]


def test_a_set_is_as_strong_as_in_the_vector_where_it_stands_out_most():
    found = strongest(gene_set_table(ROWS)).set_index(["way", "corpus", "set"])
    assert found.loc[("loadings", "Blood", "G2: M"), ["nes", "n_found", "n_seeds"]].tolist() == [2.0, 1, 2]
    # A residual's sign means something.
    assert found.loc[("residual", "Lung", "G2: M"), "nes"] == -1.1


def test_tables_are_of_the_corpora_that_are_shown_in_their_order():
    loadings, residual = gene_set_tables(gene_set_table(ROWS), ["Lung", "Blood"])
    assert loadings.corpora == ["Lung", "Blood"]
    assert [(row.name, row.cells[1][2:]) for row in loadings.rows] == [
        ("G2: M", ("2.00", "1 of 2", 0.5)),
        ("T", ("2.00", "1 of 1", 1.0)),
    ]
    assert [(one.latent, one.set, one.genes) for one in loadings.latents] == [
        ("Z_0", "T", "MKI67, TOP2A"),
        ("Z_1", "G2: M", "MKI67, TOP2A"),
    ]
    assert (loadings.n_tied, loadings.n_latents) == (2, 4)
    assert not residual.latents
    assert gene_set_tables(gene_set_table(ROWS.iloc[:0]), ["Lung"]) == []
