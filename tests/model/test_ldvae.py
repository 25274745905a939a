"""LDVAE: determinism, the odd corpora, what a fitted one answers, and its files."""

import json
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import torch

from corpuscle.core.errors import DivergedError, ModelError
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.model import HISTORY, Reconstructs
from corpuscle.model.nn.count_modules import VARIANCE_FLOOR

SMALL = {"n_hidden": 16, "n_latent": 3, "batch_size": 16, "budget": {"epochs": 3}}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fitted(corpus):
    return LDVAE(**SMALL).fit(corpus, seed=0)


def weights(fitted) -> np.ndarray:
    return np.concatenate([value.numpy().ravel() for value in fitted.network.state_dict().values()])


def test_same_seed_same_weights_bit_for_bit_and_no_global_state(corpus):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (LDVAE(**SMALL).fit(corpus, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))
    pd.testing.assert_frame_equal(first.history, again.history)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert torch.get_num_threads() == 1


def test_training_lowers_the_loss(corpus):
    history = LDVAE(**SMALL | {"budget": {"epochs": 60}}).fit(corpus, seed=0).history
    for quantity in ("elbo_train", "elbo_validation"):
        curve = history.loc[history["quantity"] == quantity, "value"].to_numpy()
        assert curve[-5:].mean() < 0.8 * curve[0]


def test_history_is_the_agreed_table(fitted):
    history = fitted.history
    assert tuple(history.columns) == HISTORY
    assert {"elbo_train", "elbo_validation", "reconstruction_validation", "kl_validation"} <= set(history["quantity"])
    last = history[history["step"] == history["step"].max()].set_index("quantity")["value"]
    assert last["elbo_validation"] == pytest.approx(last["reconstruction_validation"] + last["kl_validation"])
    assert history["epoch"].max() == 3


@pytest.mark.parametrize("budget", [{"epochs": 4}, {"steps": 9}], ids=str)
@pytest.mark.parametrize("n_cells", [2, 18, 37, 60])
def test_fit_takes_the_steps_it_announces(make_corpus, n_cells, budget, draw_counts, steps_taken):
    model, told = LDVAE(**SMALL | {"budget": budget}), []
    fitted = model.fit(make_corpus(draw_counts(n_cells, 20)), 0, told.append)
    assert fitted.history["step"].max() == model.n_steps(n_cells) > 0
    assert len(steps_taken) == model.n_steps(n_cells)
    assert told[-1] == 1.0


def test_progress_is_told_at_most_ten_times_a_second(corpus):
    told = []
    started = time.monotonic()
    LDVAE(**SMALL | {"budget": {"steps": 200}}).fit(corpus, 0, told.append)
    assert told == sorted(told)
    assert len(told) <= 2 + 10 * (time.monotonic() - started)


def test_repeats_are_trained_on_as_often_as_the_table_says(make_corpus, draw_counts):
    counts = draw_counts(30, 20)
    repeated = make_corpus(counts, times=np.full(30, 3))
    model = LDVAE(**SMALL)
    history = model.fit(repeated, seed=0).history
    assert history["step"].max() == model.n_steps(90) == 3 * 5


def degenerate(name: str, draw_counts) -> np.ndarray:
    counts = draw_counts(40, 20)
    if name == "empty cells":
        counts[::3] = 0
    elif name == "genes never seen":
        counts[:, ::2] = 0
    elif name == "equal libraries":
        counts[:] = 2
    elif name == "smaller than a batch":
        counts = counts[:7]
    elif name == "two cells":
        counts = counts[:2]
    elif name == "one gene":
        counts = counts[:, :1] + 1
    elif name == "huge counts":
        counts *= 1e6
    return counts


@pytest.mark.parametrize(
    "name",
    [
        "empty cells",
        "genes never seen",
        "equal libraries",
        "smaller than a batch",
        "two cells",
        "one gene",
        "huge counts",
    ],
)
def test_odd_corpora_give_finite_models(make_corpus, draw_counts, name):
    corpus = make_corpus(degenerate(name, draw_counts))
    fitted = LDVAE(**SMALL).fit(corpus, seed=0)
    assert np.isfinite(weights(fitted)).all()
    assert np.isfinite(fitted.history["value"]).all()
    assert np.isfinite(fitted.embed(corpus)).all()
    assert np.isfinite(fitted.elbo(corpus).to_numpy()).all()
    for _, block in fitted.expected_fractions(corpus):
        np.testing.assert_allclose(block.sum(1), 1, rtol=1e-5)
    assert fitted.network.library_prior[1] >= VARIANCE_FLOOR * (1 - 1e-6)


@pytest.mark.parametrize("n_cells", [0, 1], ids=["no cell", "one cell"])
def test_too_few_cells_are_one_clear_error(make_corpus, n_cells, draw_counts):
    corpus = make_corpus(draw_counts(5, 20) + 1).take(np.arange(n_cells))
    assert LDVAE(**SMALL).n_steps(n_cells) == 0
    with pytest.raises(ModelError, match=f"expected at least 2 training cells for model 'ldvae', got {n_cells}"):
        LDVAE(**SMALL).fit(corpus, seed=0)


def test_a_corpus_without_counts_is_one_clear_error(make_corpus):
    with pytest.raises(ModelError, match="no counts"):
        LDVAE(**SMALL).fit(make_corpus(np.zeros((9, 20), np.float32)), seed=0)


def test_diverging_says_where_and_why(corpus):
    model = LDVAE(**SMALL | {"learning_rate": 1e6, "budget": {"steps": 50}})
    with pytest.raises(DivergedError, match=r"at step \d+ of 50: the learning rate 1e\+06 is probably too high"):
        model.fit(corpus, seed=0)


def test_unmeasured_genes_get_no_probability_and_do_not_matter(make_corpus, draw_counts):
    measured = np.arange(0, 20, 2)
    full, part = draw_counts(30, 20), draw_counts(30, 20, seed=1)
    corpus = make_corpus(full, part, columns={"source1": measured})
    fitted = LDVAE(**SMALL).fit(corpus, seed=0)
    fractions = np.concatenate([block for _, block in fitted.expected_fractions(corpus)])
    absent = np.setdiff1d(np.arange(20), measured)
    assert (fractions[30:, absent] == 0).all()
    assert (fractions[:30] > 0).all()
    np.testing.assert_allclose(fractions.sum(1), 1, rtol=1e-5)

    # The same cells in a corpus whose space is blind to nothing: only the mask tells the two apart.
    part[:, absent] = 0
    unmasked = make_corpus(full, part)
    np.testing.assert_array_equal(fitted.embed(corpus), fitted.embed(unmasked))
    masked_loss, loss = fitted.elbo(corpus)["reconstruction"], fitted.elbo(unmasked)["reconstruction"]
    np.testing.assert_allclose(masked_loss[:30], loss[:30], rtol=1e-6)
    assert (masked_loss[30:] < loss[30:]).all()


def test_a_source_without_any_gene_is_refused(make_corpus, draw_counts):
    corpus = make_corpus(draw_counts(9, 20), draw_counts(9, 20), columns={"source1": np.arange(0)})
    with pytest.raises(ModelError, match="none of the study's genes"):
        LDVAE(**SMALL).fit(corpus, seed=0)


def test_embedding_is_deterministic_and_cell_by_cell(fitted, corpus):
    embedded = fitted.embed(corpus)
    assert embedded.shape == (60, 3)
    assert embedded.dtype == np.float32
    order = np.random.default_rng(0).permutation(60)[:25]
    np.testing.assert_allclose(fitted.embed(corpus.take(order)), embedded[order], rtol=1e-5, atol=1e-6)
    assert fitted.embed(corpus.take(np.arange(0))).shape == (0, 3)


def test_it_reconstructs_from_the_mean_or_from_a_sample(fitted, corpus, monkeypatch):
    assert isinstance(fitted, Reconstructs)
    whole = np.concatenate([block for _, block in fitted.expected_fractions(corpus)])
    rng = np.random.default_rng
    sampled, again, other = (
        np.concatenate([block for _, block in fitted.expected_fractions(corpus, rng(seed))]) for seed in (1, 1, 2)
    )
    assert np.array_equal(sampled, again)
    assert not np.allclose(sampled, other)
    assert not np.allclose(sampled, whole)
    monkeypatch.setattr("corpuscle.model.families.variational.DENSE_NUMBERS", 20 * 7)
    blocks = list(fitted.expected_fractions(corpus))
    assert [rows.stop for rows, _ in blocks] == [*range(7, 60, 7), 60]
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), whole, rtol=1e-5)


def test_loadings_explain_the_fractions(fitted, corpus):
    loadings = fitted.loadings()
    assert list(loadings.columns) == ["Z_0", "Z_1", "Z_2"]
    assert tuple(loadings.index) == fitted.genes == corpus.space.ids
    z, fractions = fitted.embed(corpus), np.concatenate([block for _, block in fitted.expected_fractions(corpus)])
    # log fraction = z · loading + a shift per gene + a constant per cell
    rest = np.log(fractions) - z @ loadings.to_numpy().T
    rest -= rest.mean(1, keepdims=True)
    np.testing.assert_allclose(rest, np.broadcast_to(rest[0], rest.shape), atol=1e-4)


def test_elbo_is_per_cell_and_names_its_sample(fitted, corpus):
    first, again, other = (fitted.elbo(corpus, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["elbo"], other["elbo"])
    np.testing.assert_allclose(first["elbo"], first["reconstruction"] + first["kl"], rtol=1e-6)
    np.testing.assert_allclose(first["kl"], first["kl_z"] + first["kl_library"], rtol=1e-5)
    assert len(first) == 60
    assert len(fitted.elbo(corpus.take(np.arange(0)))) == 0


def test_other_genes_are_refused(fitted, make_corpus, draw_counts):
    other = make_corpus(draw_counts(9, 21))
    for question in (fitted.embed, fitted.elbo, lambda cells: list(fitted.expected_fractions(cells))):
        with pytest.raises(ModelError, match="other genes"):
            question(other)


def test_saved_and_loaded_is_the_same_to_the_bit(fitted, corpus, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    fitted.save(folder)
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "model.json", "history.parquet"}
    loaded = LDVAE().load_fitted(folder)
    assert loaded.settings == fitted.settings
    assert loaded.genes == fitted.genes
    assert np.array_equal(weights(loaded), weights(fitted))
    pd.testing.assert_frame_equal(loaded.history, fitted.history)
    assert np.array_equal(loaded.embed(corpus), fitted.embed(corpus))
    pd.testing.assert_frame_equal(loaded.elbo(corpus), fitted.elbo(corpus))


REMOVED = {"no weights": "weights.safetensors", "no settings": "model.json", "no history": "history.parquet"}
CUT = {"cut weights": "weights.safetensors", "cut settings": "model.json", "cut history": "history.parquet"}
CHANGED = {
    "other width": lambda saved: saved["settings"].update(n_hidden=17),
    "impossible width": lambda saved: saved["settings"].update(n_hidden=-1),
    "other genes": lambda saved: saved["genes"].append("gX"),
    "other format": lambda saved: saved.update(format=99),
}


def spoil(folder, how: str) -> None:
    if how in REMOVED:
        (folder / REMOVED[how]).unlink()
    elif how in CUT:
        path = folder / CUT[how]
        path.write_bytes(path.read_bytes()[:-9])
    elif how in CHANGED:
        saved = json.loads((folder / "model.json").read_text())
        CHANGED[how](saved)
        (folder / "model.json").write_text(json.dumps(saved))
    elif how == "one bit":
        data = bytearray((folder / "weights.safetensors").read_bytes())
        data[-5] ^= 1
        (folder / "weights.safetensors").write_bytes(data)
    elif how == "json of another kind":
        (folder / "model.json").write_text("[1, 2]")
    else:
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", [*REMOVED, *CUT, *CHANGED, "one bit", "json of another kind", "no folder"])
def test_a_damaged_folder_is_one_clear_error(fitted, tmp_path, how):
    folder = tmp_path / "saved"
    folder.mkdir()
    fitted.save(folder)
    spoil(folder, how)
    with pytest.raises(ModelError, match="saved"):
        LDVAE().load_fitted(folder)


def test_seconds_per_step_are_measured():
    assert 0 < LDVAE(**SMALL).seconds_per_step(n_genes=200) < 1


def test_an_evaluation_of_absurd_weights_is_finite(fitted, corpus):
    """Before batch-norm's statistics have settled, encoders say such things; a curve must not hold NaN."""
    state = {name: tensor.clone() for name, tensor in fitted.network.state_dict().items()}
    try:
        for head in (fitted.network.encoder.z_head, fitted.network.encoder.library_head):
            torch.nn.init.constant_(head.bias, 1e3)
        assert np.isfinite(fitted.elbo(corpus).to_numpy()).all()
    finally:
        fitted.network.load_state_dict(state)
