"""Crossed seeds: draws × fits are not independent runs."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.statistics.comparisons import summarise
from corpuscle.statistics.crossed import NOT_CROSSED, laid_out, mean_of_runs, variance_components
from corpuscle.statistics.pairs import all_pairs
from corpuscle.statistics.scales import interval_of
from corpuscle.statistics.two_way import two_way

BASE = np.array([[0.50, 0.52], [0.51, 0.50], [0.49, 0.51]])
OTHER = BASE + np.array([[0.10, 0.14], [0.13, 0.15], [0.08, 0.13]])


def table(of, fits=2, donors=0):
    """Lay out corpus → draws × fits (× donors)."""
    rows = []
    about = {
        "model": "m",
        "task": "t",
        "target": "x",
        "metric": "f1",
        "n_cells": 9,
        "better": "higher",
        "scale": "real",
    }
    for corpus, values in of.items():
        for seed, value in enumerate(np.asarray(values).reshape(-1, donors or 1)):
            rows.append(
                {"corpus": corpus, "seed": seed, "unit": "all", "value": value.mean(), "headline": True, **about}
            )
            rows += [
                {"corpus": corpus, "seed": seed, "unit": f"donor={at}", "value": one, "headline": True, **about}
                for at, one in enumerate(value[: donors or 0])
            ]
    return laid_out(pd.DataFrame(rows), fits)


def test_the_interval_of_a_difference_is_over_draws_and_fits():
    found = summarise(table({"A": BASE, "B": OTHER}), "A").set_index("corpus").loc["B"]
    mean, error, df = two_way(OTHER - BASE)
    low, high = interval_of(mean, error, df, np.array("real", object))
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((float(low), float(high)))
    assert found["n_pairs"] == 6
    alone = summarise(table({"A": BASE, "B": OTHER}, fits=1), "A").set_index("corpus").loc["B"]
    width = found["difference_high"] - found["difference_low"]
    assert width > 1.2 * (alone["difference_high"] - alone["difference_low"])
    (pair,) = all_pairs(table({"A": BASE, "B": OTHER}), ["B", "A"]).itertuples()
    assert (pair.low, pair.high) == pytest.approx((float(low), float(high)))


def test_shared_cells_widen_the_draws_part():
    overlaps, other = {"A": 0.5, "B": 0.5}, BASE + np.array([[0.10, 0.10], [0.13, 0.14], [0.08, 0.07]])
    plain, wide = (summarise(table({"A": BASE, "B": other}), "A", overlaps=one) for one in ({}, overlaps))
    assert wide["difference_high"].iloc[1] > plain["difference_high"].iloc[1]


def test_draws_that_lack_a_fit_are_left_out_of_the_interval():
    lacking = OTHER.copy()
    lacking[1, 0] = np.nan
    found = summarise(table({"A": BASE, "B": lacking}), "A").set_index("corpus").loc["B"]
    mean, error, df = two_way((OTHER - BASE)[[0, 2]])
    low, _ = interval_of(mean, error, df, np.array("real", object))
    assert found["difference_low"] == pytest.approx(float(low))
    assert found["n_pairs"] == 4
    lacking[0, 0] = np.nan
    found = summarise(table({"A": BASE, "B": lacking}), "A").set_index("corpus").loc["B"]
    assert np.isnan(found["low"])
    assert np.isnan(found["difference_low"])
    assert NOT_CROSSED in found["reason"]
    assert found["verdict"] == "no interval"


def test_with_donors_the_runs_part_is_that_of_draws_and_fits():
    rng = np.random.default_rng(0)
    change = rng.normal(size=(4, 1, 1)) + rng.normal(size=(1, 3, 1)) + rng.normal(size=(1, 1, 6))
    values = rng.normal(size=(4, 3, 6)) * 0.01
    scores = table({"A": values, "B": values + change}, fits=3, donors=6)
    found = summarise(scores, "A")
    found = found[found["unit"] == "all"].set_index("corpus").loc["B"]
    expected = mean_of_runs(change.reshape(12, 6), fits=3, wide=1.0)
    low, high = interval_of(*expected, np.array("real", object))
    assert found["over"] == "runs and donors"
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((float(low), float(high)))
    # Of effects without any interaction, the variances of the three means add up.
    parts = [change.mean(axis=axes).var(ddof=1) / n for axes, n in (((1, 2), 4), ((0, 2), 3), ((0, 1), 6))]
    assert expected.error**2 == pytest.approx(sum(parts))


@pytest.mark.parametrize(("draws", "fits"), [(3, 2), (3, 3), (5, 2)])
def test_intervals_hold_the_truth_where_runs_taken_as_independent_do_not(draws, fits):
    rng = np.random.default_rng(1)
    n = 20_000
    values = (
        rng.normal(size=(n, draws, 1)) + 0.5 * rng.normal(size=(n, 1, fits)) + 0.5 * rng.normal(size=(n, draws, fits))
    )
    mean, error, df = two_way(values)
    low, high = interval_of(mean, error, df, np.full(n, "real", object))
    assert ((low < 0) & (high > 0)).mean() > 0.93
    runs = values.reshape(n, -1)
    size = runs.std(axis=1, ddof=1) / np.sqrt(draws * fits)
    low, high = interval_of(mean, size, np.full(n, draws * fits - 1), np.full(n, "real", object))
    assert ((low < 0) & (high > 0)).mean() < 0.9


def test_components_are_reported_apart():
    rng = np.random.default_rng(2)
    values = 0.1 * rng.normal(size=(200, 1)) + 0.01 * rng.normal(size=(200, 20)) + 0.05 * rng.normal(size=(1, 20))
    found = variance_components(table({"A": values}, fits=20), ["corpus", "metric"]).iloc[0]
    assert np.sqrt([found["draw"], found["fit"], found["rest"]]) == pytest.approx([0.1, 0.05, 0.01], rel=0.25)
    assert (found["n_draws"], found["n_fits"]) == (200, 20)


def test_rows_without_fits_are_as_they_were():
    scores = table({"A": BASE, "B": OTHER}, fits=1)
    assert "fit" not in scores
