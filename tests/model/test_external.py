"""A model of others, run as a command: what it is given, what it must give, and how it ends whatever happens."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import corpuscle
from corpuscle import terminal
from corpuscle.core.components import build
from corpuscle.core.errors import ComponentError, ModelError, StudyError
from corpuscle.core.usage import measured
from corpuscle.model.architectures.external import External
from corpuscle.model.architectures.external.results import read_embedding
from corpuscle.model.architectures.external.running import Place, run, variables, working_folder
from corpuscle.model.model import Model
from repository import ROOT

EXAMPLES = ROOT / "docs" / "examples"
PYTHON = [sys.executable, "-I", "-S"]
PCA = {
    "fit_command": [sys.executable, "-I", "{script}", "fit", "{cells}", "{model}", "{seed}"],
    "command": [sys.executable, "-I", "{script}", "embed", "{cells}", "{model}", "{embedding}"],
    "files": {"script": str(EXAMPLES / "external_pca.py")},
}


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Whatever a command leaves is seen: it has a folder for temporary files to itself."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "run {cells}"}, "command: should have {embedding} in it"),
        ({"command": "run {cell} {embedding}"}, "{cell} means nothing here; did you mean 'cells'?"),
        ({"command": "run {cells} {embedding} {model}"}, "{model} means nothing here"),
        ({"command": "run {work}", "fit_command": "learn {cells} {model}"}, "command: should have {model} in it"),
        ({"command": "run {work} {model}", "fit_command": "learn {work}"}, "fit_command: should have {model} in it"),
        ({"command": "run {work} {model}", "fit_command": "learn {embedding} {model}"}, "{embedding} means nothing"),
        ({"command": "run 'half {work}"}, "No closing quotation"),
        ({"command": ""}, "should begin with a program"),
        ({"command": [["run"]]}, "should be a command: a text, or a list of texts"),
        ({"command": ["run", "{work}\0"]}, "null character"),
        ({"command": "run {work}", "files": {"seed": "a"}}, "'seed' cannot be written in braces"),
        ({"command": "run {work}", "files": {"a-b": "a"}}, "'a-b' cannot be written in braces"),
        ({"command": "run {work}", "files": {"a": ""}}, "should not be empty"),
        ({"command": "run {work}", "files": ["a"]}, "files should be a table"),
        ({"command": "run {work}", "environment": {"A=": "b"}}, "'A=' cannot be an environment variable"),
        ({"command": "run {work}", "timeout": 0}, "timeout should be greater than 0"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_clear_error(settings, message):
    with pytest.raises(ComponentError) as caught:
        build(Model, "external", settings)
    assert message in str(caught.value)


def test_a_text_is_the_same_command_as_its_list():
    one = build(Model, "external", {"command": "run --name='my model' {work}"})
    assert one.command == ["run", "--name=my model", "{work}"]
    assert one == build(Model, "external", {"command": ["run", "--name=my model", "{work}"]})
    assert one.programs == ("run '--name=my model' {work}",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "no-such-program {work}"}, "'no-such-program' cannot be found: no folder of PATH has it"),
        ({"command": "/no/such/program {work}"}, "it is not there, or may not be executed"),
        ({"command": "./program {work}"}, "is a relative path, and a command runs in a folder of its own"),
        ({"command": f"{sys.executable} {{work}}", "files": {"a": "/no/such/file"}}, "/no/such/file: cannot be read"),
        ({"command": "sh {work}", "environment": {"PATH": "/no/such/folder"}}, "no folder of PATH has it"),
        (
            {"command": f"{sys.executable} {{work}} {{model}}", "fit_command": "no-such-program {work} {model}"},
            "'no-such-program' cannot be found",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(settings, message, make):
    model = build(Model, "external", settings)
    with pytest.raises(ModelError) as caught:
        model.check(make(3).space)
    assert message in str(caught.value)


def test_what_is_kept_depends_on_what_is_in_the_files_and_not_on_where_they_are(tmp_path):
    def model(name: str, text: str, **settings) -> External:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "script").write_text(text)
        return External(command="run {script} {work}", files={"script": str(folder)}, **settings)

    one = model("a", "1").identity()
    assert model("b", "1", timeout=5).identity() == one
    others = [model("c", "2"), model("a", "1", revision="2"), model("b", "1", environment={"A": "1"})]
    assert len({json.dumps(other.identity()) for other in others} | {json.dumps(one)}) == 4


def test_a_model_that_learns_gives_its_components_and_is_loaded_as_it_was_saved(make, tmp_path, own_temporary_folder):
    train, cells = make(40), make(9, name="pancreas", seed=5)
    uses = np.ones(40, np.int64)
    uses[:2] = 3
    train = replace(train, cells=train.cells.assign(times=uses))
    model = build(Model, "external", PCA)
    fitted = model.fit(train, 0)
    assert model.uses_seed
    assert not fitted.embeds_as, "it depends on the corpus"
    x, new = (np.log1p(1e4 * c / c.sum(axis=1, keepdims=True)) for c in _dense(train, cells))
    x = np.repeat(x, uses, axis=0)
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:10]
    found = fitted.embed(cells)
    np.testing.assert_allclose(np.abs(found), np.abs((new - x.mean(axis=0)) @ axes.T), atol=1e-3)
    folder = tmp_path / "model"
    folder.mkdir()
    fitted.save(folder)
    assert not list(own_temporary_folder.iterdir())
    np.testing.assert_array_equal(model.load_fitted(folder).embed(cells), found)
    (folder / "model" / "pca.npz").unlink()
    (folder / "model").rmdir()
    with pytest.raises(ModelError, match="what fit_command left is gone; fit it again"):
        model.load_fitted(folder)


def _dense(*corpora):
    return [corpus.counts().toarray().astype(np.float64) for corpus in corpora]


def test_what_a_command_is_given(make, tmp_path):
    train = make(6, obs={"batch": list("xyxyxy"), "note": list("abcdef")})
    train = replace(train, cells=train.cells.assign(times=[1, 1, 2, 1, 1, 1]))
    keep = [*PYTHON, "-c", "import shutil, sys; shutil.copy(*sys.argv[1:3])"]
    learn, embed = (tmp_path / name for name in ("learn.h5ad", "embed.h5ad"))
    model = External(
        fit_command=[*keep, "{cells}", str(learn), "{model}"],
        command=[*keep, "{cells}", str(embed), "{model}", "{embedding}"],
    )
    with pytest.raises(ModelError, match=r"it wrote no embedding\.npy"):
        model.fit(train, 0)
    given = anndata.read_h5ad(embed)
    assert given.X.dtype == np.uint16
    np.testing.assert_array_equal(given.X.toarray(), train.counts().toarray())
    assert given.obs_names.tolist() == train.obs().index.tolist()
    assert given.var_names.tolist() == list(train.space.ids)
    assert given.var["symbol"].tolist() == list(train.space.symbols)
    # Not what a task may ask for.
    assert set(given.obs) == {"source", "row", "barcode", "times", "donor", "batch"}
    with h5py.File(learn) as file:
        assert file["obs/row"][:].tolist() == [0, 1, 2, 2, 3, 4, 5]
        assert file["obs/times"][:].tolist() == [1] * 7
        assert {"cell_type", "note"} <= set(file["obs"])
        assert file["X"].attrs["shape"].tolist() == [7, 30]


def test_a_file_that_changes_after_the_fit_is_refused(make, tmp_path):
    script = tmp_path / "script.py"
    script.write_bytes((EXAMPLES / "external_projection.py").read_bytes())
    corpus = make(5)
    command = [sys.executable, "-I", "{script}", "{cells}", "{embedding}"]
    fitted = External(command=command, files={"script": str(script)}).fit(corpus, 0)
    script.write_text("pass")
    with pytest.raises(ModelError, match="changed after the model was fitted"):
        fitted.embed(corpus)


def test_what_wrote_nothing_says_what_it_printed(make, own_temporary_folder):
    command = [*PYTHON, "-c", "print('no weights for you')", "{work}"]
    with pytest.raises(ModelError) as caught:
        External(command=command).fit(make(3), 0)
    assert "ended well, but it wrote no embedding.npy" in str(caught.value)
    assert str(caught.value).endswith("the last that it printed:\nno weights for you")
    assert not list(own_temporary_folder.iterdir())


NAMES = pd.Index(["a:1", "a:2", "b:1"])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "has 2 rows for 3 cells; expected one for each"),
        (np.zeros(3), r"has float64 of shape \(3,\); expected numbers of shape \(cells, dimensions\)"),
        (np.zeros((3, 0)), r"of shape \(3, 0\)"),
        (np.array([["x"]] * 3), "has <U1 of shape"),
        (np.zeros((3, 4), bool), "has bool of shape"),
        (np.zeros((3, 5)), "has 5 dimensions, and 4 when the model was fitted"),
        (np.array([[{}]] * 3), "cannot be read as npy"),
    ],
)
def test_an_array_that_is_no_embedding_is_one_clear_error(tmp_path, array, message):
    path = tmp_path / "embedding.npy"
    np.save(path, array)
    with pytest.raises(ModelError, match=message):
        read_embedding(path, NAMES, 4)


def test_numbers_of_other_kinds_are_taken_and_what_is_not_finite_stays(tmp_path):
    path = tmp_path / "embedding.npy"
    for array in (np.full((3, 4), 7, np.int64), np.full((3, 4), 1e300), np.full((3, 4), np.nan, np.float16)):
        np.save(path, array)
        found = read_embedding(path, NAMES, 4)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(found), np.isnan(array))


def test_a_table_names_its_cells_in_their_order(tmp_path):
    path = tmp_path / "embedding.parquet"
    z = np.arange(6.0).reshape(3, 2)
    table = pd.DataFrame(z, columns=["x", "y"])
    for named in (table.set_index(NAMES), table.assign(cell=NAMES)):
        named.to_parquet(path)
        np.testing.assert_array_equal(read_embedding(path, NAMES, None), z)
    table.to_parquet(path)
    with pytest.raises(ModelError, match="does not name its cells; write the names"):
        read_embedding(path, NAMES, None)
    table.set_index(NAMES[[0, 2, 1]]).to_parquet(path)
    with pytest.raises(ModelError, match="has 'b:1' in row 1, where the cells' file has 'a:2'"):
        read_embedding(path, NAMES, None)
    path.write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="cannot be read as parquet"):
        read_embedding(path, NAMES, None)


def ran(code: str, timeout: float | None = None, *arguments: str) -> str:
    with working_folder() as work:
        return run([*PYTHON, "-c", code, *arguments], Place(work, variables({}, uses_gpu=False)), timeout, "command")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.stderr.write('a\\nb 1%\\rb 2%\\n\\x1b[31mc'); sys.exit(3)", "ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "was killed (SIGKILL); most often the machine"),
        ("import os; os._exit(137)", "was killed (SIGKILL); most often the machine"),
        ("import os; os.kill(os.getpid(), 6)", "was ended by a signal (SIGABRT); it printed nothing"),
    ],
)
def test_a_command_that_fails_says_how_and_what_it_printed_last(code, message):
    with pytest.raises(ModelError) as caught:
        ran(code)
    assert f"command {message}" in str(caught.value)
    assert "stderr" not in code or str(caught.value).endswith("printed:\na\nb 2%\n[31mc")


def test_no_shell_reads_a_command_and_its_variables_are_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    odd = ["$HOME", "a; b", "'", '"', "*", "é"]
    code = "import os, sys; print(sys.argv[1:], os.environ['OMP_NUM_THREADS'], [os.environ['CUDA_VISIBLE_DEVICES']])"
    assert f"{odd} 1 ['']" in ran(code, None, *odd)
    assert variables({"OMP_NUM_THREADS": "4"}, uses_gpu=False)["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("device", "before", "after"),
    [("cuda:1", None, "1"), ("cuda:1", "4,6", "6"), ("cuda", "", "0"), ("cpu", "4,6", "4,6")],
)
def test_a_command_that_uses_a_gpu_sees_that_of_its_worker(monkeypatch, device, before, after):
    import torch

    monkeypatch.setattr("corpuscle.model.data.on_gpu.training_device", lambda: torch.device(device))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    assert variables({}, uses_gpu=True)["CUDA_VISIBLE_DEVICES"] == after


def test_what_a_command_takes_is_counted():
    with measured() as usage:
        ran("x = bytearray(300_000_000)\nfor _ in range(3_000_000): pass")
    assert usage.peak_bytes is None or usage.peak_bytes > 300_000_000
    with measured() as after:
        pass
    assert usage.cpu_seconds > after.cpu_seconds


# Two processes that would live on, the second without its parent; the first writes their ids.
LASTING = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
path = pathlib.Path(sys.argv[1])
path.with_suffix(".part").write_text(f"{__import__('os').getpid()} {child.pid}")
path.with_suffix(".part").rename(path)
"""


def comes_true(what: Callable[[], bool]) -> bool:
    """Wait until something is so, on however busy a machine."""
    for _ in range(1200):
        if what():
            return True
        time.sleep(0.05)
    return False


def is_there(path: Path) -> bool:
    return comes_true(path.exists)


def are_gone(ids: str) -> bool:
    return comes_true(lambda: all(_is_dead(one) for one in ids.split()))


def _is_dead(one: str) -> bool:
    try:
        return Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


@linux
@pytest.mark.parametrize("how", ["timeout", "interrupt", "end"])
def test_a_command_ends_with_all_that_it_started(tmp_path, own_temporary_folder, how):
    ids = tmp_path / "ids"
    if how == "end":
        ran(LASTING, None, str(ids))
    elif how == "timeout":
        with pytest.raises(ModelError, match=r"did not end within its timeout of 5 s, and was ended; it printed"):
            ran(f"{LASTING}\ntime.sleep(600)", 5.0, str(ids))
    else:
        # As Ctrl-C does, which a test that runs in the background may not hear.
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        threading.Thread(target=lambda: (is_there(ids), os.kill(os.getpid(), signal.SIGALRM))).start()
        with pytest.raises(KeyboardInterrupt):
            ran(f"{LASTING}\ntime.sleep(600)", 300.0, str(ids))
        signal.signal(signal.SIGALRM, before)
    assert are_gone(ids.read_text())
    assert not list(own_temporary_folder.iterdir())


@linux
def test_a_process_that_is_killed_leaves_neither_commands_nor_files(tmp_path, own_temporary_folder):
    ids = tmp_path / "ids"
    code = f"""
import sys
from pathlib import Path
from corpuscle.model.architectures.external.running import Place, run, variables, working_folder
with working_folder() as work:
    code = {LASTING + "time.sleep(600)"!r}
    run([sys.executable, "-I", "-S", "-c", code, {str(ids)!r}], Place(work, variables({{}}, uses_gpu=False)), None, "")
"""
    environment = os.environ | {"TMPDIR": str(own_temporary_folder)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    assert is_there(ids)
    process.kill()
    process.wait()
    assert are_gone(ids.read_text())
    assert comes_true(lambda: not list(own_temporary_folder.iterdir()))


STUDY = """
name = "others"
seeds = 1
[sources]
blood = { path = "blood.h5ad" }
[quality]
min_genes = 1
[holdout]
blood = { by = "cell", share = 0.3 }
[[corpora]]
name = "All"
parts = [{ source = "blood", fraction = 1.0 }]
[[corpora]]
name = "Half"
parts = [{ source = "blood", fraction = 0.5 }]
[[models]]
name = "external"
label = "zero-shot"
files = { script = "my script.py" }
command = "PYTHON -I {script} {cells} {embedding}"
environment = { MARKS = "MARKED" }
[[models]]
name = "external"
label = "broken"
command = ["PYTHON", "-I", "-S", "-c", "raise SystemExit('no weights')", "{work}"]
[[models]]
name = "external"
label = "pca"
files = { pca = "pca.py" }
fit_command = "PYTHON -I {pca} fit {cells} {model} {seed}"
command = "PYTHON -I {pca} embed {cells} {model} {embedding}"
[[tasks]]
name = "latents"
reference_model = "pca"
on = ["blood"]
"""


@pytest.fixture
def study(write, tmp_path):
    write("blood", 60)
    marks = "\nimport os\nopen(os.environ['MARKS'], 'a').write(f'{len(z)} ')\n"
    script = (EXAMPLES / "external_projection.py").read_text()
    (tmp_path / "my script.py").write_text(script + marks)
    (tmp_path / "pca.py").write_bytes((EXAMPLES / "external_pca.py").read_bytes())
    return STUDY.replace("PYTHON", sys.executable).replace("MARKED", str(tmp_path / "marks"))


def test_a_study_runs_models_of_others_and_one_that_fails_costs_only_itself(study, tmp_path):
    (tmp_path / "study.toml").write_text(study)
    results = corpuscle.run(tmp_path / "study.toml", tmp_path / "out", workers=0)
    assert {run.model for run in results.failures} == {"broken"}
    assert all(
        "ended with exit code 1; the last that it printed:\nno weights" in why for why in results.failures.values()
    )
    scores = results.scores[results.scores["metric"].str.contains("cka")]
    assert set(scores["model"]) == {"zero-shot", "pca"}
    assert np.isfinite(scores["value"]).all()
    # It is tried once, and knows no corpus: what it makes of the held-out cells is kept for all of them.
    assert (tmp_path / "marks").read_text() == "16 18 "


def test_check_shows_the_commands_and_refuses_a_program_that_is_not_there(study, tmp_path, capsys):
    shown = io.StringIO()
    plan = corpuscle.prepare(corpuscle.Study.parse(study, tmp_path))
    terminal.show_plan(Console(file=shown, width=1000), plan, None, 1)
    text = shown.getvalue()
    assert f"zero-shot runs {sys.executable} -I {{script}} {{cells}} {{embedding}}" in text
    assert f"pca runs {sys.executable} -I {{pca}} fit {{cells}} {{model}} {{seed}}" in text
    assert not (tmp_path / "marks").exists(), "nothing is run"
    missing = study.replace(f'command = "{sys.executable} -I {{script}}', 'command = "no-such-program {script}')
    with pytest.raises(StudyError) as caught:
        corpuscle.prepare(corpuscle.Study.parse(missing, tmp_path))
    (problem,) = caught.value.problems
    assert str(problem).startswith(
        "line 16: models[0]: model 'external': the program 'no-such-program' cannot be found"
    )


def test_paths_of_a_component_are_relative_to_the_study_each_in_a_table(study, tmp_path):
    (model, *_) = corpuscle.Study.parse(study, tmp_path / "far").models
    assert model.model.files == {"script": str(tmp_path / "far" / "my script.py")}


def test_the_page_has_the_scripts_that_are_tested_here():
    page = (ROOT / "docs" / "external-models.md").read_text(encoding="utf-8")
    for name in ("external_projection.py", "external_pca.py"):
        assert (EXAMPLES / name).read_text(encoding="utf-8") in page
