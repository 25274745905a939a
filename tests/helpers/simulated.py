"""Cells of a known number of groups, and nothing else: negative binomial counts, of different depths."""

import numpy as np
from scipy.sparse import csr_matrix


def simulated(shares, *, n_cells=400, n_genes=300, seed=0, fold=4.0, size=2.0, part=8, depth=0.3):
    """Return counts (cells × genes) and each cell's group, of groups with a share each.

    Of several groups, each has one in `part` of the genes at `fold` of their mean. `depth` is the standard deviation of
    the logarithm of cells' depths.
    """
    rng = np.random.default_rng(seed)
    mean_G = rng.gamma(1.0, 2.0, n_genes)
    group_N = np.repeat(np.arange(len(shares)), [round(n_cells * share) for share in shares])
    mean_NG = np.tile(mean_G, (len(group_N), 1))
    for group in range(len(shares) if len(shares) > 1 else 0):
        own = np.arange(group * n_genes // part, (group + 1) * n_genes // part)
        mean_NG[np.ix_(group_N == group, own)] *= fold
    depth_N = rng.lognormal(0, depth, len(group_N))
    return csr_matrix(rng.poisson(rng.gamma(size, mean_NG * depth_N[:, None] / size))), group_N
