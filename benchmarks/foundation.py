"""Geneformer's embedding and training step, beside transformers' BERT with padded batches, on real cells.

Run ``python benchmarks/foundation.py``; ``--pairs 3`` takes medians of three pairs. Weights are random and the same
for both; the size is that of the first published model (6 layers of width 256, 25,426 tokens, 2,048 places). Cells are
those of pbmc3k, which comes with the package; "full" cells have counts of all places. One thread, processor time. What
is embedded is asserted to be equal.

The plain loop is what published zero-shot code does: cells in the order of the file, eight at a time, padded to the
longest of them, with a mask; all layers, of which the second to last is averaged over each cell's genes. Its training
step predicts all places and reads the loss off the hidden ones, with the published dropout, of attention too.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from corpuscle.model.architectures.geneformer.network import GeneformerNetwork
from corpuscle.model.architectures.geneformer.sizes import SIZES, Size
from corpuscle.model.architectures.geneformer.weights import RENAMES
from corpuscle.model.foreign.accounting import load_renamed
from corpuscle.model.tokenisers.rank_value import Marks, RankValue
from corpuscle.model.tokenisers.tokens import Tokens
from corpuscle.source.source import dataset_path, open_source

SIZE, N_TOKENS, BATCH = SIZES["6L"], 25_426, 8
# Cells that are embedded, and cells of a training step.
EMBEDDED, TRAINED = 64, 8


def published(attention: str, size: Size = SIZE) -> BertForMaskedLM:
    """Make transformers' network with random weights."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=N_TOKENS, hidden_size=size.width, num_hidden_layers=size.layers, num_attention_heads=size.heads,
        intermediate_size=size.feed_forward, max_position_embeddings=size.longest, hidden_act="relu",
        layer_norm_eps=1e-12, hidden_dropout_prob=size.dropout, attention_probs_dropout_prob=size.dropout,
        pad_token_id=0, attn_implementation=attention,
    )  # fmt: skip
    return BertForMaskedLM(config).eval()


def ours(network: BertForMaskedLM, size: Size = SIZE) -> GeneformerNetwork:
    """Make our network with the same weights."""
    with torch.device("meta"):
        made = GeneformerNetwork(size, N_TOKENS, layer=-1, pooling="mean")
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_renamed(made, tensors, RENAMES, "random weights")
    made.tokeniser = RankValue(np.empty(0, np.int64), np.full(N_TOKENS, np.nan), size.longest, Marks())
    return made


def real_cells(n_cells: int) -> list[np.ndarray]:
    """Write cells of pbmc3k as tokens: their genes by falling count over the gene's median."""
    counts = open_source("pbmc3k", dataset_path("pbmc3k")).reader.read_counts(np.arange(n_cells)).toarray()
    median = np.array([np.median(column[column > 0]) if (column > 0).any() else np.nan for column in counts.T])
    with np.errstate(invalid="ignore"):
        value = counts / median
    return [2 + np.argsort(-row, kind="stable")[: min((count > 0).sum(), SIZE.longest)]
            for row, count in zip(np.nan_to_num(value), counts, strict=True)]  # fmt: skip


def full_cells(n_cells: int) -> list[np.ndarray]:
    """Make cells that have a gene at each place."""
    rng = np.random.default_rng(0)
    return [2 + rng.permutation(N_TOKENS - 2)[: SIZE.longest] for _ in range(n_cells)]


def packed(cells: list[np.ndarray]) -> Tokens:
    """Write cells one after the other."""
    starts = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])
    ids = torch.from_numpy(np.concatenate(cells))
    return Tokens(torch.from_numpy(starts), ids, torch.zeros(len(ids)))


def padded(cells: list[np.ndarray], length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Write cells next to each other, padded to the longest or to a length."""
    length = length or max(map(len, cells))
    ids = torch.zeros(len(cells), length, dtype=torch.long)
    for at, cell in enumerate(cells):
        ids[at, : len(cell)] = torch.from_numpy(cell)
    return ids, (ids > 0).long()


@torch.no_grad()
def embed_plainly(network: BertForMaskedLM, cells: list[np.ndarray], length: int | None) -> np.ndarray:
    """Embed as the plain loop does."""
    found = []
    for start in range(0, len(cells), BATCH):
        ids, mask = padded(cells[start : start + BATCH], length)
        hidden = network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
        found.append(((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy())
    return np.concatenate(found)


@torch.inference_mode()
def embed(network: GeneformerNetwork, cells: list[np.ndarray]) -> np.ndarray:
    """Embed as Corpuscle does."""
    return np.concatenate([network.pooled(part, None).numpy() for part in packed(cells).parts(8192)])


def step_plainly(network: BertForMaskedLM, cells: list[np.ndarray]) -> None:
    """Take a training step as the plain loop does, all but the optimiser's."""
    network.train()
    ids, mask = padded(cells)
    labels = torch.where((torch.rand(ids.shape) < 0.15) & (mask > 0), ids, -100)
    shown = torch.where(labels >= 0, 1, ids)
    network(input_ids=shown, attention_mask=mask, labels=labels).loss.backward()
    network.zero_grad()


def step(network: GeneformerNetwork, cells: list[np.ndarray]) -> None:
    """Take a training step as Corpuscle does, all but the optimiser's."""
    network.train()
    network.objective(packed(cells), torch.Generator().manual_seed(0), trains=True).loss.backward()
    network.zero_grad()


def matmul_rate() -> float:
    """Return the multiply-adds a second of this machine, of matrices as wide as the network's."""
    x, y = torch.randn(8192, SIZE.width), torch.randn(SIZE.width, SIZE.feed_forward)
    times = []
    for _ in range(7):
        start = time.process_time()
        for _ in range(4):
            x @ y
        times.append(time.process_time() - start)
    return 4 * x.numel() * y.shape[1] / statistics.median(times)


def work(cells: list[np.ndarray], n_layers: int) -> float:
    """Return the multiply-adds of an embedding."""
    of_token = 4 * SIZE.width**2 + 2 * SIZE.width * SIZE.feed_forward
    return float(n_layers * sum(len(cell) * (of_token + 2 * len(cell) * SIZE.width) for cell in cells))


def alone(what: str, which: str) -> tuple[float, float]:
    """Run one thing once in a process of its own; return processor seconds and peak gigabytes."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (what, which))


def _run(what: str, which: str) -> tuple[float, float]:
    torch.set_num_threads(1)
    plain = what.startswith("plain")
    network: Any = published("eager" if "eager" in what else "sdpa")
    network = network if plain else ours(network)
    n_cells = TRAINED if "step" in what else EMBEDDED
    cells = real_cells(n_cells) if which == "real" else full_cells(max(8, n_cells // 8))
    length = SIZE.longest if "2048" in what else None
    do: Callable[[], object]
    if "step" in what:
        do = (lambda: step_plainly(network, cells)) if plain else (lambda: step(network, cells))
    else:
        do = (lambda: embed_plainly(network, cells, length)) if plain else (lambda: embed(network, cells))
    warm = cells[:1]
    if "step" not in what:
        _ = embed_plainly(network, warm, None) if plain else embed(network, warm)
    start = time.process_time()
    do()
    seconds = time.process_time() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="how many pairs the medians are of")
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)

    network, cells = published("sdpa"), real_cells(EMBEDDED)
    lengths = [len(cell) for cell in cells]
    print(f"{len(cells)} cells of pbmc3k, {statistics.mean(lengths):.0f} genes each (at most {max(lengths)})")
    np.testing.assert_allclose(embed(ours(network), cells), embed_plainly(network, cells, None), atol=2e-5)
    print("embeddings are equal")
    plans = [
        ("embedding", "real", ["plain sdpa", "plain eager", "plain eager 2048"]),
        ("embedding", "full", ["plain sdpa", "plain eager"]),
        ("training step", "real", ["plain sdpa step", "plain eager step"]),
    ]
    for title, which, others in plans:
        mine = "step" if "step" in title else "embedding"
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in (mine, *others)}
        for _ in range(pairs):
            for name, runs in found.items():
                runs.append(alone(name, which))
        own = statistics.median(seconds for seconds, _ in found[mine])
        n_cells = TRAINED if mine == "step" else EMBEDDED if which == "real" else max(8, EMBEDDED // 8)
        print(f"\n{title}, {which} cells ({n_cells})")
        for name, runs in found.items():
            seconds, gigabytes = (statistics.median(part) for part in zip(*runs, strict=True))
            label = name.removesuffix(" step") if name != mine else "corpuscle"
            print(f"  {label:18} {seconds:7.2f} s  {n_cells / seconds:6.2f} cells/s  {gigabytes:5.2f} GB  "
                  f"{seconds / own:5.2f} times ours")  # fmt: skip
        if mine == "embedding":
            cells = real_cells(n_cells) if which == "real" else full_cells(n_cells)
            rate, reached = matmul_rate(), work(cells, SIZE.layers - 1) / own
            print(f"  {2 * reached / 1e9:.0f} GFLOP/s, {reached / rate:.0%} of this machine's matrix products")


if __name__ == "__main__":
    main()
