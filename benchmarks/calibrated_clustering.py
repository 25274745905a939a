"""Calibrated clustering: how often the known number of groups is found, agreement on real cells, and seconds.

    python benchmarks/calibrated_clustering.py                       # 100 simulations each of one and of three groups
    python benchmarks/calibrated_clustering.py --trials 20 --evidence nb
    python benchmarks/calibrated_clustering.py --trials 20 --depth 0.5   # cells of very different depths
    python benchmarks/calibrated_clustering.py --real                # the packaged PBMC and pancreas data
    python benchmarks/calibrated_clustering.py --cells 10000         # CPU seconds for so many cells of 12 groups

Simulations are those of the tests: 400 cells, 300 genes, negative binomial counts of different depths. Plain Leiden at
resolution 0.8 on the same graph stands next to it.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

import corpuscle
from corpuscle.evaluation.calibrated import N_GENES, calibrated, variable_genes
from corpuscle.evaluation.metrics.clustering import agreement

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from simulated import simulated


def simulations(trials: int, evidence: str, *, merge: bool, depth: float) -> None:
    for shares in ((1.0,), (0.6, 0.2, 0.2)):
        found, plain = [], []
        for seed in range(trials):
            counts, _ = simulated(shares, seed=seed, depth=depth)
            one = calibrated(counts, np.random.default_rng(seed), evidence=evidence, merge=merge)
            found.append(one.cluster_N.max() + 1)
            plain.append(one.plain_N.max() + 1)
        right, wrong = (int((np.array(each) == len(shares)).sum()) for each in (found, plain))
        print(
            f"{len(shares)} groups, {evidence}{', merged' if merge else ''}: right in {right} of {trials} (mean "
            f"{np.mean(found):.2f} clusters); plain Leiden in {wrong} (mean {np.mean(plain):.2f})"
        )


def real(evidence: str, *, merge: bool) -> None:
    import anndata as ad

    for name in ("pbmc3k", "baron2016"):
        cells = ad.read_h5ad(corpuscle.dataset_path(name))
        counts = csr_matrix(cells.X, dtype=np.float64)
        start = time.process_time()
        genes = variable_genes(counts, N_GENES)
        found = calibrated(counts[:, genes], np.random.default_rng(0), evidence=evidence, merge=merge)
        seconds = time.process_time() - start
        known = ~cells.obs["cell_type"].isna().to_numpy()
        types = cells.obs["cell_type"].astype(str).to_numpy()[known]
        of = [agreement(types, each[known]).ari for each in (found.cluster_N, found.plain_N)]
        print(
            f"{name}: {cells.n_obs:,} cells of {len(set(types))} types: {found.cluster_N.max() + 1} clusters, ARI "
            f"{of[0]:.3f}; plain Leiden {found.plain_N.max() + 1}, {of[1]:.3f}; {seconds:.0f} CPU seconds"
        )


def large(n_cells: int, evidence: str, *, merge: bool) -> None:
    counts, group = simulated([1 / 12] * 12, n_cells=n_cells, n_genes=N_GENES, part=24, fold=3.0, size=1.0)
    wall, start = time.perf_counter(), time.process_time()
    found = calibrated(counts, np.random.default_rng(0), evidence=evidence, merge=merge)
    print(
        f"{counts.shape[0]:,} cells × {N_GENES:,} genes, {found.cluster_N.max() + 1} clusters of 12 groups in "
        f"{found.n_rounds} rounds, ARI {agreement(group.astype(str), found.cluster_N).ari:.3f}: "
        f"{time.process_time() - start:.0f} CPU seconds, {time.perf_counter() - wall:.0f} by the clock"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--evidence", default="zip", choices=("zip", "nb", "copula", "countsplit"))
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--depth", type=float, default=0.3, help="standard deviation of log depth")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--cells", type=int, default=0)
    given = parser.parse_args()
    if given.real:
        real(given.evidence, merge=given.merge)
    elif given.cells:
        large(given.cells, given.evidence, merge=given.merge)
    else:
        simulations(given.trials, given.evidence, merge=given.merge, depth=given.depth)


if __name__ == "__main__":
    main()
