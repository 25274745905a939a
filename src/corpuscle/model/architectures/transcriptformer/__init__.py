"""TranscriptFormer: reads a cell gene by gene, and learns which comes next and how many counts it has.

Pearce et al. 2025, doi 10.1101/2025.04.25.650731. Axes in names: N cells, B cells of a block, T tokens, G genes of the
study, V tokens there are, E numbers of a gene's vector, K latents.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.transcriptformer.fitted import FittedTranscriptFormer
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.architectures.transcriptformer.opening import from_folder, from_scratch, given_genes, sequence
from corpuscle.model.architectures.transcriptformer.sizes import CONTINUED, FROM_SCRATCH, SIZES, Name, Size
from corpuscle.model.architectures.transcriptformer.weights import recognised, size_by_config
from corpuscle.model.families.foundation import NONZERO_SHARE, Demands, FoundationModel, Opened, PublishedTraining
from corpuscle.model.nn.initial import drawn
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.tokenisers.gene_sequence import GeneSequence

__all__ = ["TranscriptFormer", "recognised"]

COUNT_NLL = Metric(
    "count_nll",
    "NLL of a gene's counts",
    "Negative log-likelihood of a gene's counts (at most 30) by a Poisson law without its 0, as published, in nats, "
    "averaged over a cell's genes and over cells; lower is better.",
    "lower",
)
GENE_CROSS_ENTROPY = Metric(
    "gene_cross_entropy",
    "Cross-entropy of the next gene",
    "Cross-entropy of which gene with counts comes next in a drawn order, in nats, averaged over a cell's genes and "
    "over cells; lower is better.",
    "lower",
)
LOSS = Metric("loss", "Loss", "The sum of both, for counts and for genes, in nats; lower is better.", "lower")


@component
class TranscriptFormer(FoundationModel):
    """TranscriptFormer, from scratch or from published weights.

    It needs raw counts. Genes are matched by Ensembl id. A cell is read in the vocabulary's order of genes, whatever
    the file's; in training, in an order that is drawn for each cell and step. Where cells have a label ``assay`` that
    the model knows, it is read first; others are read without.

    Parameters
    ----------
    size
        ``"tiny"`` (the default without a checkpoint), ``"small"``, or as published ``"sapiens"``, ``"exemplar"``,
        ``"metazoa"``; or a table of a `Size`.
    gene_vectors
        A file of genes and their vectors (ESM-2), as published for each species, relative to the study file. From
        scratch, genes enter by these, in place of vectors that are learned; with a checkpoint, they take the place of
        its own genes, so that cells of another species can be embedded.
    scale
        What the sum over a cell's tokens is divided by for its embedding. ``"upstream"``: by the longest length, as
        published, so that cells with more genes lie further out. ``"length"``: by the cell's own number of tokens.

    checkpoint, budget, learning_rate, weight_decay, rate_schedule, clip_norm, warmup, batch_size, accumulate
        See `FoundationModel`.
    validation_share, precision
        See `FoundationModel`.

    Examples
    --------
    >>> TranscriptFormer(budget={"steps": 100}, size={"width": 32, "layers": 1}).n_steps(n_cells=500)
    100
    """

    curves: ClassVar[tuple[Metric, ...]] = (LOSS, COUNT_NLL, GENE_CROSS_ENTROPY)
    paths: ClassVar[tuple[str, ...]] = ("checkpoint", "gene_vectors")

    size: Annotated[Name | Size | None, BeforeValidator(
        lambda value: Size(**value) if isinstance(value, dict) else value
    )] = None  # fmt: skip
    gene_vectors: Annotated[str, Field(min_length=1)] | None = None
    scale: Literal["upstream", "length"] = "upstream"

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.checkpoint is not None and self.size is not None:
            raise ValueError("size is the checkpoint's; leave it out")
        return self

    @property
    def answers(self) -> type[FittedTranscriptFormer]:
        """What a fitted one is."""
        return FittedTranscriptFormer

    @property
    def published(self) -> PublishedTraining:
        """That of the published code, from scratch or on top of published weights."""
        return FROM_SCRATCH if self.checkpoint is None else CONTINUED

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine, in a study of so many genes; see `FoundationModel`."""
        size = self._size if self.checkpoint is None else size_by_config(Path(self.checkpoint))
        with torch.device("meta"):
            network = Network(size, sequence(np.empty(0, np.int64), n_genes, size, ["unknown"]), given_vectors=False)
        n_parameters = sum(weight.numel() for weight in network.parameters())
        n_looked_up = network.vectors.numel()
        attention = 2 * size.width * size.layers * min(size.genes, max(1, round(NONZERO_SHARE * n_genes)))
        units = size.layers * (10 * size.width + 3 * size.hidden) + 6 * size.width + 3 * size.gene_hidden
        return Demands(n_parameters, units, n_parameters - n_looked_up + attention, size.genes + 2)

    def opened(self, corpus: Corpus, seed: int) -> Opened:
        """Return the network with random or published weights; see `FoundationModel`."""
        given = None if self.gene_vectors is None else given_genes(corpus, Path(self.gene_vectors))
        if self.checkpoint is not None:
            opened = from_folder(corpus, Path(self.checkpoint), given)
        else:
            opened = from_scratch(corpus, self._size, given, seed)
        return opened._replace(network=self._scaled(opened.network))

    def rebuilt(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> TokenNetwork:
        """Return the network of a saved model; see `FoundationModel`."""
        tokeniser, size = GeneSequence.of_parts(arrays, facts), Size(**facts["size"])
        network = drawn(lambda: Network(size, tokeniser, given_vectors=facts["given_vectors"]), torch.Generator())
        return self._scaled(network)

    @property
    def _size(self) -> Size:
        return self.size if isinstance(self.size, Size) else SIZES[self.size or "tiny"]

    def _scaled(self, network: TokenNetwork) -> Network:
        assert isinstance(network, Network), "it was made here"
        network.scaled_by = network.tokeniser.longest if self.scale == "upstream" else None
        return network
