"""The models without steps beside scanpy, scikit-learn and harmonypy, and what they make of repeated cells."""

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core import components
from corpuscle.core.errors import ComponentError, ModelError
from corpuscle.model.architectures import harmony
from corpuscle.model.architectures.harmony import Harmony
from corpuscle.model.architectures.hvg import HVG
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.architectures.logistic_regression import LogisticRegression, random_state
from corpuscle.model.architectures.pca import PCA
from corpuscle.model.architectures.untrained import Untrained
from corpuscle.model.model import Annotates, Model, Reconstructs, WithoutSteps
from corpuscle.source.source import dataset_path, open_source

WITHOUT_STEPS = [name for name in components.names(Model) if issubclass(components.find(Model, name), WithoutSteps)]


@pytest.fixture(scope="module")
def blood():
    return open_source("pbmc3k", dataset_path("pbmc3k"))


@pytest.fixture
def halves(blood, corpus_of):
    """A corpus and a target: every second cell of the packaged blood cells."""
    corpus = corpus_of(blood)
    even = np.arange(len(corpus)) % 2 == 0
    return corpus.take(even, "even"), corpus.take(~even, "odd")


@pytest.fixture
def scanpys(halves):
    """Both as scanpy prepares them: log1p counts per 10,000, the corpus' 500 most variable genes."""
    scanpy = pytest.importorskip("scanpy")
    prepared = [cells.to_anndata() for cells in halves]
    for data in prepared:
        scanpy.pp.normalize_total(data, target_sum=1e4)
        scanpy.pp.log1p(data)
    scanpy.pp.highly_variable_genes(prepared[0], flavor="seurat", n_top_genes=500)
    chosen = prepared[0].var["highly_variable"].to_numpy()
    return [data[:, chosen].X.toarray() for data in prepared]


def test_hvg_is_what_scanpy_takes_for_the_corpus_variable_genes(halves, scanpys):
    corpus, target = halves
    fitted = HVG(n_genes=500).fit(corpus, 0)
    assert len(fitted.genes_H) == 500
    np.testing.assert_allclose(fitted.embed(target), scanpys[1], rtol=1e-5, atol=1e-5)


def test_pca_is_sklearns_fitted_on_the_corpus_alone(halves, scanpys):
    from sklearn import decomposition

    corpus, target = halves
    fitted = PCA(n_components=8, n_genes=500).fit(corpus, 0)
    theirs = decomposition.PCA(8, svd_solver="full").fit(scanpys[0].astype(np.float64))
    for cells, prepared in zip(halves, scanpys, strict=True):
        ours, oracle = fitted.embed(cells), theirs.transform(prepared.astype(np.float64))
        signs = np.sign((ours * oracle).sum(axis=0))
        np.testing.assert_allclose(ours * signs, oracle, atol=2e-3 * oracle.std())
    # The target is centred by the corpus' mean, not by its own.
    np.testing.assert_allclose(fitted.embed(corpus).mean(axis=0), 0, atol=1e-4)
    assert np.abs(fitted.embed(target).mean(axis=0)).max() > 1e-3
    loading = fitted.loadings()
    assert loading.shape == (corpus.n_genes, 8)
    np.testing.assert_allclose((loading**2).sum(), 1, rtol=1e-6)
    assert (loading.abs().sum(axis=1) > 0).sum() <= 500


def with_batches(cells, batch_N):
    return dataclasses.replace(cells, cells=cells.cells.assign(batch=batch_N))


def test_harmony_is_harmonypys_on_the_corpus_components(halves):
    harmonypy = pytest.importorskip("harmonypy")
    corpus, target = halves
    batch_N = np.where(np.arange(len(target)) % 3 == 0, "one", "two")
    target = with_batches(target, batch_N)
    fitted = Harmony(n_components=10, n_genes=500).fit(corpus, 3)
    placed = PCA(n_components=10, n_genes=500).fit(corpus, 3).embed(target)
    theirs = harmonypy.run_harmony(
        placed, {"batch": batch_N}, "batch", verbose=False, random_state=fitted.state, ncores=1
    ).Z_corr
    found = fitted.embed(target)
    np.testing.assert_allclose(found, theirs, atol=1e-4)
    assert np.abs(found - placed).max() > 0.1, "Harmony moves cells"
    # A cell's place depends on the set of cells, not on their order.
    order = np.random.default_rng(0).permutation(len(target))
    np.testing.assert_array_equal(fitted.embed(target.take(order)), found[order])


@pytest.mark.parametrize("batch", ["one", "", None], ids=["one batch", "unknown", "no column"])
def test_harmony_leaves_cells_of_one_batch_where_pca_puts_them(halves, batch):
    corpus, target = halves
    if batch is not None:
        target = with_batches(target, np.full(len(target), batch))
    settings = {"n_components": 5, "n_genes": 100}
    found, placed = (model(**settings).fit(corpus, 0).embed(target) for model in (Harmony, PCA))
    np.testing.assert_array_equal(found, placed)


def test_harmony_brings_together_even_a_handful_of_cells(halves):
    corpus, target = halves
    few = with_batches(target.take(np.arange(6)), np.array(["one", "two"] * 3))
    found = Harmony(n_components=6, n_genes=100).fit(corpus, 0).embed(few)  # as many cells as components
    assert found.shape == (6, 6)
    assert np.isfinite(found).all()


def test_without_harmonypy_the_study_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(harmony, "find_spec", lambda _name: None)
    with pytest.raises(ComponentError, match=r'pip install "corpuscle\[harmony\]"'):
        components.build(Model, "harmony", {})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_logistic_regression_is_sklearns_on_what_scanpy_prepares(halves, scanpys, penalty, class_weights):
    from sklearn import linear_model

    corpus, target = halves
    settings = {"C": 0.5, "n_genes": 500, "max_rounds": 30}
    fitted = LogisticRegression(penalty=penalty, class_weights=class_weights, **settings).fit(corpus, 3)
    theirs = linear_model.LogisticRegression(
        l1_ratio=float(penalty == "l1"),
        solver="saga" if penalty == "l1" else "lbfgs",
        C=0.5,
        class_weight=None if class_weights == "none" else "balanced",
        max_iter=30,
        random_state=random_state(3),
    ).fit(csr_matrix(scanpys[0]), corpus.labels("cell_type"))
    assert fitted.labels == tuple(theirs.classes_)
    found, oracle = fitted.label_probabilities(target), theirs.predict_proba(scanpys[1])
    np.testing.assert_allclose(found, oracle, atol=1e-2)
    np.testing.assert_allclose(np.exp(fitted.embed(target)), found)
    assert (found.argmax(axis=1) == np.searchsorted(fitted.labels, target.labels("cell_type"))).mean() > 0.85
    if penalty == "l1":
        assert (fitted.rule.weight_CH == 0).mean() > 0.5


def test_two_types_have_a_row_of_weights_each(make, counts_of):
    from sklearn import linear_model

    corpus = make(60)
    fitted = LogisticRegression(penalty="l2", max_rounds=1000).fit(corpus, 0)
    expression = HVG().fit(corpus, 0).embed(corpus)
    theirs = linear_model.LogisticRegression(max_iter=1000).fit(expression, corpus.labels("cell_type"))
    np.testing.assert_allclose(fitted.label_probabilities(corpus), theirs.predict_proba(expression), atol=0.01)


def test_a_fit_that_was_cut_short_says_so(make, tmp_path):
    corpus = make(60)
    for rounds, converged in ((1, False), (1000, True)):
        model = LogisticRegression(penalty="l2", max_rounds=rounds)
        fitted = model.fit(corpus, 0)
        assert fitted.converged is converged
        folder = tmp_path / str(rounds)
        folder.mkdir()
        fitted.save(folder)
        assert model.load_fitted(folder).converged is converged


@pytest.mark.parametrize("name", [name for name in WITHOUT_STEPS if name not in ("untrained", "external")])
def test_a_cell_that_counts_twice_weighs_twice(name, make):
    corpus = make(40)
    twice = np.arange(40) < 15
    repeated = corpus.take(np.concatenate([np.arange(40), np.flatnonzero(twice)]))
    counted = corpus.take(np.arange(40))
    counted.cells["times"] = 1 + twice
    parameters = {"max_rounds": 20_000} if name == "logistic_regression" else {}
    model = components.build(Model, name, parameters)
    once, ours, theirs = (model.fit(cells, 0).embed(corpus) for cells in (corpus, counted, repeated))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-3, atol=2e-3)
    if name != "hvg":  # which genes are chosen need not change; how a cell is seen does not
        assert not np.allclose(np.abs(once), np.abs(ours), atol=2e-3)


@pytest.mark.parametrize("name", ["harmony", "hvg", "logistic_regression", "pca"])
def test_a_corpus_in_which_nothing_varies_is_one_clear_error(name, make):
    corpus = make(np.full((12, 30), 3, np.int32))
    with pytest.raises(ModelError, match=r"no gene varies|a gene that varies"):
        components.build(Model, name, {}).fit(corpus, 0)
    with pytest.raises(ModelError, match="expected at least 2 training cells"):
        components.build(Model, name, {}).fit(corpus.take(np.arange(0)), 0)


def test_untrained_is_the_model_before_its_first_step(make):
    corpus, settings = make(40), {"n_hidden": 8, "n_latent": 3, "batch_size": 16}
    untrained = Untrained(model={"name": "ldvae", **settings}).fit(corpus, 4)
    initial = LDVAE(**settings, budget={"steps": 0}).fit(corpus, 4)
    trained = LDVAE(**settings, budget={"steps": 1}).fit(corpus, 4)
    np.testing.assert_array_equal(untrained.embed(corpus), initial.embed(corpus))
    assert not np.array_equal(untrained.embed(corpus), trained.embed(corpus))
    # Adam's first step moves a weight by the learning rate at most: it was there before.
    before, after = (fitted.network.encoder.z_head.weight.detach().numpy() for fitted in (untrained, trained))
    assert 0 < np.abs(before - after).max() <= 1.01 * LDVAE().learning_rate
    other = Untrained(model={"name": "ldvae", **settings}).fit(corpus, 5)
    assert not np.array_equal(untrained.embed(corpus), other.embed(corpus))
    assert isinstance(untrained, Reconstructs)
    assert untrained.history.empty


@pytest.mark.parametrize("name", [name for name in components.names(Model) if name not in WITHOUT_STEPS], ids=str)
def test_every_trainable_model_can_be_untrained(name, make):
    corpus = make(40)
    model = Untrained(model={"name": name})
    fitted = model.fit(corpus, 0)
    assert model.n_steps(40) == 0
    assert type(fitted) is type(components.build(Model, name, {"budget": {"steps": 0}}).fit(corpus, 0))
    assert np.isfinite(fitted.embed(corpus)).all()
    if isinstance(fitted, Annotates):
        np.testing.assert_allclose(fitted.label_probabilities(corpus).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "pca"}, "model 'pca' is not trained in steps"),
        ({"name": "ldvea"}, "did you mean 'ldvae'"),
        ({"name": "ldvae", "n_latnet": 3}, "did you mean 'n_latent'"),
        ({"name": "ldvae", "budget": {"steps": 3}}, "has no budget; leave it out"),
        ({"n_latent": 3}, "should be the table of a model"),
        ({"name": "untrained", "model": {"name": "ldvae"}}, "model 'untrained' is not trained in steps"),
    ],
    ids=str,
)
def test_what_cannot_be_untrained_is_told_where_it_stands(table, message):
    with pytest.raises(ComponentError) as caught:
        components.build(Model, "untrained", {"model": table})
    ((path, found),) = caught.value.faults
    assert path == ("model",)
    assert message in found


def test_equal_untrained_models_have_equal_specs_however_they_are_written():
    short, long = (Untrained(model={"name": "ldvae", **given}) for given in ({}, {"n_latent": 10}))
    assert short.spec() == long.spec()
    assert short.spec() != Untrained(model={"name": "ldvae", "n_latent": 11}).spec()
