"""Our Adam beside torch's, on a network with a sparse layer and others."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.model.data.batches import CountTable
from corpuscle.model.nn import factors
from corpuscle.model.nn.count_modules import GeneLinear, SparseLinear
from corpuscle.model.nn.likelihoods import Decoded, negative_log_likelihood
from corpuscle.model.training.optimiser import Adam


class Network(nn.Module):
    def __init__(self, n_units: int) -> None:
        super().__init__()
        init = torch.Generator().manual_seed(3)
        self.first = SparseLinear(50, n_units, init)
        self.second = nn.Linear(n_units, 2)
        nn.init.normal_(self.second.weight, generator=init)
        nn.init.normal_(self.second.bias, generator=init)

    def forward(self, batch):
        return self.second(torch.tanh(self.first(batch))).square().sum()


def assert_same_steps(table, rng, *trained):
    """Take steps with pairs of a network and its optimiser on the same batches; the weights stay the same."""
    for _ in range(12):
        batch = table.batch(rng.permutation(31)[:9])
        for network, optimiser in trained:
            loss = network(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    (ours, _), (theirs, _) = trained
    for name, parameter in ours.state_dict().items():
        torch.testing.assert_close(parameter, theirs.state_dict()[name], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("n_units", [3, 128, 130])
def test_takes_the_steps_that_torchs_take(n_units, decoupled):
    rng = np.random.default_rng(0)
    # Some genes are in no cell, others in one, two or many: their weights move too, by momentum and decay.
    counts = rng.poisson(rng.gamma(0.3, 2, 50), (31, 50)).astype(np.float32)
    counts[:, :3] = 0
    table = CountTable(csr_matrix(counts))
    ours, theirs = Network(n_units), Network(n_units)
    settings = {"weight_decay": 0.1, "eps": 0.01}
    own = Adam(ours, learning_rate=0.05, decoupled=decoupled, **settings)
    oracle = (torch.optim.AdamW if decoupled else torch.optim.Adam)(theirs.parameters(), lr=0.05, **settings)
    assert_same_steps(table, rng, (ours, own), (theirs, oracle))
    assert ours.first.weight.grad is None


class Decoding(nn.Module):
    """Counts to counts: what a variational autoencoder's large layers are."""

    def __init__(self) -> None:
        super().__init__()
        init = torch.Generator().manual_seed(3)
        self.first = SparseLinear(50, 5, init)
        self.share, self.lost = GeneLinear(5, 50, init), GeneLinear(5, 50, init)
        self.log_theta = nn.Parameter(torch.zeros(50))

    def forward(self, batch):
        hidden, heads = torch.tanh(self.first(batch)), (self.share, self.lost)
        share, lost = ((head.weight, head.bias) for head in heads)
        left = [head.factors for head in heads]
        decoded = Decoded(hidden, *share, batch.totals.log1p(), self.log_theta, *lost, factors=left)
        return negative_log_likelihood(decoded, batch) / len(batch)


def test_steps_along_factors_of_a_decoders_gradients_are_those_along_the_gradients(monkeypatch):
    monkeypatch.setattr(factors, "BLOCK_GENES", 16)
    rng = np.random.default_rng(0)
    table = CountTable(csr_matrix(rng.poisson(0.7, (31, 50)).astype(np.float32)))
    ours, theirs = Decoding(), Decoding()
    settings = {"weight_decay": 0.1, "eps": 0.01}
    own = Adam(ours, learning_rate=0.05, **settings)
    oracle = torch.optim.Adam(theirs.parameters(), lr=0.05, **settings)
    assert_same_steps(table, rng, (ours, own), (theirs, oracle))
    assert ours.share.weight.grad is ours.lost.weight.grad is None


@pytest.mark.parametrize("clip_norm", [None, 1.0], ids=["rate", "rate and norm"])
@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
def test_follows_a_rate_and_clips_as_torch_does(decoupled, clip_norm):
    rng = np.random.default_rng(0)
    table = CountTable(csr_matrix(rng.poisson(0.5, (31, 50)).astype(np.float32)))
    ours, theirs = Network(4), Network(4)
    settings = {"weight_decay": 0.1, "eps": 0.01}
    own = Adam(
        ours, learning_rate=0.05, decoupled=decoupled, multiple=lambda step: step / 6, clip_norm=clip_norm, **settings
    )
    oracle = (torch.optim.AdamW if decoupled else torch.optim.Adam)(theirs.parameters(), lr=0.05, **settings)
    course, norms = torch.optim.lr_scheduler.LambdaLR(oracle, lambda step: step / 6), []
    for _ in range(12):
        batch = table.batch(rng.permutation(31)[:9])
        for network, optimiser in ((ours, own), (theirs, oracle)):
            optimiser.zero_grad()
            network(batch).backward()
            if network is theirs and clip_norm:
                norms.append(float(nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)))
            optimiser.step()
        course.step()
    assert not clip_norm or max(norms) > clip_norm
    for name, parameter in ours.state_dict().items():
        torch.testing.assert_close(parameter, theirs.state_dict()[name], rtol=1e-4, atol=2e-5)


def test_gradients_of_a_step_not_taken_are_forgotten():
    table = CountTable(csr_matrix(np.eye(50, dtype=np.float32)[:9]))
    network = Network(4)
    optimiser = Adam(network, learning_rate=0.1, weight_decay=0.0, eps=0.01)
    before = {name: parameter.clone() for name, parameter in network.state_dict().items()}
    network(table.batch(slice(None))).backward()
    optimiser.zero_grad()
    optimiser.step()
    for name, parameter in network.state_dict().items():
        torch.testing.assert_close(parameter, before[name])
