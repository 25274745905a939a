"""What each foundation model would lose if it knew how frequent tokens and values are, and nothing of a cell."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from corpuscle.corpus.corpus import BLOCK_CELLS, Corpus
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.data.batches import stream
from corpuscle.model.families.fitted_foundation import FittedFoundation
from corpuscle.model.tokenisers.tokens import Tokens


def tokens_of(fitted: FittedFoundation, corpus: Corpus) -> Tokens:
    """Write a corpus as tokens."""
    parts = [fitted.network.tokeniser.tokens(batch) for _, batch in stream(corpus, BLOCK_CELLS)]
    starts = np.concatenate([[0], *(part.starts.diff().numpy() for part in parts)]).cumsum()
    ids, values = torch.cat([part.ids for part in parts]), torch.cat([part.values for part in parts])
    return Tokens(torch.from_numpy(starts), ids, values)


def entropy(drawn: NDArray[np.int64]) -> float:
    """Return the entropy of frequencies, in nats."""
    share = np.unique(drawn, return_counts=True)[1] / len(drawn)
    return float(-(share * np.log(share)).sum())


def of_geneformer(fitted: FittedFoundation, corpus: Corpus) -> dict[str, float]:
    """The entropy of genes."""
    return {"masked_nll": entropy(tokens_of(fitted, corpus).ids.numpy())}


def of_scbert(fitted: FittedFoundation, corpus: Corpus) -> dict[str, float]:
    """The entropy of levels above 0."""
    ids = tokens_of(fitted, corpus).ids.numpy()
    return {"level_cross_entropy": entropy(ids[ids > 0])}


def of_scgpt(fitted: FittedFoundation, corpus: Corpus) -> dict[str, float]:
    """The variance of bins around their gene's mean: it is less than that around the mean of all."""
    tokens = tokens_of(fitted, corpus)
    is_gene = tokens.values > 0
    ids, value = tokens.ids[is_gene].numpy(), tokens.values[is_gene].double().numpy()
    mean = np.bincount(ids, value) / np.maximum(np.bincount(ids), 1)
    error = float(((value - mean[ids]) ** 2).mean())
    return {"bin_error": error, "cell_bin_error": error}


def of_transcriptformer(fitted: FittedFoundation, corpus: Corpus) -> dict[str, float]:
    """The entropy of genes; and with the loss of counts that are expected by their genes' means."""
    tokens, network = tokens_of(fitted, corpus), fitted.network
    assert isinstance(network, Network)
    is_gene = network.is_gene(tokens)
    ids, cell, count = tokens.ids[is_gene], tokens.cell_T[is_gene], tokens.values[is_gene]
    mean = torch.zeros(int(ids.max()) + 1).index_add(0, ids, count) / torch.bincount(ids).clamp(min=1)
    weight, zero = mean[ids], torch.zeros(len(tokens))
    share = weight / zero.index_add(0, cell, weight)[cell]
    loss = network.count_losses(share * zero.index_add(0, cell, count)[cell], count)
    of_genes = entropy(ids.numpy())
    return {"gene_cross_entropy": of_genes, "loss": of_genes + float(loss.mean())}


Baseline = Callable[[FittedFoundation, Corpus], dict[str, float]]
BASELINES: Mapping[str, Baseline] = {
    "geneformer": of_geneformer, "scgpt": of_scgpt, "scbert": of_scbert, "transcriptformer": of_transcriptformer,
}  # fmt: skip


def at_the_end(fitted: FittedFoundation, term: str) -> float:
    """Return a term of held-out cells at the end of a training."""
    found = fitted.history[fitted.history["quantity"] == f"{term}_validation"]
    return float(found.sort_values("step")["value"].iloc[-1])
