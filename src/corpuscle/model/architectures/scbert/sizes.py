"""scBERT's sizes, and how it was trained.

Yang et al. 2022, doi 10.1038/s42256-022-00534-z; code https://github.com/TencentAILabHealthcare/scBERT. What differs
here: its rate rises and falls three times over 100 epochs (over 15, 25 and 45 of them, from and to 1e-6, to 1e-4, 9e-5
and 8.1e-5); here, it rises over as many epochs once, and falls along half a cosine.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from corpuscle.core.components import component
from corpuscle.model.families.foundation_parts import PublishedTraining
from corpuscle.model.families.sizes import Layers, Units
from corpuscle.model.size import MOST_UNITS


@component
class Size:
    """The size of an scBERT.

    Parameters
    ----------
    width
        Numbers of a gene's vector and of a cell's embedding.
    layers, heads
        Layers, and heads of attention.
    head
        Channels of a head.
    features
        Random features of a head; None: C·ln C of its C channels, as published.
    """

    width: Units = 32
    layers: Layers = 2
    heads: Units = 2
    head: Annotated[int, Field(gt=1, le=MOST_UNITS)] = 16
    features: Units | None = None

    @property
    def n_features(self) -> int:
        """How many random features a head has."""
        return self.features or int(self.head * math.log(self.head))


SIZES: Mapping[str, Size] = {
    "tiny": Size(),
    "small": Size(width=64, layers=4, heads=4, head=32),
    "panglao": Size(width=200, layers=6, heads=10, head=64),
}

PRE_TRAINING = PublishedTraining(
    learning_rate=1e-4,
    warmup=0.05,
    batch_size=180,
    epochs=100,
    source="https://github.com/TencentAILabHealthcare/scBERT/blob/master/pretrain.py",
    decay="cosine",
    clip_norm=100.0,
)
# Our own, of the size "tiny", which is trained for hundreds of steps.
TINY = replace(PRE_TRAINING, learning_rate=1e-2)
