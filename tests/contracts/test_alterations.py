"""What every alteration keeps to: training cells only, by seed, whole counts where promised, an account, streams."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import toy
from corpuscle.core import components
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import generator
from corpuscle.corpus import derived
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.context import Context
from corpuscle.execution.opened import Opened
from corpuscle.model.imputer import model_imputer
from corpuscle.source.source import open_source
from examples import example

# Several settings of one alteration, where they go different ways.
CASES = {
    "ablate": {"types": 1, "batches": 1},
    "downsample": {"types": ["T"], "keep": 0.5},
    "exclude": {"where": "cell_type == 'NK'"},
    "impute_rare": {"threshold": 12, "model": "toy:MeanProfile"},
    "impute_rare, published": {"threshold": 12, "model": "toy:MeanProfile", "published": True},
    "label_noise": {"rate": 0.3},
    "oversample": {},
    "pseudobulk": {"k": 2, "size_sd": 0.5},
    "pseudobulk, some kept": {"k": 2, "keep": 1, "small": "leave_out"},
    "pseudobulk, mean": {"k": 2, "how": "mean_size", "size_sd": 0.5},
    "smote": {"n_neighbours": 2},
    "smote, not rounded": {"n_neighbours": 2, "rounding": "none"},
    "synthesize_from_bulk": {"n_cells": 5, "source": "blood"},
    "synthesize_from_bulk, counts": {"n_cells": 5, "source": "blood", "method": "counts", "only": True},
    "thin": {"keep": 0.5},
    "undersample": {"threshold": 4},
}
FRACTIONAL = {"impute_rare, published", "pseudobulk, mean", "smote, not rounded", "synthesize_from_bulk"}
# An alteration that is new has the settings of its docstring's example, for cells of the types B, T and NK.
NEW = sorted({*components.names(Alteration)} - {case.partition(",")[0] for case in CASES})
ALL = [pytest.param(case, id=case) for case in (*CASES, *NEW)]
each = pytest.mark.parametrize("case", ALL)


@pytest.fixture(scope="module")
def corpus(source_once, corpus_of):
    """Two sources, each of two batches, with three types, one of them rare; a cell has no label, another three uses."""
    labels = ["B"] * 12 + ["T"] * 7 + ["NK"] * 4 + [None]
    batches = [f"b{at % 2}" for at in range(24)]
    obs = {"cell_type": labels, "batch": batches}
    one, two = source_once("blood", 24, obs=obs), source_once("other", 24, seed=1, obs=obs)
    found = corpus_of(one, two).take(np.arange(0, 47))
    found.cells.loc[3, "times"] = 3
    return found


def built(case):
    return components.build(
        Alteration, case.partition(",")[0], CASES[case] if case in CASES else example(Alteration, case)
    )


def context(**parts):
    return Context(imputer=model_imputer, **parts)


def alter(case, corpus, seed=0):
    return altered(built(case), corpus, generator(seed, "test"), context())


@each
def test_its_cells_are_those_of_the_corpus_or_made_of_them(case, corpus):
    allowed = {(cell.source, cell.row) for cell in corpus.cells.itertuples()}
    after = alter(case, corpus)
    own = after.cells[after.labels("made") == ""]
    assert {(cell.source, cell.row) for cell in own.itertuples()} <= allowed
    told = derived.origins(after)
    assert {(cell.source, cell.row) for cell in told.itertuples()} <= allowed
    for made in after.used_makers.values():
        assert {(cell.source, cell.row) for cell in made.parents.cells.itertuples()} <= allowed
    assert set(after.sources) <= set(corpus.sources)
    assert list(after.cells.columns[:4]) == ["source", "row", "barcode", "times"]
    assert after.cells.index.tolist() == list(range(len(after)))
    assert (after.cells["times"] >= 1).all()
    assert after.obs().index.is_unique


@each
def test_counts_are_whole_where_promised_and_never_negative(case, corpus):
    after = alter(case, corpus)
    counts = after.counts()
    assert counts.shape == (len(after), corpus.n_genes)
    assert counts.dtype == np.float32
    assert counts.has_sorted_indices
    assert (counts.data > 0).all()
    whole = bool((np.floor(counts.data) == counts.data).all())
    assert whole or not after.is_whole
    assert case in NEW or whole == after.is_whole == (case not in FRACTIONAL)


@each
def test_a_gene_that_a_source_did_not_measure_stays_unmeasured(case, write, corpus_of):
    labels = ["B"] * 12 + ["T"] * 7 + ["NK"] * 5
    obs = {"cell_type": labels, "batch": [f"b{at % 2}" for at in range(24)]}
    names = [f"G{at}" for at in range(10, 40)]
    one = open_source("blood", write("blood", 24, obs=obs))
    two = open_source("other", write("other", 24, seed=1, obs=obs, genes=names))
    after = alter(case, corpus_of(one, two, genes="union"))
    counts = after.counts().toarray()
    for at, source in enumerate(after.sources):
        assert not counts[after.source_codes == at][:, ~after.space.measured(source)].any()
        assert after.measured_SG[at].sum() == 30


@each
def test_the_same_seed_gives_the_same_and_another_another(case, corpus):
    one, two = alter(case, corpus), alter(case, corpus)
    assert one.fingerprint == two.fingerprint
    pd.testing.assert_frame_equal(one.cells, two.cells)
    np.testing.assert_array_equal(one.counts().toarray(), two.counts().toarray())
    others = {alter(case, corpus, seed).fingerprint for seed in range(5)}
    rng = generator(0, "test")
    altered(built(case), corpus, rng, context())
    draws = rng.bit_generator.state != generator(0, "test").bit_generator.state
    assert (len(others) > 1) == draws
    assert corpus.fingerprint not in others


@each
def test_a_cells_counts_do_not_hang_on_what_is_asked_for_with_it(case, corpus):
    after = alter(case, corpus)
    whole = after.counts().toarray()
    order = np.random.default_rng(0).permutation(len(after))
    np.testing.assert_array_equal(after.take(order).counts().toarray(), whole[order])
    np.testing.assert_array_equal(after.counts(order[:5]).toarray(), whole[order[:5]])
    for n_cells in (1, 7):
        blocks = [counts.toarray() for _, counts in after.blocks(n_cells)]
        np.testing.assert_array_equal(np.vstack(blocks), whole)


def test_another_process_opens_them_from_a_store(corpus, tmp_path):
    kept = Opened(tmp_path / "store").corpora
    found = {case: alter(case, corpus) for case in (*CASES, *NEW)}
    keys = [kept.keep(one) for one in found.values()]
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from corpuscle.execution.opened import Opened\n"
        "corpora = Opened(Path(sys.argv[1])).corpora\n"
        "opened = [corpora.open(key) for key in sys.argv[3:]]\n"
        "np.savez(sys.argv[2], *[one.counts().toarray() for one in opened])\n"
        "print(*(one.fingerprint for one in opened))"
    )
    path = [*sys.path, str(Path(toy.__file__).parent)]
    arguments = [str(tmp_path / "store"), str(tmp_path / "counts.npz"), *keys]
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{code}", *arguments],
                          check=True, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.split() == [one.fingerprint for one in found.values()]
    with np.load(tmp_path / "counts.npz") as counts:
        for at, one in enumerate(found.values()):
            np.testing.assert_array_equal(counts[f"arr_{at}"], one.counts().toarray())


@each
def test_a_store_gives_the_corpus_back(case, corpus, tmp_path):
    after = alter(case, corpus)
    opened = Opened(tmp_path / "store")
    back = Opened(tmp_path / "store").corpora.open(opened.corpora.keep(after))
    assert back.identity() == after.identity()
    assert back.name == after.name
    assert [*back.account] == json.loads(json.dumps([*after.account]))
    cells = [one.cells.astype(object).where(one.cells.notna(), None) for one in (back, after)]
    pd.testing.assert_frame_equal(*cells)
    assert opened.corpora.key(back) == opened.corpora.key(after)
    np.testing.assert_array_equal(derived.origins(back), derived.origins(after))


@each
def test_it_leaves_its_account(case, corpus):
    step = built(case)
    after = alter(case, corpus)
    record = after.account[-1]
    json.dumps(record, allow_nan=False)
    assert record["step"] == step.spec()
    assert record["from"] == corpus.n_cells == 49
    assert record["n_cells"] == after.n_cells
    assert len(record) > 3
    assert len(after.account) == len(corpus.account) + 1


@each
def test_it_leaves_the_corpus_as_it_was(case, corpus):
    before, fingerprint = corpus.cells.copy(), corpus.fingerprint
    alter(case, corpus)
    pd.testing.assert_frame_equal(corpus.cells, before)
    assert corpus.take(np.arange(len(corpus))).fingerprint == fingerprint


@each
def test_no_global_state_has_a_say(case, corpus):
    np.random.seed(0)  # noqa: NPY002
    first = alter(case, corpus)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert alter(case, corpus).fingerprint == first.fingerprint
    first.counts()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


THEN = {
    "oversample": {"to": 100},
    "pseudobulk": {"k": 2, "how": "mean_size", "small": "leave_out"},
    "thin": {"keep": 0.5},
}


@each
@pytest.mark.parametrize("then", list(THEN))
def test_steps_compose(case, then, corpus):
    """What one step leaves, the next can alter; made cells keep their origins through both."""
    one, step = alter(case, corpus), components.build(Alteration, then, THEN[then])
    if then == "thin" and not one.is_whole:
        with pytest.raises(CorpusError, match="whole numbers"):
            altered(step, one, generator(1, "test"), context())
        return
    two = altered(step, one, generator(1, "test"), context())
    whole = two.counts().toarray()
    order = np.random.default_rng(0).permutation(len(two))[:9]
    np.testing.assert_array_equal(two.counts(order).toarray(), whole[order])
    assert pickle.loads(pickle.dumps(two)).fingerprint == two.fingerprint
    assert len(two.account) == len(one.account) + 1
    assert two.fingerprint != one.fingerprint
    allowed = {(cell.source, cell.row) for cell in corpus.cells.itertuples()}
    assert {(cell.source, cell.row) for cell in derived.origins(two).itertuples()} <= allowed


@each
def test_spec_rebuilds_an_equal_alteration(case):
    step = built(case)
    spec = step.spec()
    assert components.build(Alteration, spec.pop("name"), spec) == step
    assert step.name in str(step)
