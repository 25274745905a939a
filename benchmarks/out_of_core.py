"""Training from disk next to training from memory: steps per second, peak resident memory, bytes on disk.

    python benchmarks/out_of_core.py                                # 60,000 cells: a minute
    python benchmarks/out_of_core.py --cells 1000000 --steps 1000   # the target: 12 GB of disk, five minutes

A random .h5ad is written to the folder for temporary files (TMPDIR), and LDVAE trained on it in two processes of one
thread: on all of its cells from disk, and on the first `--memory-cells` of them from memory. Steps are timed after the
first 20, by the wall and in processor time with the thread that reads ahead. Before the first step, the system's cache
is emptied of what was written, so that windows come from the disk. It also says whether 20 steps on the same cells
end in the same curve.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from anndata.io import write_elem

from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.ldvae import LDVAE, library_prior
from corpuscle.model.data.batches import CountTable
from corpuscle.model.data.on_disk import DiskTable, training_counts
from corpuscle.model.training.budget import Budget, Schedule
from corpuscle.model.training.loop import named_noise, train
from corpuscle.source.genes import GeneSpace
from corpuscle.source.readers.h5ad import H5ad

BATCH, WARM_UP, WRITTEN_CELLS = 128, 20, 4096


def write_random(path: Path, n_cells: int, n_genes: int, density: float) -> None:
    """Write an .h5ad of random counts, a block of cells at a time."""
    rng, starts = np.random.default_rng(0), [np.zeros(1, np.int64)]
    with h5py.File(path, "w") as file:
        write_elem(file, "obs", pd.DataFrame(index=np.arange(n_cells).astype(str)))
        write_elem(file, "var", pd.DataFrame(index=[f"gene{gene}" for gene in range(n_genes)]))
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_cells, n_genes)})
        growing = {"shape": (0,), "maxshape": (None,), "chunks": (1 << 18,)}
        data, indices = (matrix.create_dataset(name, dtype=kind, **growing) for name, kind in
                         (("data", np.float32), ("indices", np.int32)))  # fmt: skip
        for first in range(0, n_cells, WRITTEN_CELLS):
            n_here = min(WRITTEN_CELLS, n_cells - first)
            # The gaps between the nonzeros of cells laid end to end are geometric.
            gaps = rng.geometric(density, int(n_here * n_genes * density * 1.02) + 1000)
            places = np.cumsum(gaps) - 1
            places = places[: np.searchsorted(places, n_here * n_genes)]
            here = slice(data.shape[0], data.shape[0] + len(places))
            for stored, values in ((data, np.ceil(4 * rng.random(len(places)) ** 3)), (indices, places % n_genes)):
                stored.resize((here.stop,))
                stored[here] = values
            starts.append(here.start + np.searchsorted(places, n_genes * np.arange(1, n_here + 1)))
        matrix["indptr"] = np.concatenate(starts)


def corpus_of(path: Path, n_cells: int, n_genes: int) -> Corpus:
    """Make a corpus of the first cells of the file."""
    rows = np.arange(n_cells)
    cells = pd.DataFrame({"source": "random", "row": rows, "barcode": rows.astype(str), "times": 1})
    ids = tuple(f"gene{gene}" for gene in range(n_genes))
    space = GeneSpace(ids, ids, {"random": np.arange(n_genes, dtype=np.int32)})
    return Corpus("random", cells, {"random": H5ad(path=path)}, space)


def forget(table: DiskTable) -> None:
    """Empty the system's cache of what a table wrote."""
    for file in (table._genes_file, table._counts_file):
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: Path, n_cells: int, n_genes: int, n_steps: int, limit: int) -> dict[str, Any]:
    """Train in this process; return what it took."""
    torch.set_num_threads(1)
    corpus, model, clock = corpus_of(path, n_cells, n_genes), LDVAE(), []
    schedule = Schedule(n_cells, Budget(steps=WARM_UP + n_steps + 1), BATCH, 0.0)
    started = time.perf_counter()
    with training_counts(corpus, limit=limit) as table:
        prepared = time.perf_counter() - started
        n_bytes = table.packed.nbytes if isinstance(table, CountTable) else table.nbytes
        if isinstance(table, DiskTable):
            forget(table)
        network = model.network(n_genes, 0, named_noise(0, "init"))
        network.kl_warmup_epochs = model.kl_warmup_epochs
        network.set_library_prior(*library_prior(table))
        network.encoder.register_forward_pre_hook(lambda *_: clock.append((time.perf_counter(), time.process_time())))
        history = train(network, table, schedule, model.optimiser(), seed=0, progress=lambda _: None)
    ((wall, cpu), (wall_end, cpu_end)), n_timed = (clock[WARM_UP], clock[-1]), len(clock) - 1 - WARM_UP
    curve = history[history["quantity"] == "elbo_train"]["value"].to_numpy()
    return {
        "side": "disk" if isinstance(table, DiskTable) else "memory",
        "cells": n_cells,
        "bytes": n_bytes,
        "prepared": prepared,
        "wall": (wall_end - wall) / n_timed,
        "cpu": (cpu_end - cpu) / n_timed,
        "waited": history.attrs["seconds"]["batches"] / len(clock),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "curve": hashlib.sha256(curve.tobytes()).hexdigest()[:8],
    }


def measured_apart(*arguments: Any) -> dict[str, Any]:
    """Call `measure` in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=60_000)
    parser.add_argument("--genes", type=int, default=19_331)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--memory-cells", type=int, default=60_000, help="cells of the training from memory")
    parser.add_argument("--limit", type=float, default=1.0, help="gigabytes that the corpus on disk may take in memory")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        path, *numbers = options.measure
        print(json.dumps(measure(Path(path), *map(int, numbers))))
        return
    n_memory = min(options.memory_cells, options.cells)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.h5ad"
        started = time.perf_counter()
        write_random(path, options.cells, options.genes, options.density)
        took = time.perf_counter() - started
        print(f"wrote {path.stat().st_size / 1e9:.1f} GB of counts in {took:.0f} s", flush=True)
        # The limit must send it to disk also where it is small.
        limit = min(int(options.limit * 1e9), int(4 * options.cells * options.genes * options.density))
        found = [
            measured_apart(path, n_memory, options.genes, options.steps, 1 << 60),
            measured_apart(path, options.cells, options.genes, options.steps, limit),
        ]
        same = [measured_apart(path, n_memory, options.genes, 20, size)["curve"] for size in (1 << 60, 0)]
    print(
        f"torch {torch.__version__}, batch {BATCH}, one thread, {options.genes:,} genes, {options.density:.0%} counts"
    )
    print(f"{'from':>7} {'cells':>10} {'prepared':>9} {'ms a step':>10} {'CPU ms':>7} {'waiting':>8} {'steps/s':>8} "
          f"{'counts':>8} {'peak memory':>12}")  # fmt: skip
    for side in found:
        print(
            f"{side['side']:>7} {side['cells']:>10,} {side['prepared']:>7.1f} s {1e3 * side['wall']:>10.2f} "
            f"{1e3 * side['cpu']:>7.2f} {1e3 * side['waited']:>8.2f} {1 / side['wall']:>8.2f} "
            f"{side['bytes'] / 1e9:>5.2f} GB {side['peak'] / 1e9:>9.2f} GB"
        )
    memory, disk = found
    print(f"rate from disk / from memory: {memory['wall'] / disk['wall']:.2f} by the wall, "
          f"{memory['cpu'] / disk['cpu']:.2f} in processor time")  # fmt: skip
    print(f"the same {n_memory:,} cells, 20 steps: {'the same' if len(set(same)) == 1 else 'ANOTHER'} curve")
    if options.json:
        options.json.write_text(json.dumps({"memory": memory, "disk": disk, "same_curve": len(set(same)) == 1}))


if __name__ == "__main__":
    main()
