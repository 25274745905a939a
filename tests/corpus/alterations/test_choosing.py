"""Alterations that choose cells: exclude, ablate, downsample, oversample, undersample; and label noise."""

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from corpuscle.core.errors import ComponentError, CorpusError, InputError


def table(corpus, *columns):
    """Count uses by columns."""
    frame = pd.DataFrame({column: corpus.labels(column) for column in columns})
    return corpus.cells["times"].groupby([frame[column] for column in columns]).sum().to_dict()


def test_exclude_leaves_out_what_matches(alter, labelled):
    after = alter(labelled({"B": 6, "T": 5}), "exclude", where="cell_type == 'B' and batch == 'b0'")
    assert table(after, "cell_type", "batch") == {("B", "b1"): 3, ("T", "b0"): 3, ("T", "b1"): 2}
    assert after.account[-1]["left_out"] == 3
    assert after.account[-1]["by_source"] == {"blood": 3}


@pytest.mark.parametrize(
    ("where", "message"),
    [("cell_type == 'NK'", "matches none"), ("cell_type != 'NK'", "no cell would be left"), ("kind == 'B'", "kind")],
)
def test_exclude_refuses_nothing_and_everything(alter, labelled, where, message):
    with pytest.raises(InputError, match=message):
        alter(labelled({"B": 6, "T": 5}), "exclude", where=where)


def test_exclude_refuses_a_column_that_one_source_lacks(alter, write, corpus_of):
    from corpuscle.source.source import open_source

    one = open_source("blood", write("blood", 6, obs={"stage": ["x", "y"] * 3}))
    with pytest.raises(CorpusError, match="'other' does not have"):
        alter(corpus_of(one, open_source("other", write("other", 6, seed=1))), "exclude", where="stage == 'x'")


def test_one_random_type_of_one_random_batch_is_cut_and_the_rest_stays(alter, labelled):
    """The published perturbation: over seeds, every type in every batch has its turn."""
    corpus, seen = labelled({"B": 40, "T": 40, "NK": 40}), set()
    before = table(corpus, "cell_type", "batch")
    for seed in range(30):
        kept, gone = (alter(corpus, name, seed, types=1, batches=1, **more)
                      for name, more in (("downsample", {"keep": 0.1}), ("ablate", {})))  # fmt: skip
        for after, n in ((kept, 2), (gone, 0)):
            changed = {key: n for key, n in before.items() if table(after, "cell_type", "batch").get(key, 0) != n}
            (key,) = changed
            assert table(after, "cell_type", "batch").get(key, 0) == n
            assert after.account[-1]["touched"] == [{"batch": key[1], "cell_type": key[0], "n_cells": n, "from": 20}]
        # At one seed both arms touch the same cells.
        assert kept.account[-1]["touched"][0]["cell_type"] == gone.account[-1]["touched"][0]["cell_type"]
        seen.add((kept.account[-1]["touched"][0]["cell_type"], kept.account[-1]["touched"][0]["batch"]))
    assert len(seen) == 6


def test_given_types_in_random_batches_are_sought_where_they_are(alter, labelled):
    corpus = labelled({"B": 10, "T": 10})
    corpus = corpus.take(~((corpus.labels("cell_type") == "T") & (corpus.labels("batch") == "b1")))
    for seed in range(8):
        assert alter(corpus, "ablate", seed, types=["T"], batches=1).account[-1]["touched"][0]["batch"] == "b0"
    with pytest.raises(CorpusError, match="2 of batch are to be chosen at random, but only 1 can be: b0"):
        alter(corpus, "ablate", types=["T"], batches=2)
    with pytest.raises(CorpusError, match="no cell of 'T' in batch 'b1'"):
        alter(corpus, "ablate", types=["T"], batches=["b1"])
    with pytest.raises(CorpusError, match="no cell of 'T' in batch 'b1'"):
        alter(corpus, "downsample", types=["T"], batches=["b0", "b1"], keep=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"types": ["NK"]}, "no cell of cell_type 'NK' to change"),
        ({"types": ["t"], "batches": 1}, "did you mean 'T'"),
        ({"types": 3}, "3 of cell_type .* only 2"),
        ({"batches": ["b7"]}, "no cell of batch 'b7'"),
        ({"types": 1, "by": "kind"}, "no column 'kind'"),
        ({"types": 1, "where": "cell_type == 'X'"}, "matches none"),
        ({}, "no cell would be left"),
    ],
)
def test_ablate_refuses_what_is_not_there(alter, labelled, settings, message):
    with pytest.raises(InputError, match=message):
        alter(labelled({"B": 6, "T": 5}), "ablate", **settings)


@pytest.mark.parametrize("types", [0, -1, [], True, 1.5, ["B", 2], "B"])
def test_types_are_a_number_or_a_list_of_labels(alter, labelled, types):
    with pytest.raises(ComponentError, match="a number of labels to choose at random, or a list of labels"):
        alter(labelled({"B": 6, "T": 5}), "ablate", types=types)


def test_downsample_keeps_at_least_one_and_takes_at_least_one(alter, labelled):
    corpus = labelled({"B": 9, "T": 1})
    assert table(alter(corpus, "downsample", types=["B"], keep=0.01), "cell_type") == {"B": 1, "T": 1}
    with pytest.raises(CorpusError, match="only 1 cell of 'T'"):
        alter(corpus, "downsample", types=["T"], keep=0.5)


def test_downsample_counts_uses(alter, labelled):
    corpus = alter(labelled({"B": 30, "T": 3}), "oversample")
    after = alter(corpus, "downsample", types=["T"], keep=0.5)
    assert table(after, "cell_type") == {"B": 30, "T": 15}


@pytest.mark.parametrize("to", [None, 20, 60])
def test_oversample_has_the_counts_of_imbalanced_learn(alter, labelled, to):
    corpus = labelled({"B": 40, "T": 15, "NK": 4, None: 3})
    after = alter(corpus, "oversample", **({"to": to} if to else {}))
    label = corpus.labels("cell_type")
    known = label[label != ""]
    n_before = dict(zip(*np.unique(known, return_counts=True), strict=True))
    strategy = {name: max(to, n) for name, n in n_before.items()} if to else "auto"
    _, theirs = RandomOverSampler(sampling_strategy=strategy, random_state=0).fit_resample(
        np.zeros((len(known), 1)), known
    )
    ours = table(after, "cell_type")
    assert ours.pop("") == 3
    assert ours == dict(zip(*np.unique(theirs, return_counts=True), strict=True))
    # Nothing is copied, and no cell is lost.
    assert len(after) == len(corpus)
    assert after.n_cells == sum(ours.values()) + 3


def test_oversample_repeats_uniformly(alter, labelled):
    corpus = labelled({"B": 1000, "T": 4})
    times = [alter(corpus, "oversample", seed).cells["times"][corpus.labels("cell_type") == "T"] for seed in range(20)]
    mean = np.mean(times, axis=0)
    # 996 further uses among 4 cells, 20 times: a standard deviation of 3.1 around 250.
    assert (np.abs(mean - 250) < 15).all()


@pytest.mark.parametrize("threshold", [None, 4, 5, 15, 39])
def test_undersample_has_the_counts_of_imbalanced_learn(alter, labelled, threshold):
    corpus = labelled({"B": 40, "T": 15, "NK": 4, None: 3})
    after = alter(corpus, "undersample", **({"threshold": threshold} if threshold else {}))
    label = corpus.labels("cell_type")
    known = label[label != ""]
    names, n = np.unique(known, return_counts=True)
    # As published: of the labels at or above the threshold, the smallest is cut to it, the others to the same.
    large = [name for name, size in zip(names, n, strict=True) if size >= (threshold or 0)]
    goal = threshold or min(n)
    strategy = dict.fromkeys(large, goal)
    _, theirs = RandomUnderSampler(sampling_strategy=strategy, random_state=0).fit_resample(
        np.zeros((len(known), 1)), known
    )
    ours = table(after, "cell_type")
    assert ours.pop("") == 3
    assert ours == dict(zip(*np.unique(theirs, return_counts=True), strict=True))
    assert set(after.cells["times"]) == {1}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("oversample", {"to": 4}, "every cell_type has 4 cells or more"),
        ("undersample", {"threshold": 40}, "the largest, 'B', has 40"),
        ("undersample", {"threshold": 400}, "no cell_type has more than 400"),
        ("oversample", {"by": "tissue"}, "no column 'tissue'"),
        ("undersample", {"by": "nothing"}, "no cell has a nothing"),
    ],
)
def test_a_resampling_that_would_change_nothing_is_refused(alter, labelled, name, settings, message):
    corpus = labelled({"B": 40, "T": 15, "NK": 5}, obs={"nothing": [None] * 59 + ["x"]}).take(np.arange(59))
    with pytest.raises(CorpusError, match=message):
        alter(corpus, name, **settings)


def test_noise_flips_the_stated_share_to_other_labels(alter, labelled):
    corpus = labelled({"B": 50, "T": 30, "NK": 20, None: 5})
    after = alter(corpus, "label_noise", rate=0.25)
    before, now = corpus.labels("cell_type"), after.labels("cell_type")
    assert np.sum(before != now) == 25
    assert (now[before == ""] == "").all()
    np.testing.assert_array_equal(after.labels("cell_type_before_noise"), before)
    flips = pd.DataFrame({"from": before, "to": now})[before != now].value_counts().to_dict()
    assert {(flip["from"], flip["to"]): flip["n_cells"] for flip in after.account[-1]["touched"]} == flips
    np.testing.assert_array_equal(after.counts().toarray(), corpus.counts().toarray())


def test_noise_is_uniform_over_the_other_labels(alter, labelled):
    corpus = labelled({"B": 900, "T": 50, "NK": 50})
    after = alter(corpus, "label_noise", rate=1.0)
    now = after.labels("cell_type")[corpus.labels("cell_type") == "B"]
    assert "B" not in now
    # 900 draws of two: a standard deviation of 15.
    assert abs(np.sum(now == "T") - 450) < 60


def test_noise_to_a_label_takes_the_others_only(alter, labelled):
    corpus = labelled({"B": 50, "T": 30})
    after = alter(corpus, "label_noise", rate=0.5, to="T")
    assert table(after, "cell_type") == {"B": 25, "T": 55}
    two = alter(after, "label_noise", rate=0.5, to="B", where="batch == 'b0'")
    np.testing.assert_array_equal(two.labels("cell_type_before_noise"), corpus.labels("cell_type"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.5, "to": "NK"}, "no cell has the cell_type 'NK'"),
        ({"rate": 0.001}, "is none"),
        ({"rate": 0.5, "by": "assay"}, "no column 'assay'"),
        ({"rate": 0.5, "where": "cell_type == 'X'"}, "matches none"),
        ({"rate": 1.5}, "less than or equal to 1"),
        ({"rate": 0.5, "by": "barcode"}, "by should be"),
    ],
)
def test_noise_refuses_what_cannot_be(alter, labelled, settings, message):
    with pytest.raises(InputError, match=message):
        alter(labelled({"B": 6, "T": 5}), "label_noise", **settings)
