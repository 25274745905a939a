"""Several processes on one store at once: each result is made once, whoever is killed or stopped meanwhile."""

import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core import claims
from corpuscle.execution import engine
from corpuscle.execution.graph import runs_of
from corpuscle.execution.opened import Opened
from corpuscle.store import CLAIM, PARTIAL, Store
from repository import environment

STUDY = """
name = "{name}"
seeds = 3
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{{ name = "toy:MeanProfile", marks = "{marks}" }}]
tasks = [{{ name = "reconstruction", on = ["blood"] }}]
"""
needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stopping a process is POSIX")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 150 cells of 30 genes, no two alike."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 2.0, 30), (150, 30)).astype(np.float32)
    counts[:, 0] += 1 + np.arange(150)
    obs = pd.DataFrame({"cell_type": ["B", "T"] * 75}, index=[f"cell{at}" for at in range(150)])
    path = tmp_path_factory.mktemp("cells") / "blood.h5ad"
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{at}" for at in range(30)])).write_h5ad(path)
    return path


def text(cells: Path, marks: Path, name: str = "shared") -> str:
    return STUDY.format(name=name, path=cells, marks=marks)


def left(root: Path) -> list[Path]:
    """What should be gone when nobody is at work."""
    return [path for path in root.rglob(".*") if path.name.startswith((CLAIM, PARTIAL))]


RUN = """if True:
    import sys, corpuscle
    from pathlib import Path
    from corpuscle.execution import workflow
    workflow.written = lambda *_: None
    if __name__ == "__main__":
        study, folder, store = sys.argv[1:]
        corpuscle.run(corpuscle.Study.read(Path(study)), folder, workers=0, store=Path(store))
"""


def test_two_runs_on_one_store_make_each_artifact_once(cells: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        study = tmp_path / f"{name}.toml"
        study.write_text(text(cells, tmp_path / "marks", name))
        command = [sys.executable, "-c", RUN, str(study), str(tmp_path / name), str(tmp_path / "store")]
        runs.append(subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True))
    for run in runs:
        # The plan's warnings aside, nothing is said.
        assert [line for line in run.communicate()[1].splitlines() if not line.startswith("line ")] == []
        assert run.returncode == 0
    fitted = Counter((tmp_path / "marks").read_text().splitlines())
    assert fitted == {f"{corpus} {seed}": 1 for corpus in "AB" for seed in range(3)}
    assert left(tmp_path) == []
    for table in ("scores", "measures", "fits"):
        one, two = (pd.read_parquet(tmp_path / name / f"{table}.parquet") for name in ("one", "two"))
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not (tmp_path / "one" / "store").exists()
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("*.json")]
    assert {(Path(one["folder"]).name, one["study"]) for one in records} == {("one", "one"), ("two", "two")}


def test_a_run_goes_on_with_the_store_that_it_had(cells: Path, tmp_path: Path) -> None:
    study = corpuscle.Study.parse(text(cells, tmp_path / "marks"))
    corpuscle.compose(study, tmp_path / "out", only="A", store=tmp_path / "store", workers=0)
    corpuscle.compose(study, tmp_path / "out", only="A", workers=0)
    assert not (tmp_path / "out" / "store").exists()
    assert json.loads((tmp_path / "out" / "artifacts.json").read_text())["store"] == str(tmp_path / "store")


def test_what_is_no_store_is_refused(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    study = corpuscle.Study.parse(text(cells, tmp_path / "marks"))
    for given in (tmp_path / "other", tmp_path / "other" / "thesis.txt"):
        with pytest.raises(corpuscle.InputError, match="expected a store, or a new or empty folder"):
            corpuscle.compose(study, tmp_path / "out", store=given, workers=0)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


@contextlib.contextmanager
def maker(root: Path, *, waits: bool) -> Iterator[subprocess.Popen[str]]:
    """Give a process that makes a result, and waits in the middle until there is a file `go`."""
    code = f"""if True:
        import sys, time
        from pathlib import Path
        from corpuscle.store import Store
        root = Path({str(root)!r})
        def write(folder):
            (folder / "a").write_text("1")
            with (root.parent / "made").open("a") as file:
                file.write("x")
            print("begun", flush=True)
            while {waits} and not (root.parent / "go").exists():
                time.sleep(0.01)
            (folder / "b").write_text("2")
        print(Store(root).kept("models", "key", write), flush=True)
    """
    command = [sys.executable, "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def write(folder: Path) -> None:
    for name, content in (("a", "1"), ("b", "2")):
        (folder / name).write_text(content)


@needs_signals
@pytest.mark.parametrize("how", ["waits", "at once"])
def test_what_a_killed_process_was_making_is_made_by_another(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path / "store")
    with maker(store.root, waits=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert store.kept_if_free("models", "key", write) is None
        assert store.sweep() == [], "what is being made is left alone"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(left(tmp_path)) == 2
    if how == "at once":
        assert store.kept_if_free("models", "key", write) is not None
    folder = store.kept("models", "key", write)
    assert (folder / "b").read_text() == "2"
    store.sweep()
    assert left(tmp_path) == []


@needs_signals
@pytest.mark.parametrize("swept", [False, True], ids=["goes on", "its folder was swept"])
def test_a_process_that_was_stopped_and_goes_on_does_no_harm(
    tmp_path: Path, swept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    monkeypatch.setattr(claims, "SILENT_SECONDS", 0.3)
    with maker(store.root, waits=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        folder = store.kept("models", "key", write)
        inode = folder.stat().st_ino
        if swept:
            store.sweep()
            assert left(tmp_path) == []
        (tmp_path / "go").touch()
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=300) == (f"{folder}\n", "")
    assert folder.stat().st_ino == inode, "the first stays"
    assert store.has("models", "key")
    assert left(tmp_path) == []


def test_the_engine_does_other_things_while_another_run_makes_one(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(tmp_path / "store")
    first, *others = runs_of(corpuscle.prepare(corpuscle.Study.parse(text(cells, tmp_path / "marks"))), opened.corpora)
    claim = opened.store.claim(*first.fit.address)
    token, made = claims.attempt(claim), []
    assert token

    def on_update(news: engine.Update) -> None:
        made.append(news.address)
        if news.share == 1 and all(one.is_done(opened.store) for one in others):
            claims.release(claim, token)

    wanted = [artifact for one in (first, *others) for artifact in one.all]
    assert engine.execute(wanted, opened.corpora, 0, on_update) == {}
    assert made.index(first.scores[0].address) > made.index(others[-1].scores[0].address)
    assert first.is_done(opened.store)


def test_the_engine_takes_over_what_another_run_left(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SILENT_SECONDS", 0.05)
    opened = Opened(tmp_path / "store")
    first, *_ = runs_of(corpuscle.prepare(corpuscle.Study.parse(text(cells, tmp_path / "marks"))), opened.corpora)
    claim = opened.store.claim(*first.fit.address)
    claim.parent.mkdir(parents=True)
    claim.write_text('{"token": "x", "host": "far", "pid": 1, "machine": "other", "started": "1"}')
    assert engine.execute(first.all, opened.corpora, 0, lambda _news: None) == {}
    assert left(tmp_path) == []
