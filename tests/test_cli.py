"""The command line as a user meets it: what it prints, and one clear message with exit code 2 for bad input."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest

import corpuscle
from corpuscle import cli
from corpuscle.execution.rehearsal import estimate
from corpuscle.execution.rehearsal import rehearse as rehearsing
from corpuscle.execution.rehearsal.growth import Size
from corpuscle.execution.rehearsal.rehearse import rehearse
from repository import ROOT

Outcome = tuple[int, str, str]

STUDY = """
name = "small"
seeds = 1
[sources]
blood = { dataset = "pbmc3k" }
lines = { dataset = "chen2019" }
[holdout]
blood = { by = "cell", share = 0.2 }
[[corpora]]
name = "Blood"
parts = [{ source = "blood", n_cells = 50 }]
[[models]]
name = "toy:MeanProfile"
[[tasks]]
name = "reconstruction"
on = ["blood"]
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process; return exit code, output and errors."""

    def called(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["corpuscle", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_check_prints_the_plan(call: Callable[..., Outcome], study: Path) -> None:
    code, out, _ = call("check", study, "--plan")
    assert code == 0
    assert "How long it takes was not estimated" in out
    assert "1 runs" in out
    assert "50 of blood (uniform)" in out
    assert "cells of blood held out by cell" in out
    assert "2,500 of 2,500" in out


def test_check_says_how_long_a_run_takes_in_parts(
    call: Callable[..., Outcome], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "rehearse", lambda plan, notice, _limits: rehearse(plan, notice, workers=0))
    monkeypatch.setattr(rehearsing, "ROUNDS", (Size(40, 40), Size(40, 60)))
    code, out, _ = call("check", study, "--workers", 3)
    assert code == 0
    duration = r"\d+ (seconds|minutes)"
    parts = ", ".join(f"{part} {duration}" for part in ("preparing", "measuring", "training", "asking", "report"))
    assert re.search(f"About {duration} on 3 cores: {parts}", out)
    assert "Not in it" not in out


def test_run_then_report(call: Callable[..., Outcome], study: Path, tmp_path: Path) -> None:
    code, out, _ = call("run", study, "-o", tmp_path / "out", "--workers", 1)
    assert code == 0
    assert str(tmp_path / "out" / "report.html") in out
    (tmp_path / "out" / "report.html").unlink()
    code, out, _ = call("report", tmp_path / "out")
    assert code == 0
    assert (tmp_path / "out" / "report.html").exists()


def test_describe_prints_the_measures_and_leaves_a_page(
    call: Callable[..., Outcome], study: Path, tmp_path: Path
) -> None:
    code, out, _ = call("describe", study)
    assert code == 0
    assert "Vendi score" in out
    assert "Against blood" in out
    assert "Page:" not in out
    code, out, _ = call("describe", study, "-o", tmp_path / "out")
    assert code == 0
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"description.html", "measures.parquet", "measures.csv", "profiles.parquet", "cell_types.parquet"} <= left
    # A run goes on in the folder, and a description in a run's.
    assert call("run", study, "-o", tmp_path / "out", "--workers", 1)[0] == 0
    assert 'id="measures"' in (tmp_path / "out" / "report.html").read_text()
    before = (tmp_path / "out" / "provenance.json").read_text()
    assert call("describe", study, "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "provenance.json").read_text() == before


def test_describe_refuses_what_run_refuses(call: Callable[..., Outcome], study: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "own.txt").write_text("mine")
    code, _, err = call("describe", study, "-o", tmp_path / "full")
    assert code == 2
    assert "is not empty and holds no study" in err
    study.write_text(STUDY.replace("n_cells = 50", "n_cells = 5000"))
    code, _, err = call("describe", study, "-o", tmp_path / "new")
    assert code == 2
    assert "it asks for 5,000 cells of blood" in err
    assert not (tmp_path / "new" / "measures.parquet").exists()


def test_compose_prints_the_files(call: Callable[..., Outcome], study: Path, tmp_path: Path) -> None:
    code, out, _ = call("compose", study, "-o", tmp_path / "out")
    assert code == 0
    assert [Path(line).exists() for line in out.splitlines()] == [True]


def test_compose_writes_zarr_when_asked(call: Callable[..., Outcome], study: Path, tmp_path: Path) -> None:
    code, out, _ = call("compose", study, "-o", tmp_path / "out", "--format", "zarr")
    assert code == 0
    assert (Path(out.strip()) / "zarr.json").exists()
    code, _, err = call("compose", study, "-o", tmp_path / "out", "--format", "csv")
    assert code == 2
    assert "there is no format 'csv'; Legal here: h5ad, zarr" in err


def test_compose_says_which_cells_share_their_barcode(
    call: Callable[..., Outcome], study: Path, tmp_path: Path
) -> None:
    data = anndata.read_h5ad(corpuscle.dataset_path("pbmc3k"))
    data.obs_names = ["cell"] * data.n_obs
    data.write_h5ad(tmp_path / "own.h5ad")
    study.write_text(STUDY.replace('dataset = "pbmc3k"', 'path = "own.h5ad"'))
    code, _, err = call("compose", study, "-o", tmp_path / "out")
    assert code == 0
    assert "50 cells of blood share their barcode with another; they are named blood:BARCODE-ROW" in err


def test_the_share_done_and_the_time_left_are_shown() -> None:
    from io import StringIO

    from rich.console import Console

    from corpuscle.terminal import Preparing

    shown = StringIO()
    preparing = Preparing(Console(file=shown, force_terminal=True, width=100))
    with preparing.progress:
        for share in (0.1, 0.2, 0.3):
            preparing.notice("writing [A]", share)
            preparing.progress.refresh()
    assert "writing [A]" in shown.getvalue()
    assert "30%" in shown.getvalue()
    assert "left" in shown.getvalue()
    assert preparing.progress.tasks[0].time_remaining is not None


def test_a_failed_run_is_told_and_ends_in_1(call: Callable[..., Outcome], study: Path, tmp_path: Path) -> None:
    study.write_text(STUDY.replace('"toy:MeanProfile"', '"toy:MeanProfile"\ntrouble = "Blood"'))
    code, out, _ = call("run", study, "-o", tmp_path / "out")
    assert code == 1
    assert "it was told to fail" in out


@pytest.mark.parametrize("kind", ["datasets", "samplers", "alterations", "models", "tasks"])
def test_list_names_what_there_is(call: Callable[..., Outcome], kind: str) -> None:
    code, out, _ = call("list", kind)
    expected = {"datasets": "GSE96583", "samplers": "uniform", "alterations": "thin", "models": "ldvae",
                "tasks": "reconstruction"}  # fmt: skip
    assert code == 0
    assert expected[kind] in out


def test_list_shows_what_a_parameter_is_by_default_or_that_it_is_required(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    _, out, _ = call("list")
    assert not re.search(r"FieldInfo|MISSING|lambda|Budget\(", out)
    assert "model (required)" in out
    assert "widths = [512, 512, 256, 256, 64]" in out
    assert "budget = {'epochs': 250}" in out


def test_the_demos_study_can_be_printed_and_is_sound(call: Callable[..., Outcome]) -> None:
    code, out, _ = call("demo", "--print")
    assert code == 0
    assert len(corpuscle.Study.parse(out).recipes) == 6


def test_every_command_is_documented_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [command.name or command.callback.__name__ for command in cli.app.registered_commands]  # type: ignore[union-attr]
    assert [name for name in commands if f"corpuscle {name}" not in readme] == []


def _edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(study: Path) -> None:
        assert old in STUDY
        study.write_text(STUDY.replace(old, new))

    return edit


def _with_file(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Let the study read a file of its own, and do something to that file."""

    def edit(study: Path) -> None:
        file = study.with_name("cells.h5ad")
        shutil.copy(corpuscle.dataset_path("pbmc3k"), file)
        change(file)
        study.write_text(STUDY.replace('{ dataset = "pbmc3k" }', '{ path = "cells.h5ad" }'))

    return edit


def _counts(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def rewrite(file: Path) -> None:
        made = anndata.read_h5ad(file)
        made.X = made.X.astype(np.float32)
        made.X.data = change(made.X.data)
        made.write_h5ad(file)

    return _with_file(rewrite)


def _set_first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(data: np.ndarray) -> np.ndarray:
        data = data.copy()
        data[0] = value
        return data

    return change


def _foreign_genes(file: Path) -> None:
    made = anndata.read_h5ad(file)
    made.var = made.var[[]].set_axis([f"locus{i}" for i in range(made.n_vars)])
    made.write_h5ad(file)


BAD = {
    "no study file": (lambda study: study.unlink(), "no such study file"),
    "not TOML": (_edited('name = "small"', "name = small"), "not TOML"),
    "missing file": (_with_file(lambda file: file.unlink()), "no such file"),
    "truncated h5ad": (_with_file(lambda file: file.write_bytes(file.read_bytes()[:100_000])), "truncated"),
    "normalised counts": (_counts(np.log1p), "the logarithm of counts that were scaled (log-normalised)"),
    "negative counts": (_counts(_set_first(-1)), "negative values"),
    "NaN counts": (_counts(_set_first(np.nan)), "NaN or infinite"),
    "infinite counts": (_counts(_set_first(np.inf)), "NaN or infinite"),
    "no shared genes": (_with_file(_foreign_genes), "share"),
    "where matches nothing": (
        _edited('{ dataset = "pbmc3k" }', '{ dataset = "pbmc3k", where = "tissue == \'lung\'" }'),
        "matches none of 1,500 cells; tissue holds 'blood'",
    ),
    "where names no column": (
        _edited('{ dataset = "pbmc3k" }', '{ dataset = "pbmc3k", where = "tisue == \'blood\'" }'),
        "did you mean 'tissue'?",
    ),
    "too many cells": (_edited("n_cells = 50", "n_cells = 5000"), "asks for 5,000 cells of blood, which has 1,200"),
    "unknown sampler": (_edited("n_cells = 50", 'n_cells = 50, sampler = "unifrom"'), "did you mean 'uniform'?"),
    "unknown model": (_edited("toy:MeanProfile", "ldvea"), "did you mean 'ldvae'?"),
    "unknown parameter": (_edited('"toy:MeanProfile"', '"ldvae"\nn_latnet = 3'), "did you mean 'n_latent'?"),
    "unknown key": (_edited("[holdout]", "[holdouts]"), "did you mean 'holdout'?"),
    "two corpora of one name": (
        _edited("[[models]]", '[[corpora]]\nname = "Blood"\nparts = [{ source = "lines", n_cells = 9 }]\n[[models]]'),
        "two corpora of one name",
    ),
    "leak": (_edited('blood = { by = "cell", share = 0.2 }', ""), "are also in training corpus 'Blood'"),
    "code in where": (
        _edited('{ dataset = "pbmc3k" }', '{ dataset = "pbmc3k", where = "__import__(\'os\')" }'),
        "not allowed",
    ),
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_message(
    call: Callable[..., Outcome], study: Path, tmp_path: Path, case: str, command: str
) -> None:
    spoil, message = BAD[case]
    spoil(study)
    code, out, err = call(command, study, *(["-o", tmp_path / "out"] if command == "run" else []))
    assert code == 2
    assert message in err
    assert "Traceback" not in err + out
    assert not (tmp_path / "out" / "scores.parquet").exists()


def test_an_output_folder_of_another_study_is_refused(
    call: Callable[..., Outcome], study: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.toml").write_text('name = "other"')
    code, _, err = call("run", study, "-o", tmp_path / "out")
    assert code == 2
    assert "holds the study 'other'" in err


def test_all_problems_are_told_at_once_with_their_lines(call: Callable[..., Outcome], study: Path) -> None:
    study.write_text(STUDY.replace("n_cells = 50", "n_cells = 0").replace("[holdout]", "[holdouts]"))
    code, _, err = call("check", study)
    assert code == 2
    assert "2 problems" in err
    assert "line 7: holdouts" in err
    assert "line 11: corpora[0].parts[0].n_cells" in err


def test_a_reports_folder_must_hold_a_run(call: Callable[..., Outcome], tmp_path: Path) -> None:
    code, _, err = call("report", tmp_path)
    assert code == 2
    assert "expected the folder of a run; it has no study.toml" in err


def test_nothing_from_data_reaches_the_terminal_as_a_code(
    call: Callable[..., Outcome], study: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Names of columns, labels, a study and corpora may hold codes that colour, retitle or turn what follows."""
    write("odd", 12, obs={"\x1b]0;mine\x07\x1b[31mred": 1, "\u202eback": 1})
    study.write_text(
        STUDY.replace('"small"', '"small \\u009b31m\\u202e[bold]"').replace(
            'dataset = "chen2019"', 'path = "odd.h5ad", where = "nope == 1"'
        )
    )
    code, out, err = call("check", study)
    assert code == 2
    assert r"\x1b]0;mine\x07\x1b[31mred, \u202eback" in err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    study.write_text(study.read_text().replace(', where = "nope == 1"', ""))
    study.write_text(study.read_text().replace('path = "odd.h5ad"', 'dataset = "chen2019"'))
    code, out, _ = call("check", study, "--plan")
    assert code == 0
    assert r"small \x9b31m\u202e[bold]" in out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_a_message_is_a_screen_at_most(call: Callable[..., Outcome], study: Path) -> None:
    faulty = '{{ path = "a.h5ad", where = "{} = 1" }}'.format("b" * 9000)
    sources = "".join(f"other{at} = {faulty}\n" for at in range(300))
    study.write_text(STUDY.replace("[holdout]", f"{sources}[holdout]"))
    code, _, err = call("check", study)
    assert code == 2
    assert "… and 100 more" in err
    assert max(map(len, err.splitlines())) < 5000


def test_a_module_that_ends_the_process_does_not_make_check_succeed(
    call: Callable[..., Outcome], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quitting.py").write_text("import sys\nsys.exit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    study.write_text(STUDY.replace("toy:MeanProfile", "quitting:Model"))
    code, _, err = call("check", study)
    assert code == 2
    assert "cannot import 'quitting' (it called sys.exit(0))" in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x"), r"KeyError: 'x'\. This is a fault of Corpuscle; please report it with (\S+\.txt)"),
        (MemoryError(), "the memory is full"),
        (OSError(28, "No space left on device"), "a disk refused it"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_nothing_foresaw_is_one_message(  # noqa: PLR0917
    call: Callable[..., Outcome],
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    def fail(_path: Path) -> None:
        raise error

    monkeypatch.setattr(corpuscle.Study, "read", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, err = call("check", study)
    assert code == 1
    found = re.search(said, err)
    assert found
    assert "Traceback" not in err
    if found.groups():
        assert "Traceback" in Path(found[1]).read_text()
