"""Copies are found whatever was done to them, over the genes that both files have, and different cells are not."""

import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle.corpus import overlap
from corpuscle.corpus.overlap import find_copies
from corpuscle.corpus.overlap.chance import Evidence
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.source import Source, open_source
from corpuscle.store import Store

N, G = 60, 1500


def cells(n=N, seed=0):
    """Draw cells of two types with 300 to 400 of 1,500 genes, most of them rare in any cell."""
    rng = np.random.default_rng(seed)
    laws = np.random.default_rng(7).gamma(0.5, 1.0, (2, G)) + 0.02
    laws /= laws.sum(axis=1, keepdims=True)
    return rng.poisson(laws[np.arange(n) % 2] * rng.uniform(500, 900, (n, 1))).astype(np.int32)


def altered(counts, way):
    rng = np.random.default_rng(1)
    counts = counts.copy()
    if way == "re-annotated":
        counts[np.arange(len(counts))[:, None], rng.integers(0, G, (len(counts), 5))] += 1
    elif way == "thinned":
        counts = rng.binomial(counts, 0.5)
    elif way == "doubled":
        counts *= 2
    elif way == "cp10k":
        counts = np.round(1e4 * counts / counts.sum(axis=1, keepdims=True))
    elif way == "log":
        counts = np.round(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))
    return counts.astype(np.int32)


def copies(*sources: Source, pairs=None, store=None):
    named = {source.name: source for source in sources}
    space = gene_space({name: gene_names(source.genes) for name, source in named.items()}, "union")
    return find_copies(named, space, pairs or [(sources[0].name, sources[-1].name)], store)


@pytest.mark.parametrize("way", ["equal", "re-annotated", "thinned", "doubled", "cp10k", "log"])
def test_each_copy_is_found_over_half_of_the_genes_and_nothing_else(write, annotated, tmp_path, way):
    one = open_source("one", write("one", cells()))
    order, genes = np.random.default_rng(2).permutation(N), np.random.default_rng(3).permutation(G)[: G // 2]
    made = np.vstack([altered(cells(), way)[order], cells(N, seed=5)])[:, genes]
    # No barcode helps: they are named otherwise.
    data = annotated(csr_matrix(made), genes=[f"G{at}" for at in genes])
    data.obs_names = [f"other{at}x" for at in range(2 * N)]
    data.write_h5ad(tmp_path / "two.h5ad")
    found = copies(one, open_source("two", tmp_path / "two.h5ad"))
    table = found.of(np.arange(N))
    pairs = set(zip(table["original"], table["cell"] - N, strict=True))
    true = {(int(cell), at) for at, cell in enumerate(order)}
    assert pairs <= true
    assert len(pairs) >= N - (way == "thinned")
    assert table["identical"].all() == (way == "equal")
    assert set(table["n_genes"]) == {G // 2}
    assert not len(found.undecidable)


def test_a_barcode_in_common_decides_where_counts_alone_do_not(write):
    counts = cells(N, seed=1)
    few = np.random.default_rng(0).permutation(G)[:400]
    one = open_source("one", write("one", counts))
    two = open_source("two", write("two", altered(counts, "thinned")[:, few], genes=[f"G{at}" for at in few]))
    with_barcode = copies(one, two)
    assert (with_barcode.near["evidence"] < Evidence.of(2 * N).near).any()
    assert with_barcode.near["same_barcode"].all()
    assert (with_barcode.near["one"] == with_barcode.near["two"] - N).all()


def test_cells_of_too_few_counts_are_not_matched_and_are_counted(write):
    counts = np.zeros((40, 30), np.int32)
    counts[np.arange(40), np.arange(40) % 3] = 1
    one, two = (open_source(name, write(name, counts, obs={"of": [name] * 40})) for name in ("one", "two"))
    found = copies(one, two)
    assert found.undecidable.tolist() == list(range(80))
    assert not len(found.identical)


def test_cells_of_equal_files_are_found_however_poor_they_are(write, tmp_path):
    counts = np.zeros((40, 30), np.int32)
    counts[np.arange(40), np.arange(40) % 3] = 1
    one = open_source("one", write("one", counts))
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "one.h5ad")
    found = copies(one, open_source("two", tmp_path / "link.h5ad"))
    table = found.of(np.arange(40))
    assert (table["cell"] - 40 == table["original"]).all()
    assert table["identical"].sum() == 40
    assert not len(found.undecidable)


def shallow(n, seed=0, deep=200):
    """Draw cells of 6 to 200 counts over 200 genes: many could not be recognised by themselves."""
    rng = np.random.default_rng(seed)
    law = np.random.default_rng(3).gamma(0.7, 1.0, 200)
    return rng.poisson(law / law.sum() * np.geomspace(6, deep, n)[:, None]).astype(np.int32)


def test_once_many_cells_are_copies_poorer_ones_with_their_barcodes_are_too(write):
    one = open_source("one", write("one", shallow(200)))
    thinned = np.random.default_rng(1).binomial(shallow(200), 0.8).astype(np.int32)
    found = copies(one, open_source("two", write("two", thinned)))
    assert len(found.of(np.arange(200))) > 190
    # The same barcodes with other counts are other cells.
    other = open_source("two", write("two", shallow(200, seed=1)))
    assert not len(copies(one, other).of(np.arange(200)))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_thinned_cells_of_a_panel_are_found_among_many_under_other_barcodes(write, annotated, tmp_path, share):
    rng, n = np.random.default_rng(0), 400
    law = np.random.default_rng(5).gamma(2.0, 1.0, 250)
    panel = rng.poisson(rng.gamma(2.0, 0.5, (n, 250)) * law * 3).astype(np.int32)
    order = rng.permutation(n)
    thinned = csr_matrix(rng.binomial(panel, share)[order].astype(np.int32))
    data = annotated(thinned, genes=[f"G{at}" for at in range(250)])
    data.obs_names = [f"other{at}x" for at in range(n)]
    data.write_h5ad(tmp_path / "two.h5ad")
    found = copies(open_source("one", write("one", panel)), open_source("two", tmp_path / "two.h5ad"))
    pairs = set(zip(found.near["one"], found.near["two"] - n, strict=True))
    true = {(int(cell), at) for at, cell in enumerate(order)}
    assert len(pairs & true) >= 0.97 * n
    assert not pairs - true


def test_an_odd_shallow_cell_of_a_panel_is_no_copy_of_deep_ones(write):
    rng = np.random.default_rng(0)
    law = np.random.default_rng(5).gamma(2.0, 1.0, 250)
    panel = rng.poisson(rng.gamma(5.0, 0.2, (200, 250)) * law * 6).astype(np.int32)
    # A few genes of it, and those at high counts.
    panel[0] = np.where(law > np.sort(law)[-12], panel[0], 0)
    found = copies(open_source("one", write("one", panel)), pairs=[("one", "one")])
    assert not len(found.near)


def test_what_was_found_is_kept_until_a_file_changes(write, tmp_path, monkeypatch):
    store, counts = Store(tmp_path / "store"), cells()
    one, two = (open_source(name, write(name, counts)) for name in ("one", "two"))
    first = copies(one, two, store=store)
    monkeypatch.setattr(overlap, "_Search", None)
    again = copies(one, two, store=store)
    assert first.identical.equals(again.identical)
    assert len(again.of(np.arange(N))) == N
    with pytest.raises(TypeError):
        copies(one, open_source("two", write("two", cells(seed=9))), store=store)


@pytest.mark.slow
def test_of_very_many_pairs_those_with_two_bands_in_common_are_looked_at(write, annotated, tmp_path, monkeypatch):
    one = open_source("one", write("one", cells()))
    data = annotated(csr_matrix(np.vstack([altered(cells(), "thinned"), cells(4 * N, seed=5)])))
    data.obs_names = [f"other{at}x" for at in range(5 * N)]
    data.write_h5ad(tmp_path / "two.h5ad")
    two = open_source("two", tmp_path / "two.h5ad")
    # Files so small are compared by one matrix product otherwise.
    monkeypatch.setattr(overlap.screen, "affordable", lambda *_: False)
    compare, n_compared, found = overlap.chance.compare, [], []
    monkeypatch.setattr(overlap.chance, "compare", lambda *given: n_compared.append(len(given[2])) or compare(*given))
    for most in (5_000_000, 0):
        monkeypatch.setattr(sys.modules[overlap.candidates.__module__], "MOST_OF_ONE_BAND", most)
        near = copies(one, two).near
        found.append(set(zip(near["one"], near["two"] - N, strict=True)))
    assert found[1] <= found[0] == {(at, at) for at in range(N)}
    assert len(found[1]) >= N - 2
    assert n_compared[0] > n_compared[1] >= N
    # Where few pairs are in memory at once, the same are found.
    monkeypatch.setattr(sys.modules[overlap.candidates.__module__], "MOST_AT_ONCE", 20)
    near = copies(one, two).near
    assert set(zip(near["one"], near["two"] - N, strict=True)) == found[1]


def test_a_crowd_of_equal_cells_is_one_group(write):
    counts = np.repeat(cells(1), 150, axis=0)
    found = copies(open_source("one", write("one", counts)), pairs=[("one", "one")])
    assert found.later(np.arange(150), exact=True).tolist() == list(range(1, 150))
    assert not len(found.near)


def test_counts_that_do_not_fit_in_memory_are_read_again(write, monkeypatch):
    one, two = open_source("one", write("one", cells())), open_source("two", write("two", altered(cells(), "thinned")))
    before = copies(one, two).near
    monkeypatch.setattr(overlap, "KEPT_VALUES", 100)
    monkeypatch.setattr(overlap, "BLOCK_CELLS", 16)
    monkeypatch.setattr(overlap, "BLOCK_PAIRS", 7)
    after = copies(one, two).near
    keys = ["one", "two", "n_detected", "n_agree"]
    assert set(before[keys].itertuples(index=False)) == set(after[keys].itertuples(index=False))
