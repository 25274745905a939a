"""Cells as genes with binned counts: scGPT's tokens, exact, and the same for a cell in any company."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_matrix

from corpuscle.model.data.batches import Batch, CountTable
from corpuscle.model.tokenisers.bins import Binning, BinTokeniser, bins_of_cell

# Lowest and highest bin of each count, by the published code; see `tests/parity/foundation`.
GOLDEN = json.loads((Path(__file__).parents[2] / "parity" / "foundation" / "scgpt_bins.json").read_text())
EXACT = [case for case in GOLDEN if case["high"] is not None]
N_GENES = 40
HOW = Binning(cls=N_GENES, cls_value=-2.0, n_tokens=N_GENES + 1, n_bins=51, max_length=1200)


def batch_of(counts_BG: np.ndarray) -> Batch:
    return CountTable(csr_matrix(np.asarray(counts_BG, np.float32))).batch(slice(None))


def written(counts_BG, seed: int = 0, token_G=None, **how) -> list[dict[int, float]]:
    """The value of each token of each cell."""
    token_G = np.arange(N_GENES) if token_G is None else np.asarray(token_G)
    tokens = BinTokeniser(token_G, replace(HOW, **how)).tokens(batch_of(counts_BG), seed)
    cells = [tokens.part(slice(at, at + 1)) for at in range(len(tokens))]
    return [dict(zip(cell.ids.tolist(), cell.values.tolist(), strict=True)) for cell in cells]


def counts_of(values) -> np.ndarray:
    """One cell with these counts in its first genes."""
    counts = np.zeros((1, max(N_GENES, len(values))))
    counts[0, : len(values)] = values
    return counts


@pytest.mark.parametrize("case", EXACT, ids=[str(case["values"]) for case in EXACT])
def test_bins_are_the_published_ones(case):
    found = bins_of_cell(np.array(case["values"]), 51)
    assert found.low.tolist() == case["low"]
    assert found.high.tolist() == case["high"]


def test_bins_of_many_ties_are_the_published_ones():
    values = np.repeat([1.0, 2.0, 7.0, 40.0], [90, 8, 1, 1])
    found = bins_of_cell(values, 51)
    for value, low, high in GOLDEN[-1]["low"]:
        assert set(found.low[values == value]) == {low}
        assert set(found.high[values == value]) == {high}


def test_ties_are_spread_evenly_over_their_bins():
    # Ones may get the bins 1 to 20.
    ones = [
        cell[gene] for seed in range(300) for cell in written(counts_of([1, 1, 1, 2, 3, 10]), seed) for gene in range(3)
    ]
    observed = np.bincount(np.array(ones, int), minlength=21)[1:]
    assert len(observed) == 20
    assert stats.chisquare(observed).pvalue > 1e-3
    (cell,) = written(counts_of([1, 1, 1, 2, 3, 10]))
    assert [cell[3], cell[4], cell[5], cell[HOW.cls]] == [30, 40, 50, -2]


def test_ties_in_the_middle_draw_nothing():
    (cell,) = written(counts_of([5, 3, 3, 1, 1, 1, 1, 2]), ties="middle")
    assert [cell[gene] for gene in range(8)] == [50, 40, 40, 11.5, 11.5, 11.5, 11.5, 29]
    assert written(counts_of([5, 3, 3, 1, 1, 1, 1, 2]), 7, ties="middle") == [cell]


@pytest.fixture
def counts(draw_counts):
    counts = draw_counts(12, N_GENES)
    counts[3] = 0
    counts[4, :] = 0
    counts[4, 5] = 3
    return counts


@pytest.mark.parametrize("how", [{}, {"max_length": 9}, {"max_length": 9, "truncation": "highest"}, {"zeros": True}])
def test_a_cell_is_written_the_same_in_any_company_and_order(counts, how):
    whole = written(counts, 3, **how)
    order = np.random.default_rng(0).permutation(12)
    assert written(counts[order], 3, **how) == [whole[at] for at in order]
    assert [written(counts[[at]], 3, **how)[0] for at in range(12)] == whole
    assert written(counts, 3, **how) == whole
    assert written(counts, 4, **how) != whole
    # Nor does it depend on where a study has its genes.
    genes = np.random.default_rng(1).permutation(N_GENES)
    assert written(counts[:, genes], 3, genes, **how) == whole


def test_a_strictly_increasing_map_of_a_cells_counts_changes_no_bin(counts):
    assert written(counts, ties="middle") == written(np.log1p(counts) * 7, ties="middle")


def test_a_longer_cell_keeps_a_random_subset_with_the_bins_of_the_whole(counts):
    whole, few = (written(counts, max_length=length) for length in (1200, 9))
    for cell, part in zip(whole, few, strict=True):
        assert len(part) == min(len(cell), 9)
        assert part.items() <= cell.items()
        assert HOW.cls in part
    kept = np.zeros(N_GENES)
    for seed in range(300):
        (cell,) = written(np.arange(1, N_GENES + 1)[None], seed, max_length=9)
        kept[[gene for gene in cell if gene != HOW.cls]] += 1
    # Each gene is as likely: 60 times of 300.
    assert stats.chisquare(kept).pvalue > 1e-3


def test_a_longer_cell_keeps_its_highest_counts(counts):
    for cell, part in zip(counts, written(counts, max_length=9, truncation="highest"), strict=True):
        kept = [gene for gene in part if gene != HOW.cls]
        left = np.setdiff1d(np.flatnonzero(cell), kept)
        assert len(kept) == min(8, (cell > 0).sum())
        assert cell[kept].min(initial=np.inf) >= cell[left].max(initial=0)


def test_zeros_are_written_where_they_are_kept(counts):
    token_G = np.full(N_GENES, -1)
    token_G[[2, 5, 9]] = [30, 10, 20]
    found = written(counts, 0, token_G, zeros=True, max_length=2, cls_value=0.0)
    for cell, values in zip(counts[:, [5, 9, 2]], found, strict=True):
        assert list(values) == [HOW.cls, 10, 20, 30]
        assert [values[token] > 0 for token in (10, 20, 30)] == (cell > 0).tolist()
    # Bins are those of the chosen genes' counts, not of the whole cell's.
    assert found == written(np.where(token_G >= 0, counts, 0), 0, token_G, zeros=True, max_length=2, cls_value=0.0)


def test_genes_without_a_token_are_left_out_and_those_of_one_token_added_up():
    counts = np.zeros((1, N_GENES))
    counts[0, :4] = [4, 3, 9, 2]
    token_G = np.full(N_GENES, -1)
    token_G[[0, 1, 3]] = [7, 7, 8]
    assert written(counts, 0, token_G) == [{HOW.cls: -2, 7: 50, 8: 1}]


def test_an_empty_cell_has_its_own_token_alone(counts):
    assert written(counts)[3] == {HOW.cls: -2}


def test_the_seed_of_a_model_is_another_draw_and_parts_make_it_again(counts):
    one, other = (BinTokeniser(np.arange(N_GENES), HOW, seed) for seed in (0, 1))
    batch = batch_of(counts)
    assert not torch.equal(one.tokens(batch).values, other.tokens(batch).values)
    again = BinTokeniser.restored(*other.parts())
    assert torch.equal(again.tokens(batch).values, other.tokens(batch).values)
