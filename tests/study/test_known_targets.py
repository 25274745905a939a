"""Models are asked about the genes that their corpus and the target both measured; in an intersection, about all."""

import numpy as np
import pandas as pd
import pytest

from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.execution import engine, tables
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.study.known_targets import KnownTargets, warnings_of
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

STUDY = """
name = "small"
seeds = 1
genes = {{ space = "{space}" }}
models = [{{ name = "toy:MeanProfile" }}]
corpora = [
  {{ name = "One", parts = [{{ source = "one", n_cells = 10 }}] }},
  {{ name = "Both", parts = [{{ source = "one", n_cells = 10 }}, {{ source = "two", n_cells = 10 }}] }},
]
tasks = [{tasks}]
holdout = {{ one = {{ by = "cell", share = 0.5 }}, two = {{ by = "cell", share = 0.5 }} }}
[sources]
one = {{ path = "one.h5ad" }}
two = {{ path = "two.h5ad" }}
"""
TASKS = '{ name = "residuals", on = ["two"] }, { name = "reconstruction", n_variable_genes = 5, on = ["two"] }'
SHARED = [f"G{at}" for at in range(20, 30)]


@pytest.fixture
def plan(tmp_path, write):
    write("one", 24, seed=1)
    write("two", 24, seed=2, genes=[f"G{at}" for at in range(20, 50)])
    return lambda space="union", tasks=TASKS: prepare(Study.parse(STUDY.format(space=space, tasks=tasks), tmp_path))


def done(plan, folder):
    opened = Opened(folder / "store")
    runs = runs_of(plan, opened.corpora)
    wanted = [artifact for one in runs for artifact in one.all]
    assert engine.execute(wanted, opened.corpora, 0, lambda _news: None) == {}
    return tables.scores(runs, opened.store, {})


def test_genes_that_the_corpus_never_measured_count_as_not_measured(plan):
    found = plan()
    target, corpus = found.targets["two"], found.corpora["One", 0]
    seen = target.as_known_to(corpus)
    kept = np.isin(target.space.ids, SHARED)
    np.testing.assert_array_equal(seen.measured_SG, [kept])
    np.testing.assert_array_equal(seen.counts().toarray(), target.counts().toarray() * kept)
    assert seen.space.ids == target.space.ids
    assert target.as_known_to(found.corpora["Both", 0]) is target


def test_scores_are_on_the_genes_that_both_measured_and_say_so(plan, tmp_path):
    found = plan()
    scores = done(found, tmp_path)
    one, both = (scores[scores["corpus"] == name] for name in ("One", "Both"))
    assert set(one.query("task == 'residuals'")["unit"]) == {f"gene={gene}" for gene in SHARED}
    assert len(set(both.query("task == 'residuals'")["unit"])) == 30
    note = "on 10 of the target's 30 genes: those that the training corpus measured, too"
    assert one["reason"].str.contains(note).all()
    assert not both["reason"].str.contains("genes:").any()
    # Both sides are shares of the genes that are scored.
    target = found.targets["two"]
    counts = target.counts()[:, np.isin(target.space.ids, SHARED)]
    observed = one.query("metric == 'observed_cp10k'").set_index("unit")["value"]
    expected = np.asarray(cp10k(counts).mean(axis=0)).ravel()
    np.testing.assert_allclose(observed.to_numpy(), expected)


def test_where_nothing_is_shared_the_value_is_missing_with_its_reason(write, plan, tmp_path):
    write("two", 24, seed=2, genes=[f"X{at}" for at in range(30)])
    scores = done(plan(), tmp_path).query("corpus == 'One'")
    assert scores["value"].isna().all()
    assert scores["reason"].str.contains("none of the genes").all()


def of_targets(plan):
    return [warning for warning in plan.warnings if warning.place.startswith("tasks")]


def test_in_an_intersection_nothing_changes(plan, tmp_path):
    found = plan('intersection", min_counts_kept = 0, by = "symbol')
    corpora = Opened(tmp_path).corpora
    asked = [scores for one in runs_of(found, corpora) for scores in one.scores]
    assert all(corpora.named(one.target) is found.targets["two"] and not one.note for one in asked)
    assert not of_targets(found)


def test_a_comparison_is_on_the_genes_that_both_corpora_measured(plan, tmp_path, monkeypatch):
    from corpuscle.evaluation.tasks.latents import Latents

    asked = []

    def compare(_task, _model, _reference, _of, target, _rng):
        asked.append(int(target.measured_SG.sum()))
        return []

    monkeypatch.setattr(Latents, "compare", compare)
    found = plan(tasks='{ name = "latents", reference_corpus = "One", on = ["two"] }')
    done(found, tmp_path)
    assert asked == [10, 10]


def test_a_plan_warns_of_scores_on_other_genes(plan):
    (warning,) = of_targets(plan())
    assert warning.place == "tasks[0].on[0]"
    assert (
        "of its 30, 10 for 'One'; 30 for 'Both', so scores of these corpora are not on the same genes"
        in warning.message
    )


def test_a_warning_names_a_few_corpora(plan):
    found = plan()
    corpora = {f"One {at}": found.corpora["One", 0] for at in range(50)}
    said = warnings_of(["two"], corpora, KnownTargets(found.targets))
    assert "10 for 'One 0', 'One 1', 'One 2' and 47 more; set space" in said["two"]
    assert pd.isna(said.get("one", np.nan))
