"""Attention of scBERT and TranscriptFormer in stretches of a cell, next to the same all at once: seconds, peak memory.

    python benchmarks/attention_in_stretches.py              # the published sizes, one cell: ten minutes on one thread

Each row is a process of its own, on one thread: one cell of the longest length through scBERT's six layers (16,907
positions), and through two of TranscriptFormer's (2,047 genes; --layers 12: all), to be embedded, and for a training
step. `all at once` is the textbook form, as the published code has it: features of all keys and queries, or all scores
of a layer, stay in memory. Seconds are of the processor, of the second run; memory is the process's highest, less what
it had before. Both give the same numbers, to rounding.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

ROWS = [(model, what, how) for model in ("scbert", "transcriptformer") for what in ("embed", "train")
        for how in ("all at once", "in stretches")]  # fmt: skip


def all_at_once(query_BLHC: Any, key_BLHC: Any, value_BLHC: Any, projection_MC: Any) -> Any:
    """Attend by random features, as the published code does."""
    scale = query_BLHC.shape[-1] ** -0.25

    def features(x_BLHC: Any, *, is_query: bool) -> Any:
        u_BHLM = scale * x_BLHC.transpose(1, 2) @ projection_MC.T
        length = (x_BLHC.transpose(1, 2) ** 2).sum(-1, keepdim=True) * scale**2 / 2
        top = u_BHLM.amax(-1, keepdim=True) if is_query else u_BHLM.amax((1, 2, 3), keepdim=True)
        return len(projection_MC) ** -0.5 * ((u_BHLM - length - top).exp() + 1e-4)

    query, key = features(query_BLHC, is_query=True), features(key_BLHC, is_query=False)
    context = key.mT @ value_BLHC.transpose(1, 2)
    return (query @ context / (query @ key.sum(2)[..., None])).transpose(1, 2)


def network_of(model: str, layers: int) -> Any:
    """Make a network of the published size with random weights, and one cell of the longest length."""
    import torch

    from corpuscle.model.architectures.scbert import network as scbert
    from corpuscle.model.architectures.scbert import sizes as of_scbert
    from corpuscle.model.architectures.transcriptformer import network as transcriptformer
    from corpuscle.model.architectures.transcriptformer import sizes as of_transcriptformer
    from corpuscle.model.nn.initial import usual_weights
    from corpuscle.model.tokenisers.expression_levels import ExpressionLevels
    from corpuscle.model.tokenisers.gene_sequence import GeneSequence
    from corpuscle.model.tokenisers.tokens import Tokens

    draw = torch.Generator().manual_seed(0)
    if model == "scbert":
        made: Any = scbert.Network(of_scbert.SIZES["panglao"], 16_907, given_positions=True)
        made.tokeniser = ExpressionLevels(torch.arange(16_906).numpy(), 16_906)
        made.draw_features(draw)
        made.positions.normal_(generator=draw)
        ids = torch.randint(6, (16_907,), generator=draw) * (torch.rand(16_907, generator=draw) < 0.1)
    else:
        from dataclasses import replace

        size = replace(of_transcriptformer.SIZES["sapiens"], layers=layers)
        made = transcriptformer.Network(size, 23_829, 1, given_vectors=True, scaled_by=None)
        made.tokeniser = GeneSequence(torch.arange(7, 23_829).numpy(), 23_829, start=1, end=2, assays=["unknown"],
                                      longest=2047)  # fmt: skip
        made.vectors.normal_(generator=draw)
        ids = torch.cat([torch.ones(1, dtype=torch.int64), 7 + torch.randperm(23_822, generator=draw)[:2047]])
    usual_weights(made, draw)
    return made, Tokens(torch.tensor([0, len(ids)]), ids, torch.ones(len(ids)))


def measured(model: str, what: str, how: str, layers: int) -> dict[str, float]:
    """Run one row, here."""
    import torch

    from corpuscle.model.architectures.scbert import network as scbert
    from corpuscle.model.nn import capped_attention

    torch.set_num_threads(1)
    network, tokens = network_of(model, layers)
    if how == "all at once":
        scbert.attend_by_features = all_at_once
        capped_attention.QUERIES = 1 << 30
    before, found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    for _ in range(2):
        start = time.process_time()
        if what == "embed":
            with torch.inference_mode():
                found = float(network.pooled(tokens, None).norm())
        else:
            network.zero_grad()
            loss = network.objective(tokens, torch.Generator().manual_seed(1), trains=False).loss
            loss.backward()
            found = float(loss)
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "GB": peak / 1e6, "found": found}


def main() -> None:
    """Print a row for each model, use and form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of TranscriptFormer")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row is not None:
        print(json.dumps(measured(*ROWS[given.row], given.layers)))
        return
    print(f"{'model':18}{'use':8}{'form':14}{'seconds':>9}{'GB':>7}   value")
    for row, (model, what, how) in enumerate(ROWS):
        command = [sys.executable, __file__, "--row", str(row), "--layers", str(given.layers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{model:18}{what:8}{how:14}  failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found = json.loads(done.stdout)
        print(f"{model:18}{what:8}{how:14}{found['seconds']:9.1f}{found['GB']:7.2f}   {found['found']:.5f}")


if __name__ == "__main__":
    main()
