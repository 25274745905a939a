"""The tasks on embeddings of 10,000 and 200,000 cells × 64 dimensions: processor time, time and memory of each.

Run ``python benchmarks/tasks.py``; ``--cells 10000`` does one size. Counts (200 genes) and embeddings are generated;
each task runs in this one process, so that what they share is computed once, in the order in which it is shown. With
``--reference``, scib-metrics' own functions on the same cells stand next to the task integration.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.core.usage import Usage, measured
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.evaluation.metrics.neighbours import nearest
from corpuscle.evaluation.task import Task
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import open_source

N_GENES, N_TYPES, N_BATCHES = 200, 12, 4
TASKS = ("annotation", "clustering", "integration", "latents", "resources")
# What the tasks may add to what the process held: neighbours, graphs and distances of the cells that are drawn.
MOST_BYTES = 2_500_000_000


class Placed:
    """A model that puts each cell where it was told to."""

    genes, history, cost, stored, embeds_as = (), None, None, None, ""

    def __init__(self, z_NK: Any) -> None:
        self.z_NK = z_NK

    def embed(self, cells: Corpus) -> Any:
        return self.z_NK[cells.cells["row"].to_numpy()]


def made(folder: Path, n_cells: int, n_dims: int) -> tuple[Corpus, Any]:
    """Generate cells of some types in some batches, and their embedding."""
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(N_TYPES, 2.0))
    type_N, batch_N = rng.choice(N_TYPES, n_cells, p=share), rng.integers(0, N_BATCHES, n_cells)
    rate_TG = rng.gamma(0.4, 2.0, (N_TYPES, N_GENES))
    counts = csr_matrix(rng.poisson(rate_TG[type_N] + 0.2 * batch_N[:, None]).astype(np.float32))
    obs = pd.DataFrame({"cell_type": [f"type {t}" for t in type_N], "batch": [f"batch {b}" for b in batch_N]})
    obs.index = [f"cell{at}" for at in range(n_cells)]
    data = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(N_GENES)]))
    data.write_h5ad(folder / "cells.h5ad")
    source = open_source("cells", folder / "cells.h5ad")
    cells = source.cells.assign(source="cells", times=1)
    cells = cells[[*KEYS, *(column for column in cells if column not in KEYS)]]
    space = gene_space({"cells": gene_names(source.genes)}, "intersection")
    centre_TK = rng.normal(0, 0.6, (N_TYPES, n_dims))
    z_NK = (centre_TK[type_N] + rng.normal(size=(n_cells, n_dims)) + 0.1 * batch_N[:, None]).astype(np.float32)
    return Corpus("cells", cells, {"cells": source.reader}, space), z_NK


def held() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def told(name: str, usage: Usage, before: int, n_scores: int | None = None) -> None:
    more = (usage.peak_bytes or 0) - before
    rows = "" if n_scores is None else f"{n_scores:9,}"
    print(f"{name:32} {usage.cpu_seconds:9.1f} {usage.seconds:9.1f} {more / 1e9:9.2f} {rows}", flush=True)


def bench(n_cells: int, n_dims: int, *, reference: bool) -> None:
    print(f"\n{n_cells:,} cells × {n_dims} dimensions")
    print(f"{'task':32} {'CPU s':>9} {'s':>9} {'+GB':>9} {'scores':>9}")
    with TemporaryDirectory() as folder:
        cells, z_NK = made(Path(folder), n_cells, n_dims)
        model, other = Placed(z_NK), Placed(z_NK[:, ::-1] + np.float32(0.5) * np.roll(z_NK, 1, axis=1))
        start, total, of_task = held(), Usage(), {}
        for name in TASKS:
            task = components.build(Task, name, {"reference_corpus": "x"} if name == "latents" else {})
            with measured() as usage:
                rng = np.random.default_rng(0)
                scores = [*task.run(model, cells, cells, rng)]  # type: ignore[arg-type]
                if name == "latents":
                    scores += task.compare(model, other, cells, rng)  # type: ignore[attr-defined]
            told(name, usage, start, len(scores))
            of_task[name] = usage
            total.seconds += usage.seconds
            total.cpu_seconds += usage.cpu_seconds
            total.peak_bytes = max(total.peak_bytes or 0, usage.peak_bytes or 0)
        told("all tasks", total, start)
        assert (total.peak_bytes or 0) - start < MOST_BYTES, "the tasks' memory is not bounded"
        if reference:
            theirs = beside(cells, z_NK)
            told("scib-metrics, same metrics", theirs, start)
            ratio = theirs.cpu_seconds / of_task["integration"].cpu_seconds
            print(f"scib-metrics over the task integration: {ratio:.1f} times the CPU seconds")


def beside(cells: Corpus, z_NK: Any) -> Usage:
    """Time scib-metrics' own functions for the metrics of the task integration, which also scores each type."""
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    type_N, batch_N = cells.labels("cell_type"), cells.labels("batch")
    with measured() as usage:
        found = nearest(z_NK, 90)
        results = NeighborsResults(found.index_NJ, found.distance_NJ)
        scib_metrics.nmi_ari_cluster_labels_leiden(results.subset_neighbors(15), type_N)
        scib_metrics.silhouette_label(z_NK, type_N)
        scib_metrics.silhouette_batch(z_NK, type_N, batch_N)
        scib_metrics.isolated_labels(z_NK, type_N, batch_N)
        scib_metrics.graph_connectivity(results.subset_neighbors(15), type_N)
        scib_metrics.ilisi_knn(results, batch_N)
        scib_metrics.clisi_knn(results, type_N)
        scib_metrics.kbet_per_label(results.subset_neighbors(50), batch_N, type_N)
    return usage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--reference", action="store_true", help="time scib-metrics beside it")
    options = parser.parse_args()
    for n_cells in options.cells:
        started = time.perf_counter()
        bench(n_cells, options.dims, reference=options.reference)
        print(f"with generating the cells: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
