"""Products of sparse columns are those of the dense array, and lead to the same components."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from corpuscle.corpus.expression import principal_components as pcs
from corpuscle.corpus.expression import sparse_products
from corpuscle.corpus.expression.sparse_products import add_products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0, 0.1, 1])
def test_products_are_added_to_the_upper_triangle(density, dtype):
    values = csr_matrix(random_array((50, 20), density=density, rng=np.random.default_rng(0), dtype=dtype))
    values.sort_indices()
    before = np.random.default_rng(1).normal(size=(20, 20))
    square = before.copy()
    add_products(values, square)
    dense = values.toarray().astype(np.float64)
    np.testing.assert_allclose(square, before + np.triu(dense.T @ dense), atol=1e-12)


def test_sparse_and_dense_products_lead_to_the_same_axes(make, monkeypatch):
    counts = random_array((300, 90), density=0.06, rng=np.random.default_rng(0), format="csr")
    counts.data = np.ceil(counts.data * 5).astype(np.float32)
    corpus = make(csr_matrix(counts))
    dense = pcs.find_axes(corpus)
    calls = []
    monkeypatch.setattr(pcs, "BLOCK_CELLS", 50)
    monkeypatch.setattr(sparse_products, "add_products", lambda *a: calls.append(add_products(*a)))
    sparse = pcs.find_axes(corpus)
    assert len(calls) == 6
    np.testing.assert_array_equal(sparse.genes_H, dense.genes_H)
    np.testing.assert_allclose(sparse.mean_H, dense.mean_H, rtol=1e-12)
    np.testing.assert_allclose(sparse.variance_K, dense.variance_K, rtol=1e-5)
    np.testing.assert_allclose(np.abs((sparse.axes_HK * dense.axes_HK).sum(axis=0))[:5], 1, atol=1e-5)
