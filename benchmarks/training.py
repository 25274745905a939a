"""Training LDVAE and scVI next to scvi-tools': time and processor time per step, cells per second, memory, loss.

    python benchmarks/training.py                                  # 2,000 genes at 25 % and 19,331 genes at 6 %
    python benchmarks/training.py --model scvi                     # scVI (zero-inflated) only
    python benchmarks/training.py --size 2500:0.12 --pairs 7 --steps 100 --json training.json
    python benchmarks/training.py --gpu --steps 500                # both on a GPU; ratios are of time by the clock

Each side has a process of its own with one thread; they take turns, never at once, and each turn trains a fresh model
on the same simulated counts (cells of ten programs). Figures are medians over the pairs; a ratio is the median of the
pairs' ratios in processor seconds. Memory is the peak of the process, imports included. The loss is the negative
ELBO (nats per cell, the divergence weighted as both weight it) over the last quarter of the steps. scvi-tools runs as
it is used: `model.train` with its own data loader, on sparse counts.
"""

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, vstack

BATCH, N_CELLS = 128, 1024


def simulated_counts(n_genes: int, share: float, n_cells: int = N_CELLS) -> csr_matrix:
    """Poisson counts of cells that mix ten programs, as deep as it takes for this share of nonzeros."""
    rng = np.random.default_rng(0)
    programs = rng.gamma(0.3, 1, (10, n_genes)) + 0.02
    programs /= programs.sum(1, keepdims=True)
    mean = rng.lognormal(0, 0.5, (n_cells, 1)) * (rng.dirichlet(np.full(10, 0.3), n_cells) @ programs)
    low, high = 1.0, 1e7
    for _ in range(60):
        depth = np.sqrt(low * high)
        low, high = (depth, high) if (1 - np.exp(-depth * mean[:64])).mean() < share else (low, depth)
    blocks = [csr_matrix(rng.poisson(depth * mean[at : at + 64]).astype(np.float32)) for at in range(0, n_cells, 64)]
    return vstack(blocks, format="csr")


class How(NamedTuple):
    """Which model, and whether on a GPU."""

    model: str
    gpu: bool


def train_ours(how: "How", counts: csr_matrix, n_steps: int, seed: int) -> dict[str, float]:
    from corpuscle.core.components import build
    from corpuscle.model.data.batches import CountTable
    from corpuscle.model.model import Model
    from corpuscle.model.training.budget import Budget, Schedule
    from corpuscle.model.training.loop import named_noise, train

    model, table = build(Model, how.model, {}), CountTable(counts)
    network = model.network(counts.shape[1], 0, named_noise(seed, "init"))
    network.kl_warmup_epochs = model.kl_warmup_epochs
    told: list[tuple[float, float]] = []
    network.encoder.register_forward_pre_hook(lambda *_: told.append((time.perf_counter(), time.process_time())))
    schedule = Schedule(counts.shape[0], Budget(steps=n_steps), BATCH, 0.0)
    curve = train(network, table, schedule, model.optimiser(), seed=seed, progress=lambda _: None)
    last = curve[curve["step"] > 0.75 * n_steps].groupby("quantity")["value"].mean()
    return {**timed(told, how), "loss": last["reconstruction_train"] + last.get("kl_library_train", 0.0)}


def train_scvi(how: "How", counts: csr_matrix, n_steps: int, seed: int) -> dict[str, float]:
    import anndata
    import scvi
    from lightning.pytorch.callbacks import Callback

    told, losses = [], []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            told.append((time.perf_counter(), time.process_time()))

        def on_train_batch_end(self, _: Any, __: Any, outputs: Any, *___: Any) -> None:
            losses.append(float(outputs["loss"]))

    scvi.settings.seed = seed
    data = anndata.AnnData(counts)
    if how.model == "ldvae":
        scvi.model.LinearSCVI.setup_anndata(data)
        model, rate = scvi.model.LinearSCVI(data, n_layers=2), 5e-3
    else:
        scvi.model.SCVI.setup_anndata(data)
        model, rate = scvi.model.SCVI(data), 1e-3
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    model.train(
        max_steps=n_steps, max_epochs=10_000, accelerator="gpu" if how.gpu else "cpu", train_size=1.0, batch_size=BATCH,
        plan_kwargs={"lr": rate}, callbacks=[Clock()], **quiet,
    )  # fmt: skip
    return {**timed(told, how), "loss": float(np.mean(losses[-n_steps // 4 :]))}


def timed(told: list[tuple[float, float]], how: How) -> dict[str, float]:
    """Per step. A GPU is given its steps ahead of time: there, the mean over many says how long one is."""
    taken = np.diff(np.array(told), axis=0)
    middle = taken[len(taken) // 4 :].mean(0) if how.gpu else np.median(taken, axis=0)
    wall, processor = 1000 * middle
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_ms": wall, "cpu_ms": processor, "cells_per_s": 1000 * BATCH / wall, "peak_mb": peak}


def serve(train: Callable[..., dict[str, float]], how: How, size: tuple[int, float], pipe: Connection) -> None:
    """Train when told to, until told to stop."""
    warnings.simplefilter("ignore")
    import torch

    os.environ["CORPUSCLE_DEVICE"] = "cuda" if how.gpu else "cpu"
    if train is train_scvi:
        import scvi  # noqa: F401
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # after the imports: some of them set it
    counts = simulated_counts(*size)
    while (turn := pipe.recv()) is not None:
        pipe.send(train(how, counts, *turn))


def compare(how: How, size: tuple[int, float], pairs: int, steps: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    sides, found = {"ours": train_ours, "scvi-tools": train_scvi}, {"ours": [], "scvi-tools": []}
    pipes = {}
    for name, side in sides.items():
        pipes[name], far = context.Pipe()
        context.Process(target=serve, args=(side, how, size, far), daemon=True).start()
    for turn in range(-1, pairs):  # the first warms up: compilation, caches
        for name, pipe in pipes.items():
            pipe.send((8 if turn < 0 else steps, turn + 1))
            figures = pipe.recv()
            if turn >= 0:
                found[name].append(figures)
    for pipe in pipes.values():
        pipe.send(None)
    medians = {
        name: {key: float(np.median([turn[key] for turn in turns])) for key in turns[0]}
        for name, turns in found.items()
    }
    spread = {name: float(np.std([turn["loss"] for turn in turns], ddof=1)) for name, turns in found.items()}
    clock = "wall_ms" if how.gpu else "cpu_ms"
    ratio = float(np.median([b[clock] / a[clock] for a, b in zip(*found.values(), strict=True)]))
    return {
        **how._asdict(),
        "genes": size[0],
        "nonzero": size[1],
        "steps": steps,
        **medians,
        "loss_sd": spread,
        "ratio": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="GENES:SHARE_NONZERO, may be repeated")
    parser.add_argument("--model", action="append", choices=["ldvae", "scvi"], help="may be repeated; both by default")
    parser.add_argument("--gpu", action="store_true", help="train both on a GPU")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps per turn")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    if options.gpu:
        import torch

        if not torch.cuda.is_available():
            parser.error("--gpu: torch finds no GPU here")
        print(torch.cuda.get_device_name())
    device = "a GPU" if options.gpu else "one thread"
    print(f"batch {BATCH}, {device} a side, {options.pairs} pairs of {options.steps} steps")
    print(
        f"{'':>6} {'genes':>7} {'nonzero':>8} {'':>11} {'ms/step':>8} {'CPU ms':>8} {'cells/s':>8} "
        f"{'peak MB':>8} {'loss':>16}"
    )
    rows, what = [], "time" if options.gpu else "processor time"
    sizes = [size.partition(":")[::2] for size in options.size or ["2000:0.25", "19331:0.06"]]
    for model, (genes, share) in itertools.product(options.model or ["ldvae", "scvi"], sizes):
        row = compare(How(model, options.gpu), (int(genes), float(share)), options.pairs, options.steps)
        rows.append(row)
        for name in ("ours", "scvi-tools"):
            side = row[name]
            loss = f"{side['loss']:,.1f} ± {row['loss_sd'][name]:.1f}"
            print(
                f"{model:>6} {row['genes']:>7,} {row['nonzero']:>8.0%} {name:>11} {side['wall_ms']:>8.2f} "
                f"{side['cpu_ms']:>8.2f} {side['cells_per_s']:>8,.0f} {side['peak_mb']:>8,.0f} {loss:>16}"
            )
        print(f"{'':>24} scvi-tools takes {row['ratio']:.1f} times our {what}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
