"""What every model keeps to: the same seed gives the same weights, and what is saved is what was fitted."""

import functools
import json

import numpy as np
import pandas as pd
import pytest

from corpuscle.core import components
from corpuscle.core.errors import ModelError
from corpuscle.model.data.on_gpu import training_device
from corpuscle.model.model import HISTORY, Annotates, FittedModel, Model, Reconstructs
from corpuscle.model.training.fine_tuning import FineTunes, FineTuning, fine_tune
from corpuscle.source.source import open_source
from examples import small

NAMES = [*components.names(Model), "toy:MeanProfile"]
each = pytest.mark.parametrize("name", NAMES)
each_built_in = pytest.mark.parametrize("name", components.names(Model))


@pytest.fixture(scope="module")
def train(source_once, corpus_of):
    return corpus_of(source_once("blood", 40))


@pytest.fixture(scope="module")
def cells(source_once, corpus_of):
    return corpus_of(source_once("pancreas", 9, seed=5))


@pytest.fixture(scope="module")
def fitted_once(train):
    """Fit each model once, with seed 0, for the tests that only ask it."""
    return functools.cache(lambda name: small(name).fit(train, 0))


@each
def test_the_same_seed_gives_the_same_model_and_another_seed_another(name, train, cells):
    model = small(name)
    first, again, other = (model.fit(train, seed).embed(cells) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    # What takes no steps may depend on the corpus alone.
    assert not model.n_steps(40) or not np.any(first) or not np.array_equal(first, other)
    assert model.uses_seed or np.array_equal(first, other)


@each_built_in
def test_a_model_says_whether_it_is_fitted_and_asked_on_a_gpu(name, train, monkeypatch):
    asked, true = [], training_device
    places = ("data.on_gpu", "training.loop", "training.fine_tuning", "families.fitted_foundation")
    for place in places:
        monkeypatch.setattr(f"corpuscle.model.{place}.training_device", lambda: (asked.append(1), true())[1])
    model = small(name)
    fitted = model.fit(train, 0)
    assert bool(asked) == model.uses_gpu
    asked.clear()
    fitted.embed(train)
    assert bool(asked) == model.embeds_on_gpu
    if isinstance(fitted, FineTunes):
        asked.clear()
        way = FineTuning(weights="whole", budget={"steps": 1}, batch_size=8)
        fine_tune(fitted, train, train.labels("cell_type"), way, seed=0)
        assert bool(asked) == model.embeds_on_gpu


def test_which_models_use_no_randomness():
    fixed = {name for name in components.names(Model) if not small(name).uses_seed}
    assert fixed >= {"hvg", "pca"}
    ridge = components.build(Model, "logistic_regression", {"penalty": "l2"})
    assert not ridge.uses_seed


@each
def test_too_few_cells_are_one_message_for_every_model(name, make):
    model = small(name)
    fewest = model.fewest_cells
    assert fewest <= 3
    if fewest > 1:
        expected = f"corpus 'all': expected at least {fewest} training cells for model '{model.name}', got {fewest - 1}"
        with pytest.raises(ModelError, match=f"^{expected}; draw more cells$"):
            model.fit(make(fewest - 1), 0)
    cells = make(model.fewest_cells)
    assert np.isfinite(model.fit(cells, 0).embed(cells)).all()


@each
def test_embeddings_are_finite_one_row_a_cell_and_in_the_cells_order(name, fitted_once, cells):
    fitted = fitted_once(name)
    found = fitted.embed(cells)
    assert isinstance(fitted, FittedModel)
    assert found.ndim == 2
    assert len(found) == 9
    assert np.isfinite(found).all()
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(fitted.embed(cells.take(order)), found[order], atol=1e-5)
    np.testing.assert_array_equal(fitted.embed(cells), found)


@each
def test_an_embedding_does_not_hang_on_the_block_a_cell_is_read_in(name, fitted_once, cells):
    fitted = fitted_once(name)
    pieces = [fitted.embed(cells.take(np.arange(start, stop))) for start, stop in ((0, 1), (1, 4), (4, 9), (9, 9))]
    np.testing.assert_allclose(np.concatenate(pieces), fitted.embed(cells), rtol=1e-5, atol=1e-5)


@each_built_in
def test_a_gene_that_was_not_measured_counts_as_absent(name, write, corpus_of, counts_of, train):
    counts = counts_of(9, seed=5)
    genes = [f"G{at}" for at in range(30)]
    zeroed = counts.copy()
    zeroed[:, 20:] = 0
    whole = open_source("blood", write("blood", counts_of(40)))
    narrow = open_source("narrow", write("narrow", counts[:, :20], genes=genes[:20]))
    zero = open_source("zero", write("zero", zeroed))
    union = corpus_of(whole, narrow, zero, genes="union")
    parts = {source: union.take(union.cells["source"].to_numpy(str) == source) for source in union.sources}
    assert not parts["narrow"].measured_SG.all()
    fitted = small(name).fit(parts["blood"], 0)
    found = fitted.embed(parts["narrow"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, fitted.embed(parts["zero"]), rtol=1e-5, atol=1e-5)
    # Nor does a corpus of which some cells lack genes keep a model from being fitted.
    assert np.isfinite(small(name).fit(union, 0).embed(parts["narrow"])).all()


@each_built_in
def test_cells_in_other_genes_are_one_clear_error(name, fitted_once, make, counts_of):
    fitted = fitted_once(name)
    other = make(counts_of(9, 20), name="other", genes=[f"G{at}" for at in range(20)])
    with pytest.raises(ModelError, match=r"other genes \(20\) than this model was fitted on \(30\)"):
        fitted.embed(other)


@each_built_in
def test_no_cell_at_all_embeds_to_no_row(name, fitted_once, cells):
    fitted = fitted_once(name)
    found = fitted.embed(cells.take(np.arange(0)))
    assert found.shape == (0, fitted.embed(cells).shape[1])


@each_built_in
@pytest.mark.parametrize("damage", ["gone", "no JSON", "other weights", "a setting that is none"])
def test_a_damaged_folder_is_one_clear_error(name, fitted_once, tmp_path, damage):
    model, folder = small(name), tmp_path / "model"
    folder.mkdir()
    fitted_once(name).save(folder)
    text = (folder / "model.json").read_text()
    match damage:
        case "gone":
            (folder / "weights.safetensors").unlink()
        case "no JSON":
            (folder / "model.json").write_text(text[:-9])
        case "other weights":
            data = bytearray((folder / "weights.safetensors").read_bytes())
            data[-1] ^= 1
            (folder / "weights.safetensors").write_bytes(bytes(data))
        case "a setting that is none":
            (folder / "model.json").write_text(text.replace('"settings": {', '"settings": {"bogus": 1, '))
    with pytest.raises(ModelError, match=r"fit it again|the weights are not those"):
        model.load_fitted(folder)


@each
def test_what_annotates_gives_each_cell_a_probability_for_each_type(name, fitted_once, cells, tmp_path):
    model = small(name)
    fitted = fitted_once(name)
    if not isinstance(fitted, Annotates):
        pytest.skip("this model knows no labels")
    assert fitted.labels == ("B", "T")
    found = fitted.label_probabilities(cells)
    assert found.shape == (9, 2)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    folder = tmp_path / "model"
    folder.mkdir()
    fitted.save(folder)
    loaded = model.load_fitted(folder)
    assert loaded.labels == fitted.labels
    np.testing.assert_array_equal(loaded.label_probabilities(cells), found)


@each
@pytest.mark.parametrize("types", [["B"] * 40, pd.Categorical([None] * 40)], ids=["one type", "no type"])
def test_what_annotates_needs_two_types_and_what_does_not_needs_none(name, make, types):
    corpus = make(40, obs={"cell_type": types})
    try:
        fitted = small(name).fit(corpus, 0)
    except ModelError as error:
        assert "cells of at least two types" in str(error)  # right for a model that learns types
        assert ("are 'B'" in str(error)) == (types[0] == "B")
    else:
        assert not isinstance(fitted, Annotates)


@each
def test_cells_without_a_type_are_left_out_and_counted(name, make):
    types = [("B", "T", None)[at % 3] for at in range(42)]
    fitted = small(name).fit(make(42, obs={"cell_type": types}), 0)
    if not isinstance(fitted, Annotates):
        pytest.skip("this model knows no labels")
    assert fitted.labels == ("B", "T")
    assert fitted.n_unlabelled == 14


@each
def test_the_encoder_to_fine_tune_is_a_copy_that_gives_the_embedding(name, train, cells):
    fitted = small(name).fit(train, 0)
    if not isinstance(fitted, FineTunes):
        pytest.skip("this model's network cannot be trained on")
    import torch

    from corpuscle.model.data.batches import CountTable

    encoder, before = fitted.encoder(), fitted.embed(cells)
    assert encoder.n_latent == before.shape[1]
    batch = CountTable.of(cells).batch(slice(None))
    encoded = encoder.encode(batch, None)
    np.testing.assert_allclose(encoded.detach().numpy(), before, atol=1e-5)
    encoded.square().sum().backward()
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            parameter.add_(1.0)
    assert not np.allclose(encoder.encode(batch, None).detach().numpy(), before)
    np.testing.assert_array_equal(fitted.embed(cells), before)


@each
def test_what_is_loaded_is_what_was_saved(name, train, cells, tmp_path):
    model = small(name)
    fitted = model.fit(train, 0)
    folder = tmp_path / "model"
    folder.mkdir()
    fitted.save(folder)
    loaded = model.load_fitted(folder)
    np.testing.assert_array_equal(loaded.embed(cells), fitted.embed(cells))
    pd.testing.assert_frame_equal(loaded.history, fitted.history)
    assert tuple(loaded.genes) == tuple(fitted.genes) == train.space.ids
    if isinstance(fitted, Reconstructs):
        for (_, one), (_, other) in zip(
            fitted.expected_fractions(cells), loaded.expected_fractions(cells), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    for path in folder.rglob("*"):
        assert path.suffix in (".safetensors", ".json", ".parquet"), "only forms that cannot execute"
        if path.suffix == ".json":
            json.loads(path.read_text())


@each
def test_expected_fractions_are_shares_of_the_measured_genes(name, fitted_once, train, cells):
    fitted = fitted_once(name)
    if not isinstance(fitted, Reconstructs):
        pytest.skip("this model does not reconstruct")
    rows, blocks = zip(*fitted.expected_fractions(cells), strict=True)
    assert [row for piece in rows for row in range(9)[piece]] == list(range(9))
    fractions = np.vstack(blocks)
    assert fractions.shape == (9, train.n_genes)
    assert (fractions >= 0).all()
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-4)


@each
def test_a_sampled_reconstruction_hangs_on_its_generator(name, fitted_once, cells):
    fitted = fitted_once(name)
    if not isinstance(fitted, Reconstructs):
        pytest.skip("this model does not reconstruct")
    one, again = (
        np.vstack([block for _, block in fitted.expected_fractions(cells, np.random.default_rng(seed))])
        for seed in (3, 3)
    )
    np.testing.assert_array_equal(one, again)


@each
def test_fitting_changes_no_cell_and_hears_no_global_state(name, train):
    import torch

    before = train.cells.copy()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    small(name).fit(train, 0)
    assert train.cells.equals(before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@each
def test_the_history_is_a_curve_in_long_form(name, fitted_once):
    model = small(name)
    history = fitted_once(name).history
    assert isinstance(history, pd.DataFrame)
    assert tuple(history.columns) == HISTORY
    assert np.isfinite(history["value"]).all()
    assert bool(len(history)) == bool(model.n_steps(40)), "a curve has points where there are steps"


@each
def test_progress_is_told_from_0_to_1(name, train):
    told = []
    small(name).fit(train, 0, told.append)
    assert told == sorted(told)
    assert all(0 <= share <= 1 for share in told)


@each
@pytest.mark.parametrize("n_cells", [1, 40, 10**7])
def test_the_number_of_steps_is_known_beforehand(name, n_cells):
    n_steps = small(name).n_steps(n_cells)
    assert isinstance(n_steps, int)
    assert n_steps >= 0


@each
def test_spec_rebuilds_an_equal_model(name):
    model = small(name)
    spec = json.loads(json.dumps(model.spec()))
    rebuilt = {key: value for key, value in spec.items() if key != "name"}
    # A budget is one of several ways to say how long; those that are not used are None.
    if isinstance(rebuilt.get("budget"), dict):
        rebuilt["budget"] = {key: value for key, value in rebuilt["budget"].items() if value is not None}
    assert components.build(Model, spec["name"], rebuilt) == model
