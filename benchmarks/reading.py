"""Seconds and memory to read random cells of an atlas on disk: ours beside backed AnnData's fancy indexing.

    python benchmarks/reading.py                                     # 100,000 of 1,000,000 cells × 5,000 genes
    python benchmarks/reading.py --cells 100000 --read 10000         # a tenth of it

The atlas has random counts (`--density` nonzero) and is written to `--folder` first (about 7 GB at full size), as
h5ad (plain, and gzip as the CELLxGENE files have) and as zarr 3 (in its own chunks, and sharded). Each read is a
process of its own. Backed AnnData gets its rows ascending, which is its best case; ours come in random order. Both
results are compared. `--runs` is the number of reads, in turns, of which the medians are shown.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMS = ("h5ad", "h5ad, gzip", "zarr", "zarr, sharded")


def make(folder: Path, size: tuple[int, int], density: float) -> dict[str, Path]:
    from atlas import copy_to_zarr, write_h5ad

    plain = write_h5ad(folder / "atlas.h5ad", size, density)
    return {
        "h5ad": plain,
        "h5ad, gzip": write_h5ad(folder / "gzip.h5ad", size, density, "gzip"),
        "zarr": copy_to_zarr(plain, folder / "atlas.zarr", sharded=False),
        "zarr, sharded": copy_to_zarr(plain, folder / "sharded.zarr", sharded=True),
    }


def drawn(n_cells: int, n_read: int) -> Any:
    return np.random.default_rng(1).choice(n_cells, n_read, replace=False)


def read_ours(path: Path, rows: Any) -> Any:
    from corpuscle.source.reader import reader_for

    return reader_for(path, "X").read_counts(rows)


def read_anndata(path: Path, rows: Any) -> Any:
    import anndata

    if path.suffix == ".h5ad":
        return anndata.read_h5ad(path, backed="r").X[np.sort(rows)]
    import zarr

    return anndata.io.sparse_dataset(zarr.open_group(path, mode="r")["X"])[np.sort(rows)]


def measure(side: str, path: Path, n_read: int) -> None:
    """Read once and print what it took; in a process of its own."""
    warnings.simplefilter("ignore")
    import anndata
    import zarr  # noqa: F401  # both sides import the same, so that memory is compared fairly

    from corpuscle.source.reader import reader_for

    rows = drawn(reader_for(path, "X").n_cells(), n_read)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    found = {"ours": read_ours, "anndata": read_anndata}[side](path, rows)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == "ours":
        found = found[np.argsort(rows)]
    sums = [int(found.nnz), float(found.data.sum()), float(found.indices.astype(float) @ found.data), found.shape]
    held = (found.data.nbytes + found.indices.nbytes + found.indptr.nbytes) / 2**20
    taken = {"wall": wall, "cpu": processor, "peak": peak / 1024, "more": (peak - before) / 1024}
    print(json.dumps({**taken, "held": held, "sums": sums, "anndata": anndata.__version__}))


def run(side: str, path: Path, n_read: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", side, str(path), "--read", str(n_read)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak", "held")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--read", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--form", action="append", choices=FORMS, help="only this, may be repeated")
    parser.add_argument("--folder", type=Path, help="where the atlas is written; a temporary folder by default")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]), options.read)
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="reading-"))
    try:
        atlas = make(folder, (options.cells, options.genes), options.density)
        print(f"{options.read:,} of {options.cells:,} cells × {options.genes:,} genes, {options.density:.0%} nonzero")
        print(f"{'':14} {'ours':>8} {'anndata':>9} {'ratio':>6} {'CPU: ours':>11} {'anndata':>9} {'ratio':>6}"
              f" {'peak MB: ours':>15} {'anndata':>9} {'result':>8}")  # fmt: skip
        for form in options.form or FORMS:
            pairs = [(run("ours", atlas[form], options.read), run("anndata", atlas[form], options.read))
                     for _ in range(options.runs)]  # fmt: skip
            assert all(ours["sums"] == theirs["sums"] for ours, theirs in pairs), "both must read the same"
            ours, theirs = (_medians(side) for side in zip(*pairs, strict=True))
            print(f"{form:14} {ours['wall']:>7.1f}s {theirs['wall']:>8.1f}s {theirs['wall'] / ours['wall']:>6.1f}"
                  f" {ours['cpu']:>10.1f}s {theirs['cpu']:>8.1f}s {theirs['cpu'] / ours['cpu']:>6.1f}"
                  f" {ours['peak']:>15,.0f} {theirs['peak']:>9,.0f} {ours['held']:>8,.0f}", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
