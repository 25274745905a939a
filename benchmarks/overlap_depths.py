"""False alarms of the search for copies where cells differ much in depth: every match found is false.

python benchmarks/overlap_depths.py
"""

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

import corpuscle

GENES, SEEDS = 2500, 2
# Cells, counts of the median cell, standard deviation of their logarithm, variance of a gene's mean between cells, and
# the number of further cells of 1,000 counts in the second file.
SETTINGS = (
    (200, 20_000, 0.2, 0.25, 1), (200, 20_000, 0.2, 0.25, 3), (200, 20_000, 0.2, 0.25, 10),
    (200, 300_000, 1.0, 0.0, 0), (200, 300_000, 1.0, 0.25, 0),
)  # fmt: skip


def main() -> None:
    for n, depth, log_sd, variance, n_shallow in SETTINGS:
        found = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            law = rng.lognormal(0, 2, GENES)
            law /= law.sum()
            data = []
            for name, further in (("a", 0), ("b", n_shallow)):
                depths = np.r_[depth * np.exp(log_sd * rng.standard_normal(n)), np.full(further, 1000)]
                varies = rng.gamma(1 / variance, variance, (len(depths), GENES)) if variance else 1
                names = pd.DataFrame(index=[f"{name}{at}x" for at in range(len(depths))])
                counts = csr_matrix(rng.poisson(depths[:, None] * law * varies))
                data.append(ad.AnnData(counts, obs=names, var=pd.DataFrame(index=[f"G{at}" for at in range(GENES)])))
            found.append(len(corpuscle.overlap(*data).matches))
        print(f"{n} cells of {depth:,} counts (sd {log_sd}, variance {variance}), {n_shallow} of 1,000: {found} false")


if __name__ == "__main__":
    main()
