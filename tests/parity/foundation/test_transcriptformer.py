"""TranscriptFormer's network next to what the upstream code gave for the same random weights (release 0.6.1)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.architectures.transcriptformer.sizes import Size
from corpuscle.model.architectures.transcriptformer.weights import RENAMES
from corpuscle.model.foreign.accounting import load_renamed
from corpuscle.model.nn import capped_attention
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.tokenisers.tokens import Tokens

PAD, START, END, N_NAMES = 5, 1, 2, 17


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "transcriptformer_tiny.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def network(golden):
    size = Size(width=16, layers=2, heads=2, feed_forward=32, gene_hidden=24, genes=15, vector=12)
    tokeniser = GeneSequence(np.arange(N_NAMES), N_NAMES, start=START, end=END, assays="uab", longest=15)
    with torch.device("meta"):
        made = Network(size, N_NAMES, 3, given_vectors=True, scaled_by=15)
    made.tokeniser = tokeniser
    tensors = {name[3:]: torch.from_numpy(golden[name]) for name in golden if name.startswith("sd/")}
    load_renamed(made, tensors, RENAMES, "golden")
    return made


@pytest.fixture
def tokens(golden):
    ids, values, starts = [], [], [0]
    for gene, count, assay in zip(
        golden["gene_tokens"], golden["gene_counts"], golden["aux_tokens"][:, 0], strict=True
    ):
        real = gene != PAD
        # The unknown assay is masked as a key upstream, and nothing is read at its place.
        ids += [*([N_NAMES + assay] if assay else []), START, *gene[real]]
        values += [*([1] if assay else []), 1, *count[real]]
        starts.append(len(ids))
    return Tokens(torch.tensor(starts), torch.tensor(ids), torch.tensor(values, dtype=torch.float32))


def real(golden, name):
    return golden[name][golden["gene_tokens"] != PAD]


@torch.no_grad()
def test_embeddings_are_upstreams(network, tokens, golden):
    np.testing.assert_allclose(network.pooled(tokens, None), golden["embeddings"], atol=1e-5)
    network.scaled_by = None
    n_read = (golden["gene_tokens"] != PAD).sum(1) + 1
    np.testing.assert_allclose(
        network.pooled(tokens, None), golden["embeddings"] * 15 / n_read[:, None], rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_a_cell_of_the_longest_length_ends_with_a_gene_that_is_only_predicted(network, tokens):
    cell = tokens.part(slice(0, 1))
    network.tokeniser.longest = 5
    found = network.pooled(cell, None)
    network.tokeniser.longest = 15
    without = Tokens(torch.tensor([0, 6]), cell.ids[:-1], cell.values[:-1])
    np.testing.assert_allclose(found, network.pooled(without, None), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["embed", "train"])
def test_expected_counts_are_upstreams_in_both_modes(network, tokens, golden, mode):
    found = network.sequences(tokens, None, pulls_itself=mode == "embed")
    expected = network.expected(found, tokens, None)
    np.testing.assert_allclose(expected, real(golden, f"mu_{mode}"), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_both_losses_are_upstreams(network, tokens, golden):
    found = network.sequences(tokens, None)
    counts = network.count_losses(network.expected(found, tokens, None), tokens.values[found.gene_J])
    assert counts.mean() == pytest.approx(float(golden["loss_ztp_as_upstream"]), rel=1e-6)
    genes = network.gene_losses(found.hidden_TD[found.gene_J - 1], tokens.ids[found.gene_J], None)
    # Upstream's mean is also over the places of the padding.
    assert genes.sum() / golden["gene_tokens"].size == pytest.approx(
        float(golden["loss_gene_ce_as_upstream"]), rel=1e-6
    )
    # Ours is over what is predicted: each gene, and that the cell ends there.
    end = network.gene_losses(found.hidden_TD[tokens.starts[1:] - 1], torch.full((3,), END), None)
    objective = network.objective(tokens, torch.Generator(), trains=False)
    assert objective.loss == pytest.approx(float(counts.mean() + torch.cat([genes, end]).mean()), rel=1e-6)


def test_in_stretches_of_queries_the_numbers_and_slopes_are_the_same(network, tokens, golden, monkeypatch):
    def slopes():
        network.zero_grad()
        loss = network.objective(tokens, torch.Generator(), trains=False).loss
        loss.backward()
        return [loss.detach(), *(weight.grad.clone() for weight in network.parameters())]

    whole = slopes()
    monkeypatch.setattr(capped_attention, "QUERIES", 3)
    for one, other in zip(whole, slopes(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(network.pooled(tokens, None), golden["embeddings"], atol=1e-5)
    # Given vectors are no parameters, so that nothing moves them.
    assert "vectors" not in dict(network.named_parameters())
