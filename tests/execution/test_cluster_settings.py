"""What `--cluster` may say, and what a worker of a cluster must have; no cluster is there."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, Timer
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from corpuscle.core.errors import InputError
from corpuscle.execution.cluster.settings import Slurm, seconds_of, settings
from corpuscle.execution.cluster.terms import Terms, appears, own_code, own_versions, unmet

TABLE = """
partition = "gpu"
time = "12:00:00"
memory = "64 GB"
cores = 8
gpus = 1
gpu_memory = "40 GB"
maximum = 20
environment = ["module load cuda", "export A=1"]
directives = ["--constraint=a100"]
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text(TABLE)
    return path


def test_a_file_says_what_jobs_are_to_have(table: Path) -> None:
    found = settings(table)
    assert isinstance(found, Slurm)
    assert (found.partition, found.memory, found.gpu_memory, found.minimum) == ("gpu", 64 * 10**9, 40 * 10**9, 0)
    assert found.environment == ("module load cuda", "export A=1")


def test_the_users_own_table_is_found(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(table.parent))
    with pytest.raises(InputError, match=r"needs the table of your cluster in .*corpuscle/cluster\.toml"):
        settings("slurm")
    (table.parent / "corpuscle").mkdir()
    table.rename(table.parent / "corpuscle" / "cluster.toml")
    found = settings("slurm")
    assert isinstance(found, Slurm)
    assert found.cores == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('partitoin = "gpu"', "there is no 'partitoin' here; did you mean 'partition'"),
        ('memory = "much"', 'memory should be a text such as "32 GB"'),
        ("memory = 5", 'memory should be a text such as "32 GB"'),
        ('time = "soon"', "time should be a time as sbatch has it"),
        ('time = "00:00:00"', "time should be a time as sbatch has it"),
        ("cores = 0", "cores should be"),
        ('cores = "4"', "cores should be"),
        ("minimum = 3\nmaximum = 2", "maximum should be no less than minimum"),
        ('environment = "module load cuda"', "environment should be"),
        ('directives = ["-p a\\n#SBATCH -A b"]', "should be a text on one line"),
        ("[slurm]", "there is no 'slurm' here"),
        ("partition", "cannot be read as TOML"),
        ('cores = 0\nmemory = "x"', "cores should be .*; memory should be "),
    ],
)
def test_a_fault_in_a_file_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        settings(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", ["10.0.0.1:8786", "SLURM", "", "http://10.0.0.1"])
def test_what_is_no_cluster_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="expected the address of a Dask scheduler"):
        settings(given)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("time", "seconds"), [("30", 1800), ("30:15", 1815), ("1:00:00", 3600), ("1-12", 129_600), ("2-00:00:30", 172_830)]
)
def test_times_are_those_of_sbatch(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds


def test_a_worker_must_have_what_the_run_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpuscle.execution.cluster.terms.SEEN_SECONDS", 0.0)
    terms = Terms(own_versions(), own_code())
    assert unmet(terms) == ""
    other = tuple((name, "2.0" if name == "numpy" else version) for name, version in own_versions())
    assert unmet(terms._replace(versions=other)).startswith("it has numpy ")
    assert "another; install the same" in unmet(terms._replace(code="other"))
    probe = tmp_path / "store" / "runs" / "probe"
    seen = terms._replace(probes=((str(probe), "token"),))
    assert f"it does not see the store {tmp_path / 'store'};" in unmet(seen)
    probe.parent.mkdir(parents=True)
    probe.write_text("that of another disk")
    assert "it does not see the store" in unmet(seen)
    probe.write_text("token")
    assert unmet(seen) == ""
    assert "it does not see /nowhere" in unmet(seen._replace(sources=("/nowhere",)))


def test_what_another_machine_made_is_waited_for(tmp_path: Path) -> None:
    assert not appears(tmp_path / "none" / "a", 0.0)
    later = Timer(0.15, (tmp_path / "a").mkdir)
    later.start()
    assert appears(tmp_path / "a", 60.0)
    later.join()


def test_gpus_are_shared_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from corpuscle.execution.cluster import on_worker

    monkeypatch.setattr(on_worker, "_gpus", {"cuda:0": 0.0, "cuda:1": 0.0})
    child: Any = None

    def job(share: float, *, uses_gpu: bool = True) -> on_worker.Job:
        return on_worker.Job(b"", "", "", "", Terms((), ""), "", (), "", uses_gpu, share)

    with on_worker._gpu(job(0.5), child) as half, on_worker._gpu(job(1.0), child) as whole:
        assert {half, whole} == {"cuda:0", "cuda:1"}
        with on_worker._gpu(job(0.25), child) as quarter:
            assert quarter == half, "the one with room"
        came, go_on = Event(), Event()

        def another() -> None:
            with on_worker._gpu(job(1.0), child) as gpu:
                assert gpu in (half, whole)
                came.set()
                go_on.wait()

        waiting = Thread(target=another, daemon=True)
        waiting.start()
        assert not came.wait(0.1), "two large models never share one"
    assert came.wait(60)
    go_on.set()
    waiting.join()
    assert set(on_worker._gpus.values()) == {0.0}  # type: ignore[union-attr]
    for uses_gpu, device in ((True, "cpu"), (False, "")):
        with on_worker._gpu(job(0.0, uses_gpu=uses_gpu), child) as gpu:
            assert gpu == device, "nobody may take the memory of a GPU that was not asked for"


@pytest.mark.parametrize("time", ["-5", "-5:00", "1_0:00:00", "\u0661:00", "1:2:3:4", "1-2-3", "", ":", "0", "1 0"])
def test_what_is_no_time_is_refused(tmp_path: Path, time: str) -> None:
    (tmp_path / "cluster.toml").write_text(f'time = "{time}"', encoding="utf-8")
    with pytest.raises(InputError, match="time should be a time as sbatch has it"):
        settings(tmp_path / "cluster.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".".join(["a"] * 100_000) + "=1", "nested more than 100 deep"),
        (f"cores = 0x{'f' * 5000}", "whole number"),
        ("a = " + "[" * 5000, "nested more than 100 deep|cannot be read as TOML"),
        ('memory = "1 KB"', 'memory should be a text such as "32 GB", 100 MB at least'),
        (None, "cannot be read"),
    ],
)
def test_a_file_is_read_as_plain_text_of_a_table(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "cluster.toml"
    if text is None:
        os.mkfifo(path)
    else:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        settings(path)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give what sets the script that answers for SLURM."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def answers(script: str) -> None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "squeue").chmod(0o755)

    return answers


def test_jobs_of_this_run_that_ended_are_found_with_their_logs(tmp_path: Path, squeue: Callable[[str], None]) -> None:
    from corpuscle.execution.cluster.jobs import LOG_TAIL, ended_jobs

    squeue("echo 7; echo 99")
    (tmp_path / "corpuscle-3.err").write_text("of an earlier run in this folder")
    (tmp_path / "corpuscle-7.err").write_text("at work")
    (tmp_path / "corpuscle-9.err").write_text("loading\n/nowhere/python: No such file\n\n")
    (tmp_path / "corpuscle-10.err").write_bytes(b"loading\nintrouvable : \xe9t\xe9\n")
    (tmp_path / "corpuscle-11.err").write_text("much\n" * LOG_TAIL + "at last\n")
    (tmp_path / "corpuscle-12.err").write_text("\n")
    ended, others = ended_jobs(tmp_path, ["12", "11", "13", "10", "9", "7"])
    assert [(job.number, job.said) for job in ended] == [
        ("9", "/nowhere/python: No such file"),
        ("10", "introuvable : \ufffdt\ufffd"),
        ("11", "at last"),
        ("12", ""),
        ("13", None),
    ]
    assert others
    assert str(ended[0]) == (
        "SLURM's job 9 ended before it could work; its log ends with: /nowhere/python: No such file "
        f"({tmp_path / 'corpuscle-9.err'})"
    )
    assert "its log is empty" in str(ended[3])
    assert "it left no log" in str(ended[4])
    # Job 99 is another run's: it does not keep this one waiting.
    assert not ended_jobs(tmp_path, ["9"])[1]
    assert ended_jobs(tmp_path, []) == ([], False)
    squeue("exit 1")
    assert ended_jobs(tmp_path, ["9"]) == ([], True)


def test_a_run_ends_where_all_its_jobs_ended_before_they_worked(tmp_path: Path, squeue: Callable[[str], None]) -> None:
    from corpuscle.execution.cluster.pool import DaskPool

    lines: list[str] = []
    pool = DaskPool.__new__(DaskPool)
    pool.cluster = cast(Any, SimpleNamespace(submitted=lambda: ["5", "6"], said=lines.append))
    pool._is_said = pool._all_ended = False
    (tmp_path / "corpuscle-5.err").write_text("no module\n")
    squeue("echo 6")
    for _ in range(3):
        pool._refuse_jobs_that_end(tmp_path)
    assert lines == [
        f"SLURM's job 5 ended before it could work; its log ends with: no module ({tmp_path / 'corpuscle-5.err'})"
    ]
    squeue("echo 99")
    pool._refuse_jobs_that_end(tmp_path)
    with pytest.raises(InputError, match="SLURM's job 6 ended before it could work"):
        pool._refuse_jobs_that_end(tmp_path)


def test_a_network_by_which_no_job_comes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    from corpuscle.execution.cluster.jobs import _check_interface

    _check_interface(None)
    with pytest.raises(InputError, match="interface: this machine has no network 'zz0'"):
        _check_interface("zz0")
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "zz0")])
    monkeypatch.setattr("distributed.utils.get_ip_interface", Mock(side_effect=ValueError("no address")))
    with pytest.raises(InputError, match="interface: 'zz0' has no IPv4 address"):
        _check_interface("zz0")
