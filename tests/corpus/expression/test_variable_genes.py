"""The most variable genes are scanpy's, found without a dense array of cells × genes."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from corpuscle.corpus.expression.variable_genes import cp10k, gene_moments, most_variable
from corpuscle.source.source import dataset_path, open_source


@pytest.mark.parametrize("name", ["pbmc3k", "kang2018"])
def test_the_genes_are_scanpys(corpus_of, name):
    scanpy = pytest.importorskip("scanpy")
    corpus = corpus_of(open_source(name, dataset_path(name)))
    data = corpus.to_anndata()
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=1000)
    chosen = most_variable(gene_moments(corpus), 1000)
    assert len(chosen) == 1000
    assert set(data.var_names[chosen]) == set(data.var_names[data.var["highly_variable"]])


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_moments_are_those_of_the_dense_array(make, counts_of, form):
    counts = counts_of(50)
    counts[3], counts[:, 9] = 0, 0
    corpus = make(counts, form=form)
    totals = counts.sum(axis=1, keepdims=True)
    scaled = np.divide(counts * 1e4, totals, out=np.zeros(counts.shape), where=totals > 0)
    order = [int(gene[1:]) for gene in corpus.space.ids]
    found = gene_moments(corpus)
    np.testing.assert_allclose(found.mean_G, scaled.mean(axis=0)[order], rtol=1e-12)
    np.testing.assert_allclose(found.variance_G, scaled.var(axis=0, ddof=1)[order], rtol=1e-9)


def test_scaling_leaves_the_counts_as_they_were_and_empty_cells_empty():
    counts = csr_matrix(np.array([[1, 3, 0], [0, 0, 0]], np.float32))
    before = counts.copy()
    np.testing.assert_array_equal(cp10k(counts).toarray(), [[2500, 7500, 0], [0, 0, 0]])
    np.testing.assert_array_equal(counts.toarray(), before.toarray())


@pytest.mark.parametrize(
    ("counts", "n_genes"),
    [
        pytest.param(np.ones((4, 5), int), 0, id="nothing varies"),
        pytest.param(np.ones((1, 5), int), 0, id="one cell"),
        pytest.param(np.array([[1, 2, 3, 0], [3, 2, 1, 0]]), 2, id="few vary"),
    ],
)
def test_only_genes_that_vary_are_chosen(make, counts, n_genes):
    assert len(most_variable(gene_moments(make(counts)), 1000)) == n_genes


def test_ties_are_broken_the_same_way_each_time(make, counts_of):
    found = gene_moments(make(counts_of(30)))
    chosen = [most_variable(found, n_genes).tolist() for n_genes in (10, 10, 20)]
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) < set(chosen[2])
    assert chosen[2] == sorted(chosen[2])


def test_memory_stays_well_below_a_dense_array(make):
    n_cells, n_genes = 6000, 3000
    counts = random_array((n_cells, n_genes), density=0.02, rng=np.random.default_rng(0), format="csr")
    counts.data = np.ceil(counts.data * 5).astype(np.float32)
    corpus = make(csr_matrix(counts))
    tracemalloc.start()
    most_variable(gene_moments(corpus), 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_cells * n_genes * 4 / 5
