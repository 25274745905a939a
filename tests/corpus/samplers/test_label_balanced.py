"""Label-balanced draws keep to weights and caps, and count what has no label."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.core.errors import CorpusError
from corpuscle.corpus.context import Context
from corpuscle.corpus.samplers.label_balanced import LabelBalanced

RNG = np.random.default_rng


def counted(pool, chosen, column="cell_type"):
    values, counts = np.unique(pool.labels(column)[chosen], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.fixture
def pool(make):
    """Three types, one of them of one cell, and cells without; two donors of unlike size."""
    return make(60, obs={
        "cell_type": ["B"] * 30 + ["T"] * 20 + ["Mono"] + [None] * 9,
        "donor": [("d1", "d2", "d1", "d1")[at % 4] for at in range(60)],
    })  # fmt: skip


def test_odd_cells_go_to_labels_by_chance(make):
    pool = make(30)
    found = [
        counted(pool, LabelBalanced(by="donor").choose(pool, 10, RNG(seed), Context()), "donor") for seed in range(20)
    ]
    assert {tuple(sorted(counts.values())) for counts in found} == {(3, 3, 4)}
    assert len({tuple(counts.items()) for counts in found}) == 3


def test_missing_labels_are_a_group_of_their_own_and_counted(pool):
    chosen = LabelBalanced().choose(pool, 16, RNG(0), Context())
    assert counted(pool, chosen) == {"": 5, "B": 5, "Mono": 1, "T": 5}
    assert LabelBalanced().notes(pool.take(chosen)) == {"without_label": 5}


def test_weights_are_proportions(pool):
    chosen = LabelBalanced(weights={"B": 4.0, "": 2.0}).choose(pool, 15, RNG(0), Context())
    assert counted(pool, chosen) == {"": 4, "B": 8, "Mono": 1, "T": 2}
    chosen = LabelBalanced(weights={"B": 4.0}).choose(pool, 58, RNG(0), Context())
    assert counted(pool, chosen)["B"] == 30


@pytest.mark.parametrize("column", [[1, 2] * 10, pd.Categorical([1, 2] * 10), ["1", "2"] * 10], ids=["n", "c", "text"])
def test_weights_name_labels_as_texts(make, column):
    pool = make(20, obs={"batch": column})
    chosen = LabelBalanced(by="batch", weights={"1": 3.0}).choose(pool, 12, RNG(0), Context())
    assert counted(pool, chosen, "batch") == {"1": 9, "2": 3}


@pytest.mark.parametrize("cap", [1, 7, 15, 20])
def test_no_donor_gives_more_than_the_cap(pool, cap):
    n_cells = 2 * cap if cap <= 15 else 35
    chosen = LabelBalanced(max_per_donor=cap).choose(pool, n_cells, RNG(0), Context())
    assert len(np.unique(chosen)) == n_cells
    assert max(counted(pool, chosen, "donor").values()) <= cap


def test_a_capped_donor_is_cut_evenly_over_its_labels(make):
    pool = make(100, obs={"cell_type": ["B"] * 90 + ["T"] * 10, "donor": ["d1"] * 100})
    assert counted(pool, LabelBalanced(max_per_donor=12).choose(pool, 12, RNG(0), Context())) == {"B": 6, "T": 6}


def test_one_draw_is_in_a_larger_under_weights_and_caps(pool):
    sampler = LabelBalanced(weights={"B": 0.5}, max_per_donor=15)
    chosen = [set(sampler.choose(pool, n, RNG(0), Context()).tolist()) for n in (5, 17, 30)]
    assert chosen[0] < chosen[1] < chosen[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "celltype"}, "label_balanced: there is no column 'celltype' in blood; did you mean 'cell_type'"),
        ({"weights": {"Mon": 2.0}}, "weights has 'Mon', which is no cell_type here; did you mean 'Mono'"),
        ({"max_per_donor": 4}, "10 cells are asked for, but with at most 4 of each donor only 8 of 60 are left"),
    ],
)
def test_what_cannot_be_drawn_is_told(pool, settings, message):
    with pytest.raises(CorpusError, match=message):
        LabelBalanced(**settings).choose(pool, 10, RNG(0), Context())


def test_a_cap_needs_donors(make):
    pool = make(10)
    pool.cells.drop(columns="donor", inplace=True)
    with pytest.raises(CorpusError, match="no column 'donor'"):
        LabelBalanced(max_per_donor=4).choose(pool, 4, RNG(0), Context())


def test_data_sets_have_an_equal_vote_within_each_type(make):
    types, studies = (
        ["B"] * 40 + ["T"] * 20,
        (["large"] * 30 + ["small"] * 8 + ["tiny"] * 2) + ["large"] * 18 + ["small"] * 2,
    )
    pool = make(60, obs={"cell_type": types, "study": studies})
    chosen = LabelBalanced(within="study").choose(pool, 24, RNG(0), Context())
    both = [*zip(pool.labels("cell_type")[chosen], pool.labels("study")[chosen], strict=True)]
    assert {pair: both.count(pair) for pair in set(both)} == {
        ("B", "large"): 5, ("B", "small"): 5, ("B", "tiny"): 2, ("T", "large"): 10, ("T", "small"): 2,
    }  # fmt: skip
    smaller = LabelBalanced(within="study").choose(pool, 12, RNG(0), Context())
    assert set(smaller) < set(chosen), "a smaller draw is contained in a larger"
    other = LabelBalanced(within="study").choose(pool, 24, RNG(1), Context())
    assert set(other) != set(chosen)
