"""Which fits diverged: by what they make of their own training cells, against other seeds of the same corpus."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.scores import Score, score_table
from corpuscle.statistics.divergence import FITS, diverged, without_diverged


def table(values, model="ldvae", check="r2_log"):
    rows = [(corpus, model, seed, value) for corpus, found in values.items() for seed, value in enumerate(found)]
    fits = pd.DataFrame(rows, columns=["corpus", "model", "seed", check])
    return fits.assign(**{"share_error" if check == "r2_log" else "r2_log": 0.3})[list(FITS)]


def astray(fits):
    found = diverged(fits)
    return [tuple(place) for place in found.loc[found["diverged"], ["corpus", "seed"]].to_numpy().tolist()]


CALM = {"A": [0.50, 0.51, 0.52], "B": [0.46, 0.47, 0.46], "C": [0.30, 0.31, 0.29]}


def test_a_fit_far_below_its_siblings_is_found_and_only_it() -> None:
    assert astray(table(CALM)) == []
    assert astray(table(CALM | {"B": [0.46, 0.25, 0.46]})) == [("B", 1)]
    # Two seeds differ by as much from each other; the worse one is it.
    assert astray(table({corpus: found[:2] for corpus, found in CALM.items()} | {"C": [0.30, 0.10]})) == [("C", 1)]


def test_so_is_one_that_expects_counts_of_the_wrong_genes() -> None:
    shares = {"A": [0.17, 0.19, 0.18], "B": [0.12, 0.42, 0.13], "C": [0.04, 0.05, 0.04]}
    assert astray(table(shares, check="share_error")) == [("B", 1)]
    assert astray(table(shares | {"B": [0.12, 0.20, 0.13]}, check="share_error")) == []
    assert astray(table({"B": shares["B"]}, check="share_error")) == [("B", 1)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"A": [0.5, 0.5, 0.5], "B": [0.5, 0.5, 0.46]}, id="a small gap where seeds do not scatter"),
        pytest.param({"A": [0.5, 0.3, 0.4], "B": [0.2, 0.4, 0.3]}, id="seeds that scatter widely"),
        pytest.param({"A": [0.5, 0.5, 0.5], "B": [0.5, 0.5, 0.9]}, id="better than its siblings"),
        pytest.param({"A": [0.5], "B": [0.1]}, id="one seed"),
        pytest.param({"A": [0.5, np.nan], "B": [np.nan, np.nan]}, id="no reconstruction"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_is_not_found(values) -> None:
    assert astray(table(values)) == []


def test_another_models_scatter_does_not_matter() -> None:
    wild = table({"A": [0.9, 0.3, 0.6], "B": [0.2, 0.8, 0.5]}, model="other")
    fits = pd.concat([table(CALM | {"B": [0.46, 0.25, 0.46]}), wild], ignore_index=True)
    assert astray(fits) == [("B", 1)]


@pytest.mark.slow
def test_false_alarms_are_rare_also_with_two_corpora_of_three_seeds() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(300):
        alarms += len(astray(table({name: rng.normal(0.5, 0.02, 3) for name in "AB"})))
    assert alarms / (300 * 6) < 0.005


def test_scores_of_diverged_fits_are_missing_with_the_reason_and_others_untouched() -> None:
    fits = table(CALM | {"B": [0.46, 0.25, 0.46]})
    place = {"model": "ldvae", "task": "reconstruction", "target": "blood"}
    scores = pd.concat(
        [
            score_table(
                [Score("r2_log", "all", value, 10, "higher", reason="was said")], corpus=corpus, seed=seed, **place
            )
            for corpus, _, seed, value, _ in fits.itertuples(index=False)
        ],
        ignore_index=True,
    )
    found = without_diverged(scores, fits)
    missing = found["value"].isna()
    assert found.loc[missing, ["corpus", "seed"]].to_numpy().tolist() == [["B", 1]]
    assert found.loc[missing, "reason"].str.startswith("diverged: of its own training cells").all()
    pd.testing.assert_frame_equal(found[~missing], scores[~missing])
    pd.testing.assert_frame_equal(found.dtypes.to_frame(), scores.dtypes.to_frame())
    pd.testing.assert_frame_equal(without_diverged(scores, table(CALM)), scores)
