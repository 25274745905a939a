"""What a corpus may hold that training must survive, from memory and from disk: a model of numbers or a clear error."""

import numpy as np
import pytest

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.data.memory import VARIABLE

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 16, "budget": {"epochs": 6}}


@pytest.fixture(autouse=True, params=["memory", "disk"])
def _limit(monkeypatch, request):
    monkeypatch.setenv(VARIABLE, "1" if request.param == "memory" else "0")


def odd(name: str, counts: np.ndarray) -> np.ndarray:
    match name:
        case "cells without a count":
            counts[::3] = 0
        case "one cell with a count":
            counts[1:] = 0
        case "genes never seen":
            counts[:, 3:] = 0
        case "equal libraries":
            counts[:] = 3
        case "equal libraries of different cells":
            counts = np.random.default_rng(0).multinomial(500, np.full(20, 0.05), 70).astype(np.float32)
        case "a batch of one cell":  # 72 cells: 65 are trained on, four batches and one cell
            counts = np.vstack([counts, counts[:2]])
        case "a count above 2^24":
            counts[5, 3] = 2**24 + 2
        case "counts above 2^24":
            counts = (counts + 1) * 2**25
        case "fractions":
            counts *= 0.01
    return counts


@pytest.mark.parametrize(
    "name",
    [
        "cells without a count",
        "one cell with a count",
        "genes never seen",
        "equal libraries",
        "equal libraries of different cells",
        "a batch of one cell",
        "a count above 2^24",
        "counts above 2^24",
        "fractions",
    ],
)
def test_the_model_is_made_of_numbers(make_corpus, draw_counts, name):
    corpus = make_corpus(odd(name, draw_counts(70, 20)))
    model = LDVAE(**SMALL)
    fitted = model.fit(corpus, 0)
    assert all(bool(tensor.isfinite().all()) for tensor in fitted.network.state_dict().values())
    assert np.isfinite(fitted.history["value"]).all()
    assert np.isfinite(fitted.embed(corpus)).all()
    assert np.isfinite(fitted.elbo(corpus).to_numpy()).all()
    assert all(np.isfinite(block).all() for _, block in fitted.expected_fractions(corpus))
    assert fitted.history["step"].max() == model.n_steps(len(corpus))


@pytest.mark.parametrize("largest", [1e25, 3e38])
def test_counts_beyond_all_bounds_are_named_as_the_cause(make_corpus, draw_counts, largest):
    counts = draw_counts(70, 20)
    counts[:, 3] = largest
    with pytest.raises(DivergedError, match=r"at step \d+ of 24: the counts are too large .*the largest is [13]e\+"):
        LDVAE(**SMALL).fit(make_corpus(counts), 0)


@pytest.mark.parametrize(
    ("n_cells", "validation_share"), [(1, 0.0), (1, 0.1), (2, 0.5)], ids=["one cell", "one, none held", "one, one held"]
)
def test_a_batch_of_one_cell_is_all_there_is(make_corpus, draw_counts, n_cells, validation_share):
    corpus = make_corpus(draw_counts(n_cells, 20) + 1)
    model = LDVAE(**SMALL, validation_share=validation_share)
    assert model.n_steps(n_cells) == 0
    expected = f"expected at least {n_cells + 1} training cells for model 'ldvae', got {n_cells}; draw more"
    with pytest.raises(ModelError, match=expected):
        model.fit(corpus, 0)


def test_no_count_at_all(make_corpus):
    with pytest.raises(ModelError, match="has no counts: 40 cells, 20 genes"):
        LDVAE(**SMALL).fit(make_corpus(np.zeros((40, 20), np.float32)), 0)
