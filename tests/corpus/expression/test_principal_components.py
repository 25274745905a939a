"""Principal components are scanpy's, found out of core, once, and kept."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.context import Context
from corpuscle.corpus.expression import principal_components as pcs
from corpuscle.corpus.expression.principal_components import PrincipalComponents, find_axes, project
from corpuscle.source.source import dataset_path, open_source
from corpuscle.source.storage.change_guard import ChangeGuard
from corpuscle.store import Store


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbmc3k", "kang2018"])
def test_coordinates_and_variances_are_scanpys(corpus_of, name):
    scanpy = pytest.importorskip("scanpy")
    corpus = corpus_of(open_source(name, dataset_path(name)))
    data = corpus.to_anndata()
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=2000)
    scanpy.pp.pca(data, n_comps=50, mask_var="highly_variable", svd_solver="arpack")
    found, theirs = Context().components(corpus), data.obsm["X_pca"]
    variance_K = found.axes.variance_K
    np.testing.assert_allclose(variance_K, data.uns["pca"]["variance"], rtol=1e-4)
    # A component is known the less the nearer its neighbours' variances are: these are clear of theirs.
    ours = found.of(corpus, 50)
    gap_K = np.minimum(-np.diff(variance_K, prepend=np.inf), -np.diff(variance_K, append=0)) / variance_K
    clear = np.flatnonzero(gap_K > 0.01)
    assert len(clear) > 5
    signs = np.sign((ours * theirs).sum(axis=0))
    scale = theirs.std(axis=0)
    assert np.abs(ours * signs - theirs)[:, clear].max() < 2e-3 * scale[clear].max()
    # All fifty span the same space.
    inside = np.linalg.norm(np.linalg.qr(ours)[0].T @ np.linalg.qr(theirs - theirs.mean(axis=0))[0], axis=0)
    assert inside.min() > 0.99


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_axes_are_those_of_the_dense_array(make, counts_of, monkeypatch, form):
    monkeypatch.setattr(pcs, "BLOCK_CELLS", 7)
    counts = counts_of(60)
    corpus = make(counts, form=form)
    scaled = np.log1p(counts[:, [int(gene[1:]) for gene in corpus.space.ids]] / counts.sum(1, keepdims=True) * 1e4)
    found = find_axes(corpus)
    assert len(found.genes_H) > 20  # the others have no counts
    scaled = scaled[:, found.genes_H]
    _, singular, axes = np.linalg.svd(scaled - scaled.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found.variance_K, singular**2 / 59, rtol=1e-4)
    np.testing.assert_allclose(np.abs(found.axes_HK.T @ axes.T), np.eye(len(axes)), atol=1e-2)
    assert (found.axes_HK.max(axis=0) >= -found.axes_HK.min(axis=0)).all()
    out = np.empty((60, len(axes)), np.float32)
    project(corpus, found, out)
    np.testing.assert_allclose(out.var(axis=0, ddof=1), found.variance_K, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("n_cells", [1, 2])
def test_few_cells_have_few_components(make, n_cells):
    corpus = make(n_cells)
    assert Context().components(corpus).of(corpus, 50).shape == (n_cells, n_cells - 1)


def test_coordinates_come_in_the_tables_order_from_any_source(write, corpus_of, tmp_path):
    corpus = corpus_of(open_source("one", write("one", 20)), open_source("two", write("two", 15, seed=1)))
    pools = {name: corpus.take(corpus.cells["source"].to_numpy() == name) for name in ("one", "two")}
    for store in (None, Store(tmp_path / "store")):
        found = PrincipalComponents(pools["one"], pools, store)
        expected = np.empty((35, len(found.axes.variance_K)), np.float32)
        project(corpus, found.axes, expected)
        shuffled = np.random.default_rng(0).permutation(35)[:30]
        np.testing.assert_allclose(found.of(corpus.take(shuffled), 4), expected[shuffled, :4], atol=1e-5)


def test_they_are_found_once_and_kept(make, tmp_path, monkeypatch):
    corpus, store = make(20), Store(tmp_path / "store")
    one = PrincipalComponents(corpus, {"blood": corpus}, store).of(corpus, 5)
    calls = []
    monkeypatch.setattr(pcs, "find_axes", lambda *_, **__: calls.append("axes"))
    monkeypatch.setattr(pcs, "project", lambda *_: calls.append("project"))
    again = PrincipalComponents(corpus, {"blood": corpus}, Store(tmp_path / "store"))
    np.testing.assert_array_equal(again.of(corpus, 5), one)
    assert not calls
    opened = corpus.readers["blood"].opened
    changed = replace(corpus, readers={"blood": ChangeGuard(opened._replace(content="changed"))})
    with pytest.raises(AttributeError):
        PrincipalComponents(changed, {"blood": changed}, store).of(changed, 5)
    fewer = corpus.take(np.arange(10))
    with pytest.raises(AttributeError):
        PrincipalComponents(fewer, {"blood": fewer}, store).of(fewer, 5)


def test_nothing_is_kept_of_what_was_interrupted(make, tmp_path, monkeypatch):
    corpus, store = make(20), Store(tmp_path / "store")

    def stopped(_cells, axes, _progress):
        yield np.ones((3, len(axes.variance_K)), np.float32)
        raise KeyboardInterrupt

    made = PrincipalComponents(corpus, {"blood": corpus}, store)
    with monkeypatch.context() as patch:
        patch.setattr(pcs, "_projected", stopped)
        with pytest.raises(KeyboardInterrupt):
            made.of(corpus, 5)
    expected = PrincipalComponents(corpus, {"blood": corpus}).of(corpus, 5)
    np.testing.assert_array_equal(made.of(corpus, 5), expected)


def test_genes_that_a_source_did_not_measure_are_refused(write, corpus_of):
    names = [f"G{at}" for at in range(10, 40)]
    sources = open_source("one", write("one", 20)), open_source("two", write("two", 9, genes=names))
    corpus = corpus_of(*sources, genes="union")
    pools = {name: corpus.take(corpus.cells["source"].to_numpy() == name) for name in ("one", "two")}
    found = PrincipalComponents(pools["one"], pools)
    assert len(found.of(pools["one"], 3)) == 20
    with pytest.raises(CorpusError, match=r"variable genes, of which 'two' did not measure 9; set space = "):
        found.of(pools["two"], 3)


def test_progress_is_told(make):
    corpus, told = make(20), []
    PrincipalComponents(corpus, {"blood": corpus}, progress=told.append).of(corpus, 2)
    assert told == [0.5, 1.0, 1.0]


def test_memory_does_not_grow_with_the_cells_but_for_their_coordinates(make, monkeypatch):
    monkeypatch.setattr(pcs, "BLOCK_CELLS", 1000)
    peaks = []
    for n_cells in (4000, 16_000):
        counts = random_array((n_cells, 400), density=0.05, rng=np.random.default_rng(0), format="csr")
        counts.data = np.ceil(counts.data * 5).astype(np.float32)
        corpus = make(csr_matrix(counts), name=f"of{n_cells}")
        tracemalloc.start()
        Context().components(corpus).of(corpus, 50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The coordinates, a copy of them, and the cells' tables; a dense array would add 19 MB, the sparse one 5 MB more.
    assert peaks[1] - peaks[0] < 12_000 * (2 * 50 * 4 + 300)
