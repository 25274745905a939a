"""The common space: even over sources, in the genes that all measured, and what a pass in it leaves."""

from dataclasses import replace

import numpy as np
import pytest

from corpuscle.core.errors import MeasureError
from corpuscle.measures import common_space as module
from corpuscle.measures.common_space import basis_of, common_space
from corpuscle.measures.summary import profile
from corpuscle.source.source import open_source
from corpuscle.store import Store


@pytest.fixture
def pools(write, corpus_of, counts_of):
    """Two sources in the union of their genes: G0 … G29 and G10 … G39."""
    blood = open_source("blood", write("blood", counts_of(50)))
    other = open_source("other", write("other", counts_of(20, seed=1), genes=[f"G{at + 10}" for at in range(30)]))
    whole = corpus_of(blood, other, genes="union")
    return {source: whole.take(whole.cells["source"].to_numpy() == source) for source in ("blood", "other")}


def test_it_has_the_genes_that_all_sources_measured(pools):
    found = common_space(basis_of(pools))
    cut = found.of(pools["blood"])
    assert set(cut.space.ids) == {f"G{at}" for at in range(10, 30)}
    assert cut.space.measured("blood").all()
    assert cut.space.measured("other").all()
    whole, kept = pools["blood"].counts(), [pools["blood"].space.ids.index(gene) for gene in cut.space.ids]
    np.testing.assert_array_equal(cut.counts().toarray(), whole[:, kept].toarray())


def test_sources_give_equally_many_cells(pools, monkeypatch):
    monkeypatch.setattr(module, "LEAST_CELLS", 10)
    seen = []
    monkeypatch.setattr(module, "PrincipalComponents", lambda basis, *_, **__: seen.append(basis) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        common_space(basis_of(pools))
    assert seen[0].cells["source"].value_counts().to_dict() == {"blood": 20, "other": 20}


def test_it_is_found_once_and_does_not_hang_on_the_order_of_cells(pools, tmp_path, monkeypatch):
    first = common_space(basis_of(pools), Store(tmp_path))
    monkeypatch.setattr("corpuscle.corpus.expression.principal_components.find_axes", lambda *_: 1 / 0)
    again = common_space(basis_of(pools), Store(tmp_path))
    np.testing.assert_array_equal(first.axes.axes_HK, again.axes.axes_HK)


def test_no_shared_gene_and_no_variation_are_refused(write, corpus_of, counts_of):
    blood = open_source("blood", write("blood", counts_of(9)))
    other = open_source("other", write("other", counts_of(9), genes=[f"H{at}" for at in range(30)]))
    whole = corpus_of(blood, other, genes="union")
    apart = {source: whole.take(whole.cells["source"].to_numpy() == source) for source in ("blood", "other")}
    with pytest.raises(MeasureError, match="no gene that all sources measured"):
        common_space(basis_of(apart))
    same = corpus_of(open_source("same", write("same", np.full((9, 30), 2))))
    with pytest.raises(MeasureError, match="does not vary"):
        common_space(basis_of({"same": same}))


def test_a_pass_leaves_what_the_dense_array_has(pools, monkeypatch):
    monkeypatch.setattr("corpuscle.measures.summary.BLOCK_CELLS", 7)
    space = common_space(basis_of(pools))
    times = np.arange(50) % 3 + 1
    corpus = replace(pools["blood"], cells=pools["blood"].cells.assign(times=times))
    found = profile(corpus, space, 1000, np.random.default_rng(0))
    counts = space.of(corpus).counts().toarray().astype(float)
    np.testing.assert_array_equal(found.depth_N, counts.sum(axis=1))
    np.testing.assert_array_equal(found.complexity_N, (counts > 0).sum(axis=1))
    np.testing.assert_array_equal(np.bincount(found.use_U), times)
    scaled = counts / counts.sum(axis=1, keepdims=True) * 1e4
    np.testing.assert_allclose(found.mean_C, np.average(scaled, axis=0, weights=times), rtol=1e-5)
    log = np.log1p(scaled)[:, space.axes.genes_H]
    np.testing.assert_allclose(found.coordinates_NK, (log - space.axes.mean_H) @ space.axes.axes_HK, atol=1e-3)
    np.testing.assert_allclose(found.moments.mean_H, np.average(log, axis=0, weights=times), rtol=1e-5)
    second = (log * times[:, None]).T @ log / times.sum()
    np.testing.assert_allclose(found.moments.second_HH, second, rtol=1e-4)


def test_a_large_corpus_is_drawn_from_and_only_that_is_read(pools):
    space = common_space(basis_of(pools))
    corpus = replace(pools["blood"], cells=pools["blood"].cells.assign(times=2))
    found = profile(corpus, space, 30, np.random.default_rng(0))
    assert len(found.use_U) == 30
    assert len(found.cells) < 30
    assert len(found.coordinates_NK) == len(found.cells) == found.log_NH.shape[0]
