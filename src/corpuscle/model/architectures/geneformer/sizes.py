"""Geneformer's sizes, and how each was trained.

From the configurations and training scripts of https://huggingface.co/ctheodoris/Geneformer, and of the first models,
`examples/pretraining_new_model/` there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from corpuscle.core.components import component
from corpuscle.model.families.foundation_parts import PublishedTraining
from corpuscle.model.families.sizes import TransformerSize
from corpuscle.model.size import MOST_UNITS


@component
class Size(TransformerSize):
    """Widths of a network.

    Parameters
    ----------
    width, layers, heads, feed_forward
        See `TransformerSize`.
    longest
        The most tokens of a cell.
    marked
        Whether a cell begins and ends with a mark, as of the second version.
    dropout
        Share that is dropped in training.
    """

    longest: Annotated[int, Field(gt=2, le=MOST_UNITS)] = 2048
    marked: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.02


SIZES: Mapping[str, Size] = {
    "tiny": Size(width=64, layers=2, heads=2, feed_forward=128, longest=256),
    "6L": Size(width=256, layers=6, heads=4, feed_forward=512),
    "12L": Size(width=512, layers=12, heads=8, feed_forward=1024),
    "12L-95M": Size(width=512, layers=12, heads=8, feed_forward=1024, longest=4096, marked=True),
    "20L-95M": Size(width=896, layers=20, heads=14, feed_forward=1792, longest=4096, marked=True),
    "104M": Size(width=768, layers=12, heads=12, feed_forward=3072, longest=4096, marked=True, dropout=0.1),
    "316M": Size(width=1152, layers=18, heads=18, feed_forward=4608, longest=4096, marked=True, dropout=0.1),
}

_FIRST = PublishedTraining(
    learning_rate=1e-3, warmup=10_000, batch_size=144, epochs=3, decay="linear", weight_decay=0.001, clip_norm=1.0,
    decoupled=True, source="https://huggingface.co/ctheodoris/Geneformer, examples/pretraining_new_model",
)  # fmt: skip
# Of what is not written anywhere, what is next to it stands: the rate of the 316M model is that of the 104M model.
TRAININGS: Mapping[str, PublishedTraining] = {
    # Our own: it is trained for hundreds of steps.
    "tiny": replace(_FIRST, learning_rate=3e-3),
    "6L": _FIRST,
    "12L": replace(_FIRST, learning_rate=5e-4),
    "12L-95M": replace(_FIRST, learning_rate=5e-4, warmup=5_000, decay="cosine", batch_size=32),
    "20L-95M": replace(_FIRST, learning_rate=5e-4, warmup=5_000, decay="cosine", batch_size=32),
    "104M": replace(_FIRST, learning_rate=2e-4, warmup=0.007, decay="cosine", batch_size=234),
    "316M": replace(_FIRST, learning_rate=2e-4, warmup=0.007, decay="cosine", batch_size=234),
}
OTHERS = _FIRST
