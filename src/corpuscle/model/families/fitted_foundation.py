"""A foundation model with weights: what it can be asked, and how it is kept.

Axes in names: N cells, K latents, G genes.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.checkpoint import Parts, SavedModel, state_of
from corpuscle.model.data.batches import stream
from corpuscle.model.data.on_gpu import CPU, training_device
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.nn.token_network import Attends, TokenNetwork
from corpuscle.model.training.fine_tuning import TrainableEncoder

# What the arrays of a tokeniser begin with among a saved model's.
OF_TOKENISER = "tokeniser/"


class FittedFoundation(SavedModel):
    """A foundation model with weights; its whole network can be fine-tuned (`FineTunes`).

    Attributes
    ----------
    settings
        What it was fitted with.
    genes
        Ids of the study's genes, length G.
    network
        The network, with its tokeniser.
    history
        The training curve: the network's terms, per cell.
    facts
        Where its weights are from; ``known``: the shares of genes and of counts that have a token.
    """

    def __init__(
        self,
        settings: Any,
        genes: tuple[str, ...],
        network: TokenNetwork,
        history: pd.DataFrame,
        facts: Mapping[str, Any],
    ) -> None:
        self.settings, self.genes, self.network, self.history, self.facts = settings, genes, network, history, facts

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the cells' embedding, shape (N, K), computed on `training_device`.

        A cell is at the same place alone and in any company (to rounding). One without a known gene is at 0.
        """
        check_genes(cells, self.genes)
        embedded_NK = np.zeros((len(cells), self.network.n_latent), np.float32)
        with self.on_device() as device, torch.autocast(device.type, torch.bfloat16, enabled=self.is_narrow):
            for rows, batch in stream(cells, BLOCK_CELLS, self.network.tokeniser.covariates(cells)):
                embedded_NK[rows] = self.network.embed(batch).numpy()
        return embedded_NK

    @property
    def is_narrow(self) -> bool:
        """Whether matrix products are of 16-bit floats."""
        return bool(self.settings.precision == "bf16")

    @contextmanager
    def on_device(self) -> Iterator[torch.device]:
        """Have the network on `training_device` in the block; afterwards it is on the CPU again."""
        device = training_device()
        self.network.to(device)
        try:
            yield device
        finally:
            self.network.to(CPU)

    def tokens(self, cells: Corpus) -> pd.DataFrame:
        """Return what became of each cell on its way to tokens, a row per cell.

        Returns
        -------
        Columns ``genes`` and ``counts``: shares of the cell's genes and counts that have a token; ``known``: how many
        of its genes have one, of which the network reads at most its longest sequence. A cell with 0 known genes is
        embedded at 0.
        """
        check_genes(cells, self.genes)
        is_known_G = self.network.tokeniser.token_G >= 0
        tables = []
        for _, counts_BG in cells.blocks():
            known = counts_BG[:, is_known_G]
            n_known, n_all = np.diff(known.indptr), np.diff(counts_BG.indptr)
            sums = [np.asarray(part.sum(axis=1, dtype=np.float64)).ravel() for part in (known, counts_BG)]
            shares = {"genes": n_known / np.maximum(n_all, 1), "counts": sums[0] / np.maximum(sums[1], 1e-300)}
            tables.append(pd.DataFrame({"known": n_known, **shares}))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["known", "genes", "counts"])

    def note(self, cells: Corpus) -> str:
        """Return what is to be known of the cells' embedding, in words; empty where there is nothing."""
        found = self.tokens(cells)
        empty = int((found["known"] == 0).sum())
        notes = [f"{empty:,} of {len(cells):,} cells have no gene that the model knows, and are at 0"] if empty else []
        return "; ".join([*notes, *self.network.tokeniser.notes(cells)])

    @torch.inference_mode()
    def gene_embeddings(self) -> pd.DataFrame:
        """Return the vectors that the network enters genes by: a row for each gene of the study that it knows.

        They are the same for all cells: what a gene is to the network before it has seen what else a cell expresses.
        """
        token_G = self.network.tokeniser.token_G
        known_M = np.flatnonzero(token_G >= 0)
        vectors_MD = self.network.gene_vectors(torch.from_numpy(token_G[known_M]))
        return pd.DataFrame(vectors_MD.float().numpy(), index=pd.Index([self.genes[at] for at in known_M]))

    @torch.inference_mode()
    def attention(self, cell: Corpus, layer: int = 0) -> tuple[list[str], NDArray[np.float32]]:
        """Return how much the tokens of one cell attend to each other in a block.

        Parameters
        ----------
        cell
            A corpus of one cell.
        layer
            Which block: 0 the last, -1 the one before it.

        Returns
        -------
        The L tokens' genes, ``""`` for a mark, and the attention of each (rows) to each, shape (heads, L, L); rows sum
        to 1. It takes memory that grows with the square of the cell's genes.

        Raises
        ------
        ModelError
            When the corpus has another number of cells, or the network's attention cannot be had: that of scBERT is
            never formed, that of TranscriptFormer is bounded.
        """
        check_genes(cell, self.genes)
        network = self.network
        if not isinstance(network, Attends):
            raise ModelError(f"the attention of {self.settings.name} cannot be had, only that of geneformer and scgpt")
        if len(cell) != 1:
            raise ModelError(f"attention is asked for one cell at a time, not for {len(cell):,}")
        if not 0 >= layer > -len(network.blocks):
            raise ModelError(f"layer = {layer} should be 0, the last, down to {1 - len(network.blocks)}, the first")
        ((_, batch),) = stream(cell, 1, network.tokeniser.covariates(cell))
        tokens = network.tokeniser.tokens(batch)
        gene_of = {token: self.genes[at] for at, token in enumerate(network.tokeniser.token_G.tolist()) if token >= 0}
        names = [gene_of.get(token, "") for token in tokens.ids.tolist()]
        return names, network.attention(tokens, layer)[0].float().numpy()

    def encoder(self) -> TrainableEncoder:
        """Return a copy of the network; see `FineTunes`."""
        network = copy.deepcopy(self.network)
        return TrainableEncoder(
            network, network.encode, network.n_latent, network.tokeniser.covariates, network.blocks, uses_gpu=True
        )

    def parts(self) -> Parts:
        """Return the weights, the tokeniser and where they are from."""
        arrays, facts = self.network.tokeniser.parts()
        own = {f"{OF_TOKENISER}{name}": array for name, array in arrays.items()}
        return state_of(self.network) | own, {**self.facts, **facts}
