"""How a run goes, as a log and below a notebook's cell."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

from corpuscle import Study, run
from corpuscle.cli import app
from corpuscle.core.errors import Problem
from corpuscle.execution import workflow
from corpuscle.execution.default_listener import default_listener
from corpuscle.execution.listener import Listener
from corpuscle.execution.logged import Logged
from corpuscle.execution.notebook import InNotebook
from corpuscle.execution.results import Results
from corpuscle.report.page.outdated import MARK
from corpuscle.study.plan import Run
from elsewhere import write_cells

PCA, LDVAE = Run("<b>Blood", "pca", 0), Run("Blood", "ldvae", 0)
STUDY = """
name = "small"
seeds = 1
sources.blood = {{ path = {path!r} }}
holdout.blood = {{ by = "cell", share = 0.3 }}
corpora = [{{ name = "A", parts = [{{ source = "blood", n_cells = 20 }}] }}]
models = [{{ name = "pca", n_components = 2 }}, {{ name = "hvg", n_genes = 5000 }}]
tasks = [{{ name = "annotation", on = ["blood"] }}]
"""


class Clock:
    """Gives the seconds that it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(listener: Listener, clock: Clock) -> None:
    """Let a listener hear a whole run."""
    listener.notice("reading blood", 0.0)
    clock.now += 10
    listener.notice("reading blood", 0.2)
    clock.now += 61
    listener.notice("reading blood", 0.7)
    listener.warned([Problem("seeds", "one seed shows no scatter")])
    listener.planned({PCA: 0, LDVAE: 99}, 3)
    listener.update(PCA, 1.0)
    listener.left(90)
    clock.now += 61
    listener.update(LDVAE, 0.5)
    listener.failed("annotation on blood: Blood · ldvae · seed 0", "\x1b[31mno labels")
    listener.update(LDVAE, 1.0)
    listener.update(LDVAE, 1.0)
    listener.finished(Results(Path("out"), pd.DataFrame({"value": [1.0]}), {}, 0))


def test_a_run_is_a_readable_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "corpuscle")
    clock = Clock()
    play(Logged(clock), clock)
    assert {record.name for record in caplog.records} == {"corpuscle"}
    assert [f"{record.levelname} {record.getMessage()}" for record in caplog.records] == [
        "INFO reading blood",
        "INFO reading blood, 70 %",
        "WARNING seeds: one seed shows no scatter",
        "INFO 2 runs to do, 3 there already",
        "INFO done: <b>Blood · pca · seed 0 (1 of 2 runs done, 1 %)",
        "INFO 1 of 2 runs done, 50 %, about 0:01:30 left",
        r"ERROR failed: annotation on blood: Blood · ldvae · seed 0: \x1b[31mno labels",
        "INFO done: Blood · ldvae · seed 0 (2 of 2 runs done, 100 %)",
        "INFO 1 scores; report: out/report.html",
    ]


def test_a_notebook_shows_one_picture_that_is_replaced() -> None:
    pictures: list[str] = []
    clock = Clock()
    play(InNotebook(pictures.append, clock), clock)
    assert "reading blood" in pictures[0]
    assert 'value="0.700"' in pictures[2]
    at_half = next(html for html in pictures if "50 %" in html)
    assert "Blood · ldvae · seed 0: 50 %" in at_half
    assert "warning: seeds: one seed shows no scatter" in at_half
    assert r"\x1b[31mno labels" in pictures[-1]
    assert "report: out/report.html" in pictures[-1]
    assert not any("<b>" in html for html in pictures)


def test_a_notebook_is_not_flooded() -> None:
    pictures: list[str] = []
    clock = Clock()
    listener = InNotebook(pictures.append, clock)
    for at in range(1000):
        clock.now += 0.01
        listener.notice("reading", at / 1000)
    assert 30 <= len(pictures) <= 41


def test_what_shows_a_run_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(default_listener(), Logged)
    for shell, cls in ((None, Logged), (SimpleNamespace(), Logged), (SimpleNamespace(kernel=1), InNotebook)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert isinstance(default_listener(), cls)


def test_a_redirected_run_has_a_log_with_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "cores", lambda: 0)
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(path=str(write_cells(tmp_path / "blood.h5ad"))))
    result = CliRunner().invoke(app, ["run", str(study), "-o", str(tmp_path / "out")])
    lines = result.stderr.splitlines()
    assert all(line[:4].isdigit() and line[20:].split()[0] in ("INFO", "WARNING", "ERROR") for line in lines), lines
    said = [line[20:] for line in lines]
    assert any(line.startswith("INFO 2 runs to do, 0 there already") for line in said)
    assert any(line.startswith("INFO done: A · pca · seed 0 (1 of 2 runs done") for line in said)
    assert said[-1].startswith("INFO ")
    assert "report.html" in said[-1]
    # The logger is as it was.
    assert logging.getLogger("corpuscle").level == logging.NOTSET
    assert not [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]


class _Interrupted(Listener):
    def planned(self, n_steps: object, reused: int) -> None:
        raise KeyboardInterrupt


def test_the_page_of_an_earlier_run_says_so_until_a_later_one_finishes(tmp_path: Path) -> None:
    text = STUDY.format(path=str(write_cells(tmp_path / "blood.h5ad")))
    page = run(Study.parse(text), tmp_path / "out", workers=0).report
    assert MARK not in page.read_text()
    run(Study.parse(text), tmp_path / "out", workers=0, listener=Listener())
    assert MARK not in page.read_text(), "nothing is missing"
    more = Study.parse(text.replace("seeds = 1", "seeds = 2"))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(more, tmp_path / "out", workers=0, listener=_Interrupted())
        assert page.read_text().count(MARK) == 1
    run(more, tmp_path / "out", workers=0)
    assert MARK not in page.read_text()
