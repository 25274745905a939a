"""Cells of a few types, in which sources of a study of mixtures differ."""

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray


def cells_of_types(
    profile_tg: NDArray[np.float64], shares: Sequence[float], *, n_cells: int, depths: tuple[int, int],
    rng: np.random.Generator, name: str,
) -> ad.AnnData:  # fmt: skip
    """Return cells of types in these shares; each has a count of the first gene, so that none is empty."""
    type_n = rng.choice(len(profile_tg), n_cells, p=shares)
    counts_ng = rng.poisson(profile_tg[type_n] * rng.integers(*depths, n_cells)[:, None]).astype(np.int32)
    counts_ng[:, 0] += 1
    obs = pd.DataFrame({"cell_type": type_n.astype(str)}, index=[f"{name}-{at}" for at in range(n_cells)])
    return ad.AnnData(counts_ng, obs=obs, var=pd.DataFrame(index=[f"GENE{at}" for at in range(profile_tg.shape[1])]))
