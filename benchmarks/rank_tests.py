"""Rank tests of 20,000 cells × 2,000 genes × 15 clusters next to scanpy's: seconds, and the largest difference.

    python benchmarks/rank_tests.py                              # needs scanpy; one thread: OMP_NUM_THREADS=1
    python benchmarks/rank_tests.py --cells 5000 --pairs 5

Prints the CPU seconds of each, medians of pairs run one after the other, their ratio, and how far z and log2 fold
changes are from scanpy's (which keeps z as 32-bit numbers).
"""

import argparse
import statistics
import time

import anndata as ad
import numpy as np
import scanpy as sc
from scipy import sparse

from corpuscle.evaluation.metrics.rank_test import rank_tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("cells", 20_000), ("genes", 2_000), ("clusters", 15), ("pairs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--density", type=float, default=0.15)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    counts = sparse.random(given.cells, given.genes, given.density, random_state=0, format="csr")
    counts.data = np.log1p(rng.geometric(0.4, counts.nnz) * 10_000 / rng.uniform(2_000, 6_000, counts.nnz))
    cluster = rng.integers(0, given.clusters, given.cells)
    names = [f"c{at}" for at in range(given.clusters)]
    data = ad.AnnData(counts, obs={"cluster": np.array(names)[cluster]})
    data.obs["cluster"] = data.obs["cluster"].astype("category")
    # Compiles what scanpy compiles.
    sc.tl.rank_genes_groups(data[:500].copy(), "cluster", method="wilcoxon")
    ours, theirs = [], []
    for _ in range(given.pairs):
        start = time.process_time()
        found = rank_tests(counts, cluster, given.clusters)
        middle = time.process_time()
        sc.tl.rank_genes_groups(data, "cluster", method="wilcoxon")
        ours.append(middle - start)
        theirs.append(time.process_time() - middle)
    one, other = statistics.median(ours), statistics.median(theirs)
    print(f"{given.cells:,} cells × {given.genes:,} genes × {given.clusters} clusters, CPU seconds, medians:")
    print(f"ours {one:.2f}, scanpy {other:.2f}: {other / one:.1f} times")
    z, fold = 0.0, 0.0
    for at, name in enumerate(names):
        table = sc.get.rank_genes_groups_df(data, name).set_index("names").loc[data.var_names]
        z = max(z, float(np.abs(table["scores"] - found.z_CG[at]).max()))
        fold = max(fold, float(np.abs(table["logfoldchanges"] - found.log2_fold_CG[at]).max()))
    print(f"largest difference: z {z:.1e}, log2 fold change {fold:.1e}")


if __name__ == "__main__":
    main()
