"""Each layer against torch's own."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn

from corpuscle.model.data.batches import CountTable
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.nn import count_modules
from corpuscle.model.nn.count_modules import LinearDecoder, NormRelu, SparseLinear, draw_latents, posterior_moments
from corpuscle.model.nn.layers import Linear


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_linear_is_torchs_default_initialisation_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    layer = Linear(400, 300, seeded())
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


def norm_relu(n_units: int, share: float = 0.0) -> NormRelu:
    norm = NormRelu(n_units, share)
    with torch.no_grad():
        norm.scale.uniform_(0.5, 2, generator=seeded(3))
        norm.shift.uniform_(-1, 1, generator=seeded(4))
    return norm


def test_norm_relu_is_batch_norm_and_relu():
    x_BH = (3 * torch.randn(12, 7, generator=seeded()) + 1).requires_grad_()
    norm, oracle = norm_relu(7), nn.BatchNorm1d(7, eps=1e-3, momentum=0.01)
    oracle.load_state_dict({"weight": norm.scale, "bias": norm.shift}, strict=False)
    upstream = torch.randn(12, 7, generator=seeded(5))
    for training in (True, False):
        norm.train(training)
        oracle.train(training)
        ours, theirs = norm(x_BH), oracle(x_BH).relu()
        torch.testing.assert_close(ours, theirs)
        slopes = torch.autograd.grad(ours, (x_BH, norm.scale, norm.shift), upstream)
        expected = torch.autograd.grad(theirs, (x_BH, oracle.weight, oracle.bias), upstream)
        for found, slope in zip(slopes, expected, strict=True):
            torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(norm.running_mean, oracle.running_mean)
        torch.testing.assert_close(norm.running_variance, oracle.running_var)


def in_plain_torch(monkeypatch) -> None:
    monkeypatch.setattr(count_modules.kernels, "serve", lambda _: False)


def test_compiled_and_plain_norm_relu_are_the_same(monkeypatch):
    x_BH, upstream = (torch.randn(33, 130, generator=seeded(seed)) for seed in (0, 1))
    found = []
    for _ in range(2):
        norm, given = norm_relu(130, 0.2), x_BH.clone().requires_grad_()
        hidden = norm(given, seeded(6))
        slopes = torch.autograd.grad(hidden, (given, norm.scale, norm.shift), upstream)
        found.append([hidden, *slopes, norm.running_mean, norm.running_variance])
        in_plain_torch(monkeypatch)
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


def test_dropout_keeps_the_mean_and_needs_a_generator():
    norm = NormRelu(100, 0.1)
    with torch.no_grad():
        norm.scale.zero_()
        norm.shift.fill_(1)
    x_BH = torch.randn(400, 100, generator=seeded())
    torch.testing.assert_close(norm(x_BH), torch.ones(400, 100))
    dropped = norm(x_BH, seeded())
    assert abs((dropped == 0).float().mean().item() - 0.1) < 0.01
    torch.testing.assert_close(dropped.max(), torch.tensor(1 / 0.9))


def test_what_is_dropped_hangs_on_no_neighbour_and_changes_each_time():
    norm, noise = NormRelu(130, 0.5), seeded()
    with torch.no_grad():
        norm.scale.zero_()
        norm.shift.fill_(1)
    first, second = ((norm(torch.randn(256, 130), noise) > 0).double() for _ in range(2))
    n_units = first.numel()
    for one, other in ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])):
        both = torch.corrcoef(torch.stack([one.ravel(), other.ravel()]))[0, 1].item()
        assert abs(both) < 4 * n_units**-0.5


def test_a_draw_is_from_the_posterior_and_its_divergence_is_torchs():
    head = torch.randn(9, 6, generator=seeded()).requires_grad_()
    noise, prior = torch.randn(9, 3, generator=seeded(1)), torch.tensor([0.5, 2.0])
    drawn, kl = draw_latents(head, noise, prior)
    mean, variance = posterior_moments(head)
    posterior = torch.distributions.Normal(mean, variance.sqrt())
    expected = mean + variance.sqrt() * noise
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.5, 2**0.5)).sum(1)
    torch.testing.assert_close(drawn, expected)
    torch.testing.assert_close(kl, divergence)
    upstream = torch.randn(9, 3, generator=seeded(2)), torch.randn(9, generator=seeded(3))
    (found,) = torch.autograd.grad((drawn, kl), head, upstream)
    (slope,) = torch.autograd.grad((expected, divergence), head, upstream)
    torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-6)


def test_compiled_and_plain_draws_are_the_same(monkeypatch):
    head, noise = torch.randn(9, 6, generator=seeded()) * 20, torch.randn(9, 3, generator=seeded(1))
    found = []
    for _ in range(2):
        given = head.clone().requires_grad_()
        drawn, kl = draw_latents(given, noise, torch.tensor([0.5, 2.0]))
        found.append([drawn, kl, *torch.autograd.grad(drawn.sum() + kl.sum(), given)])
        in_plain_torch(monkeypatch)
    assert (head[:, 3:] > count_modules.LOG_VARIANCE_CEILING).any()
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


def test_the_folded_decoders_gradient_is_autograds():
    decoder, z_BK = LinearDecoder(4, 13, seeded()).double(), torch.randn(11, 4, generator=seeded(2)).double()

    def folded(z_BK, weight, scale, shift):
        return count_modules._Folded.apply(z_BK, weight, scale, shift)[:2]

    given = [part.detach().requires_grad_() for part in (z_BK, decoder.weight, decoder.scale, decoder.shift)]
    assert torch.autograd.gradcheck(folded, given)
