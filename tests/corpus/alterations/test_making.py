"""Alterations that make counts: thin, pseudobulk, SMOTE, synthetic cells."""

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTE
from scipy.stats import binom, kstest, spearmanr, truncnorm

from corpuscle.core.errors import CorpusError, InputError
from corpuscle.corpus import derived
from corpuscle.corpus.context import Context
from corpuscle.corpus.expression.neighbours import nearest_others


def test_thinned_counts_are_binomial(alter, make):
    counts = np.full((400, 30), 20)
    counts[:, 0] = np.arange(400) + 1
    corpus = make(counts)
    after = alter(corpus, "thin", keep=0.3)
    thinned = after.counts().toarray()[:, np.flatnonzero(np.array(corpus.space.ids) != "G0")]
    found = np.bincount(thinned.astype(int).ravel(), minlength=21) / thinned.size
    # 11,600 draws: no share is off by more than 5 standard errors.
    expected = binom.pmf(np.arange(21), 20, 0.3)
    assert (np.abs(found[:21] - expected) < 5 * np.sqrt(expected * (1 - expected) / thinned.size) + 1e-4).all()
    assert list(after.cells["barcode"]) == list(corpus.cells["barcode"])
    assert after.account[-1]["thinned"] == 400


def test_only_what_matches_is_thinned(alter, labelled):
    corpus = labelled({"B": 6, "T": 5})
    after, is_b = alter(corpus, "thin", keep=0.5, where="cell_type == 'B'"), corpus.labels("cell_type") == "B"
    before, now = corpus.counts().toarray(), after.counts().toarray()
    np.testing.assert_array_equal(now[~is_b], before[~is_b])
    assert (now[is_b] <= before[is_b]).all()
    assert (now[is_b] < before[is_b]).any()
    told = derived.origins(after)
    assert told["cell"].tolist() == np.flatnonzero(is_b).tolist() == told["row"].tolist()


def test_a_pseudobulk_is_the_sum_of_its_cells(alter, labelled):
    corpus = labelled({"B": 13, "T": 9, None: 2})
    after, counts = alter(corpus, "pseudobulk", k=3), corpus.counts().toarray()
    assert after.labels("cell_type").tolist() == ["B"] * 4 + ["T"] * 3
    told = derived.origins(after)
    assert not told.duplicated("row").any()
    for cell, members in told.groupby("cell"):
        np.testing.assert_array_equal(after.counts().toarray()[cell], counts[members["row"]].sum(axis=0))
        assert set(corpus.labels("cell_type")[members["row"]]) == {after.labels("cell_type")[cell]}
        assert len(members) == 3
    assert after.account[-1]["touched"] == [
        {"source": "blood", "cell_type": "B", "from": 13, "profiles": 4, "left_over": 1},
        {"source": "blood", "cell_type": "T", "from": 9, "profiles": 3, "left_over": 0},
    ]
    assert after.account[-1]["without_label"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_sum_and_both_means_give_identical_rank_encodings(alter, labelled, seed):
    corpus = labelled({"B": 40, "T": 30}, seed=seed)
    profiles = {
        how: alter(corpus, "pseudobulk", seed, k=6, size_sd=2.0, how=how).counts().toarray()
        for how in ("sum", "mean_k", "mean_size")
    }
    # As Geneformer ranks: scaled to one total, ties by position.
    ranks = {
        how: np.argsort(-(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32), axis=1, kind="stable")
        for how, counts in profiles.items()
    }
    ties = {
        how: [np.unique(row, return_inverse=True)[1].tolist() for row in counts] for how, counts in profiles.items()
    }
    for how in ("mean_k", "mean_size"):
        np.testing.assert_array_equal(ranks[how], ranks["sum"])
        assert ties[how] == ties["sum"]
    np.testing.assert_allclose(profiles["mean_k"], profiles["sum"] / 6, rtol=1e-6)
    assert not np.allclose(profiles["mean_size"], profiles["mean_k"])


def test_sizes_are_normal_around_k(alter, labelled):
    corpus = labelled({"B": 3000})
    after = alter(corpus, "pseudobulk", k=10, size_sd=2.0)
    sizes = derived.origins(after).groupby("cell").size()
    assert abs(sizes.mean() - 10) < 0.6
    assert abs(sizes.std() - 2) < 0.4
    assert sizes.min() >= 1


def test_pseudobulks_within_donors_are_of_one_donor(alter, labelled):
    corpus = labelled({"B": 30, "T": 2})
    after = alter(corpus, "pseudobulk", k=4, within_donor=True, small="leave_out")
    for cell, members in derived.origins(after).groupby("cell"):
        assert set(corpus.labels("donor")[members["row"]]) == {after.labels("donor")[cell]}
    touched = after.account[-1]["touched"]
    assert {record["donor"] for record in touched} == {"d0", "d1", "d2"}
    assert [record["profiles"] for record in touched if record["cell_type"] == "T"] == [0, 0]
    mixed = alter(corpus, "pseudobulk", k=8, small="leave_out")
    assert set(mixed.labels("donor")) == {""}


def test_a_cell_that_is_used_twice_is_in_two_places(alter, labelled):
    corpus = labelled({"B": 4})
    corpus.cells["times"] = [1, 1, 1, 5]
    after = alter(corpus, "pseudobulk", k=4)
    assert len(after) == 2
    told = derived.origins(after)
    assert told["weight"].sum() == 8
    assert told[told["row"] == 3]["weight"].sum() == 5
    np.testing.assert_array_equal(
        after.counts().toarray().sum(axis=0), (corpus.counts().toarray() * [[1], [1], [1], [5]]).sum(axis=0)
    )


def test_cells_that_are_kept_are_in_no_profile(alter, labelled):
    corpus = labelled({"B": 13, "T": 9, "NK": 2, None: 2})
    after = alter(corpus, "pseudobulk", k=3, keep=4, small="leave_out")
    stay = after.labels("made") == ""
    assert dict(zip(*np.unique(after.labels("cell_type")[stay], return_counts=True), strict=True)) == {
        "B": 4, "NK": 2, "T": 4,
    }  # fmt: skip
    assert after.labels("cell_type")[~stay].tolist() == ["B"] * 3 + ["T"]
    told = derived.origins(after)
    assert not {*told["row"]} & {*after.cells["row"][stay]}
    counts = corpus.counts().toarray()
    np.testing.assert_array_equal(after.counts().toarray()[stay], counts[after.cells["row"][stay]])
    assert after.account[-1]["touched"] == [
        {"source": "blood", "cell_type": "B", "from": 13, "kept": 4, "profiles": 3, "left_over": 0},
        {"source": "blood", "cell_type": "NK", "from": 2, "kept": 2, "profiles": 0, "left_over": 0},
        {"source": "blood", "cell_type": "T", "from": 9, "kept": 4, "profiles": 1, "left_over": 2},
    ]


def test_a_cell_that_is_used_often_can_be_kept_and_be_in_profiles(alter, labelled):
    corpus = labelled({"B": 4})
    corpus.cells["times"] = [1, 1, 1, 5]
    after = alter(corpus, "pseudobulk", k=2, keep=4)
    stay = after.labels("made") == ""
    assert after.cells["times"][stay].sum() == 4
    assert len(after.cells[~stay]) == 2
    together = (after.counts().toarray() * after.cells[["times"]].to_numpy()).sum(axis=0)
    np.testing.assert_array_equal(together, (corpus.counts().toarray() * [[1], [1], [1], [5]]).sum(axis=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 6}, r"a group must have 6 cells, and 1 of 2 have fewer \(blood, T: 5\); lower k, or"),
        ({"k": 3, "keep": 3}, "must have 3 cells and 3 to keep, and 1 of 2 have fewer .* lower k or keep"),
        ({"k": 60, "small": "leave_out"}, "no cell_type has 60 cells"),
        ({"k": 1}, "greater than or equal to 2"),
        ({"k": 2, "by": "kind"}, "no column 'kind'"),
    ],
)
def test_a_group_must_be_as_large_as_k(alter, labelled, settings, message):
    with pytest.raises(InputError, match=message):
        alter(labelled({"B": 6, "T": 5}), "pseudobulk", **settings)


def test_a_profile_that_float32_cannot_count_is_refused(alter, make):
    corpus = make(np.full((4, 3), 2**23) + np.arange(12).reshape(4, 3), obs={"cell_type": ["B"] * 4})
    with pytest.raises(CorpusError, match="too many for whole numbers"):
        alter(corpus, "pseudobulk", k=4).counts()
    assert alter(corpus, "pseudobulk", k=4, how="mean_k").counts().data.max() < 2**24


def test_large_profiles_are_added_up_in_several_turns(alter, labelled, monkeypatch):
    corpus = labelled({"B": 50, "T": 20})
    at_once = alter(corpus, "pseudobulk", k=20).counts().toarray()
    monkeypatch.setattr(derived, "BLOCK_PARENTS", 7)
    np.testing.assert_array_equal(alter(corpus, "pseudobulk", k=20).counts().toarray(), at_once)


def _points(corpus):
    return np.log1p(corpus.counts().toarray())


def test_smote_interpolates_as_imbalanced_learn(alter, labelled):
    corpus = labelled({"B": 40, "T": 12})
    after = alter(corpus, "smote", n_neighbours=3, rounding="none")
    assert after.labels("cell_type").tolist().count("T") == 40
    told = derived.origins(after)
    counts, made = corpus.counts().toarray().astype(np.float64), after.counts().toarray()
    pairs = next(iter(after.makers.values())).pairs
    parents = corpus.take(corpus.labels("cell_type") == "T").counts().toarray().astype(np.float64)
    oracle = SMOTE(k_neighbors=3)
    for at, (first, second, step) in enumerate(zip(*pairs, strict=True)):
        # imbalanced-learn's own rule, given the pair and how far along it.
        neighbours = np.full((12, 1), second)
        theirs = oracle._generate_samples(
            parents, parents, neighbours, np.array([first]), np.array([0]), np.array([[step]])
        )
        np.testing.assert_allclose(made[len(corpus) + at], theirs[0], rtol=1e-6, atol=1e-6)
    assert told.groupby("cell")["weight"].sum().round(6).eq(1).all()
    assert (corpus.labels("cell_type")[told["row"]] == "T").all()
    assert len(counts) == 52


def test_smote_rounds_without_bias(alter, labelled):
    corpus = labelled({"B": 60, "T": 5})
    exact = alter(corpus, "smote", n_neighbours=3, rounding="none").counts().toarray()
    rounded = alter(corpus, "smote", n_neighbours=3).counts().toarray()
    assert (np.abs(rounded - exact) < 1).all()
    np.testing.assert_array_equal(rounded[:65], exact[:65])
    # 55 × 30 roundings, each with a variance of at most 1/4.
    assert abs((rounded - exact).sum()) < 4 * np.sqrt(55 * 30 / 4)


def test_neighbours_are_those_of_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    points = np.random.default_rng(0).standard_normal((2500, 8)).astype(np.float32)
    theirs = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(nearest_others(points, 5), theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbours": 5}, "'T' has 5 cells in 'blood', too few for 5 neighbours"),
        ({"to": 5}, "every cell_type has 5 cells or more"),
        ({"by": "kind"}, "no column 'kind'"),
    ],
)
def test_smote_refuses_what_it_cannot_fill(alter, labelled, settings, message):
    with pytest.raises(CorpusError, match=message):
        alter(labelled({"B": 6, "T": 5}), "smote", **settings)


def test_gaussian_cells_are_truncated_normal_around_the_bulk(alter, labelled):
    corpus = labelled({"B": 60, "T": 50})
    after = alter(corpus, "synthesize_from_bulk", n_cells=2000, only=True)
    assert after.labels("cell_type").tolist() == ["B"] * 2000 + ["T"] * 2000
    made = after.counts().toarray()
    for label, block in (("B", made[:2000]), ("T", made[2000:])):
        cells = corpus.take(corpus.labels("cell_type") == label).counts().toarray().astype(np.float64)
        mean, sd, largest = cells.mean(axis=0), cells.std(axis=0, ddof=1), cells.max(axis=0)
        assert (block >= 0).all()
        assert (block <= largest + 1e-4).all()
        pvalues = [
            kstest(block[:, gene], truncnorm(-mean[gene] / sd[gene], (largest - mean)[gene] / sd[gene], mean[gene],
                                             sd[gene]).cdf).pvalue
            for gene in np.flatnonzero(sd)
        ]  # fmt: skip
        assert min(pvalues) > 1e-4
        correlation = np.corrcoef(block[:, sd > 0].T)
        assert np.abs(correlation - np.eye(len(correlation))).max() < 0.12
    assert after.account[-1]["looked_at"] == 110


def test_counts_keep_means_dispersions_and_correlations(alter, make):
    """Cells of two programs of genes: synthetic ones have the moments and the correlations that the cells have."""
    rng = np.random.default_rng(0)
    program = rng.gamma(2.0, 0.5, (1500, 2))
    rate = np.hstack(
        [3.0 * program[:, [0]] * np.ones(10), 2.0 * program[:, [1]] * np.ones(10), np.full((1500, 10), 0.7)]
    )
    counts = rng.poisson(rate)
    corpus = make(counts, obs={"cell_type": ["B"] * 1500})
    after = alter(corpus, "synthesize_from_bulk", n_cells=3000, method="counts", only=True, n_factors=4)
    made, real = after.counts().toarray(), corpus.counts().toarray()
    np.testing.assert_allclose(made.mean(axis=0), real.mean(axis=0), rtol=0.12)
    np.testing.assert_allclose(made.var(axis=0), real.var(axis=0), rtol=0.3)
    above = np.triu_indices(30, 1)
    ours, theirs = (np.corrcoef(np.log1p(table).T)[above] for table in (made, real))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    # No attenuation: correlated pairs (a third of a half) correlate as much as in the cells.
    strong = theirs > 0.2
    assert abs(ours[strong].mean() / theirs[strong].mean() - 1) < 0.08
    gaussian = alter(corpus, "synthesize_from_bulk", n_cells=3000, only=True).counts().toarray()
    assert np.abs(np.corrcoef(gaussian.T)[above]).mean() < 0.03
    assert spearmanr(ours, theirs).statistic > 0.5


def _bulk(folder, text):
    (folder / "bulk.csv").write_text(text)
    return {"context": Context(folder=folder), "bulk": "bulk.csv", "n_cells": 400, "only": True}


def test_a_bulk_profile_is_scaled_to_single_cells(alter, labelled, tmp_path):
    corpus = labelled({"B": 60, "T": 50})
    rows = "\n".join(f"G{gene},{1000 * (1 + gene % 3)},{5 * gene}" for gene in range(30))
    after = alter(corpus, "synthesize_from_bulk", method="counts", **_bulk(tmp_path, f"gene,B,T\n{rows}\n"))
    made, cells = after.counts().toarray()[:400], corpus.take(corpus.labels("cell_type") == "B").counts().toarray()
    gene = np.array([int(name[1:]) for name in corpus.space.ids])
    expressed = cells.sum(axis=0) > 0
    expected = np.where(expressed, 1.0 + gene % 3, 0)
    expected *= cells.sum() / 60 / expected.sum()
    np.testing.assert_allclose(made.mean(axis=0)[expressed], expected[expressed], rtol=0.35)
    assert abs(made.sum() / 400 / expected.sum() - 1) < 0.05
    assert not made[:, ~expressed].any()


def test_a_label_that_only_the_bulk_has_needs_the_spread_of_all(alter, labelled, tmp_path):
    rows = "\n".join(f"G{gene},{gene + 1}" for gene in range(30))
    parts = _bulk(tmp_path, f"gene,NK\n{rows}\n")
    with pytest.raises(CorpusError, match=r"no cell of cell_type 'NK', whose .*spread ="):
        alter(labelled({"B": 20}), "synthesize_from_bulk", **parts)
    after = alter(labelled({"B": 20}, name="more"), "synthesize_from_bulk", **parts, spread="all")
    assert set(after.labels("cell_type")) == {"NK"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,B\nXIST,3\nTTN,4\n", "share no gene with the study"),
        ("gene,B\nG1,3\nG2,-4\n", "1 numbers are negative .*-4 of G2 in 'B'"),
        ("gene,B\nG1,3.5\nG2,4\n", "fractional"),
        ("gene,B\nG1,\nG2,4\n", "missing"),
        ("gene,B\nG1,many\nG2,4\n", "as numbers"),
        ("gene,B\nG1,3\nG2,4\n", "2 of the study's 30 genes, fewer than half"),
        ("gene,NK\n" + "".join(f"G{at},1\n" for at in range(30)), "no cell of cell_type 'NK'"),
        ("gene,B\n" + "".join(f"G{at},0\n" for at in range(30)), "has no counts"),
        ("", "not a table"),
    ],
)
def test_a_bulk_that_cannot_be_used_is_refused(alter, labelled, tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        alter(labelled({"B": 20, "T": 5}), "synthesize_from_bulk", **_bulk(tmp_path, text))


def test_synthesis_refuses_what_is_not_there(alter, labelled, write, corpus_of, tmp_path):
    from corpuscle.source.source import open_source

    corpus = labelled({"B": 20, "T": 1})
    with pytest.raises(CorpusError, match="no bulk profile of 'NK'"):
        alter(corpus, "synthesize_from_bulk", n_cells=5, labels=["NK"])
    with pytest.raises(CorpusError, match="T has one cell only"):
        alter(corpus, "synthesize_from_bulk", n_cells=5)
    with pytest.raises(CorpusError, match="there is no file"):
        alter(corpus, "synthesize_from_bulk", n_cells=5, bulk="none.csv", context=Context(folder=tmp_path))
    two = corpus_of(*(open_source(name, write(name, 6)) for name in ("one", "two")))
    with pytest.raises(CorpusError, match="which source's cells"):
        alter(two, "synthesize_from_bulk", n_cells=5)
    with pytest.raises(CorpusError, match="no cell is of 'three'"):
        alter(two, "synthesize_from_bulk", n_cells=5, source="three")


def test_bulk_profiles_are_read_by_id_and_symbol(make, tmp_path):
    from corpuscle.corpus.alterations.synthesize_from_bulk.bulk_profiles import read_profiles

    ids = [f"ENSG{at:011d}" for at in range(4)]
    corpus = make(np.arange(12).reshape(3, 4), genes=pd.DataFrame({"symbol": ["A", "B", "C", "D"]}, index=ids))
    (tmp_path / "ids.tsv").write_text(f"\tx\tx\ty\n{ids[1]}.7\t1\t2\t4\n{ids[3]}\t5\t6\t7\n{ids[3]}\t1\t1\t1\n")
    found = read_profiles(tmp_path / "ids.tsv", corpus.space)
    np.testing.assert_array_equal(found.to_numpy(), [[np.nan, 3, np.nan, 13], [np.nan, 4, np.nan, 8]])
    assert list(found.index) == ["x", "y"]
    (tmp_path / "symbols.csv").write_text("gene,x\nB,1\nD,2\n")
    np.testing.assert_array_equal(read_profiles(tmp_path / "symbols.csv", corpus.space), [[np.nan, 1, np.nan, 2]])
