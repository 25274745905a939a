"""scGPT, a transformer over genes with binned counts.

Cui et al. 2024, doi 10.1038/s41592-024-02201-0. Axes in names: G genes of the study.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric
from corpuscle.core.text import shortened
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import GeneMoments, gene_moments, most_variable
from corpuscle.model.architectures.scgpt.integration import Integration, IntegrationNetwork, begin_with
from corpuscle.model.architectures.scgpt.network import Pooling, ScgptNetwork, Use, draw_weights
from corpuscle.model.architectures.scgpt.sizes import (
    CLS_VALUE,
    INTEGRATION,
    MAX_LENGTH,
    N_BINS,
    PRETRAINING,
    SIZES,
    ScgptSize,
    SizeName,
)
from corpuscle.model.architectures.scgpt.weights import ARGS, VOCABULARY, Folder, load, read_folder
from corpuscle.model.data.batches import Rows
from corpuscle.model.families.foundation import (
    NONZERO_SHARE,
    Demands,
    FoundationModel,
    Opened,
    PublishedTraining,
    files_of,
    random_weights,
)
from corpuscle.model.families.log_expression import repeated
from corpuscle.model.families.variational import Categories
from corpuscle.model.nn.token_network import TokenNetwork
from corpuscle.model.size import MOST_UNITS
from corpuscle.model.tokenisers.bins import Binning, BinTokeniser, Ties, Truncation
from corpuscle.model.tokenisers.gene_tokens import gene_tokens

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
        Without `checkpoint`: ``"tiny"`` (default), ``"whole-human"`` (the published one), or
        ``{ width = 128, n_layers = 4, n_heads = 4, n_hidden = 256 }``.
    mask_share
        Share of a cell's genes whose values are hidden in training.
    dropout
        Share of units that is dropped in training.
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
    learning_rate, weight_decay, rate_schedule, clip_norm, warmup, batch_size, accumulate, validation_share, precision
        See `FoundationModel`. Published batches are of 512 cells, and of 64 in fine-tuning for integration.

    Examples
    --------
    >>> ScGPT(budget={"steps": 100}).n_steps(n_cells=3000)
    100
    """

    curves: ClassVar[tuple[Metric, ...]] = (
        BIN_ERROR, CELL_BIN_ERROR, ZERO_ERROR, CELL_ZERO_ERROR, SIMILARITY_ERROR, BATCH_ERROR,
    )  # fmt: skip

    size: Annotated[SizeName | ScgptSize | None, BeforeValidator(
        lambda value: ScgptSize(**value) if isinstance(value, dict) else value
    )] = None  # fmt: skip
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    ties: Ties = "random"
    truncation: Truncation = "random"
    max_length: Annotated[int, Field(gt=1, le=MOST_UNITS)] | None = None
    pooling: Pooling = "cls"
    integration: Annotated[Integration | None, BeforeValidator(
        lambda value: Integration(**value) if isinstance(value, dict) else value
    )] = None  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.checkpoint is not None and self.size is not None:
            raise ValueError("size is for random weights; a checkpoint has its own: leave one of them out")
        if self.integration is not None and self.budget is None:
            raise ValueError("integration is a training: give budget, such as { epochs = 30 }")
        return self

    @property
    def uses_seed(self) -> bool:
        """Whether it is trained, or draws how a cell is written."""
        return self.budget is not None or "random" in (self.ties, self.truncation)

    @property
    def covariate(self) -> str | None:
        """The batch, where it is fine-tuned for integration."""
        return None if self.integration is None else self.integration.batch

    @property
    def published(self) -> PublishedTraining:
        """The published training."""
        return PRETRAINING if self.integration is None else INTEGRATION

    def opened(self, corpus: Corpus, seed: int) -> Opened:
        """Return the network before any training here; see `FoundationModel.opened`."""
        folder, init = self._folder, random_weights(seed)
        token_G = np.arange(corpus.n_genes) if folder is None else gene_tokens(corpus.space, folder.vocabulary)
        tensors = {} if folder is None else folder.tensors()
        n_tokens = corpus.n_genes + 1 if folder is None else folder.n_tokens
        binning = self._binning(folder, n_tokens, seed)
        size = self._size(folder)
        facts: dict[str, Any] = {"size": asdict(size)}
        base = self._network(size, BinTokeniser(self._written(corpus, token_G), binning))
        if folder is None:
            draw_weights(base.to_empty(device="cpu"), init)
        else:
            facts["files"] = files_of(folder.weights.parent, ARGS, VOCABULARY, folder.weights.name)
            facts["tensors"] = str(load(base, tensors, folder.weights, init))
        vocabulary = None if folder is None else folder.vocabulary
        if self.integration is None:
            return Opened(base, vocabulary, facts)
        batches = batches_of(corpus, self.integration.batch)
        fine_tuned = self._fine_tuned(size, base.tokeniser, len(batches), self.integration)
        return Opened(begin_with(fine_tuned, base, init), vocabulary, facts | {"batches": batches.spec()})

    def rebuilt(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> TokenNetwork:
        """Return a network of a saved model; see `FoundationModel.rebuilt`."""
        tokeniser, size = BinTokeniser.restored(arrays, facts), ScgptSize(**facts["size"])
        if self.integration is None:
            return self._network(size, tokeniser).to_empty(device="cpu")
        n_batches = len(facts["batches"]["values"])
        return self._fine_tuned(size, tokeniser, n_batches, self.integration).to_empty(device="cpu")

    def given(self, cells: Corpus, facts: Mapping[str, Any]) -> Rows | None:
        """Return the batches of cells; see `FoundationModel.given`.

        Raises
        ------
        ModelError
            When a cell is of a batch that the network was not trained on.
        """
        return None if self.integration is None else known_batches(Categories(**facts["batches"]), cells)

    def demands(self, n_genes: int) -> Demands:
        """Return what the network asks of a machine; see `FoundationModel.demands`."""
        folder = self._folder
        size, zeros = self._size(folder), self.integration is not None
        binning = self._binning(folder, n_genes + 1 if folder is None else folder.n_tokens, seed=0)
        tokeniser = BinTokeniser(np.empty(0, np.int64), binning)
        network = self._network(size, tokeniser)
        longest = binning.max_length if self.integration is None else self.integration.n_genes + 1
        demands = Demands(
            n_parameters=sum(parameter.numel() for parameter in network.parameters()),
            units_of_token=size.n_layers * (12 * size.width + 3 * size.n_hidden) + 8 * size.width,
            multiply_adds=0,
            longest=longest,
            share=1.0 if zeros else NONZERO_SHARE,
        )
        of_block = 4 * size.width**2 + 2 * size.width * size.n_hidden + 2 * demands.tokens_of(n_genes) * size.width
        return demands._replace(multiply_adds=size.n_layers * of_block + 3 * size.width**2)

    @property
    def _folder(self) -> Folder | None:
        return None if self.checkpoint is None else read_folder(Path(self.checkpoint))

    def _size(self, folder: Folder | None) -> ScgptSize:
        if folder is not None:
            return folder.size
        return self.size if isinstance(self.size, ScgptSize) else SIZES[self.size or "tiny"]

    def _binning(self, folder: Folder | None, n_tokens: int, seed: int) -> Binning:
        published = MAX_LENGTH if folder is None else folder.max_length
        return Binning(
            cls=n_tokens - 1 if folder is None else folder.cls,
            cls_value=CLS_VALUE if self.integration is None else 0.0,
            n_tokens=n_tokens,
            n_bins=N_BINS if folder is None else folder.n_bins,
            max_length=published if self.max_length is None else self.max_length,
            ties=self.ties,
            truncation=self.truncation,
            zeros=self.integration is not None,
            seed=seed,
        )

    def _written(self, corpus: Corpus, token_G: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens of the genes that are written: of all, or of the most variable ones that have a token."""
        known_H = np.flatnonzero(token_G >= 0)
        if self.integration is None or not len(known_H) or not len(corpus):
            return token_G
        found = gene_moments(repeated(corpus))
        moments = GeneMoments(found.mean_G[known_H], found.variance_G[known_H])
        chosen_H = known_H[most_variable(moments, self.integration.n_genes)]
        if not len(chosen_H):
            raise ModelError(f"corpus {corpus.name!r}: no gene that the model knows varies over its cells")
        return np.where(np.isin(np.arange(len(token_G)), chosen_H), token_G, -1)

    @property
    def _use(self) -> Use:
        return Use(float(self.dropout), float(self.mask_share), self.pooling)

    def _network(self, size: ScgptSize, tokeniser: BinTokeniser) -> ScgptNetwork:
        """Make a network without weights."""
        with torch.device("meta"):
            return ScgptNetwork(size, tokeniser, self._use)

    def _fine_tuned(
        self, size: ScgptSize, tokeniser: BinTokeniser, n_batches: int, how: Integration
    ) -> IntegrationNetwork:
        with torch.device("meta"):
            return IntegrationNetwork(size, tokeniser, self._use, n_batches, how)


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


def known_batches(batches: Categories, cells: Corpus) -> Rows:
    """Return the batches of cells, shape (n batches + 1, n batches) with each cell's row.

    Raises
    ------
    ModelError
        When a cell is of a batch that was not in training.
    """
    if batches.label not in cells.cells:
        raise ModelError(f"corpus {cells.name!r} has no column {batches.label!r}, which the model needs of each cell")
    rows = batches.rows(cells)
    is_new_N = rows.row_N == len(batches)
    if is_new_N.any():
        new = np.unique(cells.labels(batches.label)[is_new_N])
        raise ModelError(
            f"corpus {cells.name!r}: {int(is_new_N.sum()):,} of {len(cells):,} cells are of a {batches.label} that "
            f"the model was not trained on ({shortened(', '.join(new))}): it has no statistics of them; train it on "
            "these batches, or leave them out"
        )
    return rows
