"""What a TranscriptFormer with weights answers, besides embeddings: expected counts, and how likely a cell is.

Axes in names: N cells, B cells of a block, T tokens, G genes of the study, V tokens there are.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.data.batches import Batch, stream
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.nn.token_network import sum_of_cells
from corpuscle.model.tokenisers.tokens import Tokens


class FittedTranscriptFormer(FittedFoundation):
    """A TranscriptFormer with weights; it says which counts it expects (`Reconstructs`)."""

    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the expected share of each gene, block by block; see `Reconstruction.expected_fractions`.

        A gene's count is expected from the genes before it, in the vocabulary's order, and never from itself. Which
        genes have counts is known to the model, not predicted: others have a share of 0, and so have genes beyond the
        longest length. Counts are at most 30 each, so that the shares of highly expressed genes are too small. Genes
        with one token have equal shares of it. A cell without a known gene has equal shares of all that were measured.

        Parameters
        ----------
        cells
            The cells.
        samples
            Nothing is sampled: the model has no latent variable.
        """
        check_genes(cells, self.genes)
        network = cast(Network, self.network)
        with self.on_device():
            for rows, batch in stream(cells, BLOCK_CELLS, network.tokeniser.covariates(cells)):
                yield rows, self._fractions(network, batch)

    def negative_log_likelihood(self, cells: Corpus) -> pd.DataFrame:
        """Return how unlikely each cell is to the model, in nats, lower is better; a row per cell.

        Returns
        -------
        Columns ``counts``: the negative log-likelihood of the counts (at most 30) of the cell's genes, by Poisson laws
        without their 0, each given the genes before it in the vocabulary's order; ``genes``: that of which genes come,
        and that the cell ends with them, unless it has more than are read; ``n_genes``: how many are read. The law
        is exact here; in training, its normalisation is approximated, as published.
        """
        check_genes(cells, self.genes)
        tables = [pd.DataFrame({"counts": [], "genes": [], "n_genes": np.empty(0, np.int64)})]
        network = cast(Network, self.network)
        with self.on_device():
            for _, batch in stream(cells, BLOCK_CELLS, network.tokeniser.covariates(cells)):
                tables += [_likelihoods(network, tokens) for tokens in network.passes(batch)]
        return pd.concat(tables[1:] or tables, ignore_index=True)

    @torch.inference_mode()
    def _fractions(self, network: Network, batch: Batch) -> NDArray[np.float32]:
        share_BV = np.zeros((len(batch), network.tokeniser.n_names), np.float32)
        start = 0
        for tokens in network.passes(batch):
            found = network.sequences(tokens, None)
            expected = network.expected(found, tokens, None).cpu().numpy()
            share_BV[start + found.cell_J.cpu().numpy(), tokens.ids[found.gene_J].cpu().numpy()] = expected
            start += len(tokens)
        token_G = network.tokeniser.token_G
        n_genes_V = np.bincount(token_G[token_G >= 0], minlength=share_BV.shape[1])
        fraction_BG = np.where(token_G >= 0, share_BV[:, token_G] / np.maximum(n_genes_V, 1)[token_G], 0.0)
        measured_BG = np.ones(fraction_BG.shape, bool)
        if batch.unmeasured is not None:
            measured_BG = ~batch.unmeasured.numpy()
        fraction_BG *= measured_BG
        is_empty_B = fraction_BG.sum(1) == 0
        fraction_BG[is_empty_B] = measured_BG[is_empty_B]
        shares_BG: NDArray[np.float32] = (fraction_BG / fraction_BG.sum(1, keepdims=True)).astype(np.float32)
        return shares_BG


@torch.inference_mode()
def _likelihoods(network: Network, tokens: Tokens) -> pd.DataFrame:
    found = network.sequences(tokens, None)
    expected_J = network.expected(found, tokens, None)
    count_J = network.count_losses(expected_J, tokens.values[found.gene_J], exact=True)
    counts_B = count_J.new_zeros(len(tokens)).index_add(0, found.cell_J, count_J)
    position_P, target_P = network.predicted(tokens)
    gene_P = network.gene_losses(found.hidden_TD[position_P], target_P, None)
    genes_B = gene_P.new_zeros(len(tokens)).index_add(0, tokens.cell_T[position_P], gene_P)
    n_genes_B = sum_of_cells(network.is_gene(tokens).long(), tokens)
    return pd.DataFrame({"counts": counts_B.cpu(), "genes": genes_B.cpu(), "n_genes": n_genes_B.cpu()})
