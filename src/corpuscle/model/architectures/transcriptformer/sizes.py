"""TranscriptFormer's sizes, and how it was trained.

Pearce et al. 2025, doi 10.1101/2025.04.25.650731; code https://github.com/czi-ai/transcriptformer. The trainings are
those of its `cli/conf/train_config.yaml`, which gives other rates from scratch. What differs here: the rate falls to 0,
not to 18 % of its height; Adam keeps 0.999 of its squares, not 0.95; the batch is 48 cells there, and here what a study
says.
"""

from collections.abc import Mapping
from dataclasses import replace

from corpuscle.core.components import component
from corpuscle.model.families.foundation_parts import PublishedTraining
from corpuscle.model.families.sizes import Layers, TransformerSize, Units


@component
class Size(TransformerSize):
    """The size of a TranscriptFormer.

    Parameters
    ----------
    width, layers, heads, feed_forward
        See `TransformerSize`.
    gene_hidden
        Hidden units of what predicts the next gene.
    genes
        The most genes of a cell that are read.
    vector
        Numbers of a gene's given vector (ESM-2: 2,560); None: as many as `width`.
    """

    width: Units = 64
    layers: Layers = 2
    heads: Units = 4
    feed_forward: Units = 64
    gene_hidden: Units = 64
    genes: Units = 2047
    vector: Units | None = None


SIZES: Mapping[str, Size] = {
    # Our own: two heads, as the cost of attention grows with them.
    "tiny": Size(heads=2),
    "small": Size(width=256, layers=4, heads=8, feed_forward=256, gene_hidden=256),
    "sapiens": Size(width=2048, layers=12, heads=16, feed_forward=2048, gene_hidden=2048, vector=2560),
    "exemplar": Size(width=2048, layers=12, heads=16, feed_forward=2048, gene_hidden=2048, vector=2560),
    "metazoa": Size(width=2048, layers=12, heads=16, feed_forward=2048, gene_hidden=512, vector=2560),
}

CONFIG = "https://github.com/czi-ai/transcriptformer/blob/main/src/transcriptformer/cli/conf/train_config.yaml"
FROM_SCRATCH = PublishedTraining(
    learning_rate=1.5e-4,
    warmup=0.1,
    batch_size=48,
    epochs=5,
    source=CONFIG,
    decay="cosine",
    weight_decay=0.1,
    clip_norm=1.0,
    decoupled=True,
)
# Our own, of the size "tiny", which is trained for hundreds of steps.
TINY = replace(FROM_SCRATCH, learning_rate=3e-3)
CONTINUED = PublishedTraining(
    learning_rate=5.5e-5,
    warmup=0.1,
    batch_size=48,
    epochs=5,
    source=CONFIG,
    decay="cosine",
    weight_decay=0.05,
    clip_norm=1.0,
    decoupled=True,
)
