"""In place: tasks that learn no label are asked about the cells that a model was fitted on."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import corpuscle
from corpuscle.core.errors import StudyError
from corpuscle.core.randomness import generator
from corpuscle.core.scores import label_list, listed_labels
from corpuscle.evaluation.tasks.clustering import Clustering
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.execution.results import Results
from corpuscle.model.architectures.pca import PCA
from corpuscle.study.known_targets import NOTE, KnownTargets
from corpuscle.study.preparation import prepare
from corpuscle.terminal import show_results

STUDY = """
name = "imbalance"
seeds = 2
baseline = "Control"
models = [{ name = "pca", n_components = 3 }]
corpora = [
  { name = "Control", parts = [{ source = "blood", n_cells = 80 }] },
  { name = "Fewer", parts = [{ source = "blood", n_cells = 80 }], steps = [
    { alteration = "downsample", types = 1, batches = 1, keep = 0.1 },
  ] },
]
tasks = [{ name = "clustering", resolutions = [], on = ["corpus"] }]
[sources]
blood = { path = "blood.h5ad" }
"""


@pytest.fixture
def study(tmp_path, write):
    rng = np.random.default_rng(0)
    labels = {"cell_type": rng.permutation(["B", "CD4+, T"] * 60), "batch": ["b1", "b2"] * 60, "donor": ["d"] * 120}
    write("blood", 120, obs=labels)
    return lambda text=STUDY: corpuscle.Study.parse(text, tmp_path)


def test_a_corpus_is_asked_about_itself_altered_as_it_is(study, tmp_path):
    results = corpuscle.run(study(), tmp_path / "out", workers=0)
    assert not results.failures
    scores = results.scores.query("unit == 'all' and metric == 'ari'").set_index(["corpus", "seed"])
    assert set(results.scores["target"]) == {"corpus"}
    assert results.scores["reason"].str.contains("in place").all()
    plan = prepare(study())
    for (name, seed), row in scores.iterrows():
        corpus = plan.corpora[name, seed]
        assert row["n_cells"] == len(corpus) == (80 if name == "Control" else row["n_cells"])
        fitted = PCA(n_components=3).fit(corpus, seed)
        task = Clustering(resolutions=[])
        asked = task.run(fitted, corpus, corpus, generator(seed, "task", "clustering", "corpus"))
        assert row["value"] == next(score.value for score in asked if (score.metric, score.unit) == ("ari", "all"))
        touched = corpus.account[-1]["touched"] if name == "Fewer" else []
        for column, label in (("altered_type", "cell_type"), ("altered_batch", "batch")):
            assert row[column] == label_list([one[label] for one in touched])
    assert scores.loc["Fewer", "n_cells"].max() < 80
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "its own training cells, in place" in page
    assert "other cells of the same targets" not in page, "each corpus has its own cells"
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())["targets"]
    assert [fact["name"] for fact in facts] == ["corpus"]
    saved = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert set(saved.query("corpus == 'Fewer'")["altered_batch"]) <= {'["b1"]', '["b2"]'}


def test_held_out_cells_are_asked_about_next_to_it(study, tmp_path):
    text = STUDY.replace('on = ["corpus"]', 'on = ["corpus", "blood"]').replace("n_cells = 80", "n_cells = 50")
    text = text.replace("types = 1, batches = 1, keep = 0.1", 'types = ["CD4+, T", "B"], batches = 1, keep = 0.5')
    text = text.replace("tasks = [", "tasks = [{ name = 'annotation', on = ['blood'] }, ")
    text += '[holdout]\nblood = { by = "cell", share = 0.4 }\n'
    results = corpuscle.run(study(text), tmp_path / "out", workers=0)
    assert not results.failures
    in_place = results.scores["target"] == "corpus"
    assert 0 < in_place.sum() < len(in_place)
    assert not results.scores.loc[~in_place, "reason"].str.contains("in place").any()
    assert set(pd.read_csv(tmp_path / "out" / "noise_ceiling.csv")["target"]) == {"blood"}
    # As docs/study-file.md says: the F1 of each type that was cut, next to that in a corpus that was not.
    f1 = results.scores[results.scores["metric"] == "f1"]
    same = ["model", "seed", "task", "target", "way", "unit"]
    both = f1[f1["about_altered"]].merge(f1[f1["corpus"] == "Control"], on=same, suffixes=("", "_control"))
    assert set(both["corpus"]) == {"Fewer"}
    assert both.groupby("seed")["unit"].agg(set).tolist() == [{"cell_type=B", "cell_type=CD4+, T"}] * 2
    assert both["value_control"].notna().all()
    assert Results.load(tmp_path / "out").scores["about_altered"].tolist() == results.scores["about_altered"].tolist()


@pytest.mark.parametrize(
    ("on", "task", "message"),
    [
        ('["corpus"]', "annotation", "annotation cannot be asked in place, of the cells that a model was fitted on"),
        ('[{ source = "corpus", where = "batch == \'b1\'" }]', "clustering", "leave out where and name"),
        ('["corpus", "corpus"]', "clustering", "stands twice"),
        ('["corpus", { source = "blood", name = "corpus" }]', "clustering", "stands twice"),
        ('["corpse"]', "clustering", "corpse"),
    ],
)
def test_what_cannot_be_asked_in_place_is_refused(study, on, task, message):
    text = STUDY.replace('on = ["corpus"]', f"on = {on}").replace('"clustering", resolutions = []', f'"{task}"')
    with pytest.raises(StudyError, match=message):
        study(text)


def test_a_source_of_that_name_is_meant_where_there_is_one(study, tmp_path, write):
    text = STUDY.replace("blood = {", "corpus = {").replace('source = "blood"', 'source = "corpus"')
    text += '[holdout]\ncorpus = { by = "cell", share = 0.3 }\n'
    plan = prepare(study(text))
    assert list(plan.targets) == ["corpus"]
    assert len(plan.targets["corpus"]) == 36


@pytest.mark.parametrize(
    ("step", "types", "batches"),
    [
        ('{ alteration = "ablate", types = ["B"], batches = ["b1"] }', ["B"], ["b1"]),
        ('{ alteration = "downsample", types = ["B", "CD4+, T"], keep = 0.1 }', ["B", "CD4+, T"], ["b1", "b2"]),
        ('{ alteration = "pseudobulk", k = 2 }', ["B", "CD4+, T"], ["b1", "b2"]),
        ('{ alteration = "undersample", threshold = 20 }', ["B", "CD4+, T"], ["b1", "b2"]),
        # What a step chose by is no cell type.
        ('{ alteration = "downsample", by = "batch", types = ["b2"], keep = 0.5 }', ["B", "CD4+, T"], ["b2"]),
        # What a step says of itself does not matter: it is counted.
        ("{ alteration = \"exclude\", where = \"cell_type == 'B' and batch == 'b2'\" }", ["B"], ["b2"]),
        ('{ alteration = "label_noise", rate = 1.0, to = "B", where = "batch == \'b1\'" }', ["B", "CD4+, T"], ["b1"]),
        ('{ alteration = "doublets", share = 1.0 }', ["B", "CD4+, T"], ["b1", "b2"]),
        ('{ alteration = "oversample", to = 60 }', ["B", "CD4+, T"], ["b1", "b2"]),
        ('{ alteration = "thin", keep = 0.5 }', [], []),
    ],
)
def test_scores_say_which_types_of_which_batches_a_step_changed_the_number_of(study, tmp_path, step, types, batches):
    text = STUDY.replace('{ alteration = "downsample", types = 1, batches = 1, keep = 0.1 }', step)
    opened = Opened(tmp_path / "store")
    runs = runs_of(prepare(study(text)), opened.corpora)
    for one in (run for run in runs if run.run.corpus == "Fewer"):
        assert [listed_labels(labels) for labels in one.altered] == [types, batches]
    assert {one.altered for one in runs if one.run.corpus == "Control"} == {("", "")}


def test_cells_that_count_several_times_are_asked_about_once_and_it_is_said(study):
    step = '{ alteration = "oversample", to = 60 }'
    plan = prepare(study(STUDY.replace('{ alteration = "downsample", types = 1, batches = 1, keep = 0.1 }', step)))
    corpus = plan.corpora["Fewer", 0]
    asked = KnownTargets(plan.targets).of("corpus", corpus)
    assert asked.cells is corpus
    n_repeated = int((corpus.cells["times"] > 1).sum())
    assert asked.note.endswith(f"; {n_repeated} of them count several times in training, and are asked about once")
    assert KnownTargets(plan.targets).of("corpus", plan.corpora["Control", 0]).note == NOTE
    # As `to_anndata` says.
    adata = corpus.to_anndata()
    assert len(adata[np.repeat(np.arange(len(adata)), adata.obs["times"])]) == corpus.n_cells == 120


@pytest.mark.parametrize(
    ("task", "lacking"),
    [
        ('{ name = "trajectory", root = "blastocyst", on = ["corpus"] }', "cell_type 'blastocyst'"),
        ('{ name = "trajectory", root = "blastocyst", on = ["blood"] }', "cell_type 'blastocyst'"),
        (
            '{ name = "perturbation", condition = "batch", control = "b1", treated = "b3", on = ["blood"] }',
            "batch 'b3'",
        ),
        ('{ name = "trajectory", root = "B", on = ["blood"] }', ""),
    ],
)
def test_values_that_a_task_asks_for_and_no_cell_has_are_warned_of_before_anything_is_trained(study, task, lacking):
    text = STUDY.replace('{ name = "clustering", resolutions = [], on = ["corpus"] }', task)
    text = text.replace("n_cells = 80", "n_cells = 50") + '[holdout]\nblood = { by = "cell", share = 0.4 }\n'
    warned = [str(warning) for warning in prepare(study(text)).warnings if "which the task asks for" in str(warning)]
    assert bool(warned) == bool(lacking)
    assert all(lacking in warning for warning in warned)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ('{ name = "contrastive", across = "", label = "taught" }', "'taught'"),
        ('{ name = "mlp_classifier" }, { name = "contrastive", across = "" }', "'mlp_classifier', 'contrastive'"),
        ('{ name = "untrained", model = { name = "contrastive", across = "" } }', ""),
        ('{ name = "pca" }', ""),
    ],
)
def test_a_model_that_learned_the_types_of_the_cells_is_warned_of(study, model, named):
    text = STUDY.replace('{ name = "pca", n_components = 3 }', model)
    warned = [str(warning) for warning in prepare(study(text)).warnings if "learned" in str(warning)]
    assert bool(warned) == bool(named)
    assert all(f"whose cell_type {named} learned" in warning for warning in warned)
    # Of held-out cells, no label was learned.
    apart = text.replace('on = ["corpus"]', 'on = ["blood"]').replace("n_cells = 80", "n_cells = 50")
    plan = prepare(study(apart + '[holdout]\nblood = { by = "cell", share = 0.4 }\n'))
    assert not any("learned" in str(warning) for warning in plan.warnings)


@pytest.mark.parametrize("untrained", [False, True])
def test_a_corpus_that_cannot_train_a_model_is_refused_before_anything_is_trained(study, untrained):
    model = '{ name = "contrastive" }'
    model = f'{{ name = "untrained", model = {model} }}' if untrained else model
    with pytest.raises(StudyError, match=r"corpora\[0\].*no triplet can be formed in corpus 'Control'.*'donor'"):
        prepare(study(STUDY.replace('{ name = "pca", n_components = 3 }', model)))


PERTURBATION = '"perturbation", by = "nope", condition = "batch", control = "b1", treated = "b2"'


@pytest.mark.parametrize("task", ['"reference_mapping", by = "nope"', PERTURBATION])
def test_a_task_about_a_column_that_no_cell_has_is_refused(study, task):
    text = STUDY.replace('on = ["corpus"]', 'on = ["blood"]').replace('"clustering", resolutions = []', task)
    text += '[holdout]\nblood = { by = "cell", share = 0.3 }\n'
    with pytest.raises(StudyError, match=r"tasks\[0\]: there is no column 'nope' in blood"):
        prepare(study(text))


def test_the_scores_of_one_model_in_place_are_printed():
    scores = pd.DataFrame({"corpus": ["A", "B"], "target": "corpus", "value": [0.5, 0.25]})
    rows = pd.DataFrame(
        {"model": "pca", "task": "clustering", "metric": "ari", "way": "", "unit": "all", "headline": True, "seed": 0},
        index=range(2),
    )
    console = Console(file=StringIO(), width=100)
    show_results(console, Results(Path("out"), pd.concat([scores, rows], axis=1), {}, 0))
    assert [line.split() for line in console.file.getvalue().splitlines()[1:4]] == [
        ["corpus", "corpus"], ["A", "0.500"], ["B", "0.250"]
    ]  # fmt: skip
