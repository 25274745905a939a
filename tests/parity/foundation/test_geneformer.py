"""Geneformer equals the published code on random weights (transformers' BERT) and hand-made cells (tokeniser)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from corpuscle.model.architectures.geneformer import Geneformer
from corpuscle.model.architectures.geneformer.network import GeneformerNetwork
from corpuscle.model.architectures.geneformer.rank_readout import mean_rank_baseline, place_scores, rank_correlation
from corpuscle.model.architectures.geneformer.sizes import SIZES, Size
from corpuscle.model.architectures.geneformer.weights import RENAMES
from corpuscle.model.data.batches import Batch
from corpuscle.model.foreign.accounting import load_renamed
from corpuscle.model.tokenisers.rank_value import Marks, RankValue
from corpuscle.model.tokenisers.tokens import Tokens

HERE = Path(__file__).parent
TINY = Size(width=16, layers=3, heads=2, feed_forward=32, longest=10)
# Parameters of each size, as published or counted in published files.
N_PARAMETERS = {
    "6L": (25_426, 10_288_722),
    "12L": (25_426, 39_591_250),
    "12L-95M": (20_275, 37_997_363),
    "20L-95M": (20_275, 151_313_459),
    "104M": (20_275, 104_386_867),
    "316M": (20_275, 316_354_867),
}


@pytest.fixture(scope="module")
def golden():
    with np.load(HERE / "geneformer_tiny.npz") as file:
        return dict(file)


def made(golden, **how) -> GeneformerNetwork:
    network = GeneformerNetwork(TINY, 12, **{"layer": 0, "pooling": "mean"} | how)
    state = {name[3:]: torch.from_numpy(array) for name, array in golden.items() if name.startswith("sd/")}
    load_renamed(network, state, RENAMES, "golden")
    network.tokeniser = RankValue(np.empty(0, np.int64), np.full(12, np.nan), 10, Marks())
    return network


def packed(ids: np.ndarray, lengths: np.ndarray) -> Tokens:
    rows = [row[:length] for row, length in zip(ids, lengths, strict=True)]
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    flat = torch.from_numpy(np.concatenate(rows))
    return Tokens(starts, flat, torch.zeros(len(flat)))


def flat(array: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([row[:length] for row, length in zip(array, lengths, strict=True)])


def test_hidden_states_and_logits(golden):
    network, lengths = made(golden), golden["lengths"]
    tokens = packed(golden["ids"], lengths)
    with torch.no_grad():
        for layer in range(4):
            found = network.hidden(tokens, None, layer=layer - 3)
            np.testing.assert_allclose(found, flat(golden["hidden_states"][layer], lengths), atol=1e-5)
        logits = network.logits(network.hidden(tokens, None))
    np.testing.assert_allclose(logits, flat(golden["logits"], lengths), atol=1e-5)


def test_embeddings(golden):
    tokens = packed(golden["ids"], golden["lengths"])
    with torch.no_grad():
        np.testing.assert_allclose(made(golden).pooled(tokens, None), golden["cell_v1_last"], atol=1e-5)
        second = made(golden, layer=-1).pooled(tokens, None)
        np.testing.assert_allclose(second, golden["cell_v1_second_to_last"], atol=1e-5)
        marked = made(golden)
        # The golden cell of the second version begins and ends with whatever tokens its row has.
        row = tokens.part(slice(2, 3))
        marked.tokeniser = RankValue(np.empty(0, np.int64), np.full(12, np.nan), 10,
                                     Marks(first=int(row.ids[0]), last=int(row.ids[-1])))  # fmt: skip
        np.testing.assert_allclose(marked.pooled(row, None), golden["cell_v2_last_row2"], atol=1e-5)
        marked.pooling = "cls"
        np.testing.assert_allclose(marked.pooled(row, None), golden["cls_v2_last_row2"], atol=1e-5)


def test_the_loss_of_hidden_tokens(golden):
    network, lengths = made(golden), golden["lengths"]
    shown, labels = packed(golden["mlm_input"], lengths), torch.from_numpy(flat(golden["mlm_labels"], lengths))
    with torch.no_grad():
        logits = network.logits(network.hidden(shown, None))
    found = functional.cross_entropy(logits, labels, ignore_index=-100)
    np.testing.assert_allclose(found, golden["mlm_loss"], rtol=1e-5)


def golden_cells():
    case = json.loads((HERE / "tokens.json").read_text())["geneformer"]
    counts = np.array(case["counts"], np.float32)
    starts = np.concatenate([[0], np.cumsum((counts > 0).sum(axis=1))])
    genes = np.concatenate([np.flatnonzero(row) for row in counts])
    batch = Batch(torch.from_numpy(starts), torch.from_numpy(genes), torch.from_numpy(counts[counts > 0]), 8)
    return case, batch


@pytest.mark.parametrize(("first", "marks"), [(2, Marks()), (4, Marks(first=2, last=3))])
def test_cells_are_written_as_published(first, marks):
    case, batch = golden_cells()
    genes = first + np.arange(6)
    medians = np.concatenate([np.full(first, np.nan), case["medians_g1_g6"]])
    tokeniser = RankValue(np.array([*genes, genes[1], -1]), medians, 2048, marks)
    found = tokeniser.tokens(batch)
    expected = case["V2_stable_with_specials" if marks.first > 0 else "V1_stable_ties_in_dictionary_order"]
    assert [found.part(slice(cell, cell + 1)).ids.tolist() for cell in range(4)] == expected


def test_genes_of_lower_rank_are_left_out_where_there_is_no_place():
    case, batch = golden_cells()
    medians = np.concatenate([np.full(4, np.nan), case["medians_g1_g6"]])
    tokeniser = RankValue(np.array([4, 5, 6, 7, 8, 9, 5, -1]), medians, 4, Marks(first=2, last=3))
    assert tokeniser.tokens(batch).ids[:4].tolist() == [2, 5, 4, 3]


@pytest.mark.parametrize("name", N_PARAMETERS)
def test_published_sizes_have_the_published_number_of_weights(name):
    n_tokens, expected = N_PARAMETERS[name]
    with torch.device("meta"):
        network = GeneformerNetwork(SIZES[name], n_tokens, layer=0, pooling="mean")
    assert sum(weight.numel() for weight in network.parameters()) == expected
    demands = Geneformer(size=name, budget={"steps": 1}).demands(n_tokens)
    assert abs(demands.n_parameters / expected - 1) < 0.01


def test_ranks_are_read_as_published():
    case = json.loads((HERE / "rank_metric.json").read_text())
    cells = [np.array(cell) for cell in case["input"]]
    guesses = [np.array(guess[: len(cell)]) for cell, guess in zip(case["input"], case["argmax"], strict=True)]
    found = [rank_correlation(cell, guess, place_scores(len(cell))) for cell, guess in zip(cells, guesses, strict=True)]
    np.testing.assert_allclose(found, case["pearson_per_cell"], atol=1e-12)
    np.testing.assert_allclose(np.mean(found), case["upstream_mean"], atol=1e-12)
    baseline = mean_rank_baseline(cells, guesses)
    np.testing.assert_allclose(baseline.mean(), case["upstream_mean_of_mean_rank_baseline"], atol=1e-12)
