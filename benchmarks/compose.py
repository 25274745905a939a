"""Cells per second and peak memory of `corpuscle compose`, from an atlas on disk into .h5ad and sharded zarr.

    python benchmarks/compose.py                                      # 1,000,000 of 1,200,000 cells × 19,331 genes
    python benchmarks/compose.py --atlas 120000 --cells 100000        # a tenth of it

The atlas has random counts (`--density` nonzero) and is written to `--folder` first (11 GB at full size; a corpus takes
5 GB, and as much again until it is whole). Each form is a process of its own that may take `--gigabytes` of resident
memory, or this fails. The whole command is timed and the writing alone: before it, all counts of the atlas are hashed
and looked through once, which the second form finds in the store. Some cells of the result are compared with the atlas.

Beside it, at `--beside` cells, stands what anndata offers: a backed atlas, indexed with the same cells, ascending, and
written (`backed[rows].to_memory().write_h5ad(…)`), with the same compression, which holds the corpus in memory.
(`concat_on_disk` streams, but takes whole files: it cannot choose cells.) Of ours, the writing alone is compared.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FORMS = ("h5ad", "zarr")
STUDY = """
name    = "compose"
corpora = [{{ name = "A", parts = [{{ source = "atlas", n_cells = {n_cells} }}] }}]
models  = [{{ name = "ldvae", budget = {{ steps = 1 }} }}]
tasks   = [{{ name = "reconstruction", on = ["atlas"] }}]
sources = {{ atlas = {{ path = "{path}" }} }}
holdout = {{ atlas = {{ by = "cell", share = 0.01 }} }}
"""


def compose(folder: Path, form: str) -> dict[str, Any]:
    """Compose once, noting when each stage began."""
    from corpuscle.execution import workflow

    stages: dict[str, float] = {}
    (path,) = workflow.compose(
        folder / "study.toml", folder / "out", form=form,
        notice=lambda what, _share: stages.setdefault(what, time.perf_counter()),
    )  # fmt: skip
    ended = time.perf_counter()
    return {"path": str(path), "writing": ended - next(at for what, at in stages.items() if what.startswith("writing"))}


def subset(folder: Path, form: str) -> dict[str, Any]:
    """Write the cells of our corpus as a user of anndata would."""
    import anndata

    rows = np.sort(_rows(folder / "out"))
    path, started = folder / f"theirs.{form}", time.perf_counter()
    chosen = anndata.read_h5ad(folder / "atlas.h5ad", backed="r")[rows].to_memory()
    chosen.X = chosen.X.astype(np.uint16)
    if form == "h5ad":
        chosen.write_h5ad(path, compression="gzip", compression_opts=1)
    else:
        with anndata.settings.override(zarr_write_format=3):
            chosen.write_zarr(path)
    return {"path": str(path), "writing": time.perf_counter() - started}


def _rows(out: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(out / "corpora" / "A" / "0" / "cells.parquet", columns=["row"])["row"].to_numpy()


def measure(side: str, folder: Path, form: str) -> None:
    warnings.simplefilter("ignore")
    started, processor = time.perf_counter(), time.process_time()
    taken = {"compose": compose, "anndata": subset}[side](folder, form)
    taken |= {"wall": time.perf_counter() - started, "cpu": time.process_time() - processor}
    print(json.dumps(taken | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def run(side: str, folder: Path, form: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", side, str(folder), form]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def compare(folder: Path, path: Path, n_cells: int) -> None:
    """Compare some cells of the corpus with the atlas."""
    from corpuscle.source.reader import reader_for

    rows = _rows(folder / "out")
    assert len(np.unique(rows)) == n_cells
    some = np.random.default_rng(2).choice(n_cells, 1000)
    found, expected = (
        reader_for(path, "X").read_counts(some),
        reader_for(folder / "atlas.h5ad", "X").read_counts(rows[some]),
    )
    assert reader_for(path, "X").n_cells() == n_cells
    assert (found != expected).nnz == 0, "the corpus must hold the atlas' counts"


def prepare(folder: Path, n_atlas: int, n_cells: int, options: argparse.Namespace) -> Path:
    from atlas import write_h5ad

    folder.mkdir()
    atlas = write_h5ad(folder / "atlas.h5ad", (n_atlas, options.genes), options.density)
    (folder / "study.toml").write_text(STUDY.format(n_cells=n_cells, path=atlas.resolve()))
    return folder


def show(what: str, n_cells: int, taken: dict[str, Any]) -> None:
    size = sum(file.stat().st_size for file in [Path(taken["path"]), *Path(taken["path"]).rglob("*")] if file.is_file())
    print(f"{what:22} {n_cells:>11,} {taken['wall']:>8.0f}s {taken['cpu']:>8.0f}s {taken['writing']:>9.0f}s"
          f" {n_cells / taken['writing']:>9,.0f} {taken['peak']:>8.2f} {size / 2**30:>8.2f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=int, default=1_200_000, help="cells of the atlas")
    parser.add_argument("--cells", type=int, default=1_000_000, help="cells of the corpus")
    parser.add_argument("--genes", type=int, default=19_331)
    parser.add_argument("--density", type=float, default=0.06)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="resident memory that composing may take")
    parser.add_argument("--beside", type=int, default=50_000, help="cells at which anndata stands beside it")
    parser.add_argument("--folder", type=Path, help="where all is written; a temporary folder by default")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]), options.measure[2])
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="compose-"))
    try:
        print(f"{options.genes:,} genes, {options.density:.0%} nonzero")
        print(f"{'':34} cells {'whole':>9} {'CPU':>9} {'writing':>10} {'cells/s':>9} {'peak GB':>8} {'disk GB':>8}")
        small = prepare(folder / "small", options.beside * 6 // 5, options.beside, options)
        for form in FORMS:
            show(f"{form}: ours", options.beside, run("compose", small, form))
            show(f"{form}: anndata", options.beside, run("anndata", small, form))
        shutil.rmtree(small)
        large = prepare(folder / "large", options.atlas, options.cells, options)
        for form in FORMS:
            taken = run("compose", large, form)
            show(f"{form}: ours", options.cells, taken)
            compare(large, Path(taken["path"]), options.cells)
            assert taken["peak"] <= options.gigabytes, f"composing took {taken['peak']:.2f} GB of memory"
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
