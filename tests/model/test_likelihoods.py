"""The fused likelihood against the formula as it is written, in float64, by autograd."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import nbinom

from corpuscle.model import likelihoods
from corpuscle.model.batches import Batch, CountTable
from corpuscle.model.likelihoods import Decoded, nb_log_likelihood, nb_negative_log_likelihood, normal_kl


def naive(parameters, x_BG, unmeasured_BG):
    z, weight, bias, library, log_theta = parameters
    logit_BG = (z @ weight.T + bias).masked_fill(unmeasured_BG, -torch.inf)
    mean_BG = library.exp()[:, None] * logit_BG.softmax(1)
    theta = log_theta.exp()
    log_sum = torch.log(theta + mean_BG)
    value = theta * (log_theta - log_sum) - torch.lgamma(theta) + torch.lgamma(x_BG + theta)
    value = value - torch.lgamma(x_BG + 1) + torch.where(x_BG > 0, x_BG * (mean_BG.clamp(1e-300).log() - log_sum), 0.0)
    return torch.where(unmeasured_BG, 0.0, value).sum(1)


def draw(n_cells: int, n_genes: int, n_latent: int, masked: bool) -> tuple[Decoded, Batch, torch.Tensor, torch.Tensor]:
    rng, noise = np.random.default_rng(1), torch.Generator().manual_seed(1)
    x_NG = (rng.random((n_cells, n_genes)) < 0.2) * rng.geometric(0.3, (n_cells, n_genes))
    x_NG[1] = 0  # an empty cell
    x_NG[0, 0] = 5000
    unmeasured_SG = np.zeros((2, n_genes), bool)
    if masked:
        unmeasured_SG[1, ::3] = True
    source_N = np.arange(n_cells) % 2
    x_NG[unmeasured_SG[source_N]] = 0
    table = CountTable(csr_matrix(x_NG.astype(np.float32)), unmeasured_SG if masked else None, source_N)
    normal = [
        torch.randn(shape, generator=noise)
        for shape in ((n_cells, n_latent), (n_genes, n_latent), n_genes, n_cells, n_genes)
    ]
    decoded = Decoded(normal[0], normal[1] * 0.5, normal[2], 6 + 0.3 * normal[3], 1.5 * normal[4])
    mask = torch.from_numpy(unmeasured_SG[source_N])
    return decoded, table.batch(slice(None)), torch.from_numpy(x_NG).double(), mask


@pytest.mark.parametrize("masked", [False, True], ids=["all measured", "some genes unmeasured"])
@pytest.mark.parametrize("chunk_floats", [1, 200, 1 << 18], ids=["cell by cell", "odd chunks", "one chunk"])
def test_agrees_with_the_dense_formula_and_its_gradients(masked, chunk_floats, monkeypatch):
    monkeypatch.setattr(likelihoods, "CHUNK_FLOATS", chunk_floats)
    decoded, batch, x_BG, mask = draw(17, 40, 3, masked)
    oracle = [parameter.double().requires_grad_() for parameter in decoded]
    expected_B = naive(oracle, x_BG, mask)
    expected = torch.autograd.grad(-2 * expected_B.sum(), oracle)

    for parameter in decoded:
        parameter.requires_grad_()
    loss = 2 * nb_negative_log_likelihood(decoded, batch)
    found = torch.autograd.grad(loss, decoded)
    np.testing.assert_allclose(nb_log_likelihood(decoded, batch).numpy(), expected_B.detach(), rtol=1e-5)
    assert loss.item() == pytest.approx(-2 * expected_B.sum().item(), rel=1e-5)
    for name, ours, theirs in zip(Decoded._fields, found, expected, strict=True):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 1e-5, f"{name}: {error}"


def test_agrees_with_scipy():
    decoded, batch, x_BG, _ = draw(5, 8, 2, masked=False)
    mean_BG = decoded.library.exp()[:, None] * (decoded.z @ decoded.weight.T + decoded.bias).softmax(1)
    theta_G = decoded.log_theta.exp()
    expected = nbinom.logpmf(x_BG.numpy(), theta_G.numpy(), (theta_G / (theta_G + mean_BG)).numpy()).sum(1)
    np.testing.assert_allclose(nb_log_likelihood(decoded, batch).numpy(), expected, rtol=1e-4)


def test_stays_exact_where_the_expected_count_underflows():
    one = torch.ones(1)
    cell = Batch(torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([3.0]), n_genes=2)
    decoded = Decoded(one[:, None], torch.zeros(2, 1), torch.tensor([0.0, -200.0]), 0 * one, torch.zeros(2))
    # θ = 1: ln P(3) = 3 ln μ to first order, ln P(0) = -ln 2
    assert nb_log_likelihood(decoded, cell).item() == pytest.approx(-600 - np.log(2), rel=1e-6)


def test_normal_kl_agrees_with_torch():
    mean, variance = torch.tensor([0.3, -2.0]), torch.tensor([0.5, 3.0])
    q = torch.distributions.Normal(mean, variance.sqrt())
    p = torch.distributions.Normal(torch.tensor(1.0), torch.tensor(2.0))
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(normal_kl(mean, variance, torch.tensor(1.0), torch.tensor(4.0)), expected)
