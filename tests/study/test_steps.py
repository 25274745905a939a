"""A study's steps alter its corpora, and all that depends on a corpus sees the altered one."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core.errors import StudyError
from corpuscle.corpus import derived
from corpuscle.model.imputer import model_imputer
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

TEXT = """
name = "small"
seeds = 2
sources.blood = {{ path = "blood.h5ad" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
[[corpora]]
name = "A"
parts = [{{ source = "blood", fraction = 1.0 }}]
{corpus}
steps = [
{steps}
]
[[models]]
name = "toy:MeanProfile"
[[tasks]]
name = "reconstruction"
on = ["blood"]
"""
RARE = '{ alteration = "impute_rare", threshold = 30, model = "toy:MeanProfile", PUBLISHED },'


@pytest.fixture
def study(tmp_path, write):
    """Make a study of a file of 60 B, 40 T and 20 NK cells, in two batches."""
    labels = ["B"] * 60 + ["T"] * 40 + ["NK"] * 20
    write("blood", 120, obs={"cell_type": labels, "batch": ["b0", "b1"] * 60})

    def made(steps: str, corpus: str = "", text: str = TEXT) -> Study:
        return Study.parse(text.format(steps=steps, corpus=corpus), tmp_path)

    return made


def test_steps_are_done_in_order_at_each_seed_and_told(study):
    steps = (
        '{ alteration = "ablate", types = ["NK"] }, { alteration = "oversample" }, { alteration = "thin", keep = 0.5 }'
    )
    made = study(steps)
    assert str(made.recipes[0]) == (
        "100% of blood (uniform); then ablate (types = ['NK'], by = cell_type, batch = batch); "
        "then oversample (by = cell_type); then thin (keep = 0.5)"
    )
    plan = prepare(made)
    for seed in made.seeds:
        corpus = plan.corpora["A", seed]
        uses = corpus.cells["times"].groupby(corpus.labels("cell_type")).sum()
        assert list(uses.index) == ["B", "T"]
        assert uses["B"] == uses["T"]
        assert [record["step"]["name"] for record in corpus.account[1:]] == ["ablate", "oversample", "thin"]
        assert corpus.account[1]["touched"][0]["cell_type"] == "NK"
        assert corpus.name == "A"
    # A step of training is a cell here: the plan counts those of the altered corpus.
    run = plan.runs[0]
    assert plan.n_steps(run) == plan.corpora["A", 0].n_cells == 2 * uses["B"]
    assert plan.corpora["A", 0].fingerprint != plan.corpora["A", 1].fingerprint
    counted = plan.composition().query("column == 'cell_type' and seed == 0").set_index("value")["n_cells"]
    assert counted.to_dict() == {"B": uses["B"], "T": uses["B"]}


def test_cells_that_are_held_out_never_have_a_say(study):
    steps = '{ alteration = "smote", n_neighbours = 3 },\n{ alteration = "pseudobulk", k = 2 },'
    plan = prepare(study(steps))
    held = set(plan.targets["blood"].cells["row"])
    corpus = plan.corpora["A", 0]
    told = derived.origins(corpus)
    assert set(told["cell"]) == set(range(len(corpus)))
    assert not held & set(told["row"])
    weights = told.groupby("cell")["weight"].sum()
    np.testing.assert_allclose(weights, 2, rtol=1e-5)


def test_a_made_cell_leaks_what_it_was_made_from(study):
    text = TEXT.replace('holdout.blood = {{ by = "cell", share = 0.2 }}\n', "")
    with pytest.raises(StudyError, match="are also in training corpus 'A'"):
        prepare(study('{ alteration = "pseudobulk", k = 2 },', text=text))
    with pytest.raises(StudyError, match="are also in training corpus 'A'"):
        prepare(study('{ alteration = "synthesize_from_bulk", n_cells = 3, only = true },', text=text))


def test_a_step_that_cannot_be_done_is_told_with_its_line(study):
    steps = '{ alteration = "oversample" },\n{ alteration = "ablate", types = ["Mono"] },'
    with pytest.raises(StudyError) as caught:
        prepare(study(steps))
    (problem,) = caught.value.problems
    assert problem.place == "corpora[0].steps[1]"
    assert problem.line == 12
    assert "no cell of cell_type 'Mono'" in problem.message


def test_each_size_of_a_ladder_is_altered_by_itself(study):
    steps = '{ alteration = "ablate", types = 1, batches = 1 },'
    plan = prepare(study(steps, "ladder = { percent = [50, 100] }"))
    touched = [plan.corpora[name, 0].account[-1]["touched"][0] for name in ("A 50 %", "A 100 %")]
    assert touched[0]["cell_type"] == touched[1]["cell_type"]
    assert touched[0]["batch"] == touched[1]["batch"]
    assert touched[0]["from"] < touched[1]["from"]


def test_arms_touch_the_same_cells_at_a_seed(study):
    """Control, downsampled and ablated, as published: a comparison within seeds is of one type in one batch."""
    touched = []
    for step in ('alteration = "ablate"', 'alteration = "downsample", keep = 0.1'):
        plan = prepare(study(f"{{ {step}, types = 1, batches = 1 }}"))
        touched.append([plan.corpora["A", seed].account[-1]["touched"][0] for seed in (0, 1)])
    for ablated, downsampled in zip(*touched, strict=True):
        assert {**ablated, "n_cells": max(1, ablated["from"] // 10)} == downsampled


def test_adding_a_step_changes_neither_the_draw_nor_other_steps(study):
    one = prepare(study('{ alteration = "thin", keep = 0.5 },')).corpora["A", 0]
    two = prepare(study('{ alteration = "thin", keep = 0.5 }, { alteration = "undersample" },')).corpora["A", 0]
    rows = two.cells["row"].to_numpy()
    np.testing.assert_array_equal(one.makers["thin"].counts(rows).toarray(), two.counts().toarray())


def test_scores_do_not_depend_on_the_number_of_workers(study, tmp_path):
    made = study('{ alteration = "smote" }, { alteration = "thin", keep = 0.5 }')
    one, two = (corpuscle.run(made, tmp_path / str(n), workers=n).scores for n in (0, 2))
    pd.testing.assert_frame_equal(one, two)
    plan = prepare(made)
    for seed in (0, 1):
        fitted = next(
            json.loads(path.read_text())
            for path in (tmp_path / "2" / "store" / "models").glob("*/run.json")
            if json.loads(path.read_text())["seed"] == seed
        )
        assert fitted["corpus"] == plan.corpora["A", seed].fingerprint
    recipe = json.loads((tmp_path / "0" / "provenance.json").read_text())["corpora"][0]
    assert recipe == {"name": "A", "n_cells": plan.corpora["A", 0].n_cells, "recipe": str(made.recipes[0])}


@pytest.mark.parametrize(
    ("steps", "dtype"),
    [
        ('{ alteration = "pseudobulk", k = 3, how = "mean_size", size_sd = 1 },', np.float32),
        ('{ alteration = "smote" }, { alteration = "thin", keep = 0.5 },', np.uint16),
        (RARE.replace("PUBLISHED", "published = false"), np.uint16),
        (RARE.replace("PUBLISHED", "published = true"), np.float32),
    ],
    ids=["means", "thinned smote", "imputed", "imputed as published"],
)
def test_what_is_composed_is_what_was_planned(study, tmp_path, steps, dtype):
    made = study(steps)
    plan = prepare(made)
    for seed, path in enumerate(corpuscle.compose(made, tmp_path / "composed")):
        written, corpus = anndata.read_h5ad(path), plan.corpora["A", seed]
        assert written.X.dtype == dtype
        np.testing.assert_array_equal(written.X.toarray(), corpus.counts().toarray())
        assert list(written.obs["made"]) == list(corpus.labels("made"))
        manifest = json.loads((path.parent / "manifest.json").read_text())
        cells, told = (pd.read_parquet(path.parent / f"{name}.parquet") for name in ("cells", "origins"))
        assert len(cells) == manifest["n_distinct_cells"] == len(corpus)
        assert manifest["n_cells"] == corpus.n_cells
        assert "then" in manifest["recipe"]
        assert json.loads(written.uns["corpuscle"]["manifest"]) == manifest
        pd.testing.assert_frame_equal(told, derived.origins(corpus), check_dtype=False)


def test_a_model_that_makes_cells_is_trained_once_per_corpus_and_seed(study, tmp_path):
    marks = tmp_path / "marks"
    settings = f"settings = {{ marks = '{marks}' }}"
    made = study(RARE.replace("PUBLISHED", settings))
    told = []
    prepare(made, notice=lambda what, _: told.append(what))
    assert not marks.exists()
    corpuscle.run(made, tmp_path / "run", workers=1)
    corpuscle.run(made, tmp_path / "run", workers=1)
    corpuscle.compose(made, tmp_path / "run")
    assert len(marks.read_text().splitlines()) == 2
    assert len(list((tmp_path / "run" / "store" / "made_cells").iterdir())) == 2


def test_a_step_whose_model_fails_fails_its_runs_only(study, tmp_path):
    settings = "settings = { trouble = 'A' }"
    results = corpuscle.run(study(RARE.replace("PUBLISHED", settings)), tmp_path / "run", workers=1)
    assert len(results.failures) == 2
    assert all("it was told to fail" in message for message in results.failures.values())


def test_published_imputation_trains_anew_until_labels_are_full(study):
    plan = prepare(study(RARE.replace("PUBLISHED", "published = true").replace("30", "40")))
    corpus = plan.corpora["A", 0]
    before, after = (corpus.account[-1][key] for key in ("before", "after"))
    assert after == {label: max(n, 40) for label, n in before.items()}
    # A round adds each cell of a label once: 16 or so cells take two rounds to fill up to 40.
    rounds = -(-(40 - before["NK"]) // before["NK"])
    assert corpus.account[-1]["trainings"] == rounds >= 2
    told = derived.origins(corpus)
    told = told[corpus.labels("cell_type")[told["cell"]] == "NK"]
    assert told["row"].value_counts().max() == rounds
    made = corpus.take(corpus.labels("made") != "")
    totals = pd.Series(np.asarray(corpus.counts().sum(axis=1)).ravel())
    own = dict(zip(corpus.cells["row"][corpus.labels("made") == ""], totals[corpus.labels("made") == ""], strict=True))
    told = derived.origins(made)
    np.testing.assert_allclose(
        np.asarray(made.counts().sum(axis=1)).ravel(), [own[row] for row in told["row"]], rtol=1e-4
    )


def test_fresh_draws_have_the_models_means_and_the_cells_dispersion(write, corpus_of):
    from corpuscle.core import components
    from corpuscle.core.randomness import generator
    from corpuscle.corpus.alteration import Alteration, altered
    from corpuscle.corpus.context import Context
    from corpuscle.source.source import open_source

    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(2.0, 2.0 / (2.0 + rng.gamma(2.0, 5.0, 40)), (1300, 40))
    labels = ["T"] * 300 + ["B"] * 1000
    corpus = corpus_of(open_source("blood", write("blood", counts, obs={"cell_type": labels})))
    step = components.build(Alteration, "impute_rare", {"threshold": 1000, "model": "toy:MeanProfile"})
    context = Context(imputer=model_imputer)
    after = altered(step, corpus, generator(0), context)
    made = after.take(after.labels("made") != "")
    assert set(made.labels("cell_type")) == {"T"}
    real, new = (cells.counts().toarray() for cells in (corpus.take(np.arange(300, 1300)), made))
    assert len(new) == 700
    np.testing.assert_allclose(new.mean(axis=0), real.mean(axis=0), rtol=0.25)
    np.testing.assert_allclose(np.median(new.var(axis=0) / real.var(axis=0)), 1, atol=0.15)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [(61, "threshold is 61, above the largest cell_type"), (2, "no cell_type has fewer than 2 cells")],
)
def test_a_threshold_that_leaves_no_common_or_no_rare_label_is_refused(study, threshold, message):
    with pytest.raises(StudyError, match=message):
        prepare(study(RARE.replace("30", str(threshold)).replace(", PUBLISHED", "")))


def test_paths_of_a_model_within_another_component_are_relative_to_the_study_file(study, tmp_path):
    text = TEXT + '[[models]]\nname = "untrained"\nmodel = {{ name = "scgpt", checkpoint = "weights" }}\n'
    step = (
        '{ alteration = "impute_rare", threshold = 30, model = "transcriptformer", settings = { checkpoint = "w" } },'
    )
    made = study(step, text=text)
    assert made.models[1].model.model["checkpoint"] == str(tmp_path / "weights")
    assert made.recipes[0].steps[0].settings == {"checkpoint": str(tmp_path / "w")}
    with pytest.raises(StudyError, match=r"line 18.*no folder .*weights"):
        prepare(study("", text=text))
