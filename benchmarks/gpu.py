"""All that is measured on a GPU, in one command: the trainer beside scvi-tools, and Geneformer's embedding and step.

Run ``python benchmarks/gpu.py`` on a machine with a GPU; elsewhere it says so and ends with exit code 1. It prints the
device's name, then

- ``benchmarks/training.py --gpu``, scvi-tools next to ours;
- Geneformer, 6 and 12 layers, random weights, cells of pbmc3k and cells with a gene at each place, in 32 and 16 bits:
  cells a second and peak memory of the device, beside transformers' BERT with padded batches of the same cells.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from foundation import BATCH, N_TOKENS, full_cells, ours, packed, padded, published, real_cells

from corpuscle.model.architectures.geneformer.sizes import SIZES

# Cells, tokens that are worked on at once, and repeats of which the best is taken.
N_CELLS, PASS_TOKENS, REPEATS = 512, 65_536, 3


def measured(do: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and peak gigabytes of the device."""
    do()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        do()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times), torch.cuda.max_memory_allocated() / 1e9


def compared(name: str, which: str, device: torch.device, *, narrow: bool) -> None:
    """Print the embedding and the training step of a size."""
    plain: Any = published("sdpa", SIZES[name]).to(device)
    own = ours(plain.cpu(), SIZES[name]).to(device)
    plain.to(device)
    cells = real_cells(N_CELLS) if which == "real" else full_cells(N_CELLS // 8)
    cast = torch.autocast(device.type, torch.bfloat16, enabled=narrow)

    @torch.inference_mode()
    def embed() -> None:
        with cast:
            for part in packed(cells).parts(PASS_TOKENS):
                own.pooled(part.to(device), None)

    @torch.inference_mode()
    def embed_plainly() -> None:
        with cast:
            for start in range(0, len(cells), 4 * BATCH):
                ids, mask = padded(cells[start : start + 4 * BATCH])
                plain(input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True)

    few = cells[: 2 * BATCH]

    def step() -> None:
        own.train()
        with cast:
            loss = own.objective(packed(few).to(device), torch.Generator(device), trains=True).loss
        loss.backward()
        own.zero_grad()

    def step_plainly() -> None:
        plain.train()
        ids, mask = (part.to(device) for part in padded(few))
        labels = torch.where((torch.rand(ids.shape, device=device) < 0.15) & (mask > 0), ids, -100)
        with cast:
            loss = plain(input_ids=torch.where(labels >= 0, 1, ids), attention_mask=mask, labels=labels).loss
        loss.backward()
        plain.zero_grad()

    bits = "bf16" if narrow else "float32"
    for what, n_cells, mine, theirs in (
        ("embedding", len(cells), embed, embed_plainly), ("training step", len(few), step, step_plainly)
    ):  # fmt: skip
        (seconds, gigabytes), (other, more) = measured(mine), measured(theirs)
        print(f"Geneformer {name}, {which} cells, {bits}, {what}: {n_cells / seconds:,.0f} cells/s, {gigabytes:.2f} GB")
        print(f"  transformers: {n_cells / other:,.0f} cells/s, {more:.2f} GB; {other / seconds:.2f} times our time")


def main() -> None:
    if not torch.cuda.is_available():
        print("torch finds no GPU here: nothing is measured", file=sys.stderr)
        raise SystemExit(1)
    print(torch.cuda.get_device_name(), f"torch {torch.__version__}", flush=True)
    subprocess.run([sys.executable, Path(__file__).parent / "training.py", "--gpu"], check=True)
    for name in ("6L", "12L"):
        for which in ("real", "full"):
            for narrow in (False, True):
                compared(name, which, torch.device("cuda"), narrow=narrow)
    print(f"{N_TOKENS:,} tokens; batches of {PASS_TOKENS:,} tokens, and of {4 * BATCH} padded cells")


if __name__ == "__main__":
    main()
