"""A study whose store is damaged, whose components misbehave or whose disk is full: a message, and it goes on."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle import store as store_module
from corpuscle.core.errors import ComponentError, DiskError, DivergedError, StudyError
from corpuscle.corpus.alterations.thin import Thin
from corpuscle.execution import engine, workflow
from corpuscle.execution.artifact import Artifact
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.execution.workers import ThisProcess
from corpuscle.store import CHECKSUMS, RUNS
from corpuscle.study.plan import Run

pytest.importorskip("resource", reason="limits on the size of files are POSIX")

STUDY = """
name = "damage"
seeds = 1
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60, {sampler} }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{models}]
tasks = [{{ name = "reconstruction", on = ["blood"] }}]
"""
SKETCH, UNIFORM = 'sampler = "geometric_sketch"', 'sampler = "uniform"'


def study(path: Path, models: str = '{ name = "toy:MeanProfile" }', sampler: str = SKETCH) -> corpuscle.Study:
    return corpuscle.Study.parse(STUDY.format(path=path, models=models, sampler=sampler))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 150 cells of 30 genes, no two alike."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 2.0, 30), (150, 30)).astype(np.float32)
    counts[:, 0] += 1 + np.arange(150)
    obs = pd.DataFrame({"cell_type": ["B", "T"] * 75, "donor": ["d0", "d1", "d2"] * 50})
    obs.index = [f"cell{at}" for at in range(150)]
    path = tmp_path_factory.mktemp("cells") / "blood.h5ad"
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(30)])).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def done(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do the study once; tests copy its folder."""
    folder = tmp_path_factory.mktemp("done") / "out"
    with pytest.MonkeyPatch.context() as patch:
        _make_quick(patch)
        assert not corpuscle.run(study(cells), folder, workers=0).failures
    return folder


@pytest.fixture
def out(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the folder, and make what follows quick."""
    shutil.copytree(done, tmp_path / "out")
    _make_quick(monkeypatch)
    return tmp_path / "out"


def _make_quick(patch: pytest.MonkeyPatch) -> None:
    """Do in this process what workers do, and leave the report out."""
    patch.setattr(workflow, "written", lambda *_: None)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SPOIL: dict[str, Callable[[Path], object]] = {"cut": _cut, "flipped": _flip, "deleted": Path.unlink}
KINDS = {"copies", "surveys", "components", "coordinates", "measures", "models", "scores", "views"}
# What is looked at where an artifact needs it.
NEEDED = {"corpora", "gene_spaces", "sources"}


def _spoil(out: Path, how: str) -> list[Path]:
    """Damage the first file of one result of each kind; of corpora, all. Return those that are surely looked at."""
    spoilt = []
    for kind in sorted(KINDS | NEEDED):
        found = sorted((out / "store" / kind).iterdir())
        for folder in found if kind in NEEDED else found[:1]:
            SPOIL[how](min(path for path in folder.iterdir() if path.name != CHECKSUMS))
        spoilt += found[:1] if kind in KINDS else []
    return spoilt


@pytest.mark.parametrize("how", SPOIL)
def test_every_kind_of_result_is_made_again_when_it_is_damaged(
    cells: Path, out: Path, done: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert {folder.name for folder in (out / "store").iterdir()} == KINDS | NEEDED | {RUNS}
    spoilt = _spoil(out, how)
    again = corpuscle.run(study(cells), out, workers=0)
    assert not again.failures
    assert again.reused < 2, "a run that lacks something is not there already"
    assert [str(folder) for folder in spoilt if f"{folder}: " not in caplog.text] == []
    for kind in NEEDED:
        assert f"/store/{kind}/" in caplog.text.replace("\\", "/")
    pd.testing.assert_frame_equal(again.scores, pd.read_parquet(done / "scores.parquet"))
    before, after = (pd.read_parquet(folder / "measures.parquet") for folder in (done, out))
    pd.testing.assert_frame_equal(after, before)
    caplog.clear()
    assert corpuscle.run(study(cells), out, workers=0).reused == 2
    # The plan's own warnings aside.
    assert [one for one in caplog.records if one.name != "corpuscle"] == []


COMPARED = """
name = "compared"
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [{{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
           {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }}]
models = [{{ name = "toy:MeanProfile" }}]
tasks = [{{ name = "latents", reference_corpus = "B", on = ["blood"] }}]
seeds = 1
"""


def test_a_reference_that_is_damaged_meanwhile_is_fitted_again(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, plan = Opened(tmp_path / "store"), corpuscle.prepare(corpuscle.Study.parse(COMPARED.format(path=cells)))
    first, second = runs_of(plan, opened.corpora)
    assert not engine.execute(second.all, opened.corpora, 0, lambda _news: None)
    begin, spoilt = ThisProcess.begin, []

    def spoiling(worker: ThisProcess, artifact: Artifact, gpu: str) -> None:
        if artifact is first.scores[0] and not spoilt:
            spoilt.append(_cut(opened.store.folder(*second.fit.address) / "history.parquet"))
        begin(worker, artifact, gpu)

    monkeypatch.setattr(ThisProcess, "begin", spoiling)
    assert not engine.execute([*first.all, *second.all], opened.corpora, 0, lambda _news: None)
    assert spoilt
    assert first.is_done(opened.store)
    assert second.is_done(opened.store)


def test_a_disk_that_does_not_keep_what_is_written_ends_the_run_and_not_never(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store_module._seal

    def failing(folder: Path) -> None:
        real(folder)
        if (folder / "history.parquet").exists():
            _cut(folder / "history.parquet")

    monkeypatch.setattr(store_module, "_seal", failing)
    opened = Opened(tmp_path / "store")
    first, _ = runs_of(corpuscle.prepare(study(cells)), opened.corpora)
    failures = engine.execute(first.all, opened.corpora, 0, lambda _news: None)
    assert "cannot be read again; check that disk" in str(first.failure(failures))


# With the corpus on which: what a full disk leaves of its worker must come last.
MISBEHAVING = {"exit": "A", "interrupt": "A", "recursion": "A", "os_exit": "A", "history": "A", "full": "B"}


def test_whatever_a_component_does_in_a_worker_only_its_run_fails(cells: Path, tmp_path: Path) -> None:
    models = [f'{{ name = "toy:MeanProfile", label = "{how}", trouble = "{on}", kind_of_trouble = "{how}" }}'
              for how, on in MISBEHAVING.items()]  # fmt: skip
    results = corpuscle.run(study(cells, ", ".join(models), UNIFORM), tmp_path / "out", workers=1)
    assert set(results.failures) == {Run(on, how, 0) for how, on in MISBEHAVING.items()}
    messages = {run.model: message for run, message in results.failures.items()}
    for how, said in {
        "exit": "model 'toy:MeanProfile' failed: it called sys.exit(3) (toy.py, line ",
        "interrupt": "model 'toy:MeanProfile' failed: KeyboardInterrupt",
        "recursion": "model 'toy:MeanProfile' failed: RecursionError: maximum recursion depth exceeded",
        "os_exit": "its worker process ended itself with exit code 3",
        "history": "history.parquet, as the model saved it, has the columns epoch; a training curve has step, epoch",
        "full": "the disk is full or fails (File too large); free space there and run the same command again",
    }.items():
        assert said in messages[how]
    assert set(results.scores.model) == set(MISBEHAVING), "each model has the other corpus"
    assert results.report.exists()


@pytest.mark.parametrize(
    ("how", "said"), [("exit", "it called sys.exit(3)"), ("bug", "ZeroDivisionError: division by zero")]
)
def test_a_sampler_that_ends_the_process_or_has_a_bug_is_named(cells: Path, how: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        corpuscle.prepare(study(cells, sampler=f'sampler = "toy:Broken", how = "{how}"'))
    (problem,) = caught.value.problems
    assert problem.place == "corpora[0]"
    assert f"sampler 'toy:Broken' failed: {said} (toy.py, line " in problem.message


def test_a_step_that_trains_a_model_which_diverges_is_bad_input_without_the_warnings_before_it(
    cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Thin, *_: object) -> None:
        warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=1)
        raise DivergedError("training left the finite numbers")

    monkeypatch.setattr(Thin, "apply", diverge)
    steps = UNIFORM + ' }], steps = [{ alteration = "thin", keep = 0.5'
    read = study(cells, sampler=steps)
    with warnings.catch_warnings(record=True) as shown, pytest.raises(StudyError) as caught:
        warnings.simplefilter("always")
        corpuscle.prepare(read)
    (problem,) = caught.value.problems
    assert (problem.place, problem.message) == ("corpora[0].steps[0]", "thin: training left the finite numbers")
    assert not shown


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit()", r"it called sys.exit\(\)"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("x = (", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    (tmp_path / "mine_own.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match=rf"model 'mine_own:Model': cannot import 'mine_own' \(.*{said}"):
        study(cells, '{ name = "mine_own:Model" }')


def test_what_a_module_prints_is_no_output_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from corpuscle.core import components
    from corpuscle.model.model import Model

    (tmp_path / "talking.py").write_text("print('hello')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ComponentError, match="is not a model"):
        components.find(Model, "talking:Model")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_full_disk_in_the_parent_is_one_message_and_what_was_complete_stays(
    cells: Path, out: Path, done: Path
) -> None:
    full = pytest.MonkeyPatch()

    def flush(path: Path) -> None:
        if "scores" in path.name:
            raise OSError(28, "No space left on device")

    full.setattr(store_module, "flush", flush)
    with pytest.raises(DiskError, match=r"scores\.parquet: the disk is full"):
        corpuscle.run(study(cells), out, workers=0)
    full.undo()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "scores.parquet"), pd.read_parquet(done / "scores.parquet"))
    assert not list(out.rglob(".partial-*"))
    assert corpuscle.run(study(cells), out, workers=0).reused == 2
