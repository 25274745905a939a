"""Doublets and ambient molecules: what is added, from where, and how deep."""

import numpy as np
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import generator
from corpuscle.corpus.alteration import altered
from corpuscle.corpus.alterations.ambient import Ambient
from corpuscle.corpus.alterations.doublets import Doublets
from corpuscle.corpus.alterations.pseudobulk import Pseudobulk
from corpuscle.corpus.alterations.thin import Thin
from corpuscle.corpus.context import Context
from corpuscle.corpus.descent import share_made_by
from corpuscle.evaluation.tasks.clustering import Clustering
from placed import Placed, run


def changed(step, corpus, seed=0):
    return altered(step, corpus, generator(seed, "test"), Context(corpus.space))


@pytest.fixture
def corpus(make, counts_of):
    """Cells of two batches with genes of their own: the first ten are of batch b1 alone, the next ten of b2."""
    counts = counts_of(40, 30) + 5
    batch = np.array(["b1", "b2"] * 20)
    counts[batch == "b2", :10] = 0
    counts[batch == "b1", 10:20] = 0
    labels = {"batch": batch, "cell_type": ["B", "T"] * 20, "donor": ["d"] * 40}
    return make(counts, obs=labels, genes=[f"G{at:02}" for at in range(30)])


def test_doublets_are_sums_of_two_cells_of_a_batch(corpus):
    found = changed(Doublets(share=0.5, keep=1.0), corpus)
    assert len(found) == 60
    real, made = found.counts()[:40].toarray(), found.counts()[40:].toarray()
    np.testing.assert_array_equal(real, corpus.counts().toarray())
    pairs = {tuple(real[a] + real[b]) for a in range(40) for b in range(a) if a % 2 == b % 2}
    assert {tuple(row) for row in made} <= pairs
    assert set(found.labels("made")[40:]) == {"doublets"}
    assert (found.labels("batch")[40:] == np.where(made[:, :10].any(1), "b1", "b2")).all()


def test_doublets_are_as_deep_as_a_cell_by_default(corpus):
    found = changed(Doublets(share=5.0), corpus)
    depth = np.asarray(found.counts().sum(1)).ravel()
    assert depth[40:].mean() == pytest.approx(depth[:40].mean(), rel=0.05)


def test_ambient_molecules_are_of_the_batch_and_depths_stay(corpus):
    found = changed(Ambient(share=0.3), corpus)
    before, after = corpus.counts().toarray(), found.counts().toarray()
    np.testing.assert_array_equal(before.sum(1), after.sum(1))
    assert (before != after).any(axis=1).all()
    np.testing.assert_array_equal(before[::2, 10:20], after[::2, 10:20])
    assert after[1::2, :10].sum() == 0
    # With nearly all replaced, every cell is its batch's profile.
    soup = changed(Ambient(share=0.999), corpus).counts().toarray()
    profile = before[::2].sum(0) / before[::2].sum()
    np.testing.assert_allclose(soup[::2].sum(0) / soup[::2].sum(), profile, atol=0.02)


def test_ambient_changes_only_cells_that_are_meant(corpus):
    found = changed(Ambient(share=0.5, where="cell_type == 'B'"), corpus)
    same = (found.counts() != corpus.counts()).sum(axis=1).A1 == 0
    np.testing.assert_array_equal(same, corpus.labels("cell_type") == "T")


def test_no_doublet_is_refused(corpus, make):
    with pytest.raises(CorpusError, match="are no doublet"):
        changed(Doublets(share=0.001), corpus)
    alone = make(2, obs={"batch": ["b1", "b2"], "cell_type": ["B", "T"], "donor": ["d", "d"]})
    with pytest.raises(CorpusError, match="are no doublet"):
        changed(Doublets(share=2.0), alone)


def test_clusters_that_are_mostly_doublets_are_counted(corpus):
    found = changed(Doublets(share=0.5), corpus)
    place = np.concatenate([np.where(corpus.labels("cell_type") == "B", 0.0, 50.0), np.full(20, 100.0)])
    z = place[:, None] + np.random.default_rng(0).normal(size=(60, 2))

    class Here(Placed):
        def embed(self, cells):
            return self.z_NK

    scores = run(Clustering(resolutions=[], n_clusters=3), Here(z), found)
    assert scores["artefact_clusters, k-means", "all"].value == pytest.approx(1 / 3)
    assert ("artefact_clusters, k-means", "all") not in run(Clustering(resolutions=[]), Placed(z[:40]), corpus)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([Doublets(share=0.5), Thin(keep=0.9)], [0.0] * 40 + [1.0] * 20),
        ([Doublets(share=0.5), Thin(keep=0.9, where="batch == 'b1'")], [0.0] * 40 + [1.0] * 20),
        ([Thin(keep=0.9), Doublets(share=0.5), Ambient(share=0.1), Thin(keep=0.9)], [0.0] * 40 + [1.0] * 20),
        ([Doublets(share=0.25), Thin(keep=0.9), Doublets(share=0.2)], [0.0] * 40 + [1.0] * 20),
        ([Thin(keep=0.9)], [0.0] * 40),
    ],
    ids=["thin", "some thinned", "several", "twice", "none"],
)
def test_doublets_are_known_through_later_steps(corpus, steps, expected):
    for at, step in enumerate(steps):
        corpus = changed(step, corpus, at)
    assert share_made_by(corpus, "doublets").tolist() == expected


def test_what_is_made_of_doublets_and_others_is_a_doublet_by_its_share(corpus):
    found = changed(Pseudobulk(k=5), changed(Doublets(share=1.0), corpus))
    share_N = share_made_by(found, "doublets")
    parents = found.makers["pseudobulk"].parents
    members = found.makers["pseudobulk"].weights(np.arange(len(found))).toarray()
    doublet_P = parents.labels("made") == "doublets"
    np.testing.assert_allclose(share_N, (members * doublet_P).sum(axis=1) / members.sum(axis=1))
    assert 0 <= share_N.min() < share_N.max() <= 1


def test_clusters_of_thinned_doublets_are_counted_as_those_of_doublets(corpus):
    doublets = changed(Doublets(share=0.5), corpus)
    place = np.concatenate([np.where(corpus.labels("cell_type") == "B", 0.0, 50.0), np.full(20, 100.0)])
    z = (place[:, None] + np.random.default_rng(0).normal(size=(60, 2))).astype(np.float32)

    class Here(Placed):
        def embed(self, cells):
            return self.z_NK

    for cells in (doublets, changed(Thin(keep=0.5), doublets), changed(Ambient(share=0.1), doublets)):
        scores = run(Clustering(resolutions=[], n_clusters=3), Here(z), cells)
        assert scores["artefact_clusters, k-means", "all"].value == pytest.approx(1 / 3)
