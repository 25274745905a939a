"""What a run left, read again: tables that mix nothing, models by name, short texts."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import corpuscle
from corpuscle.cli import app
from corpuscle.core.errors import InputError, Problem, StudyError
from corpuscle.execution.listener import Listener
from elsewhere import write_cells

STUDY = """
name = "two"
seeds = 2
sources.blood = {{ path = {path!r} }}
holdout.blood = {{ by = "cell", share = 0.3 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 20 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 30 }}] }},
]
models = [{{ name = "pca", n_components = 2 }}, {{ name = "hvg", n_genes = 5 }}]
tasks = [{{ name = "annotation", on = ["blood"] }}]
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "blood.h5ad")


@pytest.fixture(scope="module")
def run(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> corpuscle.Results:
    study = corpuscle.Study.parse(STUDY.format(path=str(cells)))
    return corpuscle.run(study, tmp_path_factory.mktemp("run") / "out", workers=0)


def test_results_are_read_again(run: corpuscle.Results) -> None:
    again = corpuscle.Results.load(run.folder)
    pd.testing.assert_frame_equal(again.scores, run.scores)
    assert again.failures == run.failures == {}
    assert again.report.exists()
    assert repr(again) == f"Results({run.folder}: {len(run.scores):,} scores of 2 corpora, 2 models, 1 task, 1 target)"


def test_a_table_is_the_mean_over_seeds_of_one_metric_and_nothing_else(run: corpuscle.Results) -> None:
    table = run.table("annotation", "macro_f1", way="5 nearest")
    assert table.index.tolist() == ["pca", "hvg"]
    assert table.columns.tolist() == ["A", "B"]
    chosen = run.scores.query("metric == 'macro_f1' and way == '5 nearest' and unit == 'all'")
    of_one = chosen.query("model == 'pca' and corpus == 'B'")["value"]
    assert len(of_one) == 2
    assert table.loc["pca", "B"] == pytest.approx(of_one.mean())
    assert table.attrs == {"task": "annotation", "metric": "macro_f1", "better": "higher", "n_seeds": (2, 2)}
    # Ways are kept apart where none is chosen.
    assert set(run.table("annotation", "macro_f1").index.names) == {"model", "way"}
    assert run.table("annotation", by="seed", way="5 nearest").columns.tolist() == [0, 1]
    # Without a metric, what the task is known for.
    assert run.table("annotation").attrs["metric"] == run.scores.loc[run.scores["headline"], "metric"].iloc[0]


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, warnings: Sequence[Problem]) -> None:
        self.warnings += [str(warning) for warning in warnings]


def test_a_task_leads_with_the_headline_that_its_study_names(cells: Path, tmp_path: Path) -> None:
    def led(headline: str) -> tuple[set[tuple[str, str]], list[str], str]:
        text = STUDY.format(path=str(cells)).replace('on = ["blood"]', f'on = ["blood"], headline = {headline}')
        heard = Heard()
        study = corpuscle.Study.parse(text)
        found = corpuscle.run(study, tmp_path / "out", workers=0, listener=heard)
        lead = found.scores[found.scores["headline"]]
        said = [warning for warning in heard.warnings if "headline" in warning]
        return set(zip(lead["metric"], lead["way"], strict=True)), said, found.report.read_text()

    assert led('"accuracy"')[0] == {("accuracy", "5 nearest")}
    found, said, page = led('{ metric = "accuracy", way = "linear probe" }')
    assert (found, said) == ({("accuracy", "linear probe")}, [])
    assert "annotation: Accuracy, linear probe" in page
    # The same folder: what a headline is costs no training.
    assert led('{ way = "15 nearest" }')[0] == {("macro_f1", "15 nearest")}
    found, (said,), page = led('{ way = "16 nearest" }')
    assert found == {("macro_f1", "5 nearest")}
    assert "line 11" in said
    assert "is of 16 nearest, so that it leads with its own; its ways: 5 nearest, 15 nearest" in said
    assert "is of 16 nearest, so that it leads with its own" in page
    with pytest.raises(
        StudyError, match=r"tasks\[0\].headline: annotation has no metric 'acuracy'; did you mean 'accuracy'"
    ):
        led('"acuracy"')


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"task": "anotation"}, "no score has the task 'anotation'; did you mean 'annotation'"),
        ({"task": "annotation", "metric": "f2"}, "no score has the metric 'f2'"),
        ({"task": "annotation", "unit": "donor=x"}, "no score has the unit 'donor=x'"),
        ({"task": "annotation", "way": "best"}, "no score has the way 'best'"),
        (
            {"task": "annotation", "metric": "f1"},
            r"no score has the unit 'all' \(f1 of .*give one .* unit=; .*cell_type=",
        ),
        ({"task": None, "metric": None}, "no score has the task None; Legal here: annotation"),
        ({"task": "annotation", "metric": 3}, "no score has the metric 3; Legal here: "),
        ({"task": "annotation", "unit": ["all"]}, r"no score has the unit \['all'\]; "),
        ({"task": "annotation", "way": ()}, r"no score has the way \(\); "),
        ({"task": "annotation", "by": "donor"}, "by: expected one name, got 'donor'; .*Legal here: corpus, model"),
        ({"task": "annotation", "by": "cell_type"}, "by: expected one name, got 'cell_type'; "),
        ({"task": "annotation", "by": ["corpus", "seed"]}, r"by: expected one name, got \['corpus', 'seed'\]; "),
        ({"task": "annotation", "by": ()}, r"by: expected one name, got \(\); "),
        ({"task": "annotation", "by": []}, r"by: expected one name, got \[\]; "),
    ],
)
def test_what_there_is_not_is_one_message(run: corpuscle.Results, asked: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run.table(**asked)  # type: ignore[arg-type]


def test_models_are_read_by_name_and_embed(run: corpuscle.Results, cells: Path, tmp_path: Path) -> None:
    assert len(run.models) == 8
    assert ("B", "pca", 1) in list(run.models)
    adata = anndata.read_h5ad(cells)
    fitted = run.models["B", "pca", 1]
    plan = corpuscle.prepare(corpuscle.Study.read(run.folder / "study.toml"))
    target = plan.targets["blood"]
    z = run.embed(adata, corpus="B", model="pca", seed=1).obsm["X_pca"]
    np.testing.assert_array_equal(z[target.cells["row"]], fitted.fitted.embed(target))
    with pytest.raises(InputError, match=r"there is no model of corpus 'C', .*corpus: .*Legal here: A, B"):
        run.models["C", "pca", 0]
    listed = CliRunner().invoke(app, ["models", "ls", str(run.folder)])
    assert listed.exit_code == 0
    assert listed.output.count("pca") == 4
    assert "8 of 8 runs have a model" in listed.output
    place = ["--corpus", "B", "--model", "pca", "--seed", "1", "-o", str(tmp_path / "one")]
    assert CliRunner().invoke(app, ["models", "export", str(run.folder), *place]).exit_code == 0
    again = corpuscle.Fitted.load(tmp_path / "one").embed(anndata.read_h5ad(cells)).obsm["X_pca"]
    np.testing.assert_array_equal(again, z)


def test_a_notebook_shows_tables_with_names_as_they_are(run: corpuscle.Results) -> None:
    scores = run.scores.assign(corpus=run.scores["corpus"].replace({"A": "<b>A</b>"}))
    page = corpuscle.Results(run.folder, scores, {}, 0)._repr_html_()
    assert "<b>A</b>" not in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "mean over seeds" in page


def test_models_are_a_mapping_also_where_some_are_gone(run: corpuscle.Results, tmp_path: Path) -> None:
    models = run.models
    assert ("A", "pca", 0) in models
    assert ("A", "pca", np.int64(1)) in models
    missing = [("C", "pca", 0), ("A", "pca", 9), ("A", "pca"), ("A", "pca", "0"), ("A", "pca", True), "A", None, ["A"]]
    for place in missing:
        assert place not in models
        assert models.get(place) is None
    assert models.get(("C", "pca", 0), "none") == "none"
    assert models.get(("A", "pca", 1)).name == "pca"
    for place in missing[2:]:
        with pytest.raises(InputError, match=r"expected corpus, model and seed, such as models\[.*; got "):
            models[place]
    shutil.copytree(run.folder, tmp_path / "run")
    left = corpuscle.Results.load(tmp_path / "run").models
    assert CliRunner().invoke(app, ["models", "prune", str(tmp_path / "run"), "--model", "pca"]).exit_code == 0
    assert ("A", "pca", 0) not in left
    assert left.get(("A", "pca", 0)) is None
    assert len(left) == len(dict(left)) == 4


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a run"):
        corpuscle.Results.load(tmp_path)
    listed = CliRunner().invoke(app, ["models", "ls", str(tmp_path)])
    assert isinstance(listed.exception, InputError)
    assert "expected the folder of a run" in str(listed.exception)
