"""Rank tests on sparse expression, next to scipy's on the dense."""

import numpy as np
import pytest
from scipy import sparse, stats

from corpuscle.evaluation.metrics import rank_test
from corpuscle.evaluation.metrics.rank_test import SortedGenes, rank_tests

RNG = np.random.default_rng(0)
LOG = sparse.random(300, 40, 0.3, random_state=0, format="csr")
LOG.data = np.log1p(RNG.integers(1, 5, LOG.nnz).astype(float))
GROUP = RNG.integers(0, 4, 300)


@pytest.mark.parametrize("tie_correct", [False, True])
def test_every_group_and_gene_is_as_scipy_has_it(tie_correct):
    found, dense = rank_tests(LOG, GROUP, 4, tie_correct=tie_correct), LOG.toarray()
    for group in range(4):
        inside, outside = dense[group == GROUP], dense[group != GROUP]
        if tie_correct:
            expected = stats.mannwhitneyu(inside, outside, use_continuity=False, method="asymptotic")
            np.testing.assert_allclose(found.p_CG[group], expected.pvalue, rtol=1e-9)
        else:
            expected = [stats.ranksums(inside[:, gene], outside[:, gene]) for gene in range(40)]
            np.testing.assert_allclose(found.z_CG[group], [one.statistic for one in expected], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.p_CG[group], [one.pvalue for one in expected], rtol=1e-9)
        np.testing.assert_allclose(found.adjusted_CG[group], stats.false_discovery_control(found.p_CG[group]))
        folds = np.log2((np.expm1(inside.mean(0)) + 1e-9) / (np.expm1(outside.mean(0)) + 1e-9))
        np.testing.assert_allclose(found.log2_fold_CG[group], folds, rtol=1e-9)


def test_cells_of_no_group_are_left_out_and_stretches_of_genes_change_nothing(monkeypatch):
    here = np.where(GROUP == 3, -1, GROUP)
    whole = rank_tests(LOG, here, 3)
    np.testing.assert_array_equal(whole.z_CG, rank_tests(LOG[here >= 0], here[here >= 0], 3).z_CG)
    monkeypatch.setattr(rank_test, "MOST_SORTED", 100)
    np.testing.assert_array_equal(whole.z_CG, rank_tests(LOG, here, 3).z_CG)


def test_a_gene_that_is_the_same_in_all_cells_has_no_difference():
    log = sparse.csr_matrix(np.column_stack([np.zeros(6), np.ones(6), [0, 0, 0, 1, 1, 1]]))
    for tie_correct in (False, True):
        found = rank_tests(log, np.array([0, 0, 0, 1, 1, 1]), 2, tie_correct=tie_correct)
        assert found.z_CG[:, :2].tolist() == [[0, 0], [0, 0]]
        assert found.p_CG[:, :2].tolist() == [[1, 1], [1, 1]]
        assert found.signed_order(1)[0] == 2
        assert found.published_order(0)[0] == 2, "one that goes down stands first by P"


@pytest.mark.parametrize("group", [[0, 0, 0], [0, 0, 2]])
def test_nothing_to_compare_is_refused(group):
    with pytest.raises(ValueError, match="nothing to compare"):
        rank_tests(sparse.csr_matrix(np.eye(3)), np.array(group), max(group) + 1)
    with pytest.raises(ValueError, match="0 or more"):
        rank_tests(sparse.csr_matrix(-np.eye(3)), np.array([0, 1, 1]), 2)


def test_pairs_of_groups_are_as_if_each_were_tested_alone():
    genes = SortedGenes.of(sparse.hstack([LOG, sparse.csr_matrix((300, 1)), sparse.csr_matrix(np.ones((300, 1)))]))
    for one, other in ((0, 1), (3, 2)):
        here = (one == GROUP) | (other == GROUP)
        z = genes.z_between(np.where(other == GROUP, 1, np.where(one == GROUP, 0, -1)))
        alone = rank_tests(LOG[here], (GROUP[here] == other).astype(int), 2, tie_correct=True)
        np.testing.assert_allclose(z[:-2], alone.z_CG[1], rtol=1e-9, atol=1e-12)
        assert z[-2:].tolist() == [0, 0], "of a gene that all have alike"
