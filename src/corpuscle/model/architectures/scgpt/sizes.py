"""Sizes of scGPT, and how it was trained by those who published it: data, under where they are written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from corpuscle.core.components import component
from corpuscle.model.families.foundation_parts import PublishedTraining
from corpuscle.model.families.sizes import TransformerSize


@component
class Size(TransformerSize):
    """Widths of a network.

    Parameters
    ----------
    width, layers, heads, feed_forward
        See `TransformerSize`.
    dropout
        Share that is dropped in training.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


SIZES: Mapping[str, Size] = {
    # Our own: seconds on a CPU. With the published dropout, so small a network learns little in so few steps.
    "tiny": Size(width=64, layers=2, heads=2, feed_forward=128, dropout=0.0),
    # https://github.com/bowang-lab/scGPT: args.json of the whole-human model, and those of its continued trainings.
    "whole-human": Size(width=512, layers=12, heads=8, feed_forward=512),
}

# Of the whole-human model; others may have others.
N_TOKENS = 60_697
# 51 with that of zero.
N_BINS = 51
# Tokens of a cell, its own in front included.
MAX_LENGTH = 1200
# What stands in place of a masked value, and with the cell's own token.
MASKED, CLS_VALUE = -1.0, -2.0

# https://github.com/bowang-lab/scGPT, examples/pretrain.py of the branch with the published args.json.
PRETRAINING = PublishedTraining(
    learning_rate=1e-4,
    decay="cosine",
    warmup=10_000,
    clip_norm=1.0,
    batch_size=512,
    epochs=6,
    source="https://github.com/bowang-lab/scGPT/tree/integrate-huggingface-model/examples/pretrain.py",
)
# Our own, of the size "tiny", which is trained for hundreds of steps: at the published rate, these do not even bring
# its guesses to the bins' mean.
TINY = replace(PRETRAINING, learning_rate=3e-3)
# https://github.com/bowang-lab/scGPT, examples/finetune_integration.py.
INTEGRATION = PublishedTraining(
    learning_rate=1e-4,
    decay="stepwise",
    factor=0.9,
    warmup=0,
    clip_norm=1.0,
    batch_size=64,
    epochs=30,
    source="https://github.com/bowang-lab/scGPT/blob/main/examples/finetune_integration.py",
)
