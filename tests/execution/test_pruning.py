"""Fitted models are taken out of a store; what a run shows stays, and to run it again makes them again."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import corpuscle
from corpuscle.cli import app
from corpuscle.core.errors import FolderError, InputError
from corpuscle.execution.run_record import recording
from corpuscle.store import Store
from elsewhere import write_cells

STUDY = """
name = "two"
seeds = 2
sources.blood = {{ path = {path!r} }}
holdout.blood = {{ by = "cell", share = 0.3 }}
corpora = [{{ name = "A", parts = [{{ source = "blood", n_cells = 20 }}] }}]
models = [{{ name = "pca", n_components = 2 }}, {{ name = "hvg", n_genes = 5 }}]
tasks = [{{ name = "annotation", on = ["blood"] }}]
"""


def shown(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["models", *(str(one) for one in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> corpuscle.Study:
    cells = write_cells(tmp_path_factory.mktemp("cells") / "blood.h5ad")
    return corpuscle.Study.parse(STUDY.format(path=str(cells)))


@pytest.fixture(scope="module")
def once(study: corpuscle.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpuscle.run(study, tmp_path_factory.mktemp("run") / "out", workers=0).folder


@pytest.fixture
def run(once: Path, tmp_path: Path) -> corpuscle.Results:
    shutil.copytree(once, tmp_path / "out")
    return corpuscle.Results.load(tmp_path / "out")


def test_what_is_pruned_is_gone_and_the_scores_stay(run: corpuscle.Results, study: corpuscle.Study) -> None:
    assert len(run.models) == 4
    said = shown("prune", run.folder, "--model", "pca", "--seed", 1, "--dry-run")
    assert said.startswith("Would remove 1 models, ")
    assert len(run.models) == 4
    assert shown("prune", run.folder, "--model", "pca", "--seed", 1).startswith("Removed 1 models, ")
    assert [*run.models] == [("A", "pca", 0), ("A", "hvg", 0), ("A", "hvg", 1)]
    with pytest.raises(InputError, match="removed"):
        run.models["A", "pca", 1]
    assert shown("prune", run.folder, "--all").startswith("Removed 3 models, ")
    again = corpuscle.Results.load(run.folder)
    assert again.scores.equals(run.scores)
    assert corpuscle.render(run.folder).exists()
    # The same study makes them again, and the same scores.
    redone = corpuscle.run(study, run.folder, workers=0)
    assert redone.reused == 0
    assert len(redone.models) == 4
    assert redone.scores.equals(run.scores)


def test_what_another_run_uses_stays(study: corpuscle.Study, tmp_path: Path) -> None:
    one, other = (corpuscle.run(study, tmp_path / name, workers=0, store=tmp_path / "shared") for name in "ab")
    said = shown("prune", one.folder, "--all")
    assert said.startswith("left, since another run uses them: 4 models\nRemoved 0 models")
    assert len(other.models) == 4
    shutil.rmtree(other.folder)
    assert shown("prune", one.folder, "--all").startswith("Removed 4 models")


def test_what_is_asked_wrongly_removes_nothing(run: corpuscle.Results) -> None:
    for arguments, why in {
        (): "say which models",
        ("--model", "pcs"): "model: .*pca",
        ("--seed", "7"): "seed: ",
    }.items():
        with pytest.raises(InputError, match=why):
            shown("prune", run.folder, *arguments)
    with pytest.raises(FolderError, match="expected the folder of a run"):
        shown("prune", run.folder / "corpora", "--all")
    assert len(run.models) == 4


def test_a_run_at_work_is_left_alone(run: corpuscle.Results) -> None:
    with (
        recording(Store(run.folder / "store"), run.folder, "two"),
        pytest.raises(FolderError, match="the run is at work"),
    ):
        shown("prune", run.folder, "--all")
    assert len(run.models) == 4
