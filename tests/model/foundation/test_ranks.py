"""Reading ranks: numbers are per cell, and a model that learned knows more than one that did not."""

import numpy as np
import pytest

from corpuscle.core.randomness import generator
from corpuscle.evaluation.tasks.rank_reconstruction import RankReconstruction
from corpuscle.model.architectures.geneformer import Geneformer

SIZE = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16, "longest": 40}


@pytest.fixture
def cells(make_corpus):
    rng = np.random.default_rng(0)
    types = rng.integers(2, size=150)
    rates = np.where((np.arange(40) < 20) == types[:, None].astype(bool), 3.0, 0.05) * np.linspace(0.3, 3, 40)
    counts = rng.poisson(rates).astype(np.float32)
    counts[4] = 0
    counts[5] = np.eye(40)[3]
    return make_corpus(counts)


def test_a_cell_is_read_the_same_alone_and_in_company(cells):
    fitted = Geneformer(size=SIZE, budget={"steps": 5}).fit(cells, 0)
    whole, alone = fitted.ranks(cells, seed=3), fitted.ranks(cells.take(np.array([7, 2])), seed=3)
    for name in ("whole", "hidden", "found", "nll"):
        np.testing.assert_allclose(getattr(whole, name)[[7, 2]], getattr(alone, name), atol=1e-5)
    assert len(whole.whole) == len(cells)
    other = fitted.ranks(cells, seed=4)
    np.testing.assert_array_equal(whole.whole, other.whole)
    assert not np.array_equal(whole.nll, other.nll)


def test_what_is_not_defined_is_missing_and_counted(cells):
    fitted = Geneformer(size=SIZE, budget={"steps": 0}).fit(cells, 0)
    found = fitted.ranks(cells, seed=0)
    assert np.isnan([found.whole[4], found.nll[4], found.whole[5], found.hidden[5]]).all()
    assert np.isfinite(found.nll[5])
    scores = list(RankReconstruction().run(fitted, cells, cells, generator(0, "test")))
    by_metric = {score.metric: score for score in scores if score.unit == "all"}
    assert by_metric["hidden_nll"].n_cells == len(cells) - 1
    assert "1 of 150 cells have too few genes" in by_metric["hidden_nll"].reason
    assert 1.0 < by_metric["hidden_nll"].value < 2 * np.log(42)


def test_a_trained_model_finds_hidden_genes(cells):
    bare, taught = (
        Geneformer(size=SIZE, budget={"steps": steps}, learning_rate=1e-2, batch_size=64)
        .fit(cells, 0)
        .ranks(cells, seed=0)
        for steps in (0, 150)
    )
    assert np.nanmean(taught.nll) < np.nanmean(bare.nll) - 0.3
    assert np.nanmean(taught.found) > np.nanmean(bare.found)
