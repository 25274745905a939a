"""What targets and corpora share in labels is found before anything is trained."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.study.labels import look, remarks
from corpuscle.study.preparation import prepare
from corpuscle.study.shared_labels import shared_labels
from corpuscle.study.spec import Study

STUDY = """
name = "small"
seeds = 1
models = [{{ name = "{model}", n_genes = 10 }}]
corpora = [
  {{ name = "Blood", parts = [{{ source = "blood", fraction = 1.0 }}] }},
  {{ name = "Other", parts = [{{ source = "other", fraction = 1.0 }}] }},
]
tasks = [{{ name = "annotation", split = "{split}", on = ["blood"] }}]
[sources]
blood = {{ path = "blood.h5ad" }}
other = {{ path = "other.h5ad" }}
[holdout]
blood = {{ by = "cell", share = 0.5 }}
"""


@pytest.fixture(autouse=True)
def _cells_are_not_too_poor(monkeypatch):
    """Leave out the warning of cells with few genes: the files of these tests have thirty."""
    monkeypatch.setattr("corpuscle.study.overlaps.undecidable", lambda *_: ())


@pytest.fixture
def planned(write, tmp_path):
    """Prepare a study of two files whose cells have these types."""

    def made(blood, other, *, split="corpus", model="hvg"):
        write("blood", 24, obs={"cell_type": blood})
        write("other", 24, seed=1, obs={"cell_type": other})
        return prepare(Study.parse(STUDY.format(split=split, model=model), tmp_path))

    return made


def _row(plan):
    found = shared_labels(plan.study, plan.targets, {name: corpus for (name, _), corpus in plan.corpora.items()})
    return found.to_dict("records")


def of_labels(plan):
    return [warning for warning in plan.warnings if warning.place != "seeds"]


def test_shared_labels_are_laid_out(planned):
    plan = planned(["B", "T", "NK"] * 8, ["B", "alpha"] * 12)
    shared = "all in Blood; 1 of 3 in Other (without NK, T)"
    names = {"shared": "3: B; NK; T", "only in the target": "none", "only in corpora": "1: alpha"}
    assert _row(plan) == [{"label": "cell_type", "target": "blood", **names, "in the corpora": shared}]
    assert of_labels(plan) == []


@pytest.mark.parametrize(("split", "model", "warned"), [
    ("corpus", "hvg", True), ("cell", "logistic_regression", True), ("cell", "hvg", False),
])  # fmt: skip
def test_a_corpus_that_shares_no_type_is_warned_of_where_its_types_are_looked_up(planned, split, model, warned):
    plan = planned(["B", "T"] * 12, ["alpha", "beta"] * 12, split=split, model=model)
    assert _row(plan)[0]["in the corpora"] == "all in Blood; none in Other"
    assert [warning.place for warning in of_labels(plan)] == ["tasks[0]"] * warned
    if warned:
        assert "target 'blood' and corpus 'Other' share no cell_type: there, B, T; in 'Other', alpha, beta" in str(
            of_labels(plan)[0]
        )


def test_what_may_mean_the_same_is_named_where_nothing_is_shared(planned):
    (warning,) = of_labels(planned(["CD14 Mono", "B"] * 12, ["CD14+ Monocyte", "alpha"] * 12))
    assert "These may mean the same: 'CD14 Mono' ~ 'CD14+ Monocyte'; give such one name under [labels]" in str(warning)


@pytest.mark.parametrize(("other", "warned"), [("CD14+ Monocyte", True), ("Monocytes", False), ("CD16 Mono", False)])
def test_types_that_are_written_otherwise_are_warned_of_though_others_are_shared(planned, other, warned):
    found = [str(one) for one in of_labels(planned(["CD14 Mono", "B"] * 12, [other, "B"] * 12))]
    assert [one.startswith("line 9: tasks[0]: labels of cell_type of target 'blood' look like") for one in found] == (
        [True] * warned
    )
    assert all("'CD14 Mono' ~ 'CD14+ Monocyte' (of corpus 'Other'); if they mean the same" in one for one in found)


def test_labels_that_look_alike_are_warned_of(planned):
    plan = planned(["CD4 T", "B"] * 12, ["cd4-T", "B"] * 12)
    (warning,) = of_labels(plan)
    assert "'CD4 T' (in blood) and 'cd4-T' (in Other)" in str(warning)


def test_a_target_without_labels_and_texts_for_none_are_warned_of(planned):
    plan = planned(["NA"] * 24, ["B", "T"] * 12)
    assert [warning.place for warning in of_labels(plan)] == ["sources.blood", "tasks[0]"]
    assert "cell_type reads 'NA' in 24 of 24 cells" in str(of_labels(plan)[0])
    assert "no cell of target 'blood' has a cell_type" in str(of_labels(plan)[1])


def test_many_corpora_are_summarised(planned):
    plan = planned(["B", "T", "NK", "Mono"] * 6, ["B", "T"] * 12)
    corpus, target = plan.corpora["Blood", 0], plan.targets["blood"]
    n_types = np.arange(2000) % 5
    kept = {n: corpus.take(corpus.cells["cell_type"].isin(["B", "T", "NK", "Mono"][:n]).to_numpy()) for n in range(6)}
    table = shared_labels(plan.study, {"blood": target}, {f"c{at}": kept[n] for at, n in enumerate(n_types)})
    assert table["in the corpora"].tolist() == [
        "all in c4, c9, c14 and 397 more; 3 of 4 in c3, c8, c13 and 397 more (without Mono); "
        "2 of 4 in c2, c7, c12 and 397 more (without Mono, NK); 1 of 4 in c1, c6, c11 and 397 more "
        "(without Mono, NK, T); at most 0 in 400 more corpora"
    ]
    apart = {f"c{at}": plan.corpora["Other", 0].take(np.zeros(24, bool)) for at in range(2000)}
    (remark,) = remarks(plan.study, {"blood": target}, apart)
    assert "corpora 'c0', 'c1', 'c2' and 1,997 more share no cell_type" in remark.message


@pytest.mark.parametrize(("one", "other", "alike"), [
    ("CD4 T", "cd4-T", True), ("T cell", "T-cell ", True), ("1.0", "1", True), ("B_cell", "b cell", True),
    ("CD4+ T", "CD4- T", False), ("s1.1", "s11", False), ("-1", "B", False), ("-1", "1", False),
    ("-inf", "inf", False), ("CD4- T", "CD4 T", False), ("CD4-", "CD4", False), ("CD4- T", "cd4-  t", True),
    ("T - B", "T-B", True), ("-1", "-1.0", True), ("?", "!", False), ("0.5", "05", False),
])  # fmt: skip
def test_case_blanks_and_punctuation_are_not_looked_at(one, other, alike):
    assert (look(one) == look(other)) is alike


def test_a_column_without_values_has_no_labels(make):
    corpus = make()
    corpus.cells["cell_type"] = pd.Categorical([None] * len(corpus))
    study = Study.parse(STUDY.format(split="corpus", model="hvg"))
    assert shared_labels(study, {"blood": corpus}, {"Blood": corpus}).empty


def test_numbers_next_to_a_source_without_them_are_named_as_they_are_in_their_own(write, tmp_path):
    batches = {"cell_type": ["B", "T"] * 12, "batch": np.repeat([0, 1], 12)}
    write("blood", 24, obs=batches)
    write("other", 24, seed=1)
    text = STUDY.format(split="corpus", model="hvg").replace(
        '"other", fraction = 1.0 }]',
        '"other", fraction = 1.0 }, { source = "blood", fraction = 1.0 }], '
        'steps = [{ alteration = "ablate", batches = ["1"] }]',
    )
    plan = prepare(Study.parse(text, tmp_path))
    assert set(plan.corpora["Other", 0].labels("batch")) == {"", "0"}
    counted = plan.composition().query("column == 'batch' and corpus == 'Other'")["value"]
    assert set(counted) == {"(missing)", "0"}
