"""The masked autoencoder: its layers, what its masks hide, what is scored, and that it learns."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.core.errors import ModelError
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.model.architectures.masked_autoencoder import MaskedAutoencoder
from corpuscle.model.data.batches import CountTable, stream
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.data.memory import VARIABLE
from corpuscle.model.nn.masked_network import MaskedNetwork

SMALL = {"widths": [24, 12, 6], "batch_size": 16}


def small_network(n_genes: int, **changes) -> MaskedNetwork:
    settings = {"dropout": 0.0, "mask_share": 0.5, "init": torch.Generator().manual_seed(0)}
    return MaskedNetwork(n_genes, [24, 12, 6], **settings | changes)


def noise(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def counts(draw_counts):
    return draw_counts(40, 20)


@pytest.fixture
def batch(counts):
    return CountTable(csr_matrix(counts)).batch(slice(None))


def test_layers_and_parameters_are_the_published_ones():
    network = MaskedAutoencoder()._network(19_331, noise())
    shapes = [tuple(layer.weight.shape) for layer in [*network.encoder, *network.decoder]]
    assert tuple(network.first.weight.shape) == (19_331, 512)
    assert shapes == [
        (512, 512), (256, 512), (256, 256), (64, 256), (256, 64), (256, 256), (512, 256), (512, 512), (19_331, 512),
    ]  # fmt: skip
    assert sum(parameter.numel() for parameter in network.parameters()) == 20_767_683  # as the study counts them


def dense(network: MaskedNetwork) -> tuple[nn.Sequential, nn.Sequential]:
    """The same network as torch's own layers, on dense log1p counts per 10,000."""
    first = nn.Linear(network.first.weight.shape[0], network.first.weight.shape[1])
    first.weight.data, first.bias.data = network.first.weight.data.T.contiguous(), network.first.bias.data
    encoder = [first]
    for layer in network.encoder:
        encoder += [nn.SELU(), layer]
    decoder = [network.decoder[0]]
    for layer in network.decoder[1:]:
        decoder += [nn.SELU(), layer]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def test_the_loss_is_that_of_a_dense_network_on_what_is_hidden(counts, batch):
    network = small_network(20)
    logged_BG = torch.from_numpy(cp10k(csr_matrix(counts)).log1p().toarray()).float()
    hidden_BG = network.masked(batch, noise()).hidden_BG
    encoder, decoder = dense(network)
    told_BG = decoder(encoder(2 * logged_BG * ~hidden_BG))  # what is shown is scaled up
    errors = [((told_BG - logged_BG)[cell][hidden_BG[cell]] ** 2).mean() for cell in range(40)]
    loss, terms = network.loss(batch, noise())
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["masked_error"], torch.stack(errors).sum().detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.score(batch, noise())["masked_error"], torch.stack(errors).detach())
    torch.testing.assert_close(network.encode(batch), encoder(logged_BG), rtol=1e-4, atol=1e-4)


def test_half_of_the_genes_are_hidden_others_each_time(batch):
    network = small_network(20, mask_share=0.3)
    rng = noise()
    one, other = (network.masked(batch, rng).hidden_BG for _ in range(2))
    assert not torch.equal(one, other)
    assert float(torch.stack([one, other]).float().mean()) == pytest.approx(0.3, abs=0.04)
    shown = network.masked(batch, noise()).shown()
    hidden_BG = network.masked(batch, noise()).hidden_BG
    cell_nz = torch.repeat_interleave(torch.arange(40), batch.starts.diff())
    assert torch.equal(shown.counts == 0, hidden_BG[cell_nz, batch.genes])


def test_what_is_shown_is_not_scored_and_what_is_hidden_is_not_seen(counts, batch):
    network = small_network(20)
    hidden_BG = network.masked(batch, noise()).hidden_BG.numpy()

    def score(changed):
        # Totals are kept, so that nothing changes but the genes in question.
        return network.score(CountTable(csr_matrix(changed)).batch(slice(None)), noise())["masked_error"]

    gradient = torch.autograd.grad(network.loss(batch, noise())[0], network.decoder[-1].bias)[0]
    only_shown = np.flatnonzero(~hidden_BG.any(axis=0))
    assert (gradient[only_shown] == 0).all()
    # Two hidden genes of the first cell change places: what the decoder says stays, what it is scored on changes.
    one, other = np.flatnonzero(hidden_BG[0])[:2]
    swapped = counts.copy()
    swapped[0, [one, other]] = swapped[0, one] + 5, swapped[0, other]
    before, after = score(counts), score(swapped)
    assert before[0] != after[0]
    torch.testing.assert_close(before[1:], after[1:])


def test_a_dense_batch_is_the_same_batch(batch, counts):
    network, dense_batch = small_network(20), DenseBatch(torch.from_numpy(counts))
    torch.testing.assert_close(network.encode(dense_batch), network.encode(batch), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.loss(dense_batch, noise()), network.loss(batch, noise()))


def test_genes_that_were_not_measured_are_neither_hidden_nor_scored(counts, make_corpus):
    corpus = make_corpus(counts[:20], counts[20:], columns={"source1": np.arange(12)})
    _, batch = next(stream(corpus, 40))
    _, lacking = next(stream(corpus.take(np.arange(20, 40)), 20))
    network = small_network(20)
    masked = network.masked(batch, noise())
    assert not masked.hidden_BG[20:, 12:].any()
    assert masked.hidden_BG[:20, 12:].any()
    gradient = torch.autograd.grad(network.loss(lacking, noise())[0], network.decoder[-1].bias)[0]
    assert (gradient[12:] == 0).all()
    assert (gradient[:12] != 0).any()


def test_a_cell_without_counts_has_a_finite_error():
    counts = np.zeros((4, 20), np.float32)
    counts[0, 3] = 7
    batch = CountTable(csr_matrix(counts)).batch(slice(None))
    loss, terms = small_network(20).loss(batch, noise())
    assert torch.isfinite(loss)
    assert torch.isfinite(terms["masked_error"])


def test_it_overfits_a_few_cells(make_corpus):
    # Genes come in two programmes: hidden ones can be distinguished from those that are shown.
    rng = np.random.default_rng(0)
    profiles = np.repeat([[100.0, 5.0], [5.0, 100.0]], 10, axis=1)
    corpus = make_corpus(rng.poisson(profiles[np.arange(60) % 2]).astype(np.float32))
    model = MaskedAutoencoder(**SMALL, dropout=0.0, learning_rate=3e-3, budget={"steps": 600}, validation_share=0.2)
    fitted = model.fit(corpus, 0)
    for quantity in ("masked_error_train", "masked_error_validation"):
        curve = fitted.history.loc[fitted.history["quantity"] == quantity, "value"].to_numpy()
        assert curve[-1] < 0.05 * curve[0]
        # A gene's variance is what one is left with who does not look at the others.
        logged = cp10k(corpus.counts()).log1p().toarray()
        assert curve[-1] < 0.5 * logged.var(axis=0).mean()
    embedded = fitted.embed(corpus)
    distance = np.linalg.norm(embedded[:, None] - embedded[None], axis=2)
    same = (np.arange(60)[:, None] + np.arange(60)) % 2 == 0
    assert distance[same].mean() < 0.5 * distance[~same].mean()


def test_from_disk_it_is_the_same_model(corpus, monkeypatch):
    found = []
    for limit in ("1", "0"):
        monkeypatch.setenv(VARIABLE, limit)
        fitted = MaskedAutoencoder(**SMALL, budget={"steps": 9}).fit(corpus, 0)
        found.append(fitted.embed(corpus))
    np.testing.assert_array_equal(*found)


def test_no_count_at_all_is_one_clear_error(make_corpus):
    with pytest.raises(ModelError, match="has no counts: 40 cells, 20 genes"):
        MaskedAutoencoder(**SMALL).fit(make_corpus(np.zeros((40, 20), np.float32)), 0)


def test_the_time_of_a_step_is_measured_without_training_the_model():
    assert 0 < MaskedAutoencoder(**SMALL).seconds_per_step(50) < 1
