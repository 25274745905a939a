"""`corpuscle.overlap` and its command: true copies are found whatever was done to them, and nothing else is."""

import re
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import corpuscle
from corpuscle.cli import app
from corpuscle.corpus import overlap as engine
from corpuscle.corpus.overlap.verified import verified

N, G = 60, 1500


def cells(n=N, seed=0, name="cell"):
    """Draw cells with some 300 of 1,500 genes."""
    rng = np.random.default_rng(seed)
    laws = np.random.default_rng(7).gamma(0.5, 1.0, (2, G)) + 0.02
    laws /= laws.sum(axis=1, keepdims=True)
    counts = rng.poisson(laws[np.arange(n) % 2] * rng.uniform(500, 900, (n, 1))).astype(np.float32)
    obs = pd.DataFrame({"half": [("first", "second")[at >= n // 2] for at in range(n)]},
                       index=[f"{name}{at}x" for at in range(n)])  # fmt: skip
    return AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(G)]))


def altered(adata, values, name="other"):
    names = pd.DataFrame(index=[f"{name}{at}x" for at in range(adata.n_obs)])
    return AnnData(csr_matrix(values), obs=names, var=adata.var)


def normalised(counts, log):
    return log(1e4 * counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("log", [np.array, np.log1p, lambda x: np.log2(1 + x)], ids=["scaled", "log1p", "log2"])
def test_normalised_cells_on_other_genes_have_the_very_counts(log):
    one = cells()
    values = normalised(one.X.toarray()[:20], log).astype(np.float32)
    two = altered(one[:20], values)[:, ::2].copy()
    found = corpuscle.overlap(one, two)
    assert found.matches["kind"].eq("identical").sum() >= 18
    assert (found.matches["row_a"] == found.matches["row_b"]).all()
    assert len(found.matches) == 20
    assert found.shares[["identical", "unseen", "unknown"]].iloc[0].sum() <= 1
    assert found.shares.loc[found.shares["of"] == "adata 2", "unseen"].item() == 0


def test_each_match_says_what_it_rests_on():
    one = cells()
    thinned = np.random.default_rng(1).binomial(one.X.toarray()[:30].astype(int), 0.7).astype(np.float32)
    same_names = altered(one[:30], thinned)
    same_names.obs_names = one.obs_names[:30]
    for two, kind in ((altered(one[:30], thinned), "near"), (same_names, "barcode")):
        table = corpuscle.overlap(one, two).matches
        assert table["kind"].eq(kind).all()
        assert (table["row_a"] == table["row_b"]).all()
        assert len(table) == 30
        assert table["n_agree"].between(1, table["n_detected"]).all()
        assert table["chance"].between(0, 1e-9).all()
        assert (table["n_genes"] == G).all()
        assert table["same_barcode"].eq(kind == "barcode").all()


def test_cells_that_one_file_has_twice_are_found_and_none_matches_itself(tmp_path):
    twice = cells(N)
    counts = np.concatenate([twice.X.toarray(), twice.X.toarray()[:10], twice.X.toarray()[:10]])
    obs = pd.DataFrame(index=[f"c{at}x" for at in range(len(counts))])
    data = AnnData(csr_matrix(counts), obs=obs, var=twice.var)
    data.write_h5ad(tmp_path / "one.h5ad")
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "one.h5ad")
    alone = corpuscle.overlap(tmp_path / "one.h5ad")
    assert (alone.matches["row_a"] != alone.matches["row_b"]).all()
    assert len(alone.matches) == 20
    assert alone.shares["identical"].item() == 30 / 80
    assert alone.shares["largest_group"].item() == 3
    # The same cells by another name are the same cells.
    again = corpuscle.overlap(tmp_path / "one.h5ad", tmp_path / "link.h5ad")
    assert again.matches.equals(alone.matches)


def test_different_cells_and_poor_ones_are_no_matches():
    poor = np.zeros((50, G), np.float32)
    poor[:40, :3] = 1
    found = corpuscle.overlap(altered(cells(50), poor, "a"), altered(cells(50), poor, "b"), cells(seed=9))
    assert not len(found.matches)
    of_poor = found.shares[found.shares["of"] == "adata 1"]
    assert (of_poor["unknown"] == 1).all()
    assert (found.shares[found.shares["of"] == "adata 3"]["unseen"] == 1).all()


def test_many_copies_of_one_cell_make_no_more_rows_than_cells():
    many = np.repeat(cells(1).X.toarray(), 3000, axis=0)
    one, two = altered(cells(3000), many, "a"), altered(cells(2000), many[:2000], "b")
    found = corpuscle.overlap(one, two)
    assert len(found.matches) == 3000
    assert found.matches["n_equal"].eq(5000).all()
    assert found.shares["largest_group"].eq(5000).all()
    assert found.shares["identical"].eq(1).all()


def test_memory_stays_within_what_is_said(monkeypatch):
    # Blocks so small, and no dense screen of few genes, that what is left grows with the cells.
    monkeypatch.setattr(engine, "KEPT_VALUES", 10_000)
    monkeypatch.setattr(engine, "BLOCK_CELLS", 512)
    monkeypatch.setattr(engine, "BLOCK_PAIRS", 512)
    monkeypatch.setattr(engine.screen, "affordable", lambda *_: False)
    monkeypatch.setattr(sys.modules[engine.candidates.__module__], "MOST_AT_ONCE", 20_000)
    rng, genes, peaks = np.random.default_rng(0), pd.DataFrame(index=[f"G{at}" for at in range(2000)]), []
    for n in (1000, 1000, 3000):
        data = []
        for name in "ab":
            rows = [rng.permutation(2000)[:25] for _ in range(n)]
            counts = csr_matrix((np.ones(25 * n, np.float32), np.concatenate(rows), np.arange(0, 25 * n + 1, 25)))
            data.append(AnnData(counts, obs=pd.DataFrame(index=[f"{name}{at}x" for at in range(n)]), var=genes))
        tracemalloc.start()
        corpuscle.overlap(*data)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Of each further cell, 600 bytes for its marks (docs/overlap.md), and its names and rows of tables.
    assert (peaks[2] - peaks[1]) / (2 * 2000) < 2000


def test_the_curve_of_detection_falls_with_what_is_kept():
    table = corpuscle.overlap(cells(200), cells(200, seed=2)).detection
    whole = table.groupby("kept")["found"].mean()
    assert whole[1.0] == 1
    assert whole[0.8] > 0.9
    assert whole[0.1] < whole[0.5]
    assert set(table["of"]) == {"adata 1", "adata 2"}


def test_groups_of_equal_hashes_are_compared_count_by_count():
    counts = csr_matrix(np.array([[1, 0, 2], [1, 0, 2], [1, 5, 2], [1, 0, 3]], np.float32))
    table = pd.DataFrame({"cell": [0, 1, 2, 3], "group": 7})
    kept = verified(table, lambda at: counts[at], np.array([True, False, True]))
    assert kept["cell"].tolist() == [0, 1, 2]
    assert not len(verified(table.iloc[[0, 3]], lambda at: counts[at], np.ones(3, bool)))


def test_what_cannot_be_compared_is_refused_with_a_way_on():
    one, centred = cells(), cells()
    centred.layers["counts"] = centred.X.copy()
    centred.X = centred.X.toarray() - 1
    with pytest.raises(corpuscle.InputError, match=r'negative values.*layer = "counts"'):
        corpuscle.overlap(one, centred)
    assert len(corpuscle.overlap(one, centred, layer=[None, "counts"]).matches) == N
    other = cells()
    other.var_names = [f"H{at}" for at in range(G)]
    with pytest.raises(corpuscle.InputError, match="share no gene"):
        corpuscle.overlap(one, other)
    with pytest.raises(corpuscle.InputError, match="one for all or one for each"):
        corpuscle.overlap(one, other, where=["half == 'first'"] * 3)
    with pytest.raises(corpuscle.InputError, match="got a int"):
        corpuscle.overlap(one, 5)


STUDY = """name = "s"
sources = {{ a = {{ path = "a.h5ad" }}, b = {{ path = "b.h5ad" }} }}
corpora = [
  {{ name = "A", parts = [{{ source = "a", fraction = 1.0 }}] }},
  {{ name = "Both", parts = [{{ source = "a", n_cells = 5 }}, {{ source = "b", n_cells = 5 }}] }},
]
models = [{{ name = "pca", n_components = 2 }}]
{more}
"""


def test_the_command_compares_files_and_corpora_and_writes_matches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells().write_h5ad("a.h5ad")
    cells(seed=4).write_h5ad("b.h5ad")
    (tmp_path / "study.toml").write_text(STUDY.format(more=""))
    given = ["overlap", "b.h5ad", "a.h5ad", "study.toml:A", "--where", "", "--where", "half == 'first'", "--where", ""]
    run = CliRunner().invoke(app, given, catch_exceptions=False)
    assert re.search(r"^a +A +30 +100\.0%", run.output, re.MULTILINE)
    run = CliRunner().invoke(app, ["overlap", "study.toml:A", "a.h5ad", "-o", "found.csv"], catch_exceptions=False)
    assert "100.0%" in run.output
    table = pd.read_csv("found.csv")
    assert len(table) == N
    assert table["cell_a"].str.startswith("a:cell").all()
    with pytest.raises(corpuscle.InputError, match=r"study.toml:CORPUS.*A.*Both"):
        corpuscle.overlap("study.toml", "a.h5ad")
    both = corpuscle.overlap("study.toml:Both", "a.h5ad", "b.h5ad")
    assert set(both.matches["a"]) == {"Both"}
    # Three draws of 5 of 60 cells each.
    assert both.shares.loc[0, "identical"] > 0
    assert both.shares.loc[[0, 2], "identical"].sum() == 1
    run = CliRunner().invoke(app, ["overlap", "a.h5ad", "-o", "found.txt"])
    assert "csv or .parquet" in str(run.exception)


def test_cells_whose_zeros_are_gone_are_refused_or_unknown():
    one = cells()
    denoised = one.X.toarray() + np.random.default_rng(0).random(one.shape) * 0.01
    with pytest.raises(corpuscle.InputError, match=r"raw counts are needed.*this file has none"):
        corpuscle.overlap(one, altered(one, denoised))
    # A few such cells among others: nothing is known of them, and no copies of them are tried.
    mixed = one.X.toarray() * 1.0
    mixed[:6] = denoised[:6]
    found = corpuscle.overlap(one, altered(one, mixed))
    assert found.matches["row_b"].min() == 6
    of_mixed = found.shares.set_index("of").loc["adata 2"]
    assert of_mixed["unknown"] == 6 / N
    assert of_mixed["identical"] == (N - 6) / N
    assert found.detection.query("of == 'adata 2' and kept == 1")["n_cells"].sum() == N - 6
