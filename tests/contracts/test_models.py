"""What every model keeps to: the same seed gives the same weights, and what is saved is what was fitted."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from corpuscle.core import components
from corpuscle.model.model import HISTORY, FittedModel, Model, Reconstructs

NAMES = [*components.names(Model), "toy:MeanProfile"]
each = pytest.mark.parametrize("name", NAMES)
# What a model cannot be made without, or would take long with.
GIVEN = {
    "masked_autoencoder": {"widths": [32, 16, 8]},
    "logistic_regression": {"max_rounds": 5000},
    "untrained": {"model": {"name": "ldvae", "n_hidden": 8}},
}


def small(name: str) -> Model:
    """Build a model with the smallest budget that it has."""
    has_budget = "budget" in {field.name for field in dataclasses.fields(components.find(Model, name))}
    return components.build(Model, name, GIVEN.get(name, {}) | ({"budget": {"steps": 3}} if has_budget else {}))


@pytest.fixture
def train(make):
    return make(40)


@pytest.fixture
def cells(make):
    return make(9, name="pancreas", seed=5)


@each
def test_the_same_seed_gives_the_same_model_and_another_seed_another(name, train, cells):
    model = small(name)
    first, again, other = (model.fit(train, seed).embed(cells) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    # What takes no steps may hang on the corpus alone.
    assert not model.n_steps(40) or not np.any(first) or not np.array_equal(first, other)


@each
def test_embeddings_are_finite_one_row_a_cell_and_in_the_cells_order(name, train, cells):
    fitted = small(name).fit(train, 0)
    found = fitted.embed(cells)
    assert isinstance(fitted, FittedModel)
    assert found.ndim == 2
    assert len(found) == 9
    assert np.isfinite(found).all()
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(fitted.embed(cells.take(order)), found[order], atol=1e-5)
    np.testing.assert_array_equal(fitted.embed(cells), found)


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
def test_expected_fractions_are_shares_of_the_measured_genes(name, train, cells):
    fitted = small(name).fit(train, 0)
    if not isinstance(fitted, Reconstructs):
        pytest.skip("this model does not reconstruct")
    rows, blocks = zip(*fitted.expected_fractions(cells), strict=True)
    assert [row for piece in rows for row in range(9)[piece]] == list(range(9))
    fractions = np.vstack(blocks)
    assert fractions.shape == (9, train.n_genes)
    assert (fractions >= 0).all()
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-4)


@each
def test_a_sampled_reconstruction_hangs_on_its_generator(name, train, cells):
    fitted = small(name).fit(train, 0)
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
def test_the_history_is_a_curve_in_long_form(name, train):
    model = small(name)
    history = model.fit(train, 0).history
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
