"""Comparisons of embeddings agree with scipy and scikit-learn, or with what must be."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from sklearn.linear_model import LinearRegression

from corpuscle.evaluation.metrics.latents import cka, correlations, latent_r2, procrustes_distance


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 4))
    return one, one @ rng.normal(size=(4, 4)) + rng.normal(size=(200, 4))


def test_procrustes_is_scipys(pair):
    assert procrustes_distance(*pair) == pytest.approx(procrustes(*pair)[2])


def test_an_embedding_of_fewer_dimensions_is_as_if_it_had_zeros(pair):
    one, other = pair
    padded = np.hstack([other[:, :2], np.zeros((200, 2))])
    assert procrustes_distance(one, other[:, :2]) == pytest.approx(procrustes(one, padded)[2])


def test_cka_is_that_of_the_gram_matrices(pair):
    one, other = (z - z.mean(axis=0) for z in pair)
    k, m = one @ one.T, other @ other.T
    assert cka(*pair) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_a_rotation_a_scale_and_a_shift_change_nothing(pair):
    one, other = pair
    turn, _ = orthogonal_procrustes(one, other)
    moved = 7 * one @ turn + 3
    assert cka(one, moved) == pytest.approx(1)
    assert procrustes_distance(one, moved) == pytest.approx(0, abs=1e-12)


def test_latent_r2_is_scikit_learns_regression(pair):
    one, other = pair
    order = np.random.default_rng(5).permutation(200)
    train, test = order[:140], order[140:]
    predicted = LinearRegression().fit(one[train], other[train]).predict(one[test])
    expected = [np.corrcoef(predicted[:, k], other[test][:, k])[0, 1] ** 2 for k in range(4)]
    np.testing.assert_allclose(latent_r2(one, other, np.random.default_rng(5)), expected)


def test_a_constant_latent_has_no_r2(pair):
    one, other = pair
    other[:, 1] = 3.3
    assert np.isnan(latent_r2(one, other, np.random.default_rng(0))).tolist() == [False, True, False, False]


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 / 3])
def test_a_constant_column_has_no_correlation(constant):
    column = np.full((50, 1), constant)
    assert np.isnan(correlations(column, np.random.default_rng(0).random((50, 1)))).all()
