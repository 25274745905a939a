"""Cells whose place in an embedding a test decides."""

import numpy as np
import pytest


@pytest.fixture
def typed(make):
    """Make n cells of three types (half B, a third T, a sixth NK) in two batches, in any order, and their types."""

    def made(n_cells=120, seed=0, **obs):
        rng = np.random.default_rng(seed)
        types = rng.permutation(
            np.repeat(["B", "T", "NK"], [n_cells // 2, n_cells // 3, n_cells - n_cells // 2 - n_cells // 3])
        )
        labels = {"cell_type": types, "batch": rng.choice(["b1", "b2"], n_cells), "donor": [np.nan] * n_cells}
        target = make(n_cells, obs={**labels, **obs})
        return target, target.labels("cell_type")

    return made
