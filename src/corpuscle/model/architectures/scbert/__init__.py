"""scBERT: reads a level of expression at each of a list of genes, and learns to predict levels that are hidden.

Yang et al. 2022, doi 10.1038/s42256-022-00534-z.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.scbert import weights
from corpuscle.model.architectures.scbert.network import Network
from corpuscle.model.architectures.scbert.sizes import PRE_TRAINING, SIZES, TINY, Size
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.families.foundation_parts import BATCH_SHARE, Demands, PublishedTraining, Start
from corpuscle.model.families.official import Official
from corpuscle.model.families.sizes import sized
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.nn.initial import GENE_DEVIATION, usual_weights
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.tokenisers.expression_levels import ExpressionLevels
from corpuscle.model.tokenisers.gene_tokens import Vocabulary, gene_tokens
from corpuscle.model.training.budget import MOST_STEPS
from corpuscle.source.genes import GeneSpace

LEVEL_CROSS_ENTROPY = Metric(
    "level_cross_entropy",
    "Cross-entropy of hidden levels",
    "Cross-entropy of the levels of expression that are to be predicted, 15 % of those above 0, in nats, averaged over "
    "a cell's and over cells; lower is better.",
    "lower",
)


@component
class ScBERT(FoundationModel):
    """scBERT, from scratch or from published weights.

    It needs raw counts. Genes are matched by symbol. A cell is read at all genes of the list, with or without counts,
    so that its cost grows with the study's genes; from scratch, the list is the study's own genes, and the vectors of
    their places are learned. Unlike the published code's, a cell's embedding does not depend on its company.

    Parameters
    ----------
    size
        Of a network from scratch: ``"tiny"``, of seconds; ``"small"``; ``"panglao"``, as published; or a table of
        widths, such as ``{ width = 64, layers = 3 }``; see `Size`. Of `checkpoint`, it is the folder's.
    pooling
        ``"mean"``: a cell's embedding is the mean over all positions. ``"expressed"``: over those with a level above 0.
        The last layer is averaged, after its norm; none is published.
    redraw
        After how many batches of a training its random features of attention are drawn anew, 1,000 as published; 0:
        never. Fine-tuning does not draw them.
    checkpoint, budget, learning_rate, weight_decay, rate_schedule, clip_norm, warmup, batch_size, accumulate
        See `FoundationModel`. The published batch has 180 cells, 3 at a time.
    validation_share, precision, adversary
        See `FoundationModel`.

    Examples
    --------
    >>> ScBERT(budget={"steps": 100}, size={"width": 16, "layers": 1}).n_steps(n_cells=500)
    100
    """

    version: ClassVar[int] = 2
    curves: ClassVar[tuple[Metric, ...]] = (LEVEL_CROSS_ENTROPY, BATCH_SHARE)
    fitted: ClassVar[type[FittedFoundation]] = FittedFoundation
    sizes: ClassVar[Mapping[str, Size]] = SIZES
    renames: ClassVar[Renames] = weights.RENAMES

    size: Annotated[Size, sized(SIZES, Size)] = SIZES["tiny"]
    pooling: Literal["mean", "expressed"] = "mean"
    redraw: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 1000

    @classmethod
    def official(cls, path: Path) -> Official | None:
        """Return what a folder is, if it is one of scBERT's."""
        return weights.official(path)

    @property
    def published(self) -> PublishedTraining:
        """The one published training; from scratch, ``"tiny"`` has a rate of its own."""
        return TINY if self.checkpoint is None and self.size == SIZES["tiny"] else PRE_TRAINING

    def network(self, config: Mapping[str, Any]) -> Network:
        """Make a network without weights."""
        return Network(
            Size(**config["size"]),
            config["n_listed"] + 1,
            given_positions=config["given_positions"],
            expressed_only=self.pooling == "expressed",
            redraw=self.redraw,
        )

    def from_scratch(self, corpus: Corpus) -> Start:
        """Return what a network begins with: the corpus' own genes, in their order."""
        config = {"size": asdict(self.size), "n_listed": corpus.n_genes, "given_positions": False}
        return Start(config, ExpressionLevels(np.arange(corpus.n_genes), corpus.n_genes), None)

    def as_published(self, found: Official, space: GeneSpace) -> Start:
        """Return what published weights begin with: their list of genes."""
        listed, place = weights.genes_of(found.files["genes"]), str(found.files["genes"])
        vocabulary = Vocabulary({gene: at for at, gene in enumerate(listed)}, "symbol", {}, place)
        return Start(found.config, ExpressionLevels(gene_tokens(space, vocabulary), len(listed)), vocabulary)

    def contents(self, found: Official) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """Return what a published network is made of; see `FoundationModel.contents`."""
        return weights.contents(found)

    def tokeniser(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> ExpressionLevels:
        """Make the tokeniser again."""
        return ExpressionLevels.of(arrays, facts)

    def initialise(self, network: TokenNetwork, init: torch.Generator, names: Collection[str] | None = None) -> None:
        """Give a network its first weights: as torch does, random features, and near 0 what tells genes apart."""
        assert isinstance(network, Network), "it was made here"
        usual_weights(network, init, names)
        if names is None:
            with torch.no_grad():
                network.positions.normal_(0, GENE_DEVIATION, generator=init)
                network.draw_features(init)

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine, in a study of so many genes; see `FoundationModel`."""
        found = None if self.checkpoint is None else weights.official(Path(self.checkpoint))
        size = self.size if found is None else Size(**found.config["size"])
        n_listed = n_genes if found is None else found.config["n_listed"]
        inner = size.heads * size.head
        of_layer = 4 * size.width * inner + 8 * size.width**2
        n_weights = size.layers * of_layer
        return Demands(
            n_parameters=n_weights + n_listed * size.width,
            units_of_token=size.layers * (8 * size.width + 6 * inner) + 4 * size.width,
            n_layers=size.layers,
            multiply_adds=n_weights + size.layers * 5 * inner * size.n_features,
            longest=n_listed + 1,
            share=max(1.0, n_listed / max(1, n_genes)),
        )
