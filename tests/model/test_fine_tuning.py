"""Fine-tuning: with frozen weights and with the whole network; the mlp_classifier on top of the same loop."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from corpuscle.core.errors import ModelError
from corpuscle.model.architectures.hvg import HVG
from corpuscle.model.architectures.masked_autoencoder import MaskedAutoencoder
from corpuscle.model.architectures.mlp_classifier import MlpClassifier
from corpuscle.model.architectures.pca import PCA
from corpuscle.model.model import Annotates
from corpuscle.model.training.fine_tuning import FineTuning, _Spread, fine_tune, open_fine_tuned
from corpuscle.source.source import dataset_path, open_source

QUICK = {"learning_rate": 1e-2, "budget": {"epochs": 40}, "n_hidden": 32}


@pytest.fixture(scope="module")
def source():
    return open_source("pbmc3k", dataset_path("pbmc3k"))


@pytest.fixture
def halves(source, corpus_of):
    """A corpus and a target: every second of 600 packaged blood cells."""
    cells = corpus_of(source).take(np.arange(600))
    return cells.take(np.arange(0, 600, 2), "even"), cells.take(np.arange(1, 600, 2), "odd")


@pytest.fixture(scope="module")
def fitted_once():
    return {}


@pytest.fixture
def autoencoder(halves, fitted_once):
    """An autoencoder that takes a few seconds to train; what is asked of it must leave it as it is."""
    if not fitted_once:
        model = MaskedAutoencoder(widths=[64, 32, 16], budget={"steps": 200}, learning_rate=3e-3)
        fitted_once["model"] = model.fit(halves[0], 0)
    return fitted_once["model"]


def accuracy(annotator, cells) -> float:
    said = np.array(annotator.labels)[annotator.label_probabilities(cells).argmax(axis=1)]
    return float((said == cells.labels("cell_type")).mean())


@pytest.mark.parametrize("weights", ["frozen", "whole"])
def test_a_fine_tuned_model_annotates_cells_it_has_not_seen(halves, autoencoder, weights):
    corpus, target = halves
    before = {name: tensor.clone() for name, tensor in autoencoder.network.state_dict().items()}
    settings = FineTuning(weights=weights, **QUICK)
    tuned = fine_tune(autoencoder, corpus, corpus.labels("cell_type"), settings, 0)
    assert isinstance(tuned, Annotates)
    found = tuned.label_probabilities(target)
    assert found.shape == (300, len(tuned.labels))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    majority = np.unique(target.labels("cell_type"), return_counts=True)[1].max() / 300
    assert accuracy(tuned, target) > majority + 0.15
    assert tuned.history["quantity"].str.startswith("cross_entropy").all()
    # The model that was fine-tuned is as it was.
    for name, tensor in autoencoder.network.state_dict().items():
        assert torch.equal(tensor, before[name])
    again = fine_tune(autoencoder, corpus, corpus.labels("cell_type"), settings, 0)
    np.testing.assert_array_equal(again.label_probabilities(target), found)
    other = fine_tune(autoencoder, corpus, corpus.labels("cell_type"), settings, 1)
    assert not np.array_equal(other.label_probabilities(target), found)
    pieces = [tuned.label_probabilities(target.take(part)) for part in np.array_split(np.arange(300), 3)]
    np.testing.assert_allclose(np.concatenate(pieces), found, atol=1e-5)


@pytest.mark.parametrize(("weights", "remedy"), [("frozen", "none"), ("whole", "none"), ("whole", "ldam")])
def test_what_was_learned_is_kept(halves, autoencoder, weights, remedy, tmp_path):
    corpus, target = halves
    settings = FineTuning(**{**QUICK, "budget": {"steps": 30}}, weights=weights, remedy=remedy)
    tuned = fine_tune(autoencoder, corpus, corpus.labels("cell_type"), settings, 0)
    tuned.save(tmp_path)
    again = open_fine_tuned(tmp_path, autoencoder, settings)
    np.testing.assert_array_equal(again.label_probabilities(target), tuned.label_probabilities(target))
    assert (again.labels, again.n_unlabelled, again.n_parameters) == (tuned.labels, 0, tuned.n_parameters)
    assert again.history.equals(tuned.history)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="no fitted fine-tuned model can be read here"):
        open_fine_tuned(tmp_path, autoencoder, settings)


def test_the_whole_network_learns_what_a_frozen_one_cannot(halves):
    corpus, _ = halves
    # An encoder so narrow that its embedding holds little of the cell type.
    fitted = MaskedAutoencoder(widths=[64, 2], budget={"steps": 0}).fit(corpus, 0)
    labels = corpus.labels("cell_type")
    frozen, whole = (
        fine_tune(fitted, corpus, labels, FineTuning(weights=weights, **QUICK), 0) for weights in ("frozen", "whole")
    )
    assert accuracy(whole, corpus) > accuracy(frozen, corpus) + 0.1


class Elsewhere:
    """A fitted model whose embedding is that of another, made small and moved away from 0."""

    def __init__(self, fitted):
        self.fitted, self.genes = fitted, fitted.genes

    def encoder(self):
        inner = self.fitted.encoder()
        return inner._replace(encode=lambda batch, noise: inner.encode(batch, noise) / 128 + 0.01)


def test_where_an_embedding_lies_and_how_wide_it_is_is_nothing_to_a_network_that_learns(halves, autoencoder):
    corpus, target = halves
    settings = FineTuning(weights="whole", **QUICK | {"budget": {"steps": 40}, "learning_rate": 3e-3})
    plain, moved = (
        fine_tune(fitted, corpus, corpus.labels("cell_type"), settings, 0).label_probabilities(target)
        for fitted in (autoencoder, Elsewhere(autoencoder))
    )
    # Rounding alone differs, and grows from step to step.
    assert np.abs(moved - plain).mean() < 0.02


def test_a_number_that_no_cell_differs_by_is_not_made_large():
    spread = _Spread(torch.nn.Identity(), 3)
    given = torch.tensor([[0.0, 5.0, 1.0], [2.0, 5.0, 1.0 + 1e-6]])
    spread.find(given)
    torch.testing.assert_close(spread(given)[:, 0], torch.tensor([-1.0, 1.0]))
    assert spread(given)[:, 1:].abs().max() < 1e-3
    spread.find(torch.ones(2, 3))
    assert torch.equal(spread(torch.ones(1, 3)), torch.zeros(1, 3))


@pytest.mark.parametrize("remedy", ["resampling", "class_weights", "focal", "ldam"])
@pytest.mark.parametrize("weights", ["frozen", "whole"])
def test_remedies_take_equal_steps_and_learn(halves, autoencoder, weights, remedy):
    corpus, target = halves
    settings = FineTuning(weights=weights, remedy=remedy, **QUICK | {"budget": {"steps": 100}})
    tuned = fine_tune(autoencoder, corpus, corpus.labels("cell_type"), settings, 0)
    assert tuned.history["step"].max() == 100
    said, type_N = tuned.label_probabilities(target).argmax(axis=1), target.labels("cell_type")
    recalls = [(said[type_N == label] == at).mean() for at, label in enumerate(tuned.labels) if (type_N == label).any()]
    assert np.mean(recalls) > 2 / len(tuned.labels), "twice what chance gives"


def test_any_fitted_model_can_be_fine_tuned_frozen_but_not_whole(halves):
    corpus, target = halves
    fitted, labels = PCA(n_components=10, n_genes=300).fit(corpus, 0), corpus.labels("cell_type")
    assert accuracy(fine_tune(fitted, corpus, labels, FineTuning(**QUICK), 0), target) > 0.7
    with pytest.raises(ModelError, match=r'FittedPCA has no network .* weights = "frozen"'):
        fine_tune(fitted, corpus, labels, FineTuning(weights="whole"), 0)


def test_cells_without_a_label_are_left_out_and_counted(halves, autoencoder):
    corpus, _ = halves
    label_N = corpus.labels("cell_type").astype(object)
    label_N[::3] = ""
    tuned = fine_tune(autoencoder, corpus, label_N.astype(str), FineTuning(**QUICK), 0)
    assert tuned.n_unlabelled == 100
    assert "" not in tuned.labels
    with pytest.raises(ModelError, match="at least two types, and of corpus 'even' none of its cells has a label"):
        fine_tune(autoencoder, corpus, np.full(300, ""), FineTuning(**QUICK), 0)
    with pytest.raises(ModelError, match="all labelled cells are 'T'"):
        fine_tune(autoencoder, corpus, np.full(300, "T"), FineTuning(**QUICK), 0)


@pytest.mark.parametrize(
    "wrong", [{"weights": "half"}, {"remedy": "smote"}, {"n_hidden": 0}, {"dropout": 1.0}], ids=str
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        FineTuning(**wrong)


@pytest.mark.parametrize("remedy", ["none", "ldam"])
def test_mlp_classifier_annotates_cells_it_has_not_seen(halves, remedy):
    corpus, target = halves
    fitted = MlpClassifier(n_genes=300, remedy=remedy, **QUICK).fit(corpus, 0)
    assert accuracy(fitted, target) > 0.8
    # Its hidden layer, by hand: the variable genes' log1p counts per 10,000 through the first layer.
    logged = torch.from_numpy(HVG(n_genes=300).fit(corpus, 0).embed(target))
    first = fitted.network.first
    np.testing.assert_allclose(
        fitted.embed(target), torch.relu(logged @ first.weight + first.bias).detach(), rtol=1e-4, atol=1e-4
    )
    assert fitted.history["step"].max() == MlpClassifier(n_genes=300, **QUICK).n_steps(300)


def test_the_time_of_a_step_is_measured_without_training_the_model():
    assert 0 < MlpClassifier().seconds_per_step(50) < 1
