"""What training on a GPU is made of, tried on the CPU: resident counts, stacked networks, plain torch."""

import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.model import kernels
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.architectures.scvi import SCVI
from corpuscle.model.data.batches import CellCovariates, CountTable, Rows
from corpuscle.model.data.on_gpu import CPU, Resident, gpus, training_device
from corpuscle.model.nn.likelihoods import negative_log_likelihood
from corpuscle.model.training.checkpoints import checkpoints_in
from corpuscle.model.training.loop import stack_networks
from corpuscle.model.training.optimiser import Adam

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 16, "budget": {"epochs": 3}}
each_model = pytest.mark.parametrize(
    "model", [LDVAE(**SMALL), SCVI(**SMALL), SCVI(**SMALL, likelihood="nb", n_layers=2)], ids=["ldvae", "zinb", "nb"]
)


@pytest.fixture
def table():
    """70 cells of two sources, one of which did not measure genes 0 to 4; a cell is empty, another used twice."""
    rng = np.random.default_rng(0)
    counts, source_N = rng.poisson(rng.gamma(0.5, 2, 30), (70, 30)), np.arange(70) % 2
    counts[source_N == 1, :5] = 0
    counts[7] = 0
    unmeasured = np.zeros((2, 30), bool)
    unmeasured[1, :5] = True
    batch = Rows(np.eye(3, dtype=np.float32), np.arange(70) % 3)
    times_N = np.where(np.arange(70) == 9, 2, 1)
    return CountTable(csr_matrix(counts.astype(np.float32)), CellCovariates(Rows(unmeasured, source_N), batch), times_N)


def test_resident_counts_give_the_same_batches(table):
    layout, rng = table.layout, np.random.default_rng
    ours = Resident(table, CPU).batches(layout.windows(np.array([3, 4]), 69, rng(1)), layout, 16)
    theirs = table.batches(layout.windows(np.array([3, 4]), 69, rng(1)), 16)
    for _ in range(12):  # two epochs and a bit: each ends in a batch of five
        found, expected = next(ours), next(theirs).dense()
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_resident_windows_join_as_those_of_the_host_do(table, monkeypatch):
    monkeypatch.setattr("corpuscle.model.data.epoch_order.WINDOW_USES", 32)
    monkeypatch.setattr("corpuscle.model.data.epoch_order.BLOCK_USES", 8)
    test_resident_counts_give_the_same_batches(table)


def test_resident_counts_may_be_all_zero():
    batch = Resident(CountTable(csr_matrix((4, 3), dtype=np.float32)), CPU).batch(torch.tensor([2, 0]))
    assert batch.counts.tolist() == [[0, 0, 0]] * 2


def without_numba(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: False)


def steps(networks, tables, n_steps=3):
    """Losses and weights after a few steps of Adam, without noise of any kind."""
    optimiser, losses = LDVAE().optimiser().of(networks, LDVAE().schedule(70)), []
    for step in range(n_steps):
        cells = np.arange(16) + 16 * step
        batches = [Resident(table, CPU).batch(torch.from_numpy(cells)) for table in tables]
        batch = batches[0]
        if len(batches) > 1:
            batch = type(batch)(*(torch.stack(parts) for parts in zip(*batches, strict=True)))
        encoded = networks.encoder(batch)
        z_BK = encoded.z[..., : encoded.z.shape[-1] // 2]
        decoded = networks.decoded(z_BK, batch.totals.clamp(min=1).log(), batch.covariates)
        loss = negative_log_likelihood(decoded, batch)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        losses.append(loss.detach().reshape(-1))
    return torch.stack(losses), networks.state_dict()


@each_model
def test_stacked_networks_take_the_steps_that_each_would_take(table, monkeypatch, model):
    without_numba(monkeypatch)
    other = CountTable(
        table.packed, CellCovariates(table.covariates.unmeasured.of(np.arange(70)[::-1]), table.covariates.covariates)
    )
    tables = [table, other]
    networks = [model.network(30, 3, torch.Generator().manual_seed(seed)).train() for seed in range(2)]
    found, weights = steps(stack_networks(networks).train(), tables)
    for number, (network, own) in enumerate(zip(networks, tables, strict=True)):
        losses, expected = steps(network, [own])
        torch.testing.assert_close(found[:, number], losses[:, 0], rtol=1e-5, atol=1e-3)
        for name, part in expected.items():
            torch.testing.assert_close(weights[name][number], part, rtol=1e-3, atol=1e-4)


@each_model
def test_without_numba_the_same_model_comes_out(make_corpus, draw_counts, monkeypatch, model):
    corpus = make_corpus(draw_counts(60, 20))
    compiled = model.fit(corpus, 0)
    without_numba(monkeypatch)
    plain = model.fit(corpus, 0)
    for name, part in compiled.network.state_dict().items():
        torch.testing.assert_close(plain.network.state_dict()[name], part, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(plain.elbo(corpus), compiled.elbo(corpus), rtol=1e-3, atol=1e-3)


def test_that_numba_is_missing_is_said_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    kernels.available.cache_clear()
    try:
        with pytest.warns(UserWarning, match="several times slower"):
            assert not kernels.available()
        assert not kernels.available()
    finally:
        kernels.available.cache_clear()


@each_model
def test_models_fitted_together_are_as_good_as_alone(make_corpus, draw_counts, monkeypatch, model):
    without_numba(monkeypatch)
    corpora = [make_corpus(draw_counts(60, 20, seed=seed)) for seed in range(3)]
    told = []
    fitted = model.fit_together(corpora, [0, 1, 2], told.append)
    assert told[-1] == 1.0
    for corpus, seed, one in zip(corpora, range(3), fitted, strict=True):
        alone = model.fit(corpus, seed)
        assert one.history["step"].tolist() == alone.history["step"].tolist()
        assert one.history["quantity"].tolist() == alone.history["quantity"].tolist()
        ours, theirs = (each.elbo(corpus)["elbo"].mean() for each in (one, alone))
        assert ours == pytest.approx(theirs, rel=0.1)
        assert not any(parameter.dim() > 2 for parameter in one.network.parameters())
    assert not np.allclose(fitted[0].embed(corpora[0]), fitted[1].embed(corpora[0]))


def test_only_what_has_one_shape_is_fitted_together(make_corpus, draw_counts):
    corpora = [make_corpus(draw_counts(n_cells, 20)) for n_cells in (60, 61)]
    with pytest.raises(ModelError, match="as many cells"):
        LDVAE(**SMALL).fit_together(corpora, [0, 1])
    patient = LDVAE(**SMALL | {"budget": {"epochs": 9, "patience": 3}})
    with pytest.raises(ModelError, match="no patience"):
        patient.fit_together(corpora[:1] * 2, [0, 1])


def test_one_that_diverges_is_told(make_corpus, draw_counts, monkeypatch):
    without_numba(monkeypatch)
    model = LDVAE(**SMALL | {"learning_rate": 1e6, "budget": {"steps": 50}})
    with pytest.raises(DivergedError, match="diverged at step"):
        model.fit_together([make_corpus(draw_counts(60, 20))] * 2, [0, 1])


def test_on_this_machine_models_are_trained_one_by_one(monkeypatch):
    monkeypatch.setenv("CORPUSCLE_DEVICE", "cpu")
    assert LDVAE(**SMALL).n_together(2000) == 1


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta2"])
def test_a_device_that_is_not_there_is_refused(make_corpus, draw_counts, monkeypatch, name):
    monkeypatch.setenv("CORPUSCLE_DEVICE", name)
    with pytest.raises(ModelError, match="CORPUSCLE_DEVICE"):
        training_device()
    with pytest.raises(ModelError, match='set it to "cpu"'):
        LDVAE(**SMALL).fit(make_corpus(draw_counts(60, 20)), 0)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("", ("cuda:0", "cuda:1", "cuda:2")),
        ("cpu", ()),
        ("cuda:1", ("cuda:1",)),
        ("cuda:2, cuda:0", ("cuda:2", "cuda:0")),
        ("cuda:0,cuda:0", ("cuda:0", "cuda:0")),
    ],
)
def test_a_model_at_a_time_is_trained_on_each_gpu_unless_some_are_named(monkeypatch, named, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CORPUSCLE_DEVICE", named)
    assert gpus() == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    for named, why in (("cuda:99", "torch finds 0 GPUs"), ("gpu", "gpu")):
        monkeypatch.setenv("CORPUSCLE_DEVICE", named)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ModelError, match=rf"CORPUSCLE_DEVICE = '{named}' is no device .*{why}"):
            gpus()
    monkeypatch.setenv("CORPUSCLE_DEVICE", "cpu,cuda:99")
    assert training_device() == CPU


def test_models_fitted_together_go_on_from_a_checkpoint(make_corpus, draw_counts, monkeypatch, tmp_path):
    without_numba(monkeypatch)
    corpora, model = [make_corpus(draw_counts(60, 20, seed=seed)) for seed in range(2)], LDVAE(**SMALL)
    undisturbed = model.fit_together(corpora, [0, 1])
    true, taken = Adam.step, []

    def seventh_fails(adam):
        taken.append(1)
        if len(taken) == 7:
            raise InterruptedError
        true(adam)

    monkeypatch.setattr(Adam, "step", seventh_fails)
    for _ in range(2):
        with suppress(InterruptedError), checkpoints_in(tmp_path, every_seconds=0):
            fitted = model.fit_together(corpora, [0, 1])
    assert len(taken) == 1 + fitted[0].history["step"].max()
    for one, other in zip(fitted, undisturbed, strict=True):
        assert one.history.equals(other.history)
        np.testing.assert_array_equal(one.embed(corpora[0]), other.embed(corpora[0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_model
def test_on_a_gpu_the_models_are_as_good(make_corpus, draw_counts, monkeypatch, model):
    corpus = make_corpus(draw_counts(60, 20))
    on_gpu = [model.fit(corpus, 0), *model.fit_together([corpus] * 2, [0, 1])]
    monkeypatch.setenv("CORPUSCLE_DEVICE", "cpu")
    expected = model.fit(corpus, 0).elbo(corpus)["elbo"].mean()
    for fitted in on_gpu:
        assert fitted.elbo(corpus)["elbo"].mean() == pytest.approx(expected, rel=0.1)
