"""The main job with a toy model: what a run leaves, that it goes on where it stopped, and what failures do."""

import atexit
import functools
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import corpuscle
from corpuscle import terminal
from corpuscle.core.errors import CorpusError, FolderError, InputError, StudyError
from corpuscle.core.scores import COLUMNS
from corpuscle.execution import tables
from repository import environment

STUDY = """
name = "toy"
seeds = 2
[sources]
blood = {{ path = "{blood}" }}
lines = {{ path = "{lines}" }}
[quality]
min_genes = 1
[holdout]
blood = {{ by = "cell", share = 0.2 }}
[[corpora]]
name = "Blood"
parts = [{{ source = "blood", n_cells = 60 }}]
[[corpora]]
name = "No-Mono"
parts = [{{ source = "blood", n_cells = 60 }}]
exclude = "cell_type == 'CD14 Monocytes'"
[[models]]
name = "toy:MeanProfile"
label = "mean"
{extra}
[[tasks]]
name = "reconstruction"
on = ["blood", "lines"]
"""


@functools.cache
def smaller(name: str) -> Path:
    """Write 400 cells of a packaged data set, in 500 genes that both have: a study of them takes seconds."""
    data = anndata.read_h5ad(corpuscle.dataset_path(name))
    folder = Path(tempfile.mkdtemp(prefix="corpuscle-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    genes = slice(list(data.var_names).index("LYZ") % 5, None, 5)
    data[:: data.n_obs // 400, genes][:400].copy().write_h5ad(folder / f"{name}.h5ad")
    return folder / f"{name}.h5ad"


def text(extra: str = "") -> str:
    return STUDY.format(extra=extra, blood=smaller("pbmc3k"), lines=smaller("chen2019"))


def study(extra: str = "", name: str = "toy") -> corpuscle.Study:
    return corpuscle.Study.parse(text(extra).replace('"toy"', f'"{name}"'))


def fitted(marks: Path) -> list[str]:
    return sorted(marks.read_text().splitlines())


def test_a_run_leaves_scores_for_every_corpus_seed_and_target(tmp_path: Path) -> None:
    results = corpuscle.run(study(), tmp_path / "out", workers=2)
    scores = results.scores
    assert list(scores.columns) == list(COLUMNS)
    whole = scores[(scores.unit == "all") & (scores.metric == "r2_log")]
    assert len(whole) == 2 * 2 * 2
    assert whole.value.between(0, 1).all()
    units = scores.groupby("target").unit.unique().map(set)
    halves = {"half=1", "half=2"}
    assert units.to_dict() == {
        "blood": {"all", "donor=10x_donor_pbmc3k"} | halves,
        "lines": {"all", "batch=snare"} | halves,
    }
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "scores.parquet"), scores)


def test_a_fit_that_diverged_is_left_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = tables.fits

    def with_one_astray(*found: Any) -> pd.DataFrame:
        fits = gathered(*found)
        assert fits["r2_log"].between(0.01, 1).all()
        fits.loc[(fits["corpus"] == "Blood") & (fits["seed"] == 1), "r2_log"] = 0.001
        return fits

    monkeypatch.setattr(tables, "fits", with_one_astray)
    scores = corpuscle.run(study(), tmp_path / "out", workers=0).scores
    astray = (scores["corpus"] == "Blood") & (scores["seed"] == 1)
    assert scores["value"].isna().tolist() == astray.tolist()
    assert scores.loc[astray, "reason"].str.startswith("diverged: ").all()
    assert "1 of 4 fits diverged" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def _failures(out: Path) -> list[dict[str, str]]:
    failures: list[dict[str, str]] = json.loads((out / "provenance.json").read_text())["failures"]
    return failures


UNTRAINED = """
[[models]]
name  = "untrained"
model = { name = "ldvae", n_hidden = 8 }
"""


def test_a_model_without_steps_runs_beside_others_and_has_no_curve(tmp_path: Path) -> None:
    plan = corpuscle.prepare(study(UNTRAINED))
    assert [plan.n_steps(run) for run in plan.runs if run.model == "untrained"] == [0] * 4
    results = corpuscle.run(study(UNTRAINED), tmp_path / "out", workers=0)
    assert not results.failures
    assert set(results.scores.model) == {"mean", "untrained"}
    assert set(pd.read_parquet(tmp_path / "out" / "curves.parquet").model) == {"mean"}
    assert (pd.read_parquet(tmp_path / "out" / "fits.parquet").groupby("model")["seconds"].min() >= 0).sum() == 2
    assert (tmp_path / "out" / "report.html").exists()


def test_a_study_without_any_curve_has_a_report(tmp_path: Path) -> None:
    alone = text().replace('name = "toy:MeanProfile"\nlabel = "mean"\n', UNTRAINED.split("]]")[1])
    results = corpuscle.run(corpuscle.Study.parse(alone), tmp_path / "out", workers=0)
    assert not results.failures
    assert pd.read_parquet(tmp_path / "out" / "curves.parquet").empty
    assert "No training curves were recorded" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


LEFT = """
study.toml provenance.json scores.parquet curves.parquet composition.parquet sources.parquet genes.parquet
report.html figures corpora/Blood/0/manifest.json corpora/No-Mono/1/cells.parquet
"""


def test_a_run_leaves_the_folder_that_its_text_promises(tmp_path: Path) -> None:
    corpuscle.run(study(), tmp_path / "out", workers=0)
    assert [name for name in LEFT.split() if not (tmp_path / "out" / name).exists()] == []
    assert not list((tmp_path / "out").rglob(".partial-*"))


def test_a_model_that_a_task_is_not_for_keeps_its_run_and_has_the_reason(tmp_path: Path) -> None:
    mixed = study('[[models]]\nname = "pca"\nn_components = 3')
    plan = corpuscle.prepare(mixed)
    assert [(model, task.name) for model, task in plan.unanswerable] == [("pca", "reconstruction")]
    console = Console(file=io.StringIO(), width=120)
    terminal.show_plan(console, plan, None, workers=1)
    assert "pca does not reconstruct counts: its scores of reconstruction will be missing" in console.file.getvalue()
    results = corpuscle.run(mixed, tmp_path / "out", workers=0)
    assert not results.failures
    of_pca = results.scores[results.scores.model == "pca"]
    assert len(of_pca) == 2 * 2 * 2, "two corpora, seeds and targets"
    assert set(of_pca.metric) == {"r2_log"}
    assert of_pca.value.isna().all()
    assert of_pca.reason.str.contains("does not reconstruct counts").all()
    assert results.scores[results.scores.model == "mean"].value.notna().any()
    assert "does not reconstruct counts" in results.report.read_text()


def test_the_manifest_names_every_cell_and_the_inputs(tmp_path: Path) -> None:
    corpuscle.run(study(), tmp_path / "out", workers=0)
    folder = tmp_path / "out" / "corpora" / "No-Mono" / "0"
    cells = pd.read_parquet(folder / "cells.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    source = corpuscle.open_source("blood", smaller("pbmc3k"))
    assert len(cells) == manifest["n_cells"] == 60
    assert (source.cells.barcode.to_numpy()[cells.row] == cells.barcode).all()
    assert "CD14 Monocytes" not in set(cells.cell_type)
    assert manifest["inputs"][0]["sha256"] == source.content
    assert manifest["account"][-1] == {"exclude": "cell_type == 'CD14 Monocytes'"}


def test_scores_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    one = corpuscle.run(study(), tmp_path / "one", workers=0).scores
    two = corpuscle.run(study(), tmp_path / "two", workers=2).scores
    pd.testing.assert_frame_equal(one, two)


def test_called_again_it_does_nothing_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    first = corpuscle.run(study(f'marks = "{marks}"'), tmp_path / "out", workers=0)
    again = corpuscle.run(study(f'marks = "{marks}"'), tmp_path / "out", workers=0)
    assert len(fitted(marks)) == 4
    assert (first.reused, again.reused) == (0, 4)
    pd.testing.assert_frame_equal(first.scores, again.scores)


def test_a_study_that_grew_does_only_what_is_new(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    before = study(f'marks = "{marks}"')
    corpuscle.run(before, tmp_path / "out", workers=0)
    corpuscle.run(corpuscle.Study.parse(before.text.replace("seeds = 2", "seeds = 3")), tmp_path / "out", workers=0)
    assert fitted(marks) == [f"{name} {seed}" for name in ("Blood", "No-Mono") for seed in range(3)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("error", "told to fail"),
        ("bug", "ZeroDivisionError"),
        ("killed", "worker process was killed; most often the machine ran out of memory"),
    ],
)
def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, kind: str, message: str) -> None:
    trouble = f'trouble = "No-Mono"\nkind_of_trouble = "{kind}"'
    # A process that is killed must not be this one.
    results = corpuscle.run(study(trouble), tmp_path / "out", workers=2 if kind == "killed" else 0)
    assert {(run.corpus, run.seed) for run in results.failures} == {("No-Mono", 0), ("No-Mono", 1)}
    assert all(message in failure for failure in results.failures.values())
    assert set(results.scores.corpus) == {"Blood"}
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert len(provenance["failures"]) == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_stopped_run_leaves_nothing_half_written_and_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    marks, out, file = tmp_path / "marks", tmp_path / "out", tmp_path / "study.toml"
    hanging = study(f'marks = "{marks}"\ntrouble = "No-Mono"\nkind_of_trouble = "hang"').text
    file.write_text(hanging)
    command = [sys.executable, "-m", "corpuscle.cli", "run", str(file), "-o", str(out), "--workers", "2"]
    # What runs the tests may ignore Ctrl-C, as a shell's background jobs do, and hand that down; a terminal does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    _wait_for(lambda: marks.exists() and "No-Mono 0" in fitted(marks) and _n_models(out) >= 1, process)
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode == (-9 if how is signal.SIGKILL else 130)
    assert "Traceback" not in errors
    assert ("Nothing is lost" in errors) == (how is not signal.SIGKILL)
    done = _n_models(out)
    assert not (out / "scores.parquet").exists()

    results = corpuscle.run(study(f'marks = "{marks}"'), out, workers=0)
    assert not results.failures
    assert len(results.scores[results.scores.unit == "all"]) == 2 * 2 * 2 * 2
    assert not list(out.rglob(".partial-*"))
    # The toy's trouble is a parameter, so its models are fitted anew; those of the store are untouched.
    assert _n_models(out) == done + 4


def _n_models(out: Path) -> int:
    return len([entry for entry in (out / "store" / "models").glob("*") if not entry.name.startswith(".")])


def _wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait for what a process does, as long as it lives: on a busy machine that takes as long as it takes."""
    while not condition():
        assert process.poll() is None, f"it ended before: {process.stderr and process.stderr.read()}"
        time.sleep(0.1)


def test_another_studys_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    corpuscle.run(study(), tmp_path, workers=0)
    before = (tmp_path / "study.toml").read_text()
    with pytest.raises(FolderError, match="holds the study 'toy', and this one is called 'other'"):
        corpuscle.run(study(name="other"), tmp_path)
    assert (tmp_path / "study.toml").read_text() == before


def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match="not empty and holds no study"):
        corpuscle.run(study(), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        corpuscle.run(study(), tmp_path / "out")


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    from corpuscle.execution.results_folder import claimed

    with claimed(tmp_path / "out", study()), pytest.raises(FolderError, match="in use"):
        corpuscle.run(study(), tmp_path / "out")


def test_a_study_with_bad_data_trains_nothing(tmp_path: Path) -> None:
    broken = corpuscle.Study.parse(study().text.replace("n_cells = 60", "n_cells = 60000"))
    with pytest.raises(StudyError) as caught:
        corpuscle.run(broken, tmp_path / "out")
    assert [problem.place for problem in caught.value.problems] == ["corpora[0]", "corpora[1]"]
    assert "asks for 60,000 cells of blood, which has 320" in str(caught.value)
    assert not (tmp_path / "out" / "scores.parquet").exists()
    # The folder is still anybody's: a study under another name may take it.
    assert corpuscle.run(study(name="fixed"), tmp_path / "out", workers=0).reused == 0


def test_compose_writes_the_cells_of_the_manifest(tmp_path: Path) -> None:
    paths = corpuscle.compose(study(), tmp_path / "out", only="Blood")
    assert len(paths) == 2
    made = anndata.read_h5ad(paths[0])
    cells = pd.read_parquet(paths[0].parent / "cells.parquet")
    original = anndata.read_h5ad(smaller("pbmc3k"))
    assert made.obs["barcode"].tolist() == cells.barcode.tolist()
    np.testing.assert_array_equal(
        made[:, made.var["symbol"] == "LYZ"].X.toarray(), original[cells.barcode, "LYZ"].X.toarray()
    )


def test_compose_keeps_what_is_there_and_mends_what_is_not(tmp_path: Path) -> None:
    first = corpuscle.compose(study(), tmp_path / "out")
    stamps = [path.stat().st_mtime_ns for path in first]
    first[0].unlink()
    again = corpuscle.compose(study(), tmp_path / "out")
    assert again == first
    assert [path.stat().st_mtime_ns for path in again[1:]] == stamps[1:]


def test_compose_writes_again_what_a_changed_study_made_false(tmp_path: Path) -> None:
    path = corpuscle.compose(study(), tmp_path / "out", only="No-Mono")[0]
    changed = corpuscle.Study.parse(study().text.replace("CD14 Monocytes", "B"))
    # A run in between leaves the manifests of the changed study beside the old files.
    corpuscle.run(changed, tmp_path / "out", workers=0)
    assert corpuscle.compose(changed, tmp_path / "out", only="No-Mono")[0] == path
    made = anndata.read_h5ad(path)
    assert "B" not in set(made.obs["cell_type"])
    assert json.loads(made.uns["corpuscle"]["manifest"]) == json.loads((path.parent / "manifest.json").read_text())


def test_compose_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpuscle.corpus import export
    from corpuscle.corpus.corpus import Corpus

    for name, value in (("BLOCK_CELLS", 7), ("SEGMENT", 500), ("CHUNK", 50)):
        monkeypatch.setattr(export, name, value)

    def stopping(what: str, share: float) -> None:
        if what == "writing Blood, seed 1" and share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpuscle.compose(study(), tmp_path / "out", only="Blood", notice=stopping)
    assert [path.parent.name for path in (tmp_path / "out" / "corpora").rglob("corpus.h5ad")] == ["0"]
    first, real = [], Corpus.counts
    monkeypatch.setattr(Corpus, "counts", lambda corpus, rows: first.append(rows.start) or real(corpus, rows))
    paths = corpuscle.compose(study(), tmp_path / "out", only="Blood")
    assert min(first) > 30
    assert not list((tmp_path / "out").rglob(".composing-*"))
    monkeypatch.undo()
    whole = corpuscle.compose(study(), tmp_path / "again", only="Blood")
    for path, expected in zip(paths, whole, strict=True):
        assert (anndata.read_h5ad(path).X != anndata.read_h5ad(expected).X).nnz == 0


def test_compose_refuses_a_source_that_changes_meanwhile_and_then_begins_anew(tmp_path: Path) -> None:
    own = tmp_path / "own.h5ad"
    own.write_bytes(smaller("pbmc3k").read_bytes())
    changing = corpuscle.Study.parse(study().text.replace(str(smaller("pbmc3k")), str(own)))

    def change(what: str, _share: float) -> None:
        if what == "drawing No-Mono":
            data = anndata.read_h5ad(smaller("pbmc3k"))
            data[::-1].copy().write_h5ad(own)

    with pytest.raises(InputError, match="source 'blood' has changed, or is gone, since it was opened"):
        corpuscle.compose(changing, tmp_path / "out", notice=change)
    assert not list((tmp_path / "out").rglob("corpus.h5ad"))
    path = corpuscle.compose(changing, tmp_path / "out", only="Blood")[0]
    made, now = anndata.read_h5ad(path), anndata.read_h5ad(own)
    assert made.obs["barcode"].tolist() == now.obs_names[made.obs["row"]].tolist()
    lyz = made[:, made.var["symbol"] == "LYZ"].X.toarray()
    np.testing.assert_array_equal(lyz, now[made.obs["barcode"].tolist(), "LYZ"].X.toarray())


def test_compose_writes_zarr_with_the_same_cells(tmp_path: Path) -> None:
    plain = corpuscle.compose(study(), tmp_path / "out", only="Blood")[0]
    path = corpuscle.compose(study(), tmp_path / "out", only="Blood", form="zarr")[0]
    assert path.name == "corpus.zarr"
    found, expected = anndata.read_zarr(path), anndata.read_h5ad(plain)
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    assert (found.X != expected.X).nnz == 0
    assert found.uns["corpuscle"]["manifest"] == expected.uns["corpuscle"]["manifest"]
    with pytest.raises(CorpusError, match="no format 'loom'"):
        corpuscle.compose(study(), tmp_path / "out", form="loom")


def test_a_composed_corpus_is_a_source(tmp_path: Path) -> None:
    path = corpuscle.compose(study(), tmp_path / "out", only="Blood", form="zarr")[0]
    composed = study().text.replace(str(smaller("pbmc3k")), str(path)).replace("= 60", "= 30")
    again = corpuscle.compose(corpuscle.Study.parse(composed), tmp_path / "again", only="Blood")[0]
    assert len(anndata.read_h5ad(again)) == 30


def test_compose_counts_repeated_barcodes(tmp_path: Path) -> None:
    data = anndata.read_h5ad(smaller("pbmc3k"))
    data.obs_names = [f"cell{at // 2}" for at in range(data.n_obs)]
    data.write_h5ad(tmp_path / "own.h5ad")
    text = study().text.replace(str(smaller("pbmc3k")), str(tmp_path / "own.h5ad"))
    text = text.replace("n_cells = 60", "fraction = 1.0")
    path = corpuscle.compose(corpuscle.Study.parse(text), tmp_path / "out", only="Blood")[0]
    made = anndata.read_h5ad(path)
    repeated = made.obs["barcode"].duplicated(keep=False)
    assert json.loads((path.parent / "manifest.json").read_text())["repeated_barcodes"] == {"blood": repeated.sum()}
    assert made.obs_names.is_unique


def test_compose_knows_its_corpora(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="did you mean 'Blood'"):
        corpuscle.compose(study(), tmp_path / "out", only="Blod")


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "study.toml").write_text(study().text)
    script.write_text('import corpuscle\nprint(corpuscle.run("study.toml", "out", workers=2).failures)\n')
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr
    # What is legal and likely not meant is logged, with its line in the study file.
    assert [line for line in done.stderr.splitlines() if not line.startswith("line ")] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, corpuscle, corpuscle.cli; print([m for m in ('torch', 'pandas', 'anndata') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_public_names_are_there() -> None:
    for name in corpuscle.__all__:
        assert getattr(corpuscle, name) is not None
    assert set(corpuscle.__all__) == {"__version__", *corpuscle._HOMES, *corpuscle._ROOMS}


COMPARED = """
name = "compared"
seeds = 1
sources.blood = {{ dataset = "pbmc3k" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{{ name = "toy:MeanProfile"{trouble} }}]
tasks = [{{ name = "latents", reference_corpus = "{reference}", on = ["blood"] }}]
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_model_is_compared_with_its_reference_whichever_is_fitted_first(tmp_path: Path, workers: int) -> None:
    # B comes after A, so A has to wait for it.
    study = corpuscle.Study.parse(COMPARED.format(trouble="", reference="B"))
    results = corpuscle.run(study, tmp_path / "out", workers=workers)
    assert not results.failures
    found = results.scores[results.scores.metric == "cka"]
    assert found.corpus.tolist() == ["A", "B"]
    assert found.reason.str.contains("the embedding is the same for all cells").all()
    assert corpuscle.run(study, tmp_path / "out", workers=0).reused == 2


def test_a_reference_that_cannot_be_fitted_is_named(tmp_path: Path) -> None:
    text = COMPARED.format(trouble=', trouble = "B"', reference="B")
    failures = corpuscle.run(corpuscle.Study.parse(text), tmp_path / "out", workers=0).failures
    messages = {run.corpus: message for run, message in failures.items()}
    assert "told to fail" in messages["B"]
    assert "could not be fitted: B" in messages["A"]


def test_a_reference_that_the_study_does_not_have_is_refused() -> None:
    with pytest.raises(StudyError, match=r"there is no corpus 'C'; .*Legal here: A, B"):
        corpuscle.Study.parse(COMPARED.format(trouble="", reference="C"))


@pytest.mark.parametrize(
    ("task", "lacking", "looks"),
    [("integration", "scib_metrics", "tasks.integration"), ("clustering", "igraph", "metrics.clustering")],
)
def test_a_task_whose_extra_is_missing_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch, task: str, lacking: str, looks: str
) -> None:
    import importlib

    module = importlib.import_module(f"corpuscle.evaluation.{looks}")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == lacking else object())
    text = COMPARED.format(trouble="", reference="B")
    text = text.replace('name = "latents", reference_corpus = "B"', f'name = "{task}"')
    with pytest.raises(StudyError, match=rf"pip install 'corpuscle\[{task}\]'"):
        corpuscle.Study.parse(text)
