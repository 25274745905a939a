"""Reliability is the intraclass correlation of one seed's score."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.statistics.reliability import ALL_TARGETS, reliability


def scores(values, target="blood"):
    """Lay out values (corpora × seeds) of one target."""
    rows = [
        {"corpus": f"c{at}", "seed": seed, "value": value, "target": target}
        for at, found in enumerate(values)
        for seed, value in enumerate(found)
    ]
    fixed = {"model": "m", "task": "t", "metric": "r2", "unit": "all", "n_cells": 9, "better": "higher", "version": 1}
    return pd.DataFrame(rows).assign(**fixed, reason="")


# Table 2 of Shrout and Fleiss: six targets and four judges.
PUBLISHED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def found(table, target, what="reliability"):
    return reliability(table).set_index("target").loc[target, what]


def test_it_is_that_of_shrout_and_fleiss() -> None:
    # ICC(1,1) and ICC(3,1) there.
    assert found(scores(PUBLISHED), "blood") == pytest.approx(0.17, abs=0.005)
    assert found(scores(PUBLISHED), "blood", "paired") == pytest.approx(0.71, abs=0.005)


def test_paired_it_is_of_corpora_that_have_all_seeds() -> None:
    more = scores([*PUBLISHED, [1, np.nan, 9, 3]])
    assert found(more, "blood", "paired") == pytest.approx(found(scores(PUBLISHED), "blood", "paired"))


def test_it_recovers_the_share_also_with_missing_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, (2000, 1)) + rng.normal(0, 1, (2000, 3))
    values[::3, 0] = np.nan
    assert found(scores(values), "blood") == pytest.approx(0.9, abs=0.02)


def test_the_mean_over_targets_is_of_runs_that_have_all_of_them() -> None:
    one, other = [[0.1, 0.2], [0.5, 0.6]], [[0.3, 0.2], [0.7, np.nan]]
    table = pd.concat([scores(one, "a"), scores(other, "b")], ignore_index=True)
    by_hand = scores([[0.2, 0.2], [0.6, np.nan]])
    assert found(table, ALL_TARGETS) == pytest.approx(found(by_hand, "blood"))


@pytest.mark.parametrize("values", [[[0.1, 0.2, 0.3]], [[0.1], [0.2]], [[0.5, 0.5], [0.5, 0.5]]])
def test_what_cannot_be_said_is_nan(values) -> None:
    assert np.isnan(found(scores(values), "blood"))
    assert np.isnan(found(scores(values), "blood", "paired"))
