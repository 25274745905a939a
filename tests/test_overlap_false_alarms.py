"""Cells unlike the others of their files are no copies of one another, and copies next to them are found."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

import corpuscle

N, G = 60, 1500
DEEP = 20_000


def data(counts, name):
    genes = pd.DataFrame(index=[f"G{at}" for at in range(G)])
    return AnnData(csr_matrix(counts), obs=pd.DataFrame(index=[f"{name}{at}x" for at in range(len(counts))]), var=genes)


def profile(rng, genes):
    law = rng.lognormal(0, 2, G) * genes
    return law / law.sum()


def drawn(rng, law, depths, spread):
    varies = rng.gamma(1 / spread, spread, (len(depths), G)) if spread else 1
    return rng.poisson(np.asarray(depths)[:, None] * law * varies).astype(np.float32)


def files(setting, seed):
    """Draw two files of different cells: the last cells of each are the odd ones."""
    rng = np.random.default_rng(seed)
    law, found = profile(rng, np.arange(G) < G / 2), []
    other = profile(rng, np.arange(G) >= G / 2)
    log_sd = {"wide": 1.0}.get(setting, 0.2)
    depth = {"wide": 300_000, "rare": 5000}.get(setting, DEEP)
    for side in range(2):
        spread = 0.0 if setting == "wide" else 0.25
        cells = [drawn(rng, law, depth * np.exp(log_sd * rng.standard_normal(N)), spread)]
        if setting.startswith("shallow"):
            cells.append(drawn(rng, law, [1000] * int(setting[-1]) * side, spread))
        if setting == "rare":
            cells.append(drawn(rng, other, [(1000, 30_000)[side]], spread))
        found.append(np.concatenate(cells))
    return found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("setting", ["shallow 1", "shallow 3", "wide", "rare"])
def test_odd_cells_match_nothing_but_their_copies(setting, seed):
    one, two = files(setting, seed)
    assert not len(corpuscle.overlap(data(one, "a"), data(two, "b")).matches)
    # Of the second file's last cells, the odd ones among them, there are copies: equal ones, and thinned ones.
    rng, at = np.random.default_rng(seed), np.arange(len(two) - 12, len(two))
    thinned = rng.binomial(two[at].astype(int), 0.7)
    copies = np.concatenate([one, two[at], thinned]).astype(np.float32)
    table = corpuscle.overlap(data(copies, "a"), data(two, "b")).matches
    found = set(zip(table["row_a"] - len(one), table["row_b"], strict=True))
    assert found == {(turn, int(cell)) for turn, cell in enumerate(np.concatenate([at, at]))}


def test_one_shallow_cell_next_to_a_deep_library_matches_none() -> None:
    # Before, the shallow cell was called a copy of four different ones, at a chance of 1e-83.
    rng = np.random.default_rng(0)
    law = rng.lognormal(0, 2, 2500)
    law /= law.sum()

    def cells(name: str, depths: np.ndarray) -> AnnData:
        counts = rng.poisson(depths[:, None] * law * rng.gamma(4, 0.25, (len(depths), 2500)))
        names = pd.DataFrame(index=[f"{name}{at}" for at in range(len(depths))])
        return AnnData(csr_matrix(counts), obs=names, var=pd.DataFrame(index=[f"G{at}" for at in range(2500)]))

    deep = cells("a", DEEP * np.exp(0.2 * rng.standard_normal(200)))
    other = cells("b", np.r_[DEEP * np.exp(0.2 * rng.standard_normal(200)), 1000])
    assert not len(corpuscle.overlap(deep, other).matches)
