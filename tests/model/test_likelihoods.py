"""The swept likelihood against the formula as it is written, in float64, by autograd; and that against scipy."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit
from scipy.stats import nbinom

from corpuscle.model.data.batches import Batch, CellCovariates, CountTable, Rows
from corpuscle.model.data.dense import DenseBatch
from corpuscle.model.kernels import counts
from corpuscle.model.nn import factors, likelihoods
from corpuscle.model.nn.likelihoods import Decoded, log_likelihood, negative_log_likelihood, normal_kl


def draw(n_cells: int, n_genes: int, n_latent: int, masked: bool, inflated: bool) -> tuple[Decoded, Batch, DenseBatch]:
    """Decoded cells and their counts, sparse and, in float64, dense."""
    rng, noise = np.random.default_rng(1), torch.Generator().manual_seed(1)
    x_NG = (rng.random((n_cells, n_genes)) < 0.2) * rng.geometric(0.3, (n_cells, n_genes)).astype(np.float32)
    x_NG[1] = 0  # an empty cell
    x_NG[0, :3] = 5000, 15, 16  # beyond the tables, and on their edge
    x_NG[2, :2] = 0.25, 3.5  # means of several cells
    unmeasured_SG = np.zeros((2, n_genes), bool)
    if masked:
        unmeasured_SG[1, ::3] = True
    source_N = np.arange(n_cells) % 2
    x_NG[unmeasured_SG[source_N]] = 0
    table = CountTable(csr_matrix(x_NG), CellCovariates(Rows(unmeasured_SG, source_N) if masked else None))
    shapes = (n_cells, n_latent), (n_genes, n_latent), n_genes, n_cells, n_genes, (n_genes, n_latent), n_genes
    normal = [torch.randn(shape, generator=noise) for shape in shapes]
    # From nearly Poisson to very scattered genes.
    log_theta = 3 * normal[4]
    decoded = Decoded(normal[0], normal[1] * 0.5, normal[2], 6 + 0.3 * normal[3], log_theta)
    if inflated:
        decoded = decoded._replace(lost_weight=normal[5], lost_bias=2 * normal[6])
    mask = torch.from_numpy(unmeasured_SG[source_N]) if masked else None
    return decoded, table.batch(slice(None)), DenseBatch(torch.from_numpy(x_NG).double(), mask)


def parts(decoded: Decoded) -> dict[str, torch.Tensor]:
    return {name: part for name, part in decoded._asdict().items() if part is not None}


@pytest.mark.parametrize("inflated", [False, True], ids=["negative binomial", "zero-inflated"])
@pytest.mark.parametrize("masked", [False, True], ids=["all measured", "some genes unmeasured"])
@pytest.mark.parametrize(
    "sizes",
    [(3, 1, 40), (33, 200, 16), (3, 1 << 18, 16), (33, 1 << 18, 1008)],
    ids=["cell by cell", "odd chunks, many inputs", "three blocks", "one block, many inputs"],
)
def test_agrees_with_the_dense_formula_and_its_gradients(inflated, masked, sizes, monkeypatch):
    n_latent, chunk_floats, block_genes = sizes
    monkeypatch.setattr(likelihoods, "CHUNK_FLOATS", chunk_floats)
    monkeypatch.setattr(factors, "BLOCK_GENES", block_genes)
    decoded, batch, dense = draw(17, 40, n_latent, masked, inflated)
    oracle = Decoded(**{name: part.double().requires_grad_() for name, part in parts(decoded).items()})
    expected_B = log_likelihood(oracle, dense)
    expected = torch.autograd.grad(2 * negative_log_likelihood(oracle, dense), list(parts(oracle).values()))

    ours = parts(decoded)
    for part in ours.values():
        part.requires_grad_()
    loss = 2 * negative_log_likelihood(decoded, batch)
    found = torch.autograd.grad(loss, list(ours.values()))
    # What 32-bit logits lose is proportional to the counts that multiply them.
    error_B = (log_likelihood(decoded, batch) - expected_B).abs()
    assert (error_B < 1e-5 * expected_B.abs() + 2e-6 * dense.counts.sum(1)).all()
    assert loss.item() == pytest.approx(-2 * expected_B.sum().item(), rel=3e-5)
    for name, one, other in zip(ours, found, expected, strict=True):
        error = (one - other).norm() / other.norm()
        assert error < 1e-5, f"{name}: {error}"


@pytest.mark.parametrize("inflated", [False, True], ids=["negative binomial", "zero-inflated"])
def test_agrees_with_scipy(inflated):
    decoded, _, dense = draw(5, 8, 2, False, inflated)
    decoded = Decoded(**{name: part.double() for name, part in parts(decoded).items()})
    whole = dense.counts.round().numpy()
    mean_BG = decoded.library.exp()[:, None] * (decoded.z @ decoded.weight.T + decoded.bias).softmax(1)
    theta_G = decoded.log_theta.exp()
    chance_BG = nbinom.pmf(whole, theta_G.numpy(), (theta_G / (theta_G + mean_BG)).numpy())
    if inflated:
        lost_BG = expit((decoded.z @ decoded.lost_weight.T + decoded.lost_bias).numpy())
        chance_BG = lost_BG * (whole == 0) + (1 - lost_BG) * chance_BG
    likely_B = (chance_BG > 1e-290).all(1)
    assert likely_B.sum() >= 2
    found_B = log_likelihood(decoded, DenseBatch(torch.from_numpy(whole))).numpy()
    np.testing.assert_allclose(found_B[likely_B], np.log(chance_BG[likely_B]).sum(1), rtol=1e-9)


@pytest.mark.parametrize("power", [-30, -8, -1, 0, 3, 20, 60])
def test_logarithm_and_exponential_keep_seven_digits(power):
    x = np.float32(2.0**power) * np.linspace(1, 2, 1001, dtype=np.float32)
    ours = np.array([counts._log(value) for value in x])
    np.testing.assert_allclose(ours, np.log(x.astype(float)), rtol=3e-7, atol=1e-7)
    y = np.linspace(-85, 85, 1001, dtype=np.float32)
    np.testing.assert_allclose([counts._exp(value) for value in y], np.exp(y.astype(float)), rtol=3e-7)
    above = 1 + x
    ours = np.array([counts._log1p(one, more, 1 / more) for one, more in zip(x, above, strict=True)])
    np.testing.assert_allclose(ours, np.log1p(x.astype(float)), rtol=4e-7)


def test_stays_exact_where_the_expected_count_underflows():
    one = torch.ones(1)
    cell = Batch(torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([3.0]), n_genes=2)
    decoded = Decoded(one[:, None], torch.zeros(2, 1), torch.tensor([0.0, -200.0]), 0 * one, torch.zeros(2))
    # θ = 1: ln P(3) = 3 ln μ to first order, ln P(0) = -ln 2
    assert log_likelihood(decoded, cell).item() == pytest.approx(-600 - np.log(2), rel=1e-6)


@pytest.mark.parametrize("n_genes", [1, 30, 300])
def test_no_two_arrays_of_a_sweep_lie_so_near_that_sums_are_in_another_order(n_genes, monkeypatch):
    """Where they do, which memory was free decides a training's bits: of 130 of 1,300 steps, five had others."""
    begins, sweep = [], counts.sweep_counts

    def noted(*given):
        logits, genes, slopes = given[0], given[3], given[5]
        rows = [logits[layer][0, cell] for layer in range(len(logits)) for cell in (0, -1)]
        begins.append(sorted(row.ctypes.data for row in (*rows, *genes, *slopes[1:])))
        sweep(*given)

    monkeypatch.setattr(counts, "sweep_counts", noted)
    decoded, batch, _ = draw(5, max(n_genes, 3), 2, masked=False, inflated=True)
    decoded = decoded._replace(
        weight=decoded.weight[:n_genes], bias=decoded.bias[:n_genes], log_theta=decoded.log_theta[:n_genes],
        lost_weight=decoded.lost_weight[:n_genes], lost_bias=decoded.lost_bias[:n_genes],
    )  # fmt: skip
    batch = CountTable(csr_matrix(batch.dense().counts[:, :n_genes].numpy())).batch(slice(None))
    negative_log_likelihood(decoded, batch)
    assert len(begins) == 1
    assert np.diff(begins[0]).min() >= 4 * counts.ROOM


def test_normal_kl_agrees_with_torch():
    mean, variance = torch.tensor([0.3, -2.0]), torch.tensor([0.5, 3.0])
    q = torch.distributions.Normal(mean, variance.sqrt())
    p = torch.distributions.Normal(torch.tensor(1.0), torch.tensor(2.0))
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(normal_kl(mean, variance, torch.tensor(1.0), torch.tensor(4.0)), expected)
