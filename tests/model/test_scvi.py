"""scVI's own: the batch covariate, zero inflation, cells without a count."""

import numpy as np
import pytest
import torch

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.scvi import SCVI

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 16, "budget": {"epochs": 30}, "learning_rate": 0.01}


def labelled(corpus: Corpus, batch_N) -> Corpus:
    return Corpus(corpus.name, corpus.cells.assign(batch=batch_N), corpus.readers, corpus.space)


@pytest.fixture
def two_batches(make_corpus, draw_counts):
    """The second batch has genes 0 to 9 five times as high."""
    counts, batch_N = draw_counts(90, 20), np.array(["a", "a", "b"] * 30)
    counts[batch_N == "b", :10] *= 5
    return labelled(make_corpus(counts), batch_N)


def fractions(fitted, cells):
    return np.concatenate([block for _, block in fitted.expected_fractions(cells)])


def test_a_cell_is_decoded_as_of_its_batch(two_batches):
    fitted = SCVI(**SMALL, batch="batch", likelihood="nb").fit(two_batches, 0)
    as_a, as_b = (fractions(fitted, labelled(two_batches, [batch] * 90))[:, :10].sum(1) for batch in "ab")
    assert (as_b > as_a).all()
    assert (as_b - as_a).mean() > 0.1
    # Batches that training did not see, and cells without one, are in between, and their embedding is the same.
    for other in ("z", None):
        cells = labelled(two_batches, [other] * 90)
        found = fractions(fitted, cells)[:, :10].sum(1)
        assert ((found > as_a) & (found < as_b)).all()
        np.testing.assert_array_equal(fitted.embed(cells), fitted.embed(two_batches))


def test_the_covariate_takes_the_batch_out_of_the_latents(two_batches):
    def gap(**settings):
        z, is_b = SCVI(**SMALL, **settings).fit(two_batches, 0).embed(two_batches), two_batches.labels("batch") == "b"
        return np.linalg.norm(z[is_b].mean(0) - z[~is_b].mean(0)) / z.std()

    assert gap(batch="batch") < gap()


def test_what_is_saved_knows_its_batches(two_batches, tmp_path):
    fitted = SCVI(**SMALL, batch="batch").fit(two_batches, 0)
    fitted.save(tmp_path)
    loaded = SCVI().load_fitted(tmp_path)
    np.testing.assert_array_equal(fractions(loaded, two_batches), fractions(fitted, two_batches))
    assert loaded.categories.values == ["a", "b"]


def test_a_corpus_without_the_label_is_refused(make_corpus, draw_counts):
    with pytest.raises(ModelError, match="has no column 'batch'"):
        SCVI(**SMALL, batch="batch").fit(make_corpus(draw_counts(40, 20)), 0)


def test_from_disk_the_batches_are_the_same(two_batches, monkeypatch):
    model = SCVI(**SMALL | {"budget": {"epochs": 2}}, batch="batch")
    in_memory = model.fit(two_batches, 0)
    monkeypatch.setenv("CORPUSCLE_MEMORY", "0")
    for key, tensor in model.fit(two_batches, 0).network.state_dict().items():
        torch.testing.assert_close(tensor, in_memory.network.state_dict()[key], rtol=0, atol=0)


def test_zero_inflation_explains_zeros_that_counts_do_not(make_corpus):
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (300, 12)) * (rng.random((300, 12)) < 0.6)
    corpus = make_corpus(counts.astype(np.float32))
    losses = {
        kind: SCVI(**SMALL, likelihood=kind).fit(corpus, 0).elbo(corpus)["elbo"].mean() for kind in ("nb", "zinb")
    }
    assert losses["zinb"] < losses["nb"] - 2


def test_the_odd_cells_give_numbers(make_corpus, draw_counts):
    counts = draw_counts(40, 20)
    counts[::5] = 0
    counts[:, 3] = 0
    fitted = SCVI(**SMALL).fit(make_corpus(counts), 0)
    assert np.isfinite(fitted.history["value"]).all()
    assert all(bool(tensor.isfinite().all()) for tensor in fitted.network.state_dict().values())
    assert np.isfinite(fitted.elbo(make_corpus(counts)).to_numpy()).all()
    assert set(fitted.elbo(make_corpus(counts))) == {"elbo", "reconstruction", "kl"}
