"""Depth, gene coverage and the moment proxy."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from corpuscle.core.errors import MeasureError
from corpuscle.measures.built_ins.depth import expressed_genes, quantiles
from corpuscle.measures.built_ins.gene_coverage import gene_coverage
from corpuscle.measures.built_ins.moment_proxy import basis, forecast
from corpuscle.measures.summary import Moments


def moments(log_NH: np.ndarray) -> Moments:
    return Moments(log_NH.mean(axis=0), log_NH.T @ log_NH / len(log_NH))


def cells(n: int = 300, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(99 + seed).normal(size=(4, 25))
    return np.asarray(rng.normal(size=(n, 4)) @ loadings + rng.normal(size=(n, 25)) * 0.2 + shift)


def test_quantiles_are_of_all_uses() -> None:
    assert quantiles(np.array([1.0] + 9 * [5.0])).values == pytest.approx((2.8, 5, 5, 5, 5))
    with pytest.raises(MeasureError, match="no cells"):
        quantiles(np.array([]))
    with pytest.raises(MeasureError, match="NaN"):
        quantiles(np.array([np.nan]))


def test_targets_rank_corpora_differently_by_gene_coverage() -> None:
    one, other = np.array([5.0, 5.0, 0.0]), np.array([0.0, 0.0, 5.0])
    target = np.array([1.0, 2.0, 30.0])
    assert expressed_genes(one) > expressed_genes(other)
    assert gene_coverage(one, target) == pytest.approx(3 / 33)
    assert gene_coverage(other, target) == pytest.approx(30 / 33)
    with pytest.raises(MeasureError, match="no counts"):
        gene_coverage(one, np.zeros(3))
    with pytest.raises(MeasureError, match="same genes"):
        gene_coverage(one, np.zeros(2))


def test_the_proxys_basis_is_a_pca() -> None:
    log = cells()
    theirs = PCA(4, svd_solver="full").fit(log)
    known = basis(moments(log), 4)
    np.testing.assert_allclose(known.axes_HK @ known.axes_HK.T, theirs.components_.T @ theirs.components_, atol=1e-8)
    made = theirs.inverse_transform(theirs.transform(log))
    expected = [np.corrcoef(row, back)[0, 1] ** 2 for row, back in zip(log, made, strict=True)]
    np.testing.assert_allclose(forecast(known, log), expected, rtol=1e-8)


def test_a_corpus_forecasts_its_own_kind_best() -> None:
    known = {seed: basis(moments(cells(300, seed)), 4) for seed in (0, 1)}
    fresh = cells(50, 0)[:40]
    assert forecast(known[0], fresh).mean() > forecast(known[1], fresh).mean() + 0.3


def test_undefined_forecasts_say_why() -> None:
    assert np.isnan(forecast(basis(moments(cells()), 4), np.ones((2, 25)))).all()
    with pytest.raises(MeasureError, match="more variable genes than its 25 latents"):
        basis(moments(cells()), 25)
    with pytest.raises(MeasureError, match="does not vary"):
        basis(moments(np.ones((5, 12))), 3)
    with pytest.raises(MeasureError, match="NaN"):
        basis(moments(np.full((5, 12), np.nan)), 3)
