"""Leaderboard: which measures rank corpora as their scores do."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import InputError
from corpuscle.statistics.leaderboard import leaderboard, standings

CORPORA = [f"corpus {at}" for at in range(10)]


def measures(name: str, value: np.ndarray, target: str = "", better: str = "higher") -> pd.DataFrame:
    return pd.DataFrame({
        "corpus": CORPORA[: len(value)], "seed": 0, "measure": name, "of": "components", "size": "equal",
        "target": target, "value": value, "better": better,
    })  # fmt: skip


def scores(target: str, value: np.ndarray, seed: int = 0, better: str = "higher") -> pd.DataFrame:
    return pd.DataFrame({
        "corpus": CORPORA[: len(value)], "seed": seed, "model": "ldvae", "task": "reconstruction", "target": target,
        "metric": "r2_log", "way": "", "unit": "all", "headline": True, "better": better, "value": value,
    })  # fmt: skip


def test_a_measure_that_ranks_as_scores_do_comes_first() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=10)
    measured = pd.concat([
        measures("near", -good + 0.3 * rng.normal(size=10), "blood", "lower"),
        measures("noise", rng.normal(size=10)),
        measures("constant", np.ones(10)),
        measures("near", rng.normal(size=10), "lung", "lower"),
    ])  # fmt: skip
    scored = pd.concat([scores("blood", good), scores("blood", good + 0.1, seed=1), scores("skin", good[::-1])])
    board = leaderboard(measured, scored, {"blood": True, "skin": False})
    one = board.set_index(["measure", "target"])
    # What is measured of lung says nothing of skin; what is of the corpus alone is of all targets.
    assert list(one.index) == [
        ("near", "blood"), ("noise", "blood"), ("constant", "blood"), ("noise", "skin"), ("constant", "skin")
    ]  # fmt: skip
    near = one.loc[("near", "blood")]
    assert near["correlation"] > 0.8
    assert near["low"] < near["correlation"] < near["high"] <= 1
    assert np.isnan(one.loc[("constant", "blood"), "correlation"])
    table = standings(measured, scored, board)
    assert table.loc[table["seen"], "measure"].tolist() == ["near", "noise"]
    assert table.loc[~table["seen"], "measure"].tolist() == ["noise"]


def test_a_score_of_other_corpora_takes_no_measure_away() -> None:
    """Models of a search are trained on few corpora in common: each score is ranked over its own."""
    value = np.arange(10.0)
    others = [f"{name} b" for name in CORPORA]
    measured = pd.concat([measures("near", value), measures("near", value).assign(corpus=others)])
    scored = pd.concat([scores("blood", value), scores("blood", -value).assign(model="scvi", corpus=others)])
    table = standings(measured, scored, leaderboard(measured, scored, {"blood": True}))
    assert table[["measure", "n_scores", "n_corpora", "correlation"]].to_numpy().tolist() == [["near", 2, 20, 0.0]]


def test_lower_is_better_turns_scores_and_order_of_rows_is_no_matter() -> None:
    value = np.arange(8.0)
    board = leaderboard(measures("near", value, better="lower").iloc[::-1], scores("blood", value, better="lower"))
    assert board["correlation"].tolist() == [1.0]
    assert board["seen"].isna().all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(1), 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)
    for _ in range(200):
        one = rng.normal(size=10)
        other = 0.6 * one + 0.8 * rng.normal(size=10)
        row = leaderboard(measures("m", one), scores("blood", other)).iloc[0]
        held += row["low"] <= truth <= row["high"]
    assert 182 <= held <= 200


def test_few_corpora_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected at least 6 corpora with measures and scores.*got 5"):
        leaderboard(measures("near", np.arange(5.0)), scores("blood", np.arange(5.0)))
