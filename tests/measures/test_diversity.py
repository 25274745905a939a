"""Diversities against scipy, scikit-bio-style closed forms and exhaustive draws."""

from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from corpuscle.core.errors import MeasureError
from corpuscle.measures import diversity
from corpuscle.measures.composition import composition

COUNTS = np.random.default_rng(0).integers(0, 400, 60)


def test_entropy_is_scipys() -> None:
    assert diversity.shannon(COUNTS, base=2) == pytest.approx(stats.entropy(COUNTS / COUNTS.sum(), base=2), rel=1e-12)
    assert diversity.shannon(COUNTS) == pytest.approx(stats.entropy(COUNTS), rel=1e-12)


def test_hill_numbers_join_the_indices() -> None:
    assert diversity.hill(COUNTS, 0) == np.sum(COUNTS > 0)
    assert diversity.hill(COUNTS, 1) == pytest.approx(np.exp(stats.entropy(COUNTS)))
    assert diversity.hill(COUNTS, 2) == pytest.approx(diversity.inverse_simpson(COUNTS))
    assert diversity.gini_simpson(COUNTS) == pytest.approx(1 - 1 / diversity.inverse_simpson(COUNTS))
    assert diversity.hill(COUNTS, np.inf) == pytest.approx(COUNTS.sum() / COUNTS.max())
    # Nothing jumps at order 1.
    assert diversity.hill(COUNTS, 1 + 1e-6) == pytest.approx(diversity.hill(COUNTS, 1), rel=1e-5)


def test_a_profile_never_rises_and_equal_labels_have_a_flat_one() -> None:
    orders = [0, 0.3, 1, 2, 7, np.inf]
    assert (np.diff(diversity.hill_profile(COUNTS, orders)) <= 1e-9).all()
    np.testing.assert_allclose(diversity.hill_profile([7] * 12, orders), 12)


def test_the_published_indices_follow_from_each_other() -> None:
    # The random corpus of 1 %, seed 0, of DenAdel et al.: their inverse Simpson and Gini-Simpson.
    assert pytest.approx(0.967451572921138, rel=1e-12) == 1 - 1 / 30.72345086222104
    share = np.full(30, 1 / 30)
    assert diversity.gini_simpson(share) == pytest.approx(1 - 1 / 30)


def test_a_stack_of_counts_is_measured_row_by_row() -> None:
    stack = np.stack([COUNTS, COUNTS[::-1] + 1])
    for of in (diversity.shannon, diversity.inverse_simpson, lambda counts: diversity.hill(counts, 0.5)):
        np.testing.assert_allclose(of(stack), [of(row) for row in stack])


@pytest.mark.parametrize("order", [0, 1, 2, 0.5])
def test_rarefaction_is_the_hill_number_of_expected_frequencies(order: float) -> None:
    counts, n = np.array([4, 3, 2, 1]), 5
    cells = np.repeat(np.arange(4), counts)
    draws = [np.bincount(cells[list(which)], minlength=4) for which in combinations(range(len(cells)), n)]
    if order == 1:
        expected = np.exp(np.mean([stats.entropy(draw) for draw in draws]))
    else:
        expected = np.mean([((draw[draw > 0] / n) ** order).sum() for draw in draws]) ** (1 / (1 - order))
    assert diversity.rarefied_hill(counts, n, order) == pytest.approx(expected, rel=1e-9)


def test_rarefaction_to_all_cells_changes_nothing() -> None:
    for order in (0, 1, 2):
        found = diversity.rarefied_hill(COUNTS, int(COUNTS.sum()), order)
        assert found == pytest.approx(float(diversity.hill(COUNTS, order)), rel=1e-6)
    assert diversity.rarefied_richness(COUNTS, [1, int(COUNTS.sum())]).round(6).tolist() == [1, np.sum(COUNTS > 0)]


def test_rarefaction_leaves_nothing_out_that_counts() -> None:
    counts, n = np.array([50_000, 3000, 3000, 40, 1]), 5000
    expected = 0.0
    for count in counts:
        k = np.arange(1, min(count, n) + 1)
        expected += (stats.hypergeom.pmf(k, counts.sum(), count, n) * special.entr(k / n)).sum()
    assert diversity.rarefied_hill(counts, n, 1) == pytest.approx(np.exp(expected), rel=1e-7)


def test_completeness_tells_a_sample_of_all_types_from_one_of_few() -> None:
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(300, 0.4))
    missed, estimated = [], []
    for _ in range(200):
        sample = rng.multinomial(400, share)
        missed.append(share[sample == 0].sum())
        estimated.append(1 - diversity.completeness(sample))
    assert np.mean(estimated) == pytest.approx(np.mean(missed), rel=0.05)
    assert diversity.completeness([40, 30, 20]) == 1


def test_chao1_finds_most_of_what_was_not_seen() -> None:
    rng = np.random.default_rng(0)
    sample = rng.multinomial(300, np.full(200, 1 / 200))
    assert np.sum(sample > 0) < 165
    assert 185 < diversity.chao1(sample) < 215


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [1, np.nan], [np.inf, 1]])
def test_what_is_no_count_is_refused(counts: list[float]) -> None:
    for of in (diversity.shannon, diversity.inverse_simpson, lambda found: diversity.hill(found, 1)):
        with pytest.raises(MeasureError):
            of(np.array(counts, float))


def test_impossible_draws_and_orders_are_refused() -> None:
    with pytest.raises(MeasureError, match="9 cells cannot be drawn from 8"):
        diversity.rarefied_hill([5, 3], 9, 1)
    with pytest.raises(MeasureError, match="at least 0"):
        diversity.hill([5, 3], -1)
    with pytest.raises(MeasureError, match="at least 2 donors"):
        diversity.donor_completeness([[3, 1]])


def test_cells_without_a_label_are_a_group_of_their_own() -> None:
    found = composition(np.array(["B", "", "", "T"]), np.array([1, 2, 1, 5]), np.array([0, 0, 1, 1]))
    assert found.labels == ["", "B", "T"]
    assert found.cells_L.tolist() == [3, 1, 5]
    assert found.cells_DL.tolist() == [[2, 1, 0], [1, 0, 5]]
    with pytest.raises(MeasureError, match="no cell has this label"):
        composition(np.array(["", ""]))
