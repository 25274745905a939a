"""Altering a large corpus in a stream: seconds and peak memory, next to doing the same in memory with other packages.

    python benchmarks/altering.py                          # 1,000,000 cells × 2,000 genes: ten minutes, 1 GB of disk
    python benchmarks/altering.py --cells 100000           # a tenth of it: a minute

A random .h5ad (`--density` nonzero, 40 cell types) is written to `--folder` first. Each row is a process of its own: it
opens the file, alters a corpus of all cells and reads every count of the result, in blocks of 2,048 cells. Ours must
stay within `--limit` (2 GB). imbalanced-learn and scanpy read the file into memory and make the whole result there. To
over-sample, one in four cells of all types but the first is kept, so that types are filled up about fourfold; ours
uses a cell several times, imbalanced-learn copies it. Pseudobulks are of ten cells of one type. All sums are compared.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

K = 10


def kept(labels: Any) -> Any:
    """Choose the cells of an imbalanced corpus."""
    return np.flatnonzero((np.arange(len(labels)) % 4 == 0) | (labels == "type 0"))


def ours(path: Path, name: str, settings: dict[str, Any]) -> Any:
    """Alter a corpus and stream it: returns the totals by gene, weighted by uses, and how many cells there are."""
    from corpuscle.core import components
    from corpuscle.core.randomness import generator
    from corpuscle.corpus.alteration import Alteration, altered
    from corpuscle.corpus.context import Context
    from corpuscle.corpus.corpus import Corpus
    from corpuscle.source.gene_names import gene_names
    from corpuscle.source.genes import gene_space
    from corpuscle.source.source import open_source

    source = open_source("atlas", path)
    cells = source.cells.copy()
    cells.insert(0, "source", "atlas")
    cells.insert(3, "times", 1)
    corpus = Corpus("atlas", cells, {"atlas": source.reader}, gene_space({"atlas": gene_names(source.genes)}))
    if name == "oversample":
        corpus = corpus.take(kept(corpus.labels("cell_type")))
    corpus = altered(components.build(Alteration, name, settings), corpus, generator(0, "benchmark"), Context())
    times = corpus.cells["times"].to_numpy(np.float64)
    totals = np.zeros(corpus.n_genes)
    for rows, counts in corpus.blocks(2048):
        totals += times[rows] @ counts
    return totals, corpus.n_cells


def oversample_ours(path: Path) -> Any:
    return ours(path, "oversample", {})


def pseudobulk_ours(path: Path) -> Any:
    return ours(path, "pseudobulk", {"k": K})


def thin_ours(path: Path) -> Any:
    return ours(path, "thin", {"keep": 0.5})


def oversample_theirs(path: Path) -> Any:
    import anndata
    from imblearn.over_sampling import RandomOverSampler

    atlas = anndata.read_h5ad(path)
    chosen = kept(atlas.obs["cell_type"].to_numpy(str))
    counts, _ = RandomOverSampler(random_state=0).fit_resample(atlas.X[chosen], atlas.obs["cell_type"].iloc[chosen])
    return np.asarray(counts.sum(axis=0)).ravel(), counts.shape[0]


def pseudobulk_theirs(path: Path) -> Any:
    import anndata
    import scanpy

    atlas = anndata.read_h5ad(path)
    labels = atlas.obs["cell_type"].astype(str)
    place = labels.groupby(labels).cumcount() // K
    whole = place < labels.map(labels.value_counts()) // K
    atlas = atlas[whole.to_numpy()].copy()
    atlas.obs["profile"] = (labels + " " + place.astype(str))[whole].astype("category").to_numpy()
    summed = scanpy.get.aggregate(atlas, by="profile", func="sum")
    return np.asarray(summed.layers["sum"].sum(axis=0)).ravel(), summed.n_obs


SIDES: dict[str, dict[str, Callable[[Path], Any]]] = {
    "oversample": {"ours": oversample_ours, "imbalanced-learn": oversample_theirs},
    "pseudobulk": {"ours": pseudobulk_ours, "scanpy": pseudobulk_theirs},
    "thin": {"ours": thin_ours},
}


def measure(what: str, side: str, path: Path) -> None:
    """Do one and print what it took; in a process of its own."""
    warnings.simplefilter("ignore")
    wall, processor = time.perf_counter(), time.process_time()
    totals, n_cells = SIDES[what][side](path)
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - processor, "n_cells": int(n_cells)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**taken, "peak": peak, "total": float(totals.sum())}))


def run(what: str, side: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", what, side, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{what}, {side}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes that ours may take")
    parser.add_argument("--folder", type=Path, help="where the file is written; a temporary folder by default")
    parser.add_argument("--only", choices=list(SIDES), action="append", help="only this, may be repeated")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, side, path = options.measure
        measure(what, side, Path(path))
        return
    from atlas import write_h5ad

    with tempfile.TemporaryDirectory(dir=options.folder, prefix="altering-") as folder:
        path = write_h5ad(Path(folder) / "atlas.h5ad", (options.cells, options.genes), options.density)
        print(f"{options.cells:,} cells × {options.genes:,} genes, {options.density:.0%} nonzero")
        print(f"{'':12} {'':17} {'cells':>10} {'seconds':>8} {'CPU':>7} {'peak MB':>8} {'of ours':>8}")
        for what in options.only or SIDES:
            found = {side: run(what, side, path) for side in SIDES[what]}
            for side, taken in found.items():
                ratio = taken["peak"] / found["ours"]["peak"]
                print(f"{what:12} {side:17} {taken['n_cells']:>10,} {taken['wall']:>8.1f} {taken['cpu']:>7.1f}"
                      f" {taken['peak']:>8,.0f} {ratio:>8.1f}", flush=True)  # fmt: skip
                assert abs(taken["n_cells"] - found["ours"]["n_cells"]) == 0, "both must make as many cells"
                # Which cells are repeated or left over is chance: the sums agree nearly.
                assert abs(taken["total"] / found["ours"]["total"] - 1) < 0.01, "both must have the counts"
            assert found["ours"]["peak"] <= 1024 * options.limit, f"{what}: more than {options.limit:g} GB"


if __name__ == "__main__":
    main()
