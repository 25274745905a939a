"""Gene residuals: which genes lead, what of barely expressed ones is said, and what colours mean."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import score_table
from corpuscle.evaluation.tasks.residuals import OBSERVED, PREDICTED, RELATIVE
from corpuscle.report.page.render import render
from corpuscle.report.sections.gene_residuals import FLOOR, gene_grid, gene_residuals

# Observed per 10,000, and what each corpus predicts. RPS17 is hardly there, and predicted a thousandfold.
SEEN = {"LYZ": 90.0, "CD14": 6.0, "FTL": 160.0, "HBB": 2.0, "RPS17": 0.03, "NONE": 0.0}
MADE = {
    "Blood": {"LYZ": 80.0, "CD14": 5.0, "FTL": 150.0, "HBB": 2.5, "RPS17": 0.05, "NONE": 0.01},
    "Lung": {"LYZ": 20.0, "CD14": 5.5, "FTL": 155.0, "HBB": 40.0, "RPS17": 34.14, "NONE": 0.02},
}


def scores() -> pd.DataFrame:
    tables = []
    for (corpus, made), seed in ((item, seed) for item in MADE.items() for seed in range(3)):
        rows = []
        for gene, seen in SEEN.items():
            expected = made[gene] * (1 + 0.01 * (seed - 1))
            relative = (seen - expected) / seen if seen else np.nan
            found = (
                (OBSERVED, seen, ""),
                (PREDICTED, expected, ""),
                (RELATIVE, relative, "" if seen else "not observed"),
            )
            rows += [metric.score(f"gene={gene}", value, 100, reason=why) for metric, value, why in found]
        tables.append(score_table(rows, corpus=corpus, model="m", seed=seed, task="residuals", target="blood"))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def found():
    (only,) = gene_residuals(scores(), "Blood", ["Blood", "Lung"], ["blood"])
    return only


def test_a_barely_expressed_gene_leads_no_table_and_is_named_for_what_it_is(found):
    assert found.story == ["HBB", "LYZ", "CD14", "FTL"]
    assert "RPS17" not in [*found.worst("Lung")["gene"], *found.moved("Lung")["gene"]]
    assert found.n_barely == 1
    assert found.imagined() == [("RPS17", 0.03, "Lung", pytest.approx(34.14))]
    assert set(found.table["gene"]) == set(SEEN), "the CSV has all"


def test_the_standardised_residual_is_in_usual_deviations_of_the_baselines_expressed_genes(found):
    table = found.table.set_index(["corpus", "gene"])
    error = np.log1p(table["observed"]) - np.log1p(table["expected"])
    of_base = error["Blood"][table.loc["Blood", "observed"] >= FLOOR].abs()
    expected = error / (of_base.median() / 0.6745)
    pd.testing.assert_series_equal(table["standardised"], expected, check_names=False)
    assert abs(table.loc[("Blood", "RPS17"), "standardised"]) < 0.5, "small where nearly nothing is"


def test_blue_is_nearer_to_the_observed_than_the_baseline_and_orange_further(found):
    grid = {gene: dict(zip(found.corpora, cells, strict=True)) for gene, _, cells in gene_grid(found)}
    assert grid["CD14"]["Lung"].tone == "cool", "5.5 of 6, where the baseline has 5"
    assert grid["LYZ"]["Lung"].tone == "warm"
    assert {cells["Blood"].tone for cells in grid.values()} == {"neutral"}
    assert grid["HBB"]["Lung"].value == "20-fold"


def test_the_page_says_what_its_tables_leave_out(make_run):
    folder = make_run(corpora=("Blood", "Lung"), seeds=3, n_genes=12, targets=("blood",))
    both = [pd.read_parquet(folder / "scores.parquet").query("task != 'residuals'"), scores()]
    pd.concat(both, ignore_index=True).to_parquet(folder / "scores.parquet")
    page = render(folder).read_text(encoding="utf-8")
    assert "1 gene observed below 0.1 per 10,000" in page
    assert "RPS17 (0.03 observed, 34 predicted by Lung)" in page
    assert "−1,137" not in page
