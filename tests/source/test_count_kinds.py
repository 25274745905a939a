"""What is not counts is refused with what it is, an example with the digits that matter, and a way on that works."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.count_kinds import count_kind, unlike_counts
from corpuscle.source.gene_names import gene_names
from corpuscle.source.genes import gene_space
from corpuscle.source.quality import survey, survey_key
from corpuscle.source.source import open_source


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    return rng.poisson(rng.gamma(0.6, 3, 200) * rng.uniform(0.5, 2, (40, 1))).astype(np.float32)


def cp10k(counts):
    return counts / counts.sum(axis=1, keepdims=True) * 10_000


def estimated(counts):
    """Share some of the molecules among genes, as RSEM does."""
    rng = np.random.default_rng(1)
    return counts + np.where(rng.random(counts.shape) < 0.2, rng.uniform(0, 1, counts.shape), 0) * (counts > 0)


KINDS = {
    "counts": (lambda x: x, "counts"),
    "through log1p and back": (lambda x: np.expm1(np.log1p(x)), "nearly whole"),
    "estimated": (estimated, "estimated"),
    "cp10k": (cp10k, "normalised"),
    "log1p of cp10k": (lambda x: np.log1p(cp10k(x)), "log-normalised"),
    "log1p of cp10k, some genes": (lambda x: np.log1p(cp10k(x))[:, :120], "log-normalised"),
    "log2": (lambda x: np.log2(1 + cp10k(x)), "log-normalised"),
    "log10": (lambda x: np.log10(1 + cp10k(x)), "log-normalised"),
    "log1p of counts": (np.log1p, "log-normalised"),
    "square roots": (np.sqrt, "square roots"),
    "some genes of cp10k": (lambda x: cp10k(x)[:, :120], "normalised"),
    "neither": (lambda x: (x > 0) * np.random.default_rng(2).gamma(2, 3, x.shape), "fractions"),
}


@pytest.mark.parametrize(("change", "kind"), KINDS.values(), ids=KINDS.keys())
def test_kinds_of_numbers_are_told_apart(counts, change, kind):
    assert count_kind(csr_matrix(change(counts).astype(np.float32))) == kind


def surveyed(source):
    space = gene_space({source.name: gene_names(source.genes)})
    return survey(source, space)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (KINDS["through log1p and back"][0], r"whole numbers with rounding error \(\d+\.\d{5,} in row .*round = true"),
        (estimated, r"estimated counts do \(RSEM.*\(\d+\.\d\d+ in row .*round them: counts = .* round = true"),
        (KINDS["log1p of cp10k"][0], r"the logarithm of counts that were scaled .*; give raw counts$"),
        (cp10k, r"counts that were scaled .*; give raw counts$"),
        (KINDS["neither"][0], r"hardly a whole number.*if they are estimates, round them"),
    ],
    ids=["nearly whole", "estimated", "log-normalised", "normalised", "fractions"],
)
def test_the_refusal_shows_an_example_and_the_way_on(write, counts, change, message):
    with pytest.raises(SourceError, match=message):
        surveyed(open_source("blood", write("data", change(counts).astype(np.float32))))


def test_only_places_that_hold_whole_numbers_are_advised(annotated, counts, tmp_path):
    logged, path = csr_matrix(np.log1p(cp10k(counts)).astype(np.float32)), tmp_path / "data.h5ad"
    data = annotated(logged, layers={"scaled": logged * 2, "empty": csr_matrix(logged.shape)})
    data.raw = data.copy()
    data.layers["umis"] = csr_matrix(counts)
    data.write_h5ad(path)
    with pytest.raises(SourceError, match=r"; say where the raw counts are: counts = 'layers/umis'$"):
        surveyed(open_source("blood", path))
    del data.layers["umis"]
    data.write_h5ad(path)
    with pytest.raises(
        SourceError, match=r"give raw counts \(nor are there any at X, raw, layers/empty, layers/scaled"
    ):
        surveyed(open_source("blood", path))


@pytest.mark.parametrize("change", [estimated, KINDS["through log1p and back"][0]], ids=["estimated", "nearly whole"])
def test_rounded_counts_are_whole_everywhere_and_other_counts(write, counts, change):
    values = change(counts).astype(np.float32)
    path = write("data", values)
    rounds, plain = (open_source("blood", path, rounds=rounds) for rounds in (True, False))
    found = rounds.reader.read_counts(np.array([3, 0]))
    np.testing.assert_array_equal(found.toarray(), np.rint(values)[[3, 0]])
    assert (found.data != 0).all()
    np.testing.assert_array_equal(surveyed(rounds)["n_counts"], np.rint(values).sum(axis=1))
    space = gene_space({"blood": gene_names(plain.genes)})
    assert survey_key(rounds, space) != survey_key(plain, space)


@pytest.mark.parametrize(
    "change",
    [cp10k, KINDS["log1p of cp10k"][0], np.sqrt, lambda x: -x],
    ids=["cp10k", "log1p", "square roots", "negative"],
)
def test_what_rounding_does_not_make_counts_is_refused_all_the_same(write, counts, change):
    path = write("data", change(counts).astype(np.float32))
    with pytest.raises(SourceError, match="raw counts are needed"):
        surveyed(open_source("blood", path, rounds=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: np.rint(cp10k(x)), "its cells have about equally many counts ("),
        (lambda x: x > 0, "all of its counts are 1"),
        (lambda x: x, ""),
        (lambda x: np.rint(cp10k(x))[:10], ""),
    ],
    ids=["rounded cp10k", "detected or not", "counts", "too few to tell"],
)
def test_whole_numbers_that_are_likely_no_counts_are_remarked_on(write, counts, change, said):
    found = unlike_counts(surveyed(open_source("blood", write("data", change(counts).astype(np.float32)))))
    assert found.startswith(said)
    assert bool(found) is bool(said)
