"""Reconstruction and residuals are what a plain, dense computation gives, at a fraction of its memory."""

import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, random_array
from scipy.stats import pearsonr

from corpuscle.core.errors import ModelError
from corpuscle.corpus.expression.variable_genes import gene_moments, most_variable
from corpuscle.evaluation.fit_check import check_fit
from corpuscle.evaluation.metrics.correlation import squared_pearson
from corpuscle.evaluation.task import units
from corpuscle.evaluation.tasks.reconstruction import Reconstruction
from corpuscle.evaluation.tasks.residuals import Residuals
from corpuscle.source.source import open_source


class Oracle:
    """A stand-in for a fitted model: expects of each cell what a function makes of its counts."""

    genes, history = (), None

    def __init__(self, expect):
        self.expect = expect

    def expected_fractions(self, cells, samples=None):
        for rows, counts in cells.blocks(7):
            found = self.expect(counts.toarray().astype(np.float64), samples)
            yield rows, (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


PERFECT = Oracle(lambda counts, _: counts)
SMOOTH = Oracle(lambda counts, _: counts + 3 * counts.mean(axis=0) + np.arange(counts.shape[1]))


class Bounded(Oracle):
    """An oracle with a bound of each cell's likelihood, a function of the cell's place and of the seed."""

    def elbo(self, cells, seed=0):
        return pd.DataFrame({"elbo": 100.0 + np.arange(len(cells)) ** 2 + seed % 7, "kl": np.nan})


def random(seed):
    rng = np.random.default_rng(seed)
    return Oracle(lambda counts, _: rng.random(counts.shape))


def run(task, model, target, seed=0):
    return {(score.metric, score.unit): score for score in task.run(model, target, target, np.random.default_rng(seed))}


def test_it_is_the_mean_of_the_cells_squared_correlations(make, counts_of):
    target = make(counts_of(20, 60))
    counts = target.counts().toarray().astype(np.float64)
    genes = most_variable(gene_moments(target), 25)
    truth = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    predicted = 1e4 * np.vstack([block for _, block in SMOOTH.expected_fractions(target)]).astype(np.float64)
    scores = run(Reconstruction(n_variable_genes=25), SMOOTH, target)
    for metric, carry in (("r2_linear", np.asarray), ("r2_log", np.log1p)):
        pairs = zip(carry(truth)[:, genes], carry(predicted)[:, genes], strict=True)
        values = np.array([pearsonr(one, other).statistic ** 2 for one, other in pairs])
        assert scores[metric, "all"].value == pytest.approx(values.mean(), abs=1e-9)
        for donor in ("d0", "d1", "d2"):
            here = target.labels("donor") == donor
            assert scores[metric, f"donor={donor}"].value == pytest.approx(values[here].mean(), abs=1e-9)
            assert scores[metric, f"donor={donor}"].n_cells == here.sum()


def test_a_perfect_model_scores_1_and_a_random_one_almost_nothing(make, counts_of):
    target = make(counts_of(60, 300))
    perfect, chance = (run(Reconstruction(), model, target) for model in (PERFECT, random(0)))
    for metric in ("r2_log", "r2_linear"):
        assert perfect[metric, "all"].value == pytest.approx(1, abs=1e-6)
        assert perfect[metric, "all"].value <= 1
        assert chance[metric, "all"].value < 0.02


@pytest.mark.parametrize(
    ("obs", "expected"),
    [
        pytest.param({}, ["all", "donor=d0", "donor=d1", "donor=d2"], id="donors"),
        pytest.param({"donor": [np.nan] * 6, "batch": ["x", "y"] * 3}, ["all", "batch=x", "batch=y"], id="batches"),
        pytest.param({"donor": [np.nan] * 6}, ["all"], id="neither"),
        pytest.param({"donor": [None, "d"] * 3, "batch": ["x"] * 6}, ["all", "batch=x", "donor=d"], id="some of each"),
        pytest.param({"donor": [1, 1, 2, 2, 3, 3]}, ["all", "donor=1", "donor=2", "donor=3"], id="numbers"),
        pytest.param({"donor": [True, False] * 3}, ["all", "donor=False", "donor=True"], id="truth values"),
    ],
)
def test_units_are_all_cells_and_each_donor_or_batch(make, obs, expected):
    target = make(6, obs=obs)
    found = units(target)
    assert list(found) == expected
    assert found["all"].all()
    assert set(run(Reconstruction(), SMOOTH, target)) == {
        (m, unit) for m in ("r2_log", "r2_linear") for unit in expected
    }


def test_two_halves_of_a_target_are_units_and_the_same_whatever_is_asked(make):
    target = make(21, obs={"donor": ["d"] * 21})
    found = units(target)
    assert list(found) == ["all", "donor=d", "half=1", "half=2"]
    assert (found["half=1"] ^ found["half=2"]).all()
    assert sorted(found[half].sum() for half in ("half=1", "half=2")) == [10, 11]
    scores = run(Reconstruction(), SMOOTH, target)
    parts = [scores["r2_log", half] for half in ("half=1", "half=2")]
    assert sum(part.value * part.n_cells for part in parts) / 21 == pytest.approx(scores["r2_log", "all"].value)
    again = units(make(21, obs={"donor": ["e"] * 21}))
    assert (again["half=1"] == found["half=1"]).all()


def test_on_request_every_cell_has_a_score_and_their_mean_is_that_over_all_cells(make, counts_of):
    counts = counts_of(12)
    counts[4] = 7
    target = make(counts)
    plain, scores = run(Reconstruction(), SMOOTH, target), run(Reconstruction(per_cell=True), SMOOTH, target)
    cells = [score for (metric, unit), score in scores.items() if unit.startswith("cell=")]
    names = [f"cell={row.source}:{row.row}" for row in target.cells.itertuples()]
    assert [score.unit for score in cells] == names
    assert {score.metric for score in cells} == {"r2_log"}
    assert math.isnan(cells[4].value)
    assert cells[4].reason
    assert np.nanmean([score.value for score in cells]) == pytest.approx(scores["r2_log", "all"].value)
    assert scores["r2_log", "all"] == plain["r2_log", "all"]


def test_a_cell_without_a_correlation_is_left_out_with_its_reason(make, counts_of):
    counts = counts_of(12)
    counts[4] = 7  # a donor's cells are d1 = 1, 4, 7, 10
    scores = run(Reconstruction(), SMOOTH, make(counts))
    for unit, n_cells in (("all", 11), ("donor=d1", 3), ("donor=d0", 4)):
        score = scores["r2_log", unit]
        assert score.n_cells == n_cells
        assert math.isfinite(score.value)
        assert ("1 of" in score.reason) == (unit != "donor=d0")


@pytest.mark.parametrize("n_cells", [1, 2])
def test_where_nothing_varies_the_value_is_nan_with_the_reason(make, counts_of, n_cells):
    target = make(np.tile(counts_of(1), (n_cells, 1)))
    scores = run(Reconstruction(), PERFECT, target)
    assert all(math.isnan(score.value) and "0 genes vary" in score.reason for score in scores.values())


def test_a_sample_is_asked_for_with_the_generator_and_named(make):
    noisy = Oracle(lambda counts, samples: counts + samples.random(counts.shape))
    target = make(12)
    task = Reconstruction(posterior="sample")
    one, again, other = (run(task, noisy, target, seed)["r2_log", "all"].value for seed in (0, 0, 1))
    assert one == again != other


def test_memory_stays_well_below_a_dense_array(make):
    n_cells, n_genes = 6000, 3000
    counts = random_array((n_cells, n_genes), density=0.02, rng=np.random.default_rng(0), format="csr")
    counts.data = np.ceil(counts.data * 5).astype(np.float32)
    target = make(csr_matrix(counts))

    class Flat(Oracle):
        def expected_fractions(self, cells, samples=None):
            for start in range(0, len(cells), 256):
                rows = slice(start, min(start + 256, len(cells)))
                yield rows, np.full((rows.stop - rows.start, cells.n_genes), 1 / cells.n_genes, np.float32)

    for task in (Reconstruction(), Residuals()):
        tracemalloc.start()
        for _ in task.run(Flat(None), target, target, np.random.default_rng(0)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < n_cells * n_genes * 8 / 5


def test_residuals_are_means_over_cells_and_relative_to_what_was_counted(make, counts_of):
    counts = counts_of(15)
    counts[:, 5] = 0
    target = make(counts)
    order = [int(gene[1:]) for gene in target.space.ids]
    truth = (1e4 * counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)[order]
    predicted = 1e4 * np.vstack([block for _, block in SMOOTH.expected_fractions(target)]).mean(axis=0, dtype=float)
    scores = run(Residuals(), SMOOTH, target)
    for at, gene in enumerate(target.space.ids):
        assert scores["observed_cp10k", f"gene={gene}"].value == pytest.approx(truth[at])
        assert scores["predicted_cp10k", f"gene={gene}"].value == pytest.approx(predicted[at])
        residual = scores["relative_residual", f"gene={gene}"]
        if truth[at] == 0:
            assert math.isnan(residual.value)
            assert residual.reason == "no count of this gene in the target"
        else:
            assert residual.value == pytest.approx(1 - predicted[at] / truth[at])
    assert truth[target.space.ids.index("G5")] == 0
    assert len(scores) == 3 * 30


def test_a_perfect_model_has_no_residuals(make):
    scores = run(Residuals(), PERFECT, make(12))
    residuals = [score for (metric, _), score in scores.items() if metric == "relative_residual"]
    np.testing.assert_allclose([score.value for score in residuals if not score.reason], 0, atol=1e-6)


def test_residuals_are_of_the_genes_that_the_target_measured(write, corpus_of):
    other = [f"G{at}" for at in range(20, 50)]
    sources = open_source("one", write("one", 3)), open_source("two", write("two", 3, genes=other))
    whole = corpus_of(*sources, genes="union")
    scores = run(Residuals(), SMOOTH, whole.take(np.arange(3, 6)))
    assert {unit for _, unit in scores} == {f"gene={gene}" for gene in other}


def test_two_genes_of_one_symbol_are_told_apart_by_id(make):
    ids = [f"ENSG0000000000{at}" for at in range(4)]
    symbols = pd.DataFrame({"symbol": ["A", "B", "B", "C"]}, index=ids)
    corpus = make(np.arange(1, 13).reshape(3, 4), genes=symbols)
    assert {unit for _, unit in run(Residuals(), SMOOTH, corpus)} == {
        "gene=A",
        f"gene={ids[1]}",
        f"gene={ids[2]}",
        "gene=C",
    }


def test_squared_pearson_agrees_with_scipy_at_any_scale():
    rng = np.random.default_rng(0)
    truth = rng.random((50, 20)) * 10.0 ** rng.integers(-6, 7, (50, 1))
    predicted = truth * rng.random((50, 1)) + rng.random((50, 20)) * truth.mean(axis=1, keepdims=True)
    expected = [pearsonr(one, other).statistic ** 2 for one, other in zip(truth, predicted, strict=True)]
    np.testing.assert_allclose(squared_pearson(truth, predicted), expected, rtol=1e-9)
    assert (squared_pearson(truth, 3 * truth) <= 1).all()


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 1e6 / 3])
def test_a_constant_row_has_no_correlation(constant):
    row = np.full((1, 1000), constant)
    other = np.random.default_rng(0).random((1, 1000))
    assert np.isnan(squared_pearson(row, other)).all()
    assert np.isnan(squared_pearson(other, row)).all()


@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_the_bound_of_held_out_cells_is_a_score_and_changes_no_other(make, counts_of, posterior):
    target, task = make(counts_of(20, 60)), Reconstruction(posterior=posterior)
    noisy = lambda counts, rng: counts + (0 if rng is None else rng.random(counts.shape))  # noqa: E731
    without, found, again = (run(task, model(noisy), target) for model in (Oracle, Bounded, Bounded))
    added = {key: found.pop(key) for key in list(found) if key[0].startswith("elbo")}
    assert found == without
    assert all(again[key] == score for key, score in added.items())
    assert {metric for metric, _ in added} == {"elbo", "elbo_median"}
    assert {unit for _, unit in added} == {unit for _, unit in found}
    place = np.arange(20)
    offset = -100.0 - added["elbo", "all"].value - (place**2).mean()
    for unit, mask in units(target).items():
        mean, median = added["elbo", unit], added["elbo_median", unit]
        assert mean.value == pytest.approx(-100 - (place[mask] ** 2).mean() - offset)
        assert median.value == pytest.approx(-100 - np.median(place[mask] ** 2) - offset)
        assert (mean.better, mean.n_cells, mean.reason) == ("higher", mask.sum(), "")


def test_a_bound_that_is_no_number_is_missing_with_its_reason(make, counts_of):
    class Broken(Oracle):
        def elbo(self, cells, seed=0):
            return pd.DataFrame({"elbo": np.where(np.arange(len(cells)) == 3, np.inf, 1.0)})

    score = run(Reconstruction(), Broken(lambda counts, _: counts), make(counts_of(20, 60)))["elbo", "all"]
    assert math.isnan(score.value)
    assert score.reason == "the bound of 1 of 20 cells is no finite number"


def test_the_check_of_a_fit_has_r2_log_on_its_own_cells(make, counts_of):
    corpus = make(counts_of(20, 60))
    assert check_fit(PERFECT, corpus, 0) == pytest.approx((1, 0), abs=1e-6)
    assert check_fit(SMOOTH, corpus, 0).r2_log == pytest.approx(
        run(Reconstruction(), SMOOTH, corpus)["r2_log", "all"].value
    )
    assert all(math.isnan(value) for value in check_fit(object(), corpus, 0))


def test_the_check_of_a_fit_counts_what_is_expected_of_the_wrong_genes(make, counts_of) -> None:
    def half_on_one_gene(counts, _):
        return counts + counts.sum(axis=1, keepdims=True) * (np.arange(counts.shape[1]) == 7)

    corpus = make(counts_of(20, 60))
    counts = corpus.counts().toarray()
    share = (counts / counts.sum(1, keepdims=True)).mean(0)[7]
    assert check_fit(Oracle(half_on_one_gene), corpus, 0).share_error == pytest.approx((1 - share) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda x: 3 * x, "sum to 3, and"), (lambda x: x - 0.5 * (x == x.max()), "smallest is -")],
    ids=["no shares", "negative"],
)
def test_what_is_no_share_of_a_cell_s_counts_is_refused_when_a_model_is_fitted(make, counts_of, change, said):
    class Other(Oracle):
        def expected_fractions(self, cells, samples=None):
            return ((rows, change(found)) for rows, found in super().expected_fractions(cells, samples))

    with pytest.raises(ModelError, match=f"not negative and sum to 1; of a training cell .*{said}"):
        check_fit(Other(lambda counts, _: counts), make(counts_of(20, 60)), 0)
    lost = Oracle(lambda counts, _: np.full(counts.shape, np.nan))
    assert math.isnan(check_fit(lost, make(counts_of(20, 60)), 0).r2_log)
