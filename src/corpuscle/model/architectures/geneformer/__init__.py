"""Geneformer: a transformer that reads a cell as its genes in order of rank and learns to predict hidden ones.

Theodoris et al. 2023, doi 10.1038/s41586-023-06139-9; the second version, Chen et al. 2024, doi
10.1101/2024.08.16.608180.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.architectures.geneformer import weights
from corpuscle.model.architectures.geneformer.network import TERM, GeneformerNetwork, Pooling
from corpuscle.model.architectures.geneformer.rank_readout import ReadOut, read_ranks
from corpuscle.model.architectures.geneformer.sizes import OTHERS, SIZES, TRAININGS, Size
from corpuscle.model.data.batches import stream
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.families.foundation_parts import BATCH_SHARE, Demands, PublishedTraining, Start
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.families.official import Official
from corpuscle.model.families.sizes import sized
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.foreign.dictionaries import numbers, read_dictionary, token_ids
from corpuscle.model.tokenisers.gene_tokens import Vocabulary, gene_tokens
from corpuscle.model.tokenisers.rank_value import Marks, RankValue, gene_medians
from corpuscle.source.genes import GeneSpace

MASKED_NLL = Metric(
    TERM,
    "Negative log-likelihood of hidden genes",
    "Mean negative log-likelihood of the genes that were hidden, at their ranks, in nats, per cell; lower is better.",
    "lower",
)
# The published names of marks.
PAD, MASK, FIRST, LAST = "<pad>", "<mask>", "<cls>", "<eos>"


class FittedGeneformer(FittedFoundation):
    """A Geneformer with weights; it can be asked for the ranks of genes (`RanksGenes`)."""

    network: GeneformerNetwork

    def ranks(self, cells: Corpus, seed: int) -> ReadOut:
        """Ask for the genes at the places of cells; see `read_ranks`."""
        check_genes(cells, self.genes)
        with self.on_device():
            return read_ranks(self.network, (batch for _, batch in stream(cells, BLOCK_CELLS)), seed)


@component
class Geneformer(FoundationModel):
    """Geneformer, from published weights or from scratch.

    A cell is the list of its genes, by falling count per 10,000 over the gene's median among cells that have it; the
    sum and the mean of cells are therefore the same to it. From scratch, medians are the corpus' own, and genes that
    it has no counts of are unknown.

    Parameters
    ----------
    size
        Of a network from scratch: ``"tiny"``, of seconds; as published, ``"6L"`` and ``"12L"`` (first version),
        ``"12L-95M"``, ``"20L-95M"``, ``"104M"``, ``"316M"`` (second version); or a table of widths, such as
        ``{ width = 128, layers = 3, heads = 4, feed_forward = 256 }``; see `Size`.
        Of `checkpoint`, it is the folder's.
    layer
        Which block's output cells are embedded by: 0 the last, -1 the one before it, as published, and so on.
    pooling
        ``"mean"`` over a cell's genes, as published for the first version; ``"cls"``: the mark in front of the genes,
        as for the second. Without marks, ``"cls"`` is the gene of the highest rank, as in published classifiers of the
        first version. None: as published for the version.
    checkpoint, budget, learning_rate, weight_decay, rate_schedule, clip_norm, warmup
        See `FoundationModel`.
    batch_size, accumulate, validation_share, precision, adversary
        See `FoundationModel`.

    Examples
    --------
    >>> Geneformer(budget={"steps": 2000}).n_steps(n_cells=3000)
    2000
    """

    curves: ClassVar[tuple[Metric, ...]] = (MASKED_NLL, BATCH_SHARE)
    fitted: ClassVar[type[FittedFoundation]] = FittedGeneformer
    sizes: ClassVar[Mapping[str, Size]] = SIZES
    renames: ClassVar[Renames] = weights.RENAMES

    size: Annotated[Size, sized(SIZES, Size)] = SIZES["tiny"]
    layer: Annotated[int, Field(le=0)] = -1
    pooling: Pooling | None = None

    @model_validator(mode="after")
    def _has_layer(self) -> Self:
        if self.checkpoint is None and -self.layer > self.size.layers:
            raise ValueError(f"layer should be from {-self.size.layers} to 0, of {self.size.layers} layers")
        return self

    @classmethod
    def official(cls, path: Path) -> Official | None:
        """Return what a folder is, if it is one of Geneformer's."""
        return weights.official(path)

    @property
    def published(self) -> PublishedTraining:
        """The published training of this size; of other sizes, that of the smallest."""
        name = next((name for name, size in SIZES.items() if size == self._size), "")
        return TRAININGS.get(name, OTHERS)

    @property
    def _size(self) -> Size:
        """Its size, or that of the checkpoint."""
        found = weights.official(Path(self.checkpoint)) if self.checkpoint is not None else None
        return self.size if found is None else Size(**found.config["size"])

    def network(self, config: Mapping[str, Any]) -> GeneformerNetwork:
        """Make a network without weights."""
        size = Size(**config["size"])
        if -self.layer > size.layers:
            raise ModelError(f"layer = {self.layer} is before the first of {size.layers} layers")
        pooling = self.pooling or ("cls" if size.marked else "mean")
        return GeneformerNetwork(size, config["n_tokens"], layer=self.layer, pooling=pooling)

    def from_scratch(self, corpus: Corpus) -> Start:
        """Return what a network begins with: the corpus' own genes and medians."""
        median_G = gene_medians(corpus)
        marks = Marks(first=2, last=3) if self.size.marked else Marks()
        n_marks = 1 + max(marks)
        token_G = np.where(np.isfinite(median_G), n_marks + np.arange(corpus.n_genes), -1)
        if not (token_G >= 0).any():
            raise ModelError(f"corpus {corpus.name!r} has no counts: {len(corpus)} cells, {corpus.n_genes} genes")
        medians = np.concatenate([np.full(n_marks, np.nan), median_G])
        config = {"size": asdict(self.size), "n_tokens": len(medians)}
        return Start(config, RankValue(token_G, medians, self.size.longest, marks), None)

    def as_published(self, found: Official, space: GeneSpace) -> Start:
        """Return what published weights begin with: their tokens and medians."""
        size, n_tokens = Size(**found.config["size"]), found.config["n_tokens"]
        tokens = token_ids(found.files["tokens"], n_tokens)
        names = read_dictionary(found.files["names"]) if "names" in found.files else {}
        synonyms = {name.upper(): gene for name, gene in names.items() if isinstance(gene, str) and gene in tokens}
        vocabulary = Vocabulary(tokens, "ensembl", synonyms, str(found.files["tokens"]))
        marks = Marks(*(tokens.get(mark, -1) for mark in (PAD, MASK)))
        if size.marked:
            marks = marks._replace(first=tokens.get(FIRST, -1), last=tokens.get(LAST, -1))
        if min(marks.pad, marks.mask) < 0 or (size.marked and min(marks) < 0):
            raise ModelError(f"{found.files['tokens']}: lacks {PAD}, {MASK} or, of the second version, {FIRST}, {LAST}")
        median_V = np.full(n_tokens, np.nan)
        for gene, median in numbers(found.files["medians"]).items():
            if median <= 0:
                raise ModelError(
                    f"{found.files['medians']}: the median of {shortened(gene)} should be above 0; it is {median:g}"
                )
            if gene in tokens:
                median_V[tokens[gene]] = median
        token_G = gene_tokens(space, vocabulary)
        token_G[np.isin(token_G, np.flatnonzero(np.isnan(median_V)))] = -1
        return Start(found.config, RankValue(token_G, median_V, size.longest, marks), vocabulary)

    def tokeniser(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> RankValue:
        """Make the tokeniser again."""
        return RankValue.of(arrays, facts)

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine."""
        size = self._size
        n_parameters = size.layers * (4 * size.width**2 + 2 * size.width * size.feed_forward) + size.width * (
            n_genes + size.longest + size.width
        )
        of_layer = 4 * size.width**2 + 2 * size.width * size.feed_forward
        longest = min(size.longest, n_genes)
        return Demands(
            n_parameters,
            units_of_token=size.layers * (10 * size.width + 2 * size.feed_forward) + n_genes // 3,
            n_layers=size.layers,
            multiply_adds=size.layers * (of_layer + 2 * longest * size.width) + n_genes * size.width // 6,
            longest=longest,
        )
