"""What the settings of foundation models are made of: published trainings, beginnings, demands, adversaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.model.nn.adversary import TERM
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.tokenisers.gene_tokens import Vocabulary
from corpuscle.model.tokenisers.tokens import Tokeniser

BATCH_SHARE = Metric(
    TERM,
    "Batches shown",
    "Share of the batch labels' variance that the best linear guess from the embedding explains.",
    "lower",
    "share",
)
# A cell is taken to have counts of this share of the genes where nothing has been read yet.
NONZERO_SHARE = 0.1


@dataclass(frozen=True)
class PublishedTraining:
    """How a model was pre-trained by those who published it.

    Attributes
    ----------
    learning_rate, weight_decay, eps, decoupled
        Adam's settings; see `Optimiser`.
    decay, factor, warmup
        The rate's course; see `RateSchedule`. `warmup` is in steps, or below 1 a share of them; `factor` is per epoch.
    clip_norm
        See `Stepping`.
    batch_size
        Cells per step, over all GPUs.
    epochs
        Passes through the corpus.
    source
        Where this is written.
    """

    learning_rate: float
    warmup: float
    batch_size: int
    epochs: int
    source: str
    decay: Literal["none", "linear", "cosine", "stepwise"] = "none"
    factor: float | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = None
    eps: float = 1e-8
    decoupled: bool = False


class Start(NamedTuple):
    """What a network begins with in a study.

    Attributes
    ----------
    config
        What `FoundationModel.network` makes it of: plain data, fit for JSON.
    tokeniser
        What writes its cells.
    vocabulary
        The published vocabulary that it reads; None where it was made from the corpus.
    """

    config: Mapping[str, Any]
    tokeniser: Tokeniser
    vocabulary: Vocabulary | None


class Started(NamedTuple):
    """A network with its tokeniser and first weights, and what `FoundationModel.network` makes it of."""

    config: Mapping[str, Any]
    network: TokenNetwork


class Demands(NamedTuple):
    """What a network asks of a machine.

    Attributes
    ----------
    n_parameters
        Its weights.
    units_of_token
        Numbers that a training keeps for each token, over all layers.
    n_layers
        How many layers, all of a width.
    multiply_adds
        Multiply-adds of a token on its way through all layers, attention included.
    longest
        The most tokens of a cell; `tokens_of` says how many a cell is likely to have.
    share
        Of which share of a study's genes a cell is likely to have tokens.
    """

    n_parameters: int
    units_of_token: int
    n_layers: int
    multiply_adds: int
    longest: int
    share: float = NONZERO_SHARE

    def tokens_of(self, n_genes: int) -> int:
        """Return how many tokens a cell is likely to have, of a study with so many genes."""
        return min(self.longest, max(1, round(self.share * n_genes)))


@component
class Adversary:
    """How an embedding is trained so that it does not show a label; see `AdversarialNetwork`.

    Parameters
    ----------
    label
        What is not to be seen, such as ``"batch"`` or ``"donor"``; cells without it teach nothing of it.
    weight
        How much that counts: what is minimised is the model's own objective plus so many times the share of the labels'
        variance that the best linear guess from the embedding explains.
    """

    label: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
