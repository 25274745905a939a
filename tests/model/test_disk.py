"""Training from disk: the same model to the bit as from memory, within bounded memory, and no trace left."""

import io
import itertools
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.data import epoch_order, on_disk
from corpuscle.model.data.batches import CountTable
from corpuscle.model.data.memory import VARIABLE
from corpuscle.model.data.on_disk import DiskTable, fits, training_counts
from corpuscle.model.data.packed_counts import Packed

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 24, "budget": {"epochs": 4}}


@pytest.fixture(autouse=True)
def scratch(monkeypatch, tmp_path) -> Path:
    """Many windows and stretches of few cells, and a temporary folder of our own."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # torch makes a folder of its own there, in whichever test first makes it import its compiler.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))
    monkeypatch.setattr(epoch_order, "WINDOW_USES", 64)
    for module in (epoch_order, on_disk):
        monkeypatch.setattr(module, "BLOCK_USES", 8)
    monkeypatch.setattr(on_disk, "SMALLEST_STRETCH", 1)
    monkeypatch.setattr("corpuscle.corpus.corpus.Corpus.blocks.__defaults__", (50,))
    return folder


def odd(name: str, counts: np.ndarray) -> np.ndarray:
    if name == "fractions":
        counts[100:] *= 0.75
    elif name == "large":
        counts[10, 3] = 2.0**20
    elif name == "empty cells":
        counts[40:160] = 0
    return counts


@pytest.mark.parametrize("name", ["plain", "fractions", "large", "empty cells", "repeats", "not all measured"])
def test_the_same_model_as_from_memory_to_the_bit(make_corpus, draw_counts, monkeypatch, name):
    arrays, columns = [odd(name, draw_counts(230, 20))], None
    if name == "not all measured":
        arrays, columns = [*arrays, draw_counts(70, 20, seed=1)], {"source1": np.arange(0, 20, 2)}
    times = np.random.default_rng(0).integers(1, 4, 230) if name == "repeats" else None
    corpus = make_corpus(*arrays, times=times, columns=columns)
    fitted = []
    for limit in ("1", "0"):
        monkeypatch.setenv(VARIABLE, limit)
        fitted.append(LDVAE(**SMALL).fit(corpus, seed=2))
    in_memory, from_disk = fitted
    assert "writing" in from_disk.history.attrs["seconds"]
    assert "writing" not in in_memory.history.attrs["seconds"]
    pd.testing.assert_frame_equal(from_disk.history, in_memory.history)
    for key, tensor in in_memory.network.state_dict().items():
        np.testing.assert_array_equal(from_disk.network.state_dict()[key].numpy(), tensor.numpy())


def test_both_know_the_same_of_the_counts(make_corpus, draw_counts):
    corpus = make_corpus(draw_counts(150, 20), times=np.arange(150) % 3 + 1)
    with training_counts(corpus, limit=1 << 30) as in_memory, training_counts(corpus, limit=0) as on_disk:
        assert isinstance(in_memory, CountTable)
        assert isinstance(on_disk, DiskTable)
        assert on_disk.largest == in_memory.largest > 0
        for attribute in ("total_N", "times_N"):
            np.testing.assert_array_equal(getattr(on_disk, attribute), getattr(in_memory, attribute))
        np.testing.assert_array_equal(on_disk.total_N, corpus.counts().toarray().sum(axis=1))
        some = np.array([149, 3, 70])
        for one, other in zip(on_disk.take(some).batch(slice(None)), in_memory.batch(some), strict=True):
            np.testing.assert_array_equal(one, other)
        # Every use of a cell is on disk, with two bytes for its gene and two for its count.
        assert on_disk.nbytes == 4 * int((corpus.counts().getnnz(axis=1) * on_disk.times_N).sum())


class Held:
    """A source that is in memory, so that what reading a file takes is not measured."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = csr_matrix(counts)

    def read_counts(self, rows: np.ndarray) -> csr_matrix:
        return self.counts[rows]


def test_it_takes_a_fraction_of_the_memory(make_corpus, monkeypatch):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.4, (10_000, 600)).astype(np.uint8)
    cells = pd.DataFrame({"source": "source0", "row": np.arange(10_000), "barcode": "", "times": 1})
    corpus = replace(make_corpus(counts[:1]), cells=cells, readers={"source0": Held(counts)})
    monkeypatch.setattr(epoch_order, "WINDOW_USES", 512)
    monkeypatch.setattr(on_disk, "SMALLEST_STRETCH", 1 << 18)
    monkeypatch.setattr(on_disk, "SAMPLE_CELLS", 50)

    def peak(limit: int) -> int:
        tracemalloc.start()
        with training_counts(corpus, limit=limit) as table:
            windows = table.layout.windows(np.empty(0, np.int64), 10_000, np.random.default_rng(0))
            n_cells = sum(len(batch) for batch in itertools.islice(table.batches(windows, 100), 100))
        assert n_cells == 10_000
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    with training_counts(corpus, limit=1 << 40) as table:
        whole = table.packed.nbytes
        table.packed.cut(np.arange(1))  # so that it is compiled
    in_memory, from_disk = peak(1 << 40), peak(0)
    assert in_memory > whole
    assert from_disk < 0.4 * whole


def test_a_corpus_goes_to_disk_when_it_does_not_fit(make_corpus, draw_counts):
    corpus = make_corpus(draw_counts(3000, 40))
    needed = 2 * CountTable.of(corpus).packed.nbytes
    assert fits(corpus, round(1.05 * needed))
    assert not fits(corpus, round(0.95 * needed))
    assert fits(corpus.take(np.arange(0)), 0)


def test_nothing_is_left_in_the_folder_even_while_training(make_corpus, draw_counts, monkeypatch, scratch):
    corpus = make_corpus(draw_counts(230, 20))
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.setattr("corpuscle.model.training.loop.PROGRESS_SECONDS", 0)
    seen = []
    LDVAE(**SMALL).fit(corpus, 0, lambda _: seen.append(list(scratch.iterdir())))
    assert len(seen) > 10
    assert not any(seen)
    with pytest.raises(DivergedError):
        LDVAE(**SMALL | {"learning_rate": 1e6, "budget": {"steps": 50}}).fit(corpus, 0)
    assert not list(scratch.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_one_clear_error(make_corpus, draw_counts, monkeypatch, scratch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: io.FileIO("/dev/full", "w"))
    with (
        pytest.raises(ModelError, match=rf"cannot be written .*{scratch.name}.*No space left .*set TMPDIR"),
        training_counts(make_corpus(draw_counts(230, 20)), limit=0),
    ):
        pass


@pytest.mark.parametrize("bad", [-1.0, np.nan], ids=str)
def test_values_that_are_no_counts_are_refused_from_disk_too(make_corpus, draw_counts, bad):
    counts = draw_counts(230, 20)
    counts[200, 3] = bad
    with pytest.raises(ModelError, match="counts must be"), training_counts(make_corpus(counts), limit=0):
        pass


def test_packed_counts_take_the_smallest_types():
    def types(counts: list[list[float]], n_genes: int = 2) -> tuple[str, str]:
        packed = Packed.of(csr_matrix(np.array(counts, np.float32), shape=(len(counts), n_genes)))
        return packed.genes.dtype.name, packed.counts.dtype.name

    assert types([[65535, 0]]) == ("uint16", "uint16")
    assert types([[65536, 0]]) == ("uint16", "float32")
    assert types([[0.5, 1]]) == ("uint16", "float32")
    wide = Packed.of(csr_matrix(([1.0], ([0], [70_000])), shape=(1, 70_001)))
    assert wide.genes.dtype == np.int32
    assert [part.tolist() for part in wide.cut(np.array([0, 0]))] == [[0, 1, 2], [70_000, 70_000], [1.0, 1.0]]


def test_pieces_of_different_types_are_joined_without_loss():
    pieces = [np.array([[1, 0, 60_000]], np.float32), np.array([[0, 0.25, 1e9]], np.float32)]
    joined = Packed.joined([Packed.of(csr_matrix(piece)) for piece in pieces], 3)
    starts, genes, counts = joined.cut(np.array([1, 0]))
    np.testing.assert_array_equal(csr_matrix((counts, genes, starts), (2, 3)).toarray(), np.vstack(pieces[::-1]))
    assert joined.total_N.tolist() == [60_001, 1e9 + 0.25]
