"""Calibrated clustering: known numbers of groups, where plain Leiden finds more."""

import math

import anndata as ad
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import corpuscle
from corpuscle.core.components import build
from corpuscle.core.errors import InputError
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.context import Context
from corpuscle.evaluation.calibrated import calibrated
from corpuscle.evaluation.tasks.calibrated_clustering import CalibratedClustering
from placed import Placed, run
from simulated import simulated


@pytest.mark.parametrize(("evidence", "merge"), [("zip", False), ("zip", True), ("nb", False), ("copula", True)])
@pytest.mark.parametrize("shares", [(1.0,), (0.6, 0.2, 0.2)], ids=["one group", "three groups"])
def test_as_many_clusters_as_groups_where_leiden_finds_more(evidence, merge, shares):
    counts, group_N = simulated(shares)
    found = calibrated(counts, np.random.default_rng(0), evidence=evidence, merge=merge)
    assert found.plain_N.max() + 1 > len(shares)
    assert found.cluster_N.max() + 1 == len(shares)
    # Each group is one cluster.
    assert len({*zip(group_N.tolist(), found.cluster_N.tolist(), strict=True)}) == len(shares)


def test_half_of_the_counts_can_be_the_evidence():
    counts, group_N = simulated((0.6, 0.2, 0.2), size=1e6)
    found = calibrated(counts, np.random.default_rng(0), evidence="countsplit")
    assert found.cluster_N.max() + 1 == 3
    alone = calibrated(simulated((1.0,), size=1e6)[0], np.random.default_rng(0), evidence="countsplit")
    assert (alone.cluster_N.max(), alone.plain_N.max() > 0) == (0, True)
    assert len(group_N) == len(found.cluster_N)


def test_few_cells_and_genes_are_one_cluster():
    for shape in ((5, 4), (3, 60), (60, 2)):
        counts, _ = simulated((1.0,), n_cells=shape[0], n_genes=shape[1])
        assert calibrated(counts, np.random.default_rng(0)).cluster_N.max() == 0


def test_an_anndata_gets_its_clusters():
    counts, _ = simulated((0.6, 0.2, 0.2))
    adata = ad.AnnData(np.log1p(counts.toarray()), layers={"counts": counts})
    assert corpuscle.calibrated_clusters(adata, layer="counts", key_added="found", rng=1) is adata
    assert adata.obs["found"].value_counts().tolist() == [240, 80, 80]
    assert set(adata.uns["found"]) == {"resolution", "n_rounds", "evidence", "q", "left_out"}
    again = corpuscle.calibrated_clusters(adata.copy(), layer="counts", rng=np.random.default_rng(1))
    assert (again.obs["calibrated"] == adata.obs["found"]).all()
    with pytest.raises(InputError, match="expected counts, whole numbers of 0 or more, in X"):
        corpuscle.calibrated_clusters(adata)
    adata.X = np.where(np.arange(len(adata))[:, None] == 3, np.inf, counts.toarray())
    with pytest.raises(InputError, match="expected counts, whole numbers of 0 or more, in X"):
        corpuscle.calibrated_clusters(adata)


@pytest.fixture
def target(make):
    def made(**obs):
        counts, group_N = simulated((0.6, 0.2, 0.2))
        labels = {"cell_type": np.array(["B", "T", "NK"])[group_N], "batch": ["b"] * 400, "donor": ["d"] * 400}
        return make(counts.toarray(), obs={**labels, **obs})

    return made


def test_a_target_is_clustered_whatever_the_model(target):
    cells = target()
    one, other = (run(CalibratedClustering(), Placed(np.zeros((400, 2)) + at), cells) for at in range(2))
    assert one == other
    assert one["ari, calibrated", "all"].value == 1
    assert one["n_clusters, calibrated", "all"].value == 3
    assert one["n_clusters, Leiden 0.8", "all"].value > 3
    assert one["ari, Leiden 0.8", "all"].value < 1


def test_cells_without_types_have_clusters_and_no_agreement(target):
    scores = run(CalibratedClustering(), Placed(np.zeros((400, 2))), target(cell_type=[np.nan] * 400))
    assert math.isnan(scores["ari, calibrated", "all"].value)
    assert "no cell has a type" in scores["ari, calibrated", "all"].reason
    assert scores["n_clusters, calibrated", "all"].value == 3


def test_cells_that_are_all_alike_are_nan_with_the_reason(make):
    scores = run(CalibratedClustering(), Placed(np.zeros((30, 2))), make(np.tile([1, 2, 3], (30, 1))))
    assert all(math.isnan(score.value) for score in scores.values())
    assert "0 genes vary" in scores["n_clusters, calibrated", "all"].reason


def _with_steady(counts, n):
    """Add genes with the same count in all cells, and such that hardly vary."""
    n_cells = counts.shape[0]
    few = np.random.default_rng(0).binomial(6, 0.8, (n_cells, n // 2))
    return csr_matrix(np.hstack([counts.toarray(), np.full((n_cells, n - n // 2), 3), few]))


@pytest.mark.parametrize("evidence", ["zip", "copula"])
def test_genes_that_hardly_vary_part_no_kind_of_cells(evidence):
    counts, _ = simulated((1.0,))
    found = calibrated(_with_steady(counts, 60), np.random.default_rng(0), evidence=evidence)
    assert found.cluster_N.max() == 0
    assert found.kept_G.tolist() == [True] * counts.shape[1] + [False] * 60


def test_genes_that_are_left_out_are_counted_and_named(target, make):
    cells = target()
    counts = _with_steady(cells.counts(), 4)
    labels = {name: cells.labels(name) for name in ("cell_type", "batch", "donor")}
    genes = [*cells.space.symbols, "STEADY1", "STEADY2", "STEADY3", "STEADY4"]
    more = make(counts.toarray(), name="more", obs=labels, genes=genes)
    scores = run(CalibratedClustering(), Placed(np.zeros((400, 2))), more)
    for name in ("n_clusters, calibrated", "ari, Leiden 0.8"):
        assert "4 of " in scores[name, "all"].reason
        assert "STEADY1, STEADY2, STEADY3, STEADY4" in scores[name, "all"].reason
    assert scores["n_clusters, calibrated", "all"].value == 3
    adata = ad.AnnData(counts.astype(np.float32))
    left_out = corpuscle.calibrated_clusters(adata).uns["calibrated"]["left_out"]
    assert left_out.tolist() == adata.var_names[-4:].tolist()
    constant = corpuscle.calibrated_clusters(ad.AnnData(np.full((50, 20), 3.0)))
    assert constant.obs["calibrated"].nunique() == 1


def test_counts_that_are_not_whole_have_no_clusters_and_the_reason(target):
    step = build(Alteration, "pseudobulk", {"k": 3, "how": "mean_k"})
    cells = altered(step, target(), np.random.default_rng(0), Context())
    scores = run(CalibratedClustering(), Placed(np.zeros((len(cells), 2))), cells)
    assert all(math.isnan(score.value) and "no whole numbers" in score.reason for score in scores.values())
