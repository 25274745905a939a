"""Pilots: what an earlier run scattered by, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import Score, score_table
from corpuscle.report.sections.power import Asked, more_needed, resolves
from corpuscle.statistics.pilot import Pilot, pilots
from corpuscle.statistics.power import Scatter


def _scores(values, scale="share", better="higher"):
    """Values: corpus → seed → value, or seed → donor → value."""
    rows = []
    for corpus, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            named = {"all": value} if np.isscalar(value) else {f"donor={d}": v for d, v in enumerate(value)}
            if not np.isscalar(value):
                named["all"] = float(np.mean(value))
            scores = [
                Score("f1", unit, v, 10, better, scale=scale, title="F1", headline=True) for unit, v in named.items()
            ]
            rows.append(score_table(scores, corpus=corpus, seed=seed, model="m", task="t", target="x"))
    return pd.concat(rows, ignore_index=True)


def test_variances_are_of_paired_differences_and_pooled():
    scores = _scores({"A": [0.5, 0.6, 0.4], "B": [0.51, 0.63, 0.41], "C": [0.52, 0.60, 0.43], "D": [0.6, 0.7, 0.5]})
    (found,) = pilots(scores, "A")
    expected = (np.var([0.01, 0.03, 0.01], ddof=1) + np.var([0.02, 0.0, 0.03], ddof=1)) / 2
    # The differences of D are one result, so one replicate.
    assert found.scatter.run == pytest.approx(expected)
    assert (found.n_seeds, found.n_donors, found.n_comparisons) == (3, 0, 2)


def test_donors_are_told_apart_from_five_on():
    rng = np.random.default_rng(1)
    run, donor = rng.normal(size=(100, 1)) * 0.01, rng.normal(size=(1, 40)) * 0.03
    base = np.full((100, 40), 0.5)
    scores = _scores({"A": base, "B": base + run + donor + rng.normal(size=base.shape) * 0.02})
    (found,) = pilots(scores, "A")
    assert found.n_donors == 40
    assert np.sqrt(found.scatter[:3]) == pytest.approx([0.01, 0.03, 0.02], rel=0.25)
    (few,) = pilots(_scores({"A": base[:4, :3], "B": (base + donor + run)[:4, :3]}), "A")
    assert few.n_donors == 0


def test_errors_are_compared_by_ratios():
    (found,) = pilots(_scores({"A": [1.0, 1.0], "B": [2.0, 4.0]}, scale="positive", better="lower"), "A")
    assert found.ratio
    assert found.scatter.run == pytest.approx(0.5)


def test_a_run_of_one_seed_says_nothing():
    assert pilots(_scores({"A": [0.5], "B": [0.6]}), "A") == []


ASKED = Asked("t", "f1", "F1", "share", 20)


def test_check_says_what_seeds_resolve_and_on_what_that_rests():
    (line,) = resolves([ASKED], 5)
    assert "5 seeds resolve differences from ±0.038 (80 % power, corrected for 20 comparisons" in line
    assert "assuming that a difference scatters by 0.01" in line
    known = [Pilot("t", "f1", "F1", False, 3, 0, 20, Scatter(0.02**2))]
    (line,) = resolves([ASKED], 5, known)
    assert "±0.076" in line
    assert "by the scatter of the earlier run (3 seeds)" in line
    assert list(resolves([ASKED], 1)) == []
    assert list(resolves([Asked("t", "elbo", "ELBO", "real", 20)], 5)) == []
    assert "no two seeds" in next(resolves([ASKED], 5, []))


def test_a_share_cannot_differ_by_more_than_one():
    assert "2 seeds resolve no difference" in next(resolves([ASKED], 2))


def test_the_report_says_what_narrower_intervals_take():
    pilot = Pilot("t", "f1", "F1", False, 3, 0, 5, Scatter(0.01**2))
    assert list(more_needed([pilot], {})) == [
        "F1: with 3 seeds, a difference is known to about ±0.025, over 5 comparisons; ±0.012 takes about 5 seeds."
    ]
    assert next(more_needed([pilot], {"f1": 0.03})).endswith("within the margin of ±0.030.")
    limited = pilot._replace(n_donors=8, scatter=Scatter(0.0, 0.01**2))
    assert next(more_needed([limited], {})).endswith("takes about 25 donors.")
    shared = pilot._replace(scatter=Scatter(0.01**2, overlap=0.9))
    assert "more cells to draw from" in next(more_needed([shared], {"f1": 0.001}))
