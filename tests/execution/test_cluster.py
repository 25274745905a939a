"""Studies on a Dask scheduler: the same scores, and what becomes of them when its processes are killed."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest

import corpuscle
from corpuscle.core.errors import InputError
from corpuscle.execution.listener import Listener
from dask_cluster import PATIENCE, DaskCluster, dask_cluster, wait_for
from elsewhere import (
    LONG,
    TOY,
    TRAINED,
    assert_same,
    command,
    done_alone,
    failures_of,
    first_shares,
    has_checkpoint,
    is_running,
    left,
    started,
    study,
    was_taken_up,
    write_cells,
)
from repository import ROOT

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "blood.h5ad")


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Give a scheduler with a worker that has two threads and is watched by a nanny, as most are."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.add_worker("--nthreads", "2", nanny=True)
        yield cluster


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DaskCluster]:
    """Give a scheduler that a test may kill."""
    with dask_cluster(tmp_path / "scheduler") as cluster:
        yield cluster


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)


def test_scores_do_not_depend_on_where_they_are_made(cells: Path, tmp_path: Path, workers: DaskCluster) -> None:
    read, heard = corpuscle.Study.parse(study(cells, TOY, TRAINED)), Heard()
    assert not corpuscle.run(read, tmp_path / "one", workers=1).failures
    assert not corpuscle.run(read, tmp_path / "dask", cluster=workers.address, listener=heard).failures
    assert_same(tmp_path / "one", tmp_path / "dask")
    assert [line for line in heard.lines if "dashboard: http://" in line] == heard.lines
    assert not left(tmp_path)


@pytest.mark.thorough
def test_nor_on_how_many_make_them(cells: Path, tmp_path: Path, own: DaskCluster) -> None:
    own.add_worker(nanny=True)
    own.add_worker()
    read = corpuscle.Study.parse(study(cells, TOY, TRAINED, seeds=2))
    for name, where in (("one", {"workers": 1}), ("four", {"workers": 4}), ("dask", {"cluster": own.address})):
        assert not corpuscle.run(read, tmp_path / name, **where).failures  # type: ignore[arg-type]
    assert_same(tmp_path / "one", tmp_path / "four")
    assert_same(tmp_path / "one", tmp_path / "dask")


def test_a_killed_job_is_reported_with_what_it_needed_and_the_others_finish(
    cells: Path, tmp_path: Path, workers: DaskCluster
) -> None:
    killed = '{ name = "toy:MeanProfile", trouble = "A", kind_of_trouble = "killed" }'
    results = corpuscle.run(corpuscle.Study.parse(study(cells, killed)), tmp_path / "out", cluster=workers.address)
    failures = failures_of(tmp_path / "out")
    assert list(failures) == ["A"]
    assert "its worker process was killed" in failures["A"]
    assert "it needs about 0.7 GB" in failures["A"]
    assert f"last on {os.uname().nodename}, worker w" in failures["A"]
    assert set(results.scores.corpus) == {"B"}


@pytest.mark.thorough
def test_what_kills_its_workers_is_given_up(cells: Path, tmp_path: Path, own: DaskCluster) -> None:
    own.add_worker(nanny=True)
    killed = '{ name = "toy:MeanProfile", trouble = "A", kind_of_trouble = "worker" }'
    run = started([*command(cells, tmp_path, killed), "--cluster", own.address], tmp_path)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    failures = failures_of(tmp_path / "out")
    assert list(failures) == ["A"]
    assert "its worker was lost" in failures["A"]
    assert set(pd.read_parquet(tmp_path / "out" / "scores.parquet").corpus) == {"B"}


@pytest.fixture(scope="module")
def undisturbed(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do the study that others are disturbed in."""
    return done_alone(cells, tmp_path_factory.mktemp("undisturbed"), LONG.format(0))


@pytest.mark.thorough
@pytest.mark.parametrize("whom", ["worker", "scheduler", "main"])
def test_a_killed_process_costs_only_minutes(
    cells: Path, tmp_path: Path, own: DaskCluster, undisturbed: Path, whom: str
) -> None:
    words = command(cells, tmp_path, LONG.format(0))
    first = own.add_worker()
    run = started([*words, "--cluster", own.address], tmp_path)
    wait_for(has_checkpoint(tmp_path))
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
        wait_for(lambda: not any(map(is_running, first_shares(tmp_path))))
        with dask_cluster(tmp_path / "again") as other:
            other.add_worker()
            run = started([*words, "--cluster", other.address], tmp_path)
            _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert was_taken_up(tmp_path)
    assert_same(undisturbed, tmp_path / "out")
    assert not left(tmp_path)


def test_no_scheduler_at_the_address(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpuscle.execution.cluster import connection

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    read = corpuscle.Study.parse(study(cells, TOY))
    with pytest.raises(InputError, match=r"--cluster tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        corpuscle.run(read, tmp_path / "out", cluster="tcp://127.0.0.1:9")
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "web"])
def test_something_else_is_at_the_address(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    from corpuscle.execution.cluster import connection

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    taken[-1].sendall(answer)

        taken: list[socket.socket] = []
        Thread(target=serve, daemon=True).start()
        with pytest.raises(InputError, match="no Dask scheduler answers there"):
            corpuscle.run(
                corpuscle.Study.parse(study(cells, TOY)),
                tmp_path / "out",
                cluster=f"tcp://127.0.0.1:{server.getsockname()[1]}",
            )
        for one in taken:
            one.close()


def test_a_worker_is_no_scheduler(cells: Path, tmp_path: Path, workers: DaskCluster) -> None:
    from distributed import Client

    with Client(workers.address, set_as_default=False) as client:
        client.wait_for_workers(1)
        (address,) = client.scheduler_info(n_workers=-1)["workers"]
    with pytest.raises(InputError, match=r"no Dask scheduler answers there \(it is a Worker\)"):
        corpuscle.run(corpuscle.Study.parse(study(cells, TOY)), tmp_path / "out", cluster=address)


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
    words = [*command(cells, tmp_path, TOY), "--cluster", own.address]
    run = started(words, tmp_path)
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
    run = started([*command(cells, tmp_path, LONG.format(0), seeds=2), "--cluster", own.address], tmp_path)
    wait_for(has_checkpoint(tmp_path))
    own.add_worker(prefix=("env", other_code))
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    assert "Worker w1" in errors
    assert "is not used: its code" in errors
    assert not failures_of(tmp_path / "out")


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
