"""Numbers of rows and names: uniform, independent between keys and tables, and the same whatever rows are asked for."""

import numpy as np
import pytest
from scipy import stats

from corpuscle.core.randomness import name_numbers, row_numbers, scrambled

N_KEYS, N_ROWS, N_DRAWN = 1500, 60, 12


def drawn(name: str, start: int = 0, step: int = 1) -> np.ndarray:
    """For each of many keys, which rows have the smallest numbers, shape (N_KEYS, N_ROWS)."""
    rows = start + step * np.arange(N_ROWS)
    number = np.stack([row_numbers(key, name, rows) for key in range(N_KEYS)])
    return number <= np.sort(number, axis=1)[:, N_DRAWN - 1 : N_DRAWN]


@pytest.mark.parametrize(("start", "step"), [(0, 1), (10**9, 4096)], ids=["rows in a row", "far and sparse"])
def test_every_row_is_drawn_as_often(start: int, step: int) -> None:
    times = drawn("blood", start, step).sum(axis=0)
    # Drawn without replacement: the variance of the counts is that of N_KEYS independent draws.
    expected = N_KEYS * N_DRAWN / N_ROWS
    variance = expected * (1 - N_DRAWN / N_ROWS)
    assert stats.chi2.sf(((times - expected) ** 2).sum() / variance * (N_ROWS - 1) / N_ROWS, N_ROWS - 1) > 0.001


def test_pairs_of_rows_are_drawn_as_often() -> None:
    chosen = drawn("blood").astype(float)
    together = (chosen.T @ chosen)[np.triu_indices(N_ROWS, 1)] / N_KEYS
    expected = N_DRAWN * (N_DRAWN - 1) / N_ROWS / (N_ROWS - 1)
    assert abs(together.mean() - expected) < 1e-9
    assert together.std() == pytest.approx(np.sqrt(expected * (1 - expected) / N_KEYS), rel=0.1)


@pytest.mark.parametrize("other", ["next key", "other table"])
def test_draws_of_two_keys_and_of_two_tables_share_what_chance_has_them_share(other: str) -> None:
    chosen = drawn("blood")
    shared = (chosen[1:] & chosen[:-1] if other == "next key" else chosen & drawn("pancreas")).sum(axis=1)
    law = stats.hypergeom(N_ROWS, N_DRAWN, N_DRAWN)
    assert abs(shared.mean() - law.mean()) < 4 * law.std() / np.sqrt(len(shared))
    assert shared.std() == pytest.approx(law.std(), rel=0.1)


def test_no_two_rows_of_a_table_have_one_number() -> None:
    assert len(np.unique(row_numbers(5, "blood", np.arange(100_000)))) == 100_000


def test_numbers_do_not_depend_on_the_machine() -> None:
    assert scrambled(np.array([1, 2**63], np.uint64)).tolist() == [6238072747940578789, 2720858781877447050]
    assert name_numbers(0, ["a"]).tolist() == [name_numbers(0, ["b", "a"]).tolist()[1]]
