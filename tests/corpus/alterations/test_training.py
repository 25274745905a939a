"""Altered corpora train as others do: from disk as from memory, and scVI fills rare labels up."""

import numpy as np
import pytest

from corpuscle.core import components
from corpuscle.core.randomness import generator
from corpuscle.corpus import derived
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.context import Context
from corpuscle.model.architectures.ldvae import LDVAE
from corpuscle.model.imputer import model_imputer
from corpuscle.store import Store

SETTINGS = {"n_hidden": 8, "n_latent": 2, "batch_size": 32, "budget": {"steps": 8}}


@pytest.mark.parametrize("how", ["sum", "mean_size"])
def test_disk_and_memory_give_the_same_weights(labelled, alter, monkeypatch, how):
    corpus = alter(labelled({"B": 200, "T": 150}), "pseudobulk", k=3, size_sd=1.0, how=how)
    corpus = alter(corpus, "oversample")
    embedded = []
    for gigabytes in ("1", "0.000001"):
        monkeypatch.setenv("CORPUSCLE_MEMORY", gigabytes)
        embedded.append(LDVAE(**SETTINGS).fit(corpus, seed=0).embed(corpus))
    np.testing.assert_array_equal(*embedded)


@pytest.mark.parametrize("published", [False, True], ids=["fresh", "published"])
def test_scvi_fills_rare_labels_up_once_and_the_same(labelled, tmp_path, published):
    corpus = labelled({"B": 120, "T": 40, "NK": 30})
    settings = {"threshold": 60, "settings": SETTINGS, "published": published}
    step = components.build(Alteration, "impute_rare", settings)

    def done(store: Store | None):
        return altered(step, corpus, generator(0), Context(imputer=model_imputer, store=store))

    told: list[str] = []

    def hear(what: str, _share: float) -> None:
        told.append(what)

    store = Store(tmp_path)
    kept = done(store)
    (maker,) = derived.made_once(kept)
    for trained in (True, False):
        store.kept(derived.MADE_CELLS, maker.made_key, lambda folder: maker.make(folder, hear))
        assert any("training scvi" in heard for heard in told) == trained
        told.clear()
    counts = kept.counts().toarray()
    np.testing.assert_array_equal(counts, done(None).counts().toarray())
    assert {label: int(np.sum(kept.labels("cell_type") == label)) for label in ("B", "T", "NK")} == {
        "B": 120, "T": 60, "NK": 60}  # fmt: skip
    made = counts[kept.labels("made") != ""]
    assert len(made) == 50
    assert len(np.unique(made, axis=0)) == 50
    # Around the totals of the cells that were encoded.
    totals = counts[derived.origins(kept)["row"]].sum(axis=1)
    np.testing.assert_allclose(made.sum(axis=1).mean(), totals.mean(), rtol=0.1)
