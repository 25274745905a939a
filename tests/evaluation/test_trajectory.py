"""Trajectories: cells along a line keep their order, shuffled ones do not."""

import math

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_matrix

from corpuscle.evaluation.metrics.neighbours import connectivities, nearest
from corpuscle.evaluation.metrics.trajectories import diffusion_pseudotime, group_connectivities
from corpuscle.evaluation.tasks.trajectory import Trajectory
from placed import Placed, run

N = 150
TIME = np.linspace(0, 1, N)
TYPES = np.array(["early", "middle", "late", "last"])[np.minimum((4 * TIME).astype(int), 3)]


@pytest.fixture
def line(make):
    """Cells along a line, of which each gene is expressed around its own place."""

    def made(**obs):
        rng = np.random.default_rng(0)
        centre_G = np.linspace(0, 1, 40)
        mean_NG = 0.5 + 20 * np.exp(-(((TIME[:, None] - centre_G) / 0.12) ** 2))
        labels = {"cell_type": TYPES, "batch": ["b"] * N, "donor": ["d"] * N}
        return make(rng.poisson(mean_NG), obs={**labels, **obs})

    return made


def curve():
    return np.column_stack([np.cos(2 * TIME), np.sin(2 * TIME)]) + np.random.default_rng(0).normal(0, 0.01, (N, 2))


def test_a_line_is_found_again_and_noise_is_none(line):
    found = run(Trajectory(root="early"), Placed(curve()), line())
    assert found["spearman", "all"].value > 0.97
    assert found["kendall", "all"].value > 0.85
    assert found["type_graph", "all"].value > 0.8
    assert found["unreached", "all"].value == 0
    noise = run(Trajectory(root="early"), Placed(np.random.default_rng(1).normal(size=(N, 2))), line())
    assert abs(noise["spearman", "all"].value) < 0.4


def test_cells_that_are_not_reached_are_counted_and_left_out(line):
    apart = curve()
    apart[-30:] += 1000
    found = run(Trajectory(root="early"), Placed(apart), line())
    assert found["unreached", "all"].value == 30 / N
    assert found["spearman", "all"].n_cells == N - 30
    assert "30 of 150 cells have no pseudotime" in found["spearman", "all"].reason


@pytest.mark.parametrize(
    ("root", "obs", "z", "reason"),
    [
        ("blastocyst", {}, None, "no cell is of the root type 'blastocyst'"),
        ("early", {}, np.zeros((N, 2)), "the embedding is the same for all cells"),
        ("early", {"cell_type": ["early"] * N}, None, "0 pairs of types"),
    ],
)
def test_what_cannot_be_compared_is_nan_with_its_reason(line, root, obs, z, reason):
    found = run(Trajectory(root=root), Placed(curve() if z is None else z), line(**obs))
    assert math.isnan(found["type_graph", "all"].value)
    assert reason in found["type_graph", "all"].reason


def test_pseudotime_grows_along_a_chain_and_is_nan_beyond():
    apart = np.abs(np.subtract.outer(np.arange(40), np.arange(40)))
    chain = csr_matrix(np.where((apart > 0) & (apart < 5), np.exp(-(apart**2) / 4), 0.0))
    time = diffusion_pseudotime(csr_matrix(block_diag([chain, chain])), 0)
    assert time[0] == 0
    assert np.nanmax(time) == 1
    assert np.corrcoef(np.arange(40), np.argsort(np.argsort(time[:40])))[0, 1] > 0.99
    assert np.isnan(time[40:]).all()


@pytest.mark.thorough
def test_pseudotime_and_type_graph_are_those_of_scanpy():
    import anndata as ad
    import scanpy as sc

    rng = np.random.default_rng(0)
    z = np.column_stack([np.cos(3 * TIME), np.sin(3 * TIME), np.zeros(N)]) + rng.normal(0, 0.05, (N, 3))
    data = ad.AnnData(z.astype(np.float32), obs={"cell_type": TYPES})
    data.obs["cell_type"] = data.obs["cell_type"].astype("category")
    sc.pp.neighbors(data, n_neighbors=15, use_rep="X")
    data.uns["iroot"] = 3
    sc.tl.diffmap(data)
    sc.tl.dpt(data)
    found = nearest(z.astype(np.float32), 15)
    ours = diffusion_pseudotime(csr_matrix(data.obsp["connectivities"]), 3)
    np.testing.assert_allclose(ours, data.obs["dpt_pseudotime"], atol=1e-4)
    np.testing.assert_allclose(diffusion_pseudotime(connectivities(found), 3), data.obs["dpt_pseudotime"], atol=1e-3)
    sc.tl.paga(data, groups="cell_type")
    code = data.obs["cell_type"].cat.codes.to_numpy().astype(np.int64)
    np.testing.assert_allclose(
        group_connectivities(found, code, 4), data.uns["paga"]["connectivities"].toarray(), atol=1e-6
    )
