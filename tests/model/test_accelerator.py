"""What training on a GPU is made of, tried on the CPU: resident counts, plain torch."""

import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.model import kernels
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.architectures.scvi import SCVI
from corpuscle.model.data import loader
from corpuscle.model.data.batches import CellCovariates, CountTable, Rows
from corpuscle.model.data.on_gpu import CPU, Resident, gpus, training_device
from corpuscle.model.training.checkpoints import checkpoints_in
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


@pytest.mark.parametrize("n_taken", [0, 7])
def test_a_fit_elsewhere_than_on_the_cpu_has_the_same_batches_from_resident_counts(table, monkeypatch, n_taken):
    elsewhere, asked = torch.device("meta"), []
    monkeypatch.setattr(loader, "Resident", lambda table, device: asked.append(device) or Resident(table, CPU))
    schedule = LDVAE(**SMALL).schedule(71)
    here = loader.Supply(table, schedule, 0, CPU, sparse=True)
    with (
        loader.Supply(table, schedule, 0, elsewhere).batches(n_taken) as ours,
        here.batches(n_taken) as theirs,
    ):
        for _ in range(6):
            for one, other in zip(next(ours), next(theirs).dense(), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert asked == [elsewhere]


def without_numba(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: False)


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


def test_without_numba_a_fit_goes_on_from_a_checkpoint(make_corpus, draw_counts, monkeypatch, tmp_path):
    without_numba(monkeypatch)
    corpus, model = make_corpus(draw_counts(60, 20)), LDVAE(**SMALL)
    undisturbed = model.fit(corpus, 0)
    true, taken = Adam.step, []

    def seventh_fails(adam):
        taken.append(1)
        if len(taken) == 7:
            raise InterruptedError
        true(adam)

    monkeypatch.setattr(Adam, "step", seventh_fails)
    for _ in range(2):
        with suppress(InterruptedError), checkpoints_in(tmp_path, every_seconds=0):
            fitted = model.fit(corpus, 0)
    assert len(taken) == 1 + fitted.history["step"].max()
    assert fitted.history.equals(undisturbed.history)
    np.testing.assert_array_equal(fitted.embed(corpus), undisturbed.embed(corpus))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_model
def test_on_a_gpu_the_models_are_as_good(make_corpus, draw_counts, monkeypatch, model):
    corpus = make_corpus(draw_counts(60, 20))
    there = model.fit(corpus, 0)
    monkeypatch.setenv("CORPUSCLE_DEVICE", "cpu")
    expected = model.fit(corpus, 0).elbo(corpus)["elbo"].mean()
    assert there.elbo(corpus)["elbo"].mean() == pytest.approx(expected, rel=0.1)
