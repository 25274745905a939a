"""Studies on a Dask scheduler: the same scores, and what becomes of them when its processes are killed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle.core.errors import InputError
from corpuscle.execution.workflow import Listener
from corpuscle.store import CLAIM, PARTIAL
from dask_cluster import PATIENCE, DaskCluster, dask_cluster, wait_for
from repository import ROOT, environment

pytest.importorskip("distributed")

STUDY = """
name = "shared"
seeds = {seeds}
sources.blood = {{ path = "{path}" }}
holdout.blood = {{ by = "cell", share = 0.2 }}
quality = {{ min_counts = 1, min_genes = 1 }}
corpora = [
  {{ name = "A", parts = [{{ source = "blood", n_cells = 60 }}] }},
  {{ name = "B", parts = [{{ source = "blood", n_cells = 40 }}] }},
]
models = [{models}]
tasks = [{{ name = "reconstruction", on = ["blood"] }}]
"""
TOY = '{ name = "toy:MeanProfile" }'
TRAINED = '{ name = "scvi", n_hidden = 8, n_latent = 2, budget = { steps = 20 } }'
LONG = '{ name = "frequent:Frequent", n_hidden = 8, n_latent = 2, budget = { steps = 2500 }, marks = "marks" }'
TABLES = ("scores", "measures", "fits", "maps", "curves")
# What a table says of how it was made, and not of what.
OF_MAKING = ["seconds", "cpu_seconds", "peak_gb", "fit_seconds"]


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


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Give a scheduler with two workers, one of which is watched by a nanny, as most are."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.add_worker(nanny=True)
        cluster.add_worker()
        yield cluster


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DaskCluster]:
    """Give a scheduler that a test may kill."""
    with dask_cluster(tmp_path / "dask") as cluster:
        yield cluster


def study(cells: Path, *models: str, seeds: int = 2) -> str:
    return STUDY.format(path=cells, models=", ".join(models), seeds=seeds)


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return {name: table.drop(columns=OF_MAKING, errors="ignore") for name, table in found.items()}


def assert_same(one: Path, other: Path) -> None:
    """Compare two runs bit for bit."""
    for (name, first), second in zip(tables(one).items(), tables(other).values(), strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True, obj=name)


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)


def test_scores_do_not_depend_on_where_they_are_made(cells: Path, tmp_path: Path, workers: DaskCluster) -> None:
    read, heard = corpuscle.Study.parse(study(cells, TOY, TRAINED)), Heard()
    for name, where in (("one", {"workers": 1}), ("four", {"workers": 4}), ("dask", {"cluster": workers.address})):
        results = corpuscle.run(read, tmp_path / name, listener=heard, **where)  # type: ignore[arg-type]
        assert not results.failures
    assert_same(tmp_path / "one", tmp_path / "four")
    assert_same(tmp_path / "one", tmp_path / "dask")
    assert [line for line in heard.lines if "dashboard: http://" in line] == heard.lines
    made = [(tmp_path / "dask" / "store").glob("models/*/made.json")]
    assert made
    assert not left(tmp_path)


def left(root: Path) -> list[Path]:
    """What should be gone when nobody is at work."""
    return [path for path in root.rglob(".*") if path.name.startswith((CLAIM, PARTIAL))]


def command(cells: Path, tmp_path: Path, *models: str, seeds: int = 1) -> list[str]:
    (tmp_path / "study.toml").write_text(study(cells, *models, seeds=seeds))
    return [sys.executable, "-m", "corpuscle.cli", "run", "study.toml", "-o", "out"]


def started(told: list[str], tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(told, env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True)


def test_a_killed_job_is_reported_with_what_it_needed_and_the_others_finish(
    cells: Path, tmp_path: Path, workers: DaskCluster
) -> None:
    killed = '{ name = "toy:MeanProfile", trouble = "A", kind_of_trouble = "killed" }'
    run = started([*command(cells, tmp_path, killed), "--cluster", workers.address], tmp_path)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    failures = corpuscle_failures(tmp_path / "out")
    assert list(failures) == ["A"]
    assert "its worker process was killed" in failures["A"]
    assert "it needs about 0.7 GB" in failures["A"]
    assert f"last on {os.uname().nodename}, worker w" in failures["A"]
    assert set(pd.read_parquet(tmp_path / "out" / "scores.parquet").corpus) == {"B"}


def corpuscle_failures(folder: Path) -> dict[str, str]:
    import json

    listed = json.loads((folder / "provenance.json").read_text())["failures"]
    return {one["corpus"]: one["message"] for one in listed}


@pytest.mark.thorough
def test_what_kills_its_workers_is_given_up(cells: Path, tmp_path: Path, own: DaskCluster) -> None:
    own.add_worker(nanny=True)
    killed = '{ name = "toy:MeanProfile", trouble = "A", kind_of_trouble = "worker" }'
    run = started([*command(cells, tmp_path, killed), "--cluster", own.address], tmp_path)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    failures = corpuscle_failures(tmp_path / "out")
    assert list(failures) == ["A"]
    assert "its worker was lost" in failures["A"]
    assert set(pd.read_parquet(tmp_path / "out" / "scores.parquet").corpus) == {"B"}


@pytest.fixture
def undisturbed(cells: Path, tmp_path: Path) -> Path:
    """Do the study that others are disturbed in."""
    marks = tmp_path / "undisturbed-marks"
    (tmp_path / "alone.toml").write_text(study(cells, LONG.replace('"marks"', f'"{marks}"'), seeds=1))
    told = [sys.executable, "-m", "corpuscle.cli", "run", "alone.toml", "-o", "alone", "--workers", "1"]
    subprocess.run(told, env=environment(), cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "alone"


def began(marks: Path, n: int = 1) -> Callable[[], bool]:
    """Whether so many trainings came so far that there is a checkpoint."""

    def came_far() -> bool:
        begun = [line.split() for line in marks.read_text().splitlines()] if marks.exists() else []
        return len({pid for _, pid, share in begun if float(share) > 0}) >= n and bool(
            list(marks.parent.glob("out/store/unfinished/*/*"))
        )

    return came_far


def pids(marks: Path) -> set[int]:
    return {int(line.split()[1]) for line in marks.read_text().splitlines()}


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resumed(marks: Path) -> bool:
    """Whether a training began where another had come to: the first share of its process is not 0."""
    first: dict[str, float] = {}
    for line in marks.read_text().splitlines():
        _, pid, share = line.split()
        first.setdefault(pid, float(share))
    return max(first.values()) > 0


@pytest.mark.thorough
@pytest.mark.parametrize("whom", ["worker", "scheduler", "main"])
def test_a_killed_process_costs_only_minutes(
    cells: Path, tmp_path: Path, own: DaskCluster, undisturbed: Path, whom: str
) -> None:
    told = command(cells, tmp_path, LONG)
    first = own.add_worker()
    run = started([*told, "--cluster", own.address], tmp_path)
    wait_for(began(tmp_path / "marks"))
    if whom == "worker":
        own.add_worker()
        first.kill()
    elif whom == "scheduler":
        own.scheduler.kill()
    else:
        run.kill()
    _, errors = run.communicate(timeout=PATIENCE)
    if whom == "scheduler":
        assert run.returncode == 1
        assert "the Dask scheduler of tcp://" in errors
        assert "is gone" in errors
        assert "Traceback" not in errors
    if whom != "worker":
        # Nobody waits for what was being made: its process ends.
        wait_for(lambda: not any(map(is_there, pids(tmp_path / "marks"))))
        with dask_cluster(tmp_path / "again") as other:
            other.add_worker()
            run = started([*told, "--cluster", other.address], tmp_path)
            _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert resumed(tmp_path / "marks")
    assert_same(undisturbed, tmp_path / "out")
    assert not left(tmp_path)


def test_no_scheduler_at_the_address(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpuscle.execution.cluster import connection

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    read = corpuscle.Study.parse(study(cells, TOY))
    with pytest.raises(InputError, match=r"--cluster tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        corpuscle.run(read, tmp_path / "out", cluster="tcp://127.0.0.1:9")
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".lock"])


def test_workers_and_a_cluster_are_two_things(cells: Path, tmp_path: Path) -> None:
    read = corpuscle.Study.parse(study(cells, TOY))
    with pytest.raises(InputError, match="either workers"):
        corpuscle.run(read, tmp_path / "out", cluster="tcp://127.0.0.1:9", workers=2)
    assert not (tmp_path / "out").exists()


def test_without_the_extra_there_is_one_message(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    read = corpuscle.Study.parse(study(cells, TOY))
    with pytest.raises(InputError, match=r"pip install 'corpuscle\[cluster\]'"):
        corpuscle.run(read, tmp_path / "out", cluster="tcp://127.0.0.1:9")


@pytest.fixture
def other_code(tmp_path: Path) -> str:
    """A path with this package, in which a line is different."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.h5ad"))
    with (tmp_path / "src" / "corpuscle" / "core" / "text.py").open("a") as file:
        file.write("\n# Another line.\n")
    return f"PYTHONPATH={tmp_path / 'src'}"


@pytest.mark.thorough
def test_a_worker_with_other_code_is_refused(cells: Path, tmp_path: Path, own: DaskCluster, other_code: str) -> None:
    own.add_worker(prefix=("env", other_code))
    wait_for(lambda: has_workers(own, 1))
    told = [*command(cells, tmp_path, TOY), "--cluster", own.address]
    run = started(told, tmp_path)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2
    assert "worker w0 (tcp://" in errors
    assert "its code of corpuscle" in errors
    assert not (tmp_path / "out" / "study.toml").exists()


@pytest.mark.thorough
def test_a_worker_that_joins_later_is_refused_and_the_others_go_on(
    cells: Path, tmp_path: Path, own: DaskCluster, other_code: str
) -> None:
    own.add_worker()
    run = started([*command(cells, tmp_path, LONG, seeds=2), "--cluster", own.address], tmp_path)
    wait_for(began(tmp_path / "marks"))
    own.add_worker(prefix=("env", other_code))
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert "Worker w1" in errors
    assert "is not used: its code" in errors
    assert not corpuscle_failures(tmp_path / "out")


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root hides a folder from a worker")
@pytest.mark.parametrize("hidden", ["out", "cells"])
def test_a_worker_that_does_not_see_the_store_is_refused(
    cells: Path, tmp_path: Path, own: DaskCluster, hidden: str
) -> None:
    (tmp_path / "out").mkdir()
    folder = tmp_path / "out" if hidden == "out" else cells.parent
    hide = f'mount -t tmpfs none {folder} && exec "$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", hide, "-", "true"], check=False).returncode:
        pytest.skip("mounts are not allowed here")
    own.add_worker(prefix=("unshare", "-m", "sh", "-c", hide, "-"))
    wait_for(lambda: has_workers(own, 1))
    run = started([*command(cells, tmp_path, TOY), "--cluster", own.address], tmp_path)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2, errors
    assert "worker w0 (tcp://" in errors
    assert ("it does not see the store" if hidden == "out" else f"it does not see {cells}") in errors
    assert not (tmp_path / "out" / "store" / "models").exists()


def has_workers(cluster: DaskCluster, n: int) -> bool:
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        return len(found) >= n
