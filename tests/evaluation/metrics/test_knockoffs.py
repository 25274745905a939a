"""Knockoffs have their genes' distributions and nothing of the cells; the threshold holds its rate."""

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix

from corpuscle.evaluation.metrics.knockoffs import half, knockoffs, log10_p, threshold
from simulated import simulated

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("null", ["zip", "nb", "copula"])
def test_knockoffs_have_means_and_zeros_of_their_genes_and_know_nothing_of_cells(null):
    counts, _ = simulated([1.0], n_cells=1500, n_genes=40)
    drawn = knockoffs(counts, null, np.random.default_rng(1)).toarray()
    real = counts.toarray()
    np.testing.assert_allclose(drawn.mean(0), real.mean(0), rtol=0.25, atol=0.05)
    if null != "zip":
        np.testing.assert_allclose(drawn.var(0), real.var(0), rtol=0.6, atol=0.2)
    np.testing.assert_allclose((drawn == 0).mean(0), (real == 0).mean(0), atol=0.06)
    varies = (drawn.std(0) > 0) & (real.std(0) > 0)
    same = [abs(np.corrcoef(one, other)[0, 1]) for one, other in zip(drawn.T[varies], real.T[varies], strict=True)]
    assert np.mean(same) < 0.1


def test_the_zero_inflated_law_is_found_again():
    rate, kept, n = 4.0, 0.6, 20_000
    counts = RNG.poisson(rate, (n, 1)) * (RNG.random((n, 1)) < kept)
    drawn = knockoffs(csr_matrix(counts), "zip", np.random.default_rng(0)).toarray()
    assert (
        stats.chisquare(
            np.bincount(np.minimum(drawn.ravel(), 9), minlength=10),
            np.bincount(np.minimum(counts.ravel(), 9), minlength=10),
        ).statistic
        < 40
    )


def test_only_the_copula_keeps_how_genes_go_together():
    depth = RNG.lognormal(0, 0.8, 800)
    counts = csr_matrix(RNG.poisson(depth[:, None] * np.full(6, 5.0)))
    pairs = np.triu_indices(6, 1)
    of = {null: np.corrcoef(knockoffs(counts, null, np.random.default_rng(0)).toarray().T)[pairs].mean()
          for null in ("nb", "copula")}  # fmt: skip
    assert of["nb"] < 0.1
    assert of["copula"] > 0.4


@pytest.mark.parametrize("null", ["zip", "nb", "copula"])
def test_genes_that_are_the_same_in_all_cells_are_drawn_too(null):
    counts = csr_matrix(np.column_stack([np.zeros(50), np.ones(50), np.full(50, 7.0)]))
    drawn = knockoffs(counts, null, np.random.default_rng(0)).toarray()
    assert drawn.shape == (50, 3)
    assert (drawn[:, 0] == 0).all()
    assert drawn.min() >= 0
    assert (drawn == np.round(drawn)).all()


def test_the_threshold_holds_the_false_discovery_rate():
    shares = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        w = np.concatenate([rng.exponential(6, 40), rng.normal(0, 1, 200)])
        taken = w >= threshold(w, 0.2)
        shares.append(taken[40:].sum() / max(1, taken.sum()))
    assert 0.05 < np.mean(shares) < 0.23
    # One more than none of four is a quarter.
    assert threshold(np.arange(1.0, 5), 0.2, offset=1) == np.inf
    assert threshold(np.arange(1.0, 5), 0.25, offset=1) == 0.0
    assert threshold(np.arange(1.0, 5), 0.2, offset=0) == 0.0
    assert threshold(np.array([3.0, 2, -1]), 0.2, offset=0) == 2.0


def test_p_of_any_size_and_halves_that_add_up():
    np.testing.assert_allclose(log10_p(np.array([0.0, 1.0, 5.0])), np.log10(2 * stats.norm.sf([0, 1, 5])))
    assert log10_p(np.array([60.0]))[0] < -700
    counts = csr_matrix(RNG.poisson(5.0, (200, 10)))
    first, second = half(counts, np.random.default_rng(0))
    assert (first + second != counts).nnz == 0
    assert abs(np.corrcoef(first.toarray().ravel(), second.toarray().ravel())[0, 1]) < 0.07
