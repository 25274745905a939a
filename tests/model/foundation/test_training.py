"""What all foundation models can be trained for: labels with some of the weights, an embedding without batches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors

from corpuscle.core.errors import ModelError
from corpuscle.evaluation.tasks.annotation import Annotation
from corpuscle.model.architectures.geneformer import Geneformer
from corpuscle.model.architectures.scbert import ScBERT
from corpuscle.model.architectures.scgpt import ScGPT
from corpuscle.model.architectures.transcriptformer import TranscriptFormer
from corpuscle.model.nn.adversary import explained_share
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.model.training.published_trainings import PUBLISHED_TRAININGS

SIZE = {"width": 16, "layers": 3, "heads": 2, "feed_forward": 16, "longest": 40}


@pytest.fixture
def typed(make_corpus):
    """Two types, which express one half of the genes each, in two batches, of which one has five more genes."""
    rng = np.random.default_rng(0)
    types, batches = rng.integers(2, size=200), rng.integers(2, size=200)
    rates = np.where((np.arange(40) < 20) == types[:, None].astype(bool), 3.0, 0.2)
    rates[:, 35:] = np.where(batches[:, None], 2.0, 0.3)
    corpus = make_corpus(rng.poisson(rates).astype(np.float32))
    corpus.cells["cell_type"], corpus.cells["batch"] = types.astype(str), batches.astype(str)
    return corpus


def test_only_the_last_blocks_learn(typed):
    fitted = Geneformer(size=SIZE, budget={"steps": 0}, layer=0).fit(typed, 0)
    before = {name: weight.clone() for name, weight in fitted.network.state_dict().items()}
    way = FineTuning(weights="last", n_blocks=2, learning_rate=1e-2, budget={"steps": 3})
    tuned = fine_tune(fitted, typed, typed.labels("cell_type"), way, seed=0)
    after = tuned._learner.network.module.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"1", "2"}
    n_learned = sum(weight.numel() for block in fitted.network.blocks[1:] for weight in block.parameters())
    n_head = sum(weight.numel() for weight in tuned._learner.head.parameters())
    assert tuned.n_parameters == n_learned + n_head
    for name, weight in fitted.network.state_dict().items():
        assert torch.equal(before[name], weight)


def test_more_blocks_than_there_are_is_one_clear_error(typed):
    fitted = Geneformer(size=SIZE, budget={"steps": 0}).fit(typed, 0)
    with pytest.raises(ModelError, match="3 blocks of which the last could learn, not 4"):
        fine_tune(fitted, typed, typed.labels("cell_type"), FineTuning(weights="last", n_blocks=4), seed=0)


@pytest.mark.parametrize("name", PUBLISHED_TRAININGS)
def test_published_trainings_are_settings_by_name(name):
    task = Annotation(fine_tune=["whole"], training={"published": name, "budget": {"steps": 7}})
    assert task.training.budget.steps == 7
    assert task.training.learning_rate == PUBLISHED_TRAININGS[name]["learning_rate"]


def test_a_published_training_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="did you mean 'geneformer'"):
        Annotation(training={"published": "geneforma"})


def linear(found: np.ndarray, labels: np.ndarray) -> float:
    """Return how often a linear classifier finds the label in the embedding, of cells it has not seen."""
    half = len(found) // 2
    scaled = (found - found.mean(0)) / found.std(0)
    return LogisticRegression(max_iter=2000).fit(scaled[:half], labels[:half]).score(scaled[half:], labels[half:])


def neighbours_alike(found: np.ndarray, labels: np.ndarray) -> float:
    """Return which share of a cell's 15 nearest has its label."""
    nearest = NearestNeighbors(n_neighbors=16).fit(found).kneighbors(found)[1][:, 1:]
    return float((labels[nearest] == labels[:, None]).mean())


def test_an_adversary_hides_the_batch_and_leaves_the_types(typed):
    how = {"size": SIZE, "budget": {"steps": 120}, "learning_rate": 3e-3, "batch_size": 32, "layer": 0}
    batches, types = typed.labels("batch"), typed.labels("cell_type")
    plain = Geneformer(**how).fit(typed, 0).embed(typed)
    fitted = Geneformer(**how, adversary={"label": "batch"}).fit(typed, 0)
    hiding = fitted.embed(typed)
    assert linear(plain, batches) > 0.8
    assert linear(hiding, batches) < linear(plain, batches) - 0.1
    assert linear(hiding, types) > 0.9
    assert neighbours_alike(hiding, batches) < neighbours_alike(plain, batches) - 0.1
    assert "batch_share_train" in set(fitted.history["quantity"])


def test_the_adversary_is_ridge_regression():
    rng = np.random.default_rng(0)
    z, code = rng.normal(size=(50, 4)), rng.integers(3, size=50)
    z[:, 0] += code
    label = np.eye(3)[code]
    label[:5] = 0
    known_z, known = z[5:], label[5:]
    scaled = (known_z - known_z.mean(0)) / (known_z.std(0) + 1e-3)
    deviation = known - known.mean(0)
    guess = Ridge(alpha=0.1 * 45, fit_intercept=False).fit(scaled, deviation).predict(scaled)
    expected = (guess * deviation).sum() / (deviation**2).sum()
    found = explained_share(torch.from_numpy(z), torch.from_numpy(label).float())
    np.testing.assert_allclose(float(found), expected, rtol=1e-4)


def test_an_adversary_needs_two_batches(typed):
    typed.cells["batch"] = pd.Series(["", "a"] * 100)
    with pytest.raises(ModelError, match="at least two values of 'batch', and it has 1"):
        Geneformer(size=SIZE, budget={"steps": 1}, adversary={"label": "batch"}).fit(typed, 0)


def test_16_bit_products_move_an_embedding_a_little(typed):
    wide, narrow = (Geneformer(size=SIZE, budget={"steps": 5}, precision=p).fit(typed, 0) for p in ("float32", "bf16"))
    moved = np.abs(wide.embed(typed) - narrow.embed(typed)).max() / np.abs(wide.embed(typed)).max()
    assert 0 < moved < 0.1


SMALL = {
    Geneformer: SIZE,
    ScGPT: {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8},
    ScBERT: {"width": 8, "layers": 1, "heads": 1, "head": 4},
    TranscriptFormer: {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "gene_hidden": 8},
}


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.__name__)
def test_batches_of_cells_without_genes_train_and_embed(model, make_corpus, draw_counts):
    counts = draw_counts(20, 12)
    counts[:18] = 0
    corpus = make_corpus(counts)
    fitted = model(size=SMALL[model], budget={"steps": 12}, batch_size=2).fit(corpus, 0)
    assert np.isfinite(fitted.history["value"]).all()
    found = fitted.embed(corpus)
    assert not found[:18].any()
    assert found[18:].any(axis=1).all()
    np.testing.assert_array_equal(fitted.embed(replace(corpus, cells=corpus.cells[:3])), found[:3])


def test_an_adversary_without_a_training_or_without_company_is_refused():
    with pytest.raises(ValueError, match="an adversary works in training: give budget"):
        Geneformer(checkpoint="a folder", adversary={"label": "batch"})
    with pytest.raises(ValueError, match="batch_size should be at least 2, twice accumulate"):
        Geneformer(batch_size=8, accumulate=8, adversary={"label": "batch"})
