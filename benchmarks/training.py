"""Processor seconds of one LDVAE training step, ours beside scvi-tools' LinearSCVI, on one thread.

    python benchmarks/training.py                                  # 2,500 genes at 12 % and 19,331 genes at 6 %
    python benchmarks/training.py --size 2500:0.12 --pairs 7

The counts are random with the given share of nonzeros. The two take turns, a few steps each; the table has the
medians over the pairs. scvi-tools runs as it is used: `model.train` with its own data loader, on sparse counts.
"""

import argparse
import logging
import time
import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, random_array

from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.batches import CountTable
from corpuscle.model.schedule import Budget, Schedule
from corpuscle.model.training import named_noise, train

BATCH = 128


def random_counts(n_cells: int, n_genes: int, density: float) -> csr_matrix:
    rng = np.random.default_rng(0)
    counts = csr_matrix(random_array((n_cells, n_genes), density=density, rng=rng, dtype=np.float32))
    counts.data = np.ceil(4 * counts.data**3)
    return counts


def time_ours(counts: csr_matrix, n_steps: int) -> float:
    model, told = LDVAE(), []
    network = model._network(counts.shape[1], named_noise(0, "init"))
    network.encoders.register_forward_pre_hook(lambda *_: told.append(time.process_time()))
    schedule = Schedule(counts.shape[0], Budget(steps=n_steps + 1), BATCH, 0.0, 400)
    train(network, CountTable(counts), schedule, model._optimiser(), seed=0, progress=lambda _: None)
    return float(np.median(np.diff(told)))


def time_scvi(counts: csr_matrix, n_steps: int) -> float:
    import anndata
    import scvi
    from lightning.pytorch.callbacks import Callback

    told = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            told.append(time.process_time())

    data = anndata.AnnData(counts)
    scvi.model.LinearSCVI.setup_anndata(data)
    model = scvi.model.LinearSCVI(data, n_layers=2)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    model.train(
        max_steps=n_steps + 1, max_epochs=1000, accelerator="cpu", train_size=1.0, batch_size=BATCH,
        plan_kwargs={"lr": 5e-3}, callbacks=[Clock()], **quiet,
    )  # fmt: skip
    return float(np.median(np.diff(told)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="GENES:SHARE_NONZERO, may be repeated")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="steps per turn")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import scvi

    logging.disable(logging.INFO)
    torch.set_num_threads(1)  # after the imports: some of them set it
    print(f"torch {torch.__version__}, scvi-tools {scvi.__version__}, batch {BATCH}, one thread")
    print(f"{'genes':>7} {'nonzero':>8} {'ours':>10} {'scvi-tools':>11} {'ratio':>6}   ms of processor time per step")
    for size in options.size or ["2500:0.12", "19331:0.06"]:
        n_genes, density = int(size.partition(":")[0]), float(size.partition(":")[2])
        counts = random_counts(8 * BATCH, n_genes, density)
        pairs = [(time_ours(counts, options.steps), time_scvi(counts, options.steps)) for _ in range(options.pairs)]
        ours, scvi_tools = (1000 * float(np.median(side)) for side in zip(*pairs, strict=True))
        ratio = float(np.median([theirs / own for own, theirs in pairs]))
        print(f"{n_genes:>7,} {density:>8.0%} {ours:>10.2f} {scvi_tools:>11.2f} {ratio:>6.1f}")


if __name__ == "__main__":
    main()
