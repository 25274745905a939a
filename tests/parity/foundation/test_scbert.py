"""scBERT's network next to what the upstream code gave for the same random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from corpuscle.model.architectures.scbert.network import Network
from corpuscle.model.architectures.scbert.sizes import Size
from corpuscle.model.architectures.scbert.weights import RENAMES
from corpuscle.model.foreign.accounting import load_renamed
from corpuscle.model.nn import performer
from corpuscle.model.tokenisers.expression_levels import ExpressionLevels
from corpuscle.model.tokenisers.tokens import Tokens


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "scbert_tiny.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def network(golden):
    with torch.device("meta"):
        made = Network(Size(width=20, layers=2, heads=2, head=64), 12, given_positions=True)
    made.tokeniser = ExpressionLevels(np.arange(11), 11)
    tensors = {name[3:]: torch.from_numpy(golden[name]) for name in golden if name.startswith("sd/")}
    load_renamed(made, tensors, RENAMES, "golden")
    return made


@torch.no_grad()
@pytest.mark.parametrize("features", [5000, 1_000_000])
def test_outputs_are_upstreams_for_each_cell_alone(network, golden, features, monkeypatch):
    monkeypatch.setattr(performer, "FEATURES", features)
    # Three cells at once are as each alone.
    found = network.hidden(torch.from_numpy(golden["ids"].ravel()))
    np.testing.assert_allclose(found.reshape(3, 12, 20), golden["encodings"], atol=1e-5)
    logits = network.head(found).reshape(3, 12, 7)
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-5)
    # Upstream, a cell depends on its company; here, on purpose, it does not.
    assert np.abs(logits.numpy() - golden["logits_batch_of_3"]).max() > 0.1


@torch.no_grad()
def test_embeddings_are_means_of_the_encodings(network, golden):
    ids = torch.from_numpy(golden["ids"].ravel())
    tokens = Tokens(torch.arange(4) * 12, ids, torch.zeros(36))
    # The third cell has no gene with a level above 0.
    expected = golden["encodings"].mean(1) * [[1], [1], [0]]
    np.testing.assert_allclose(network.pooled(tokens, None), expected, atol=1e-5)
    network.expressed_only = True
    expressed = [cell[ids > 0].mean(0) for cell, ids in zip(golden["encodings"][:2], golden["ids"], strict=False)]
    np.testing.assert_allclose(network.pooled(tokens, None)[:2], expressed, atol=1e-5)


def plain(query, key, value, projection):
    """Attention by features of one cell, all at once, as the paper and the published code have it."""
    scale = query.shape[-1] ** -0.25

    def features(x, top):
        u = scale * x @ projection.T
        length = x.square().sum(-1, keepdim=True) * scale**2 / 2
        return torch.exp(u - length - (u.amax(-1, keepdim=True) if top is None else u.amax())) + 1e-4

    q, k, v = (part.transpose(0, 1) for part in (query, key, value))
    q, k = features(q, None), features(k, "all")
    return ((q @ (k.mT @ v)) / (q @ k.sum(1)[..., None])).transpose(0, 1)


def test_in_stretches_numbers_and_slopes_are_those_of_all_at_once(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 50, 2, 8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    projection = performer.drawn_projection(20, 8, draw).double()
    weights = torch.randn(2, 50, 2, 8, generator=draw, dtype=torch.float64)
    expected = torch.stack([plain(*cells, projection) for cells in zip(*given, strict=True)])
    slopes = torch.autograd.grad((expected * weights).sum(), given)
    monkeypatch.setattr(performer, "FEATURES", 15 * 40)
    found = performer.attend_by_features(*given, projection)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad((found * weights).sum(), given), slopes, strict=True):
        torch.testing.assert_close(one, other)
