"""TranscriptFormer: reads a cell gene by gene, and learns which comes next and how many counts it has.

Pearce et al. 2025, doi 10.1101/2025.04.25.650731. Axes in names: N cells, B cells of a block, T tokens, G genes of the
study, V tokens there are, E numbers of a gene's vector, K latents.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from corpuscle.core.components import component
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.transcriptformer import opening, weights
from corpuscle.model.architectures.transcriptformer.fitted import FittedTranscriptFormer
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.architectures.transcriptformer.sizes import CONTINUED, FROM_SCRATCH, SIZES, TINY, Size
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.families.foundation_parts import BATCH_SHARE, NONZERO_SHARE, Demands, PublishedTraining, Start
from corpuscle.model.families.official import Official
from corpuscle.model.families.sizes import sized
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.nn.initial import usual_weights
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.tokenisers.gene_tokens import Vocabulary
from corpuscle.source.genes import GeneSpace

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
        Of a network from scratch: ``"tiny"``, of seconds; ``"small"``; as published, ``"sapiens"``, ``"exemplar"``,
        ``"metazoa"``; or a table of widths, such as ``{ width = 128, layers = 3, heads = 4 }``; see `Size`. Of
        `checkpoint`, it is the folder's.
    gene_vectors
        A file of genes and their vectors (ESM-2), as published for each species, relative to the study file. From
        scratch, genes enter by these, in place of vectors that are learned; with a checkpoint, they take the place of
        its own genes, so that cells of another species can be embedded.
    scale
        What the sum over a cell's tokens is divided by for its embedding. ``"upstream"``: by the longest length, as
        published, so that cells with more genes lie further out. ``"length"``: by the cell's own number of tokens.

    checkpoint, budget, learning_rate, weight_decay, rate_schedule, clip_norm, warmup, batch_size, accumulate
        See `FoundationModel`.
    validation_share, precision, adversary
        See `FoundationModel`.

    Examples
    --------
    >>> TranscriptFormer(budget={"steps": 100}, size={"width": 32, "layers": 1}).n_steps(n_cells=500)
    100
    """

    version: ClassVar[int] = 2
    curves: ClassVar[tuple[Metric, ...]] = (LOSS, COUNT_NLL, GENE_CROSS_ENTROPY, BATCH_SHARE)
    path_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "gene_vectors")
    fitted: ClassVar[type[FittedFoundation]] = FittedTranscriptFormer
    sizes: ClassVar[Mapping[str, Size]] = SIZES
    renames: ClassVar[Renames] = weights.RENAMES

    size: Annotated[Size, sized(SIZES, Size)] = SIZES["tiny"]
    gene_vectors: Annotated[str, Field(min_length=1)] | None = None
    scale: Literal["upstream", "length"] = "upstream"

    @classmethod
    def official(cls, path: Path) -> Official | None:
        """Return what a folder is, if it is one of TranscriptFormer's."""
        return weights.official(path)

    @property
    def published(self) -> PublishedTraining:
        """That of the published code, from scratch or on top of published weights; ``"tiny"`` has a rate of its own."""
        if self.checkpoint is not None:
            return CONTINUED
        return TINY if self.size == SIZES["tiny"] else FROM_SCRATCH

    def network(self, config: Mapping[str, Any]) -> Network:
        """Make a network without weights."""
        size = Size(**config["size"])
        scaled_by = size.genes if self.scale == "upstream" else None
        given, n_names, n_assays = config["given_vectors"], config["n_names"], config["n_assays"]
        return Network(size, n_names, n_assays, given_vectors=given, scaled_by=scaled_by)

    def from_scratch(self, corpus: Corpus) -> Start:
        """Return what a network begins with: the corpus' own genes and assays, or the genes of `gene_vectors`."""
        return opening.of_study(corpus, self.size, self._vectors)

    def as_published(self, found: Official, space: GeneSpace) -> Start:
        """Return what published weights begin with: their genes and assays, or the genes of `gene_vectors`."""
        return opening.of_folder(found, space, self._vectors)

    def vocabulary(self, space: GeneSpace) -> Vocabulary | None:
        """Return the published vocabulary that it reads: from scratch, too, where genes enter by given vectors."""
        if self.checkpoint is None and self._vectors is not None:
            return opening.vocabulary_of(self._vectors)
        return super().vocabulary(space)

    def contents(self, found: Official) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        """Return what a published network is made of; see `FoundationModel.contents`."""
        return opening.contents(found, self._vectors)

    def tokeniser(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> GeneSequence:
        """Make the tokeniser again."""
        return GeneSequence.of(arrays, facts)

    def initialise(self, network: TokenNetwork, init: torch.Generator, names: Collection[str] | None = None) -> None:
        """Give a network its first weights: as torch does, and where vectors are given, these.

        No gene begins with more expected counts for its name alone.
        """
        assert isinstance(network, Network), "it was made here"
        usual_weights(network, init, names)
        if names is not None:
            return
        with torch.no_grad():
            network.gene_level.weight.zero_()
            network.vectors.normal_(generator=init)
            if self._vectors is not None:
                _, vectors_UE = weights.gene_vectors(self._vectors)
                network.vectors[: -len(vectors_UE)].uniform_(generator=init)  # special tokens, as published
                network.vectors[-len(vectors_UE) :] = torch.from_numpy(vectors_UE)

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine, in a study of so many genes; see `FoundationModel`."""
        found = None if self.checkpoint is None else weights.official(Path(self.checkpoint))
        size = self.size if found is None else Size(**found.config["size"])
        n_names = n_genes if found is None else found.config.get("n_names", n_genes)
        with torch.device("meta"):
            network = Network(size, n_names, 1, given_vectors=True, scaled_by=None)
        n_parameters = sum(weight.numel() for weight in network.parameters())
        attention = 2 * size.width * size.layers * min(size.genes, max(1, round(NONZERO_SHARE * n_genes)))
        units = size.layers * (10 * size.width + 3 * size.feed_forward) + 6 * size.width + 3 * size.gene_hidden
        vectors = network.vectors.numel()
        return Demands(
            n_parameters + vectors,
            units_of_token=units,
            n_layers=size.layers,
            multiply_adds=n_parameters + attention,
            longest=size.genes + 2,
        )

    @property
    def _vectors(self) -> Path | None:
        return None if self.gene_vectors is None else Path(self.gene_vectors)
