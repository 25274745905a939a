"""Sizes of scGPT, and how it was trained by those who published it: data, under where they are written."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.model.families.foundation import PublishedTraining
from corpuscle.model.size import MOST_LAYERS, MOST_UNITS

Units = Annotated[int, Field(gt=0, le=MOST_UNITS)]


@component
class ScgptSize:
    """The widths of a network.

    Parameters
    ----------
    width
        Channels of a token.
    n_layers
        Blocks of attention and two layers.
    n_heads
        Heads of attention, each of `width` / `n_heads` channels.
    n_hidden
        Units of a block's hidden layer.

    Examples
    --------
    >>> ScgptSize(width=128, n_layers=4, n_heads=4, n_hidden=256).n_layers
    4
    """

    width: Units
    n_layers: Annotated[int, Field(gt=0, le=MOST_LAYERS)]
    n_heads: Units
    n_hidden: Units

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.n_heads:
            raise ValueError(f"width ({self.width}) should be a multiple of n_heads ({self.n_heads})")
        return self


SizeName = Literal["tiny", "whole-human"]
SIZES: dict[SizeName, ScgptSize] = {
    # Our own: seconds on a CPU.
    "tiny": ScgptSize(width=32, n_layers=2, n_heads=2, n_hidden=64),
    # https://github.com/bowang-lab/scGPT: args.json of the whole-human model, and those of its continued trainings.
    "whole-human": ScgptSize(width=512, n_layers=12, n_heads=8, n_hidden=512),
}

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
