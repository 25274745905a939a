"""Intervals over donors: they hold what other donors would show, and are refused where that cannot be known."""

import numpy as np
import pytest

from corpuscle.core.errors import MeasureError
from corpuscle.measures.donor_bootstrap import draw_donors, interval, mean_interval


def labels(n_donors: int, n_cells: int, source: str = "a") -> tuple[np.ndarray, np.ndarray]:
    donor_N = np.array([f"d{at % n_donors}" for at in range(n_cells)])
    return np.full(n_cells, source), donor_N


def test_it_is_as_wide_as_donors_differ_and_not_as_cells_do() -> None:
    rng = np.random.default_rng(0)
    source_N, donor_N = labels(20, 4000)
    effect = rng.normal(size=20)[np.arange(4000) % 20]
    low, high = mean_interval(effect + rng.normal(size=4000), draw_donors(source_N, donor_N, rng))
    half = 1.96 * effect[:20].std() / np.sqrt(20)
    assert high - low == pytest.approx(2 * half, rel=0.2)
    alike = mean_interval(np.ones(4000), draw_donors(source_N, donor_N, rng))
    assert alike == (1, 1)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    source_N, donor_N = labels(15, 300)
    for _ in range(200):
        value_N = rng.normal(size=15)[np.arange(300) % 15] + rng.normal(size=300)
        low, high = mean_interval(value_N, draw_donors(source_N, donor_N, rng))
        held += low <= 0 <= high
    # The percentile bootstrap of 15 donors covers a little less than 95 %.
    assert 0.86 < held / 200 < 0.98


def test_donors_are_drawn_within_their_source() -> None:
    pairs = [labels(5, 50, "a"), labels(8, 80, "b")]
    source_N, donor_N = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    found = draw_donors(source_N, donor_N, np.random.default_rng(0))
    assert found.draws_RD.shape[1] == 13  # d0 of a is not d0 of b
    assert (found.draws_RD[:, :5].sum(axis=1) == 5).all()
    assert (found.draws_RD[:, 5:].sum(axis=1) == 8).all()


def test_few_and_unknown_donors_are_refused() -> None:
    source_N, donor_N = labels(4, 40)
    with pytest.raises(MeasureError, match="needs 5 donors in each source, and a has 4"):
        draw_donors(source_N, donor_N, np.random.default_rng(0))
    with pytest.raises(MeasureError, match="a has 0"):
        draw_donors(source_N, np.full(40, ""), np.random.default_rng(0))


def test_draws_without_a_value_are_left_out() -> None:
    assert interval(2.0, [np.nan, 1.0, 1.0]) == (2, 2)
    assert np.isnan(interval(2.0, [np.nan])).all()
