"""scGPT, a transformer over genes with binned counts.

Cui et al. 2024, doi 10.1038/s41592-024-02201-0. Axes in names: G genes of the study.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import GeneMoments, gene_moments, most_variable
from corpuscle.model.architectures.scgpt import weights
from corpuscle.model.architectures.scgpt.integration import Integration, IntegrationNetwork, begin_with
from corpuscle.model.architectures.scgpt.network import Pooling, ScgptNetwork, draw_weights
from corpuscle.model.architectures.scgpt.sizes import (
    CLS_VALUE,
    INTEGRATION,
    MAX_LENGTH,
    N_BINS,
    PRETRAINING,
    SIZES,
    TINY,
    Size,
)
from corpuscle.model.families.categories import Categories
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.families.foundation_parts import (
    BATCH_SHARE,
    NONZERO_SHARE,
    Demands,
    PublishedTraining,
    Start,
    Started,
)
from corpuscle.model.families.log_expression import repeated
from corpuscle.model.families.official import Official
from corpuscle.model.families.sizes import sized
from corpuscle.model.foreign.accounting import Renames
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.size import MOST_UNITS
from corpuscle.model.tokenisers.bins import Binning, BinTokeniser, Ties, Truncation
from corpuscle.model.tokenisers.gene_tokens import gene_tokens
from corpuscle.source.genes import GeneSpace

BIN_ERROR = Metric(
    "bin_error", "Squared error of hidden bins", "Of bins predicted from the other tokens, per cell; lower is better.",
    "lower",
)  # fmt: skip
CELL_BIN_ERROR = Metric(
    "cell_bin_error", "Squared error from the cell", "Of bins predicted from the cell's embedding, per cell; lower is "
    "better.", "lower",
)  # fmt: skip
ZERO_ERROR = Metric(
    "zero_error", "Cross-entropy of zeros", "Of which hidden bins are zero, nats; lower is better.", "lower"
)
CELL_ZERO_ERROR = Metric(
    "cell_zero_error", "Cross-entropy of zeros from the cell", "Of the same, from the cell's embedding; lower is "
    "better.", "lower",
)  # fmt: skip
SIMILARITY_ERROR = Metric(
    "similarity_error", "Similarity of cells", "1 - (cosine similarity - 0.8)², mean over a cell's pairs; lower is "
    "better.", "lower",
)  # fmt: skip
BATCH_ERROR = Metric(
    "batch_error", "Cross-entropy of batches", "Of the batch as the adversary guesses it, nats: higher where batches "
    "cannot be recognised.", "none",
)  # fmt: skip


@component
class ScGPT(FoundationModel):
    """A transformer over a cell's genes with a count, each with the bin of its count; by symbol, in no order.

    A cell's counts are binned by their own quantiles, so that nothing depends on its depth. Its embedding has length 1.
    Networks, tokens and files are the published ones. Pre-training hides the values of a share of a cell's genes and
    predicts them from the other tokens (GEP) and from the cell's embedding (GEPC). That is the published code's "pcpt";
    published weights come from its generative form, in which a cell's genes are split at random into those that are
    given and a quarter, half or three quarters that are generated, each of which sees the given ones and itself only;
    and from the 1,000th step on, a second time from the cell's embedding. There is no dropout of attention.

    Fine-tuned for integration, as published: the corpus' most variable genes, zeros included; norms by batch; decoders
    that are given the batch; six losses (`IntegrationNetwork`). What differs: a minibatch has cells of all batches in
    random order, each normalised by its batch's tokens (published: minibatches of one batch, batch by batch, so that
    the adversary sees one class a step); decoders keep what they have learned; genes are chosen over all cells, not per
    batch; the last weights are kept, not those of the best epoch. A gene that a cell's source did not measure counts as
    zero.

    Parameters
    ----------
    checkpoint
        A folder with ``args.json``, ``vocab.json`` and ``best_model.pt``; see `FoundationModel`.
    size
        Of a network from scratch: ``"tiny"``, of seconds; ``"whole-human"``, the published one; or a table of widths,
        such as ``{ width = 128, layers = 4, heads = 4, feed_forward = 256 }``; see `Size`. Of `checkpoint`, it is the
        folder's.
    mask_share
        Share of a cell's genes whose values are hidden in training.
    ties
        Equal counts span several bins. ``"random"``, as published: each gets one of them, drawn by the seed, the cell
        and the gene. ``"middle"``: their mean.
    truncation
        Of a cell with more genes than `max_length`: ``"random"`` ones, as published, or the ``"highest"`` counts.
    max_length
        The most tokens of a cell; one is the cell's own. Default: that of the checkpoint, or 1,200.
    pooling
        ``"cls"``: a cell is at its own token, as published; ``"mean"``: at the mean of its genes' tokens.
    integration
        ``{ batch = "donor" }``: fine-tune for integration, from `checkpoint` or from random weights; see `Integration`.
    budget
        See `Budget`; ``"published"``: 6 epochs, 30 of fine-tuning for integration.
    learning_rate, weight_decay, rate_schedule, clip_norm, warmup, batch_size, accumulate
        See `FoundationModel`. Published batches are of 512 cells, and of 64 in fine-tuning for integration.
    validation_share, precision, adversary
        See `FoundationModel`.

    Examples
    --------
    >>> ScGPT(budget={"steps": 100}).n_steps(n_cells=3000)
    100
    """

    curves: ClassVar[tuple[Metric, ...]] = (
        BIN_ERROR, CELL_BIN_ERROR, ZERO_ERROR, CELL_ZERO_ERROR, SIMILARITY_ERROR, BATCH_ERROR,
        BATCH_SHARE,
    )  # fmt: skip

    fitted: ClassVar[type[FittedFoundation]] = FittedFoundation
    sizes: ClassVar[Mapping[str, Size]] = SIZES
    renames: ClassVar[Renames] = weights.RENAMES

    size: Annotated[Size, sized(SIZES, Size)] = SIZES["tiny"]
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    ties: Ties = "random"
    truncation: Truncation = "random"
    max_length: Annotated[int, Field(gt=1, le=MOST_UNITS)] | None = None
    pooling: Pooling = "cls"
    integration: Annotated[Integration | None, BeforeValidator(
        lambda value: Integration(**value) if isinstance(value, dict) else value
    )] = None  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.integration is not None and self.budget is None:
            raise ValueError("integration is a training: give budget, such as { epochs = 30 }")
        return self

    @classmethod
    def official(cls, path: Path) -> Official | None:
        """Return what a folder is, if it is one of scGPT's."""
        return weights.official(path)

    @property
    def uses_seed(self) -> bool:
        """Whether it is trained, or draws how a cell is written."""
        return bool(self._budget.steps != 0) or "random" in (self.ties, self.truncation)

    @property
    def known_only(self) -> str | None:
        """The batch, where it is fine-tuned for integration; see `EmbedsKnownOnly`."""
        return None if self.integration is None else self.integration.batch

    @property
    def published(self) -> PublishedTraining:
        """The published training; from scratch, ``"tiny"`` has a rate of its own."""
        if self.integration is not None:
            return INTEGRATION
        return TINY if self.checkpoint is None and self.size == SIZES["tiny"] else PRETRAINING

    def network(self, config: Mapping[str, Any]) -> TokenNetwork:
        """Make a network without weights; one for integration where its batches are known."""
        size, n_tokens = Size(**config["size"]), config["n_tokens"]
        if "batches" not in config:
            return ScgptNetwork(size, n_tokens, mask_share=self.mask_share, pooling=self.pooling)
        assert self.integration is not None, "there are batches"
        n_batches = len(config["batches"]["values"])
        return IntegrationNetwork(
            size, n_tokens, n_batches, self.integration, mask_share=self.mask_share, pooling=self.pooling
        )

    def from_scratch(self, corpus: Corpus) -> Start:
        """Return what a network with random weights begins with: a token for each gene of the study."""
        config = {"size": asdict(self.size), "n_tokens": corpus.n_genes + 1}
        binning = self._binning(config, corpus.n_genes)
        return Start(config, BinTokeniser(np.arange(corpus.n_genes), binning), None)

    def as_published(self, found: Official, space: GeneSpace) -> Start:
        """Return what published weights begin with: their tokens."""
        vocabulary, cls = weights.read_vocabulary(found.files["vocabulary"], found.config["n_tokens"])
        tokeniser = BinTokeniser(gene_tokens(space, vocabulary), self._binning(found.config, cls))
        return Start(found.config, tokeniser, vocabulary)

    def tokeniser(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> BinTokeniser:
        """Make the tokeniser again."""
        return BinTokeniser.restored(arrays, facts)

    def initialise(self, network: TokenNetwork, init: torch.Generator, names: Collection[str] | None = None) -> None:
        """Give a network its first weights, as scGPT has them."""
        draw_weights(network, init, names)

    def adapted(self, started: Started, corpus: Corpus, init: torch.Generator) -> Started:
        """Return the network that is fine-tuned for integration, where it is; see `FoundationModel.adapted`.

        Raises
        ------
        ModelError
            When a cell has no batch, there are fewer than two, or no gene varies.
        """
        if self.integration is None:
            return started
        base = started.network
        assert isinstance(base, ScgptNetwork), "it was made as one"
        batches, how = (
            batches_of(corpus, self.integration.batch),
            replace(base.tokeniser.how, zeros=True, cls_value=0.0),
        )
        config = {**started.config, "batches": batches.spec()}
        with torch.device("meta"):
            network = self.network(config)
        assert isinstance(network, IntegrationNetwork), "there are batches"
        network = begin_with(network, base, init)
        chosen_G = written(corpus, base.tokeniser.token_G, self.integration.n_genes)
        network.tokeniser = BinTokeniser(chosen_G, how, batches=batches)
        return Started(config, network)

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine."""
        found = None if self.checkpoint is None else weights.official(Path(self.checkpoint))
        config: Mapping[str, Any] = {"size": asdict(self.size), "n_tokens": n_genes + 1}
        if found is not None:
            config = found.config
        size, zeros = Size(**config["size"]), self.integration is not None
        d = size.width
        of_block = 4 * d**2 + 2 * d * size.feed_forward
        demands = Demands(
            # Those of integration that come on top are few.
            n_parameters=size.layers * of_block + d * (config["n_tokens"] + 7 * d),
            units_of_token=size.layers * (12 * d + 3 * size.feed_forward) + 8 * d,
            n_layers=size.layers,
            multiply_adds=0,
            longest=self._binning(config, 0).max_length if self.integration is None else self.integration.n_genes + 1,
            share=1.0 if zeros else NONZERO_SHARE,
        )
        of_token = size.layers * (of_block + 2 * demands.tokens_of(n_genes) * d) + 3 * d**2
        return demands._replace(multiply_adds=of_token)

    def _binning(self, config: Mapping[str, Any], cls: int) -> Binning:
        published = config.get("max_length", MAX_LENGTH)
        return Binning(
            cls=cls,
            cls_value=CLS_VALUE,
            n_tokens=config["n_tokens"],
            n_bins=config.get("n_bins", N_BINS),
            max_length=published if self.max_length is None else self.max_length,
            ties=self.ties,
            truncation=self.truncation,
        )


def written(corpus: Corpus, token_G: NDArray[np.int64], n_genes: int) -> NDArray[np.int64]:
    """Return the tokens of the most variable genes that have one; -1 elsewhere.

    Raises
    ------
    ModelError
        When no gene varies.
    """
    known_H, found = np.flatnonzero(token_G >= 0), gene_moments(repeated(corpus))
    moments = GeneMoments(found.mean_G[known_H], found.variance_G[known_H])
    chosen_H = known_H[most_variable(moments, n_genes)]
    if not len(chosen_H):
        raise ModelError(f"corpus {corpus.name!r}: no gene that the model knows varies over its cells")
    return np.where(np.isin(np.arange(len(token_G)), chosen_H), token_G, -1)


def batches_of(corpus: Corpus, label: str) -> Categories:
    """Return the batches of a training corpus.

    Raises
    ------
    ModelError
        When it has fewer than two, or a cell has none.
    """
    found = Categories.of(corpus, label)
    if "" in found.values:
        n_cells = int((corpus.labels(label) == "").sum())
        raise ModelError(
            f"corpus {corpus.name!r}: {n_cells:,} of {len(corpus):,} cells have no {label!r}, and each needs one to be "
            "fine-tuned for integration; leave them out with exclude"
        )
    if len(found) < 2:
        raise ModelError(
            f"corpus {corpus.name!r}: all cells have the {label!r} {found.values[0]!r}; integration needs at least two"
        )
    return found
