"""Seconds and memory to read random cells of an atlas on disk: ours next to backed AnnData's fancy indexing.

    python benchmarks/reading.py                                     # 100,000 of 1,000,000 cells × 5,000 genes
    python benchmarks/reading.py --cells 100000 --read 10000         # a tenth of it

The atlas has random counts (`--density` nonzero) and is written to `--folder` first (4 GB at full size), as h5ad
(plain, and gzip as the CELLxGENE files have) and as zarr 3 (in its own chunks, and sharded). Each read is a process of
its own, of the same cells in the same random order: ours, anndata's, and anndata's with the cells sorted beforehand,
which is its best case. All results are compared. `--runs` is the number of reads, in turns, of which the medians are
shown, by the wall and in processor time. Where counts are compressed, nearly every chunk holds one of the cells, and to
unpack all of them once bounds how much faster any reader can be.
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
        return anndata.read_h5ad(path, backed="r").X[rows]
    import zarr

    return anndata.io.sparse_dataset(zarr.open_group(path, mode="r")["X"])[rows]


READERS = {"ours": read_ours, "anndata": read_anndata, "sorted": lambda path, rows: read_anndata(path, np.sort(rows))}


def measure(side: str, path: Path, n_read: int) -> None:
    """Read once and print what it took; in a process of its own."""
    warnings.simplefilter("ignore")
    import anndata  # noqa: F401  # all sides import the same, so that memory is compared fairly
    import zarr  # noqa: F401

    from corpuscle.source.reader import reader_for

    rows = drawn(reader_for(path, "X").n_cells(), n_read)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    found = READERS[side](path, rows)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side != "sorted":
        found = found[np.argsort(rows)]
    sums = [int(found.nnz), float(found.data.sum()), float(found.indices.astype(float) @ found.data), found.shape]
    held = (found.data.nbytes + found.indices.nbytes + found.indptr.nbytes) / 2**20
    taken = {"wall": wall, "cpu": processor, "peak": peak / 1024, "more": (peak - before) / 1024}
    print(json.dumps({**taken, "held": held, "sums": sums}))


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
        warnings.simplefilter("ignore")
        atlas = make(folder, (options.cells, options.genes), options.density)
        print(f"{options.read:,} of {options.cells:,} cells × {options.genes:,} genes, {options.density:.0%} nonzero")
        print(f"{'':14}   seconds: ours {'anndata':>9} {'sorted':>8} {'CPU: ours':>11} {'anndata':>9} {'sorted':>8}"
              f" {'ratio':>11} {'peak MB: ours':>15} {'anndata':>9} {'sorted':>8} {'result':>8}")  # fmt: skip
        for form in options.form or FORMS:
            runs = [{side: run(side, atlas[form], options.read) for side in READERS} for _ in range(options.runs)]
            assert len({json.dumps(one["sums"]) for each in runs for one in each.values()}) == 1, (
                "all must read the same"
            )
            ours, theirs, ordered = (_medians([each[side] for each in runs]) for side in READERS)
            print(f"{form:14} {ours['wall']:>15.1f} {theirs['wall']:>9.1f} {ordered['wall']:>8.1f} {ours['cpu']:>11.1f}"
                  f" {theirs['cpu']:>9.1f} {ordered['cpu']:>8.1f} {theirs['wall'] / ours['wall']:>6.1f}"
                  f" {ordered['wall'] / ours['wall']:>4.1f} {ours['peak']:>15,.0f} {theirs['peak']:>9,.0f}"
                  f" {ordered['peak']:>8,.0f} {ours['held']:>8,.0f}", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
