"""How well a network that reads genes by rank gives the ranks back, cell by cell: as published, and of hidden genes.

The published score (zero-shot-scfoundation, https://github.com/microsoft/zero-shot-scfoundation, as used by Nadig et
al. 2025 and DenAdel et al. 2024) asks for the token at each place of a cell that is shown whole, so that copying is
rewarded. The same score of hidden places asks for what the cell's other genes say.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from corpuscle.model.architectures.geneformer.network import TARGETS, GeneformerNetwork
from corpuscle.model.data.batches import Batch
from corpuscle.model.tokenisers.tokens import Known, Tokens, as_shares, drawn_numbers

# Rows of logits, each as long as the vocabulary, that are in memory at once.
LOGIT_ROWS = 2048


def place_scores(length: int) -> NDArray[np.float64]:
    """Return the score of each place of a cell, from 1 for the highest rank down to 0 for the lowest.

    Examples
    --------
    >>> place_scores(3).tolist()
    [1.0, 0.5, 0.0]
    """
    return (length - 1 - np.arange(length)) / max(length - 1, 1)


def rank_correlation(true_P: NDArray[np.int64], guess_P: NDArray[np.int64], score_P: NDArray[np.float64]) -> float:
    """Return Pearson's correlation of the ranks of tokens in a cell and in a guess of it.

    A token's rank in the cell is the score of its place; in the guess it is the mean score of the places that it was
    guessed for; where it is absent it is 0. The correlation is over all tokens of the cell or the guess.

    Parameters
    ----------
    true_P, guess_P
        The token at each place and the one that was guessed.
    score_P
        The places' scores.

    Returns
    -------
    -1 to 1, higher is better; NaN where the ranks of either do not vary, as in a cell of one gene.

    Examples
    --------
    >>> round(rank_correlation(np.array([5, 7, 4, 9]), np.array([5, 4, 4, 6]), place_scores(4)), 5)
    0.72887
    """
    tokens, place = np.unique(np.concatenate([true_P, guess_P]), return_inverse=True)
    true_T = np.zeros(len(tokens))
    true_T[place[: len(true_P)]] = score_P
    guessed = place[len(true_P) :]
    n_T = np.bincount(guessed, minlength=len(tokens))
    guess_T = np.bincount(guessed, weights=score_P, minlength=len(tokens)) / np.maximum(n_T, 1)
    return pearson(true_T, guess_T)


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Pearson's correlation; NaN where either is constant."""
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else float("nan")


def mean_rank_baseline(cells: Sequence[NDArray[np.int64]], guesses: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the correlation that the tokens' mean ranks reach in each cell, without a look at it; shape (n cells,).

    A token's mean rank is over the cells in which it is above 0. The correlation is over the tokens of the cell or of a
    guess of it, as in `rank_correlation`, with which it is compared.

    Parameters
    ----------
    cells, guesses
        The tokens of each cell, by falling rank, and those guessed for its places.
    """
    sums: dict[int, float] = defaultdict(float)
    counts: dict[int, int] = defaultdict(int)
    for true_P in cells:
        for token, score in zip(true_P.tolist(), place_scores(len(true_P)).tolist(), strict=True):
            sums[token] += score
            counts[token] += score > 0
    found = []
    for true_P, guess_P in zip(cells, guesses, strict=True):
        tokens = np.union1d(true_P, guess_P)
        true_T = np.zeros(len(tokens))
        true_T[np.searchsorted(tokens, true_P)] = place_scores(len(true_P))
        mean_T = np.array([sums[token] / counts[token] if counts[token] else 0.0 for token in tokens.tolist()])
        found.append(pearson(true_T, mean_T) if len(tokens) else float("nan"))
    return np.array(found)


class ReadOut(NamedTuple):
    """What a network gives back of the ranks of cells, one number per cell, shape (n cells,); NaN where not defined.

    Attributes
    ----------
    whole, whole_baseline
        `rank_correlation` of cells that are shown whole, and that of the tokens' mean ranks.
    hidden
        `rank_correlation` over hidden places alone.
    found
        Share of hidden places whose token is the likeliest one.
    nll
        Mean negative log-likelihood of the hidden tokens, in nats; e to it is their perplexity.
    """

    whole: NDArray[np.float64]
    whole_baseline: NDArray[np.float64]
    hidden: NDArray[np.float64]
    found: NDArray[np.float64]
    nll: NDArray[np.float64]


@torch.inference_mode()
def read_ranks(network: GeneformerNetwork, batches: Iterable[Batch], seed: int) -> ReadOut:
    """Read the ranks of cells: whole, and with 15 % of a cell's places hidden by the mask, at least one.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    batches
        The cells.
    seed
        Draws which places are hidden: by the cell's own tokens, so that the other cells do not matter.
    """
    cells, guesses = [], []
    hidden: list[tuple[float, float, float]] = []
    for batch in batches:
        for tokens in network.passes(batch):
            whole_T = _likeliest(network, network.hidden(tokens, None))
            is_hidden_T = _hidden(network, tokens, seed)
            shown = replace(tokens, ids=torch.where(is_hidden_T, network.tokeniser.marks.mask, tokens.ids))
            hidden_HD = network.hidden(shown, None)[is_hidden_T]
            guess_H, nll_H = _likeliest(network, hidden_HD), _nll(network, hidden_HD, tokens.ids[is_hidden_T])
            true_T, where_T = tokens.ids.cpu().numpy(), is_hidden_T.cpu().numpy()
            before_T = np.concatenate([[0], where_T.cumsum()])
            for start, stop in pairwise(tokens.starts.tolist()):
                cells.append(true_T[start:stop])
                guesses.append(whole_T[start:stop])
                here, of_cell = slice(before_T[start], before_T[stop]), where_T[start:stop]
                true_H = true_T[start:stop][of_cell]
                if not len(true_H):
                    hidden.append((float("nan"),) * 3)
                    continue
                score = rank_correlation(true_H, guess_H[here], place_scores(stop - start)[of_cell])
                hidden.append((score, float((true_H == guess_H[here]).mean()), float(nll_H[here].mean())))
    whole = [
        rank_correlation(true, guess, place_scores(len(true))) if len(true) else float("nan")
        for true, guess in zip(cells, guesses, strict=True)
    ]
    return ReadOut(np.array(whole), mean_rank_baseline(cells, guesses), *np.array(hidden).reshape(-1, 3).T)


def _hidden(network: GeneformerNetwork, tokens: Tokens, seed: int) -> Tensor:
    """Choose the places of each cell that are hidden, a share of its genes, shape (T,)."""
    ids, cell_T = tokens.ids.cpu().numpy(), tokens.cell_T.cpu().numpy()
    known = Known(tokens.starts.numpy(), cell_T, ids, np.ones(len(ids)))
    number_T = as_shares(drawn_numbers(known, seed, purpose=1))
    marks = network.tokeniser.marks
    is_gene_T = (ids != marks.first) & (ids != marks.last)
    number_T[~is_gene_T] = 2
    n_genes_B = np.bincount(cell_T[is_gene_T], minlength=len(tokens))
    n_hidden_B = np.minimum(np.maximum(1, np.round(TARGETS * n_genes_B)), n_genes_B).astype(np.int64)
    order = np.lexsort((number_T, cell_T))
    place_T = np.empty(len(ids), np.int64)
    place_T[order] = np.arange(len(ids)) - known.starts[cell_T[order]]
    return torch.from_numpy(place_T < n_hidden_B[cell_T]).to(tokens.ids.device)


def _likeliest(network: GeneformerNetwork, hidden_TD: Tensor) -> NDArray[np.int64]:
    found = [network.logits(part).argmax(-1).cpu().numpy() for part in _rows(hidden_TD)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _nll(network: GeneformerNetwork, hidden_TD: Tensor, id_T: Tensor) -> NDArray[np.float32]:
    parts = zip(_rows(hidden_TD), _rows(id_T), strict=True)
    found = [functional.cross_entropy(network.logits(x), ids, reduction="none").cpu().numpy() for x, ids in parts]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _rows(tensor: Tensor) -> Sequence[Tensor]:
    return torch.split(tensor, LOGIT_ROWS)
