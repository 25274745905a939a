"""Each layer against torch's own."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.model.batches import CountTable
from corpuscle.model.dense import DenseBatch
from corpuscle.model.modules import LinearDecoder, SparseLinear, dropout, linear


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_linear_is_torchs_default_initialisation_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    layer = linear(400, 300, seeded())
    assert torch.equal(before, torch.get_rng_state())
    oracle = nn.Linear(400, 300)
    torch.set_rng_state(before)
    for ours, theirs in zip(layer.parameters(), oracle.parameters(), strict=True):
        assert ours.abs().max() <= 0.05
        assert abs(ours.std().item() / theirs.std().item() - 1) < 0.2


def test_sparse_linear_is_linear_on_log1p():
    x_BG = np.random.default_rng(0).poisson(0.4, (9, 30)).astype(np.float32)
    x_BG[4] = 0
    batch = CountTable(csr_matrix(x_BG)).batch(slice(None))
    layer = SparseLinear(30, 7, seeded())
    weight = layer.weight.detach().clone().requires_grad_()
    expected = torch.log1p(torch.from_numpy(x_BG)) @ weight + layer.bias
    upstream = torch.randn(9, 7, generator=seeded(1))
    torch.testing.assert_close(layer(batch), expected)
    torch.testing.assert_close(layer(DenseBatch(torch.from_numpy(x_BG))), expected)
    layer(batch).backward(upstream)
    torch.testing.assert_close(layer.weight.grad, torch.autograd.grad(expected, weight, upstream)[0])


def test_folded_decoder_is_a_linear_layer_and_batch_norm():
    z_BK = torch.randn(11, 4, generator=seeded(2)).requires_grad_()
    decoder = LinearDecoder(4, 13, seeded())
    norm = nn.BatchNorm1d(13, eps=1e-3, momentum=0.01)
    with torch.no_grad():
        decoder.scale.uniform_(0.5, 2, generator=seeded(3))
        decoder.shift.uniform_(-1, 1, generator=seeded(4))
        norm.weight.copy_(decoder.scale)
        norm.bias.copy_(decoder.shift)
    upstream = torch.randn(11, 13, generator=seeded(5))

    weight_GK, bias_G = decoder.folded(z_BK)
    ours, theirs = z_BK @ weight_GK.T + bias_G, norm(z_BK @ decoder.weight.T)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decoder.running_mean, norm.running_mean)
    torch.testing.assert_close(decoder.running_variance, norm.running_var)
    inputs = (z_BK, decoder.weight)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    norm.eval()
    weight_GK, bias_G = decoder.folded()
    torch.testing.assert_close(z_BK @ weight_GK.T + bias_G, norm(z_BK @ decoder.weight.T), rtol=1e-5, atol=1e-5)


def test_dropout_keeps_the_mean_and_needs_a_generator():
    ones = torch.ones(400, 100)
    assert dropout(ones, 0.1, None) is ones
    dropped = dropout(ones, 0.1, seeded())
    assert abs((dropped == 0).float().mean().item() - 0.1) < 0.01
    torch.testing.assert_close(dropped.max(), torch.tensor(1 / 0.9))
