"""Studies on a real SLURM of one node, which `slurm.sh` starts in a folder of its own: `make test-slurm`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_cluster import wait_for
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
    left,
    started,
    was_taken_up,
    write_cells,
)
from repository import environment

pytest.importorskip("dask_jobqueue")
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged")
SEARCHED = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        not all(shutil.which(name, path=SEARCHED) for name in PROGRAMS) or os.geteuid() != 0,
        reason="needs slurm-wlm and munge, and root",
    ),
]
SCRIPT = Path(__file__).with_name("slurm.sh")
# Longer than any of these takes.
PATIENCE = 580


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("cells") / "blood.h5ad")


@pytest.fixture(scope="module")
def undisturbed(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do the long study without a cluster."""
    return done_alone(cells, tmp_path_factory.mktemp("undisturbed"), LONG.format(0))


def on_slurm(words: list[str], folder: Path, **table: object) -> "subprocess.Popen[str]":
    """Start a command on SLURM's jobs."""
    found = {"partition": '"work"', "time": '"00:10:00"', "cores": 2, "memory": '"3 GB"', "maximum": 2, **table}
    (folder / "cluster.toml").write_text("".join(f"{key} = {value}\n" for key, value in found.items()))
    return started([*words, "--cluster", "cluster.toml"], folder)


def jobs(state: str = "RUNNING,PENDING") -> list[str]:
    words = ["squeue", "--noheader", "--format=%i", f"--states={state}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


def finished(run: "subprocess.Popen[str]") -> str:
    """Wait for a run, which must end well and leave no job; return what it printed."""
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, errors
    wait_for(lambda: not jobs())
    return errors


def test_scores_are_those_of_one_machine(cells: Path, tmp_path: Path) -> None:
    for name in ("slurm", "alone"):
        (tmp_path / name).mkdir()
    run = on_slurm(command(cells, tmp_path / "slurm", TOY, TRAINED), tmp_path / "slurm")
    errors = finished(run)
    assert "dashboard: http://" in errors
    assert_same(done_alone(cells, tmp_path / "alone", TOY, TRAINED), tmp_path / "slurm" / "out")
    assert not left(tmp_path)


def test_what_a_cancelled_job_was_making_is_made_by_another(cells: Path, tmp_path: Path, undisturbed: Path) -> None:
    run = on_slurm(command(cells, tmp_path, LONG.format(20)), tmp_path, maximum=1)
    wait_for(has_checkpoint(tmp_path))
    subprocess.run(["scancel", *jobs("RUNNING")], check=True)
    finished(run)
    assert len(first_shares(tmp_path)) > 1
    assert was_taken_up(tmp_path)
    assert_same_scores(undisturbed, tmp_path / "out")


def test_a_job_over_its_time_limit_is_taken_up_from_its_checkpoint(
    cells: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = on_slurm(command(cells, tmp_path, LONG.format(80)), tmp_path, time='"00:01:00"')
    finished(run)
    assert was_taken_up(tmp_path)
    assert_same_scores(undisturbed, tmp_path / "out")


def assert_same_scores(one: Path, other: Path) -> None:
    """Compare scores; the parameter `seconds` is part of what a model is called."""
    assert not failures_of(other)
    assert_same(one, other)


def test_a_partition_that_does_not_exist_is_one_message(cells: Path, tmp_path: Path) -> None:
    run = on_slurm(command(cells, tmp_path, TOY), tmp_path, partition='"nope"')
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2
    assert "SLURM would not take such a job: invalid partition specified: nope" in errors
    assert "Traceback" not in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".lock"])


@pytest.mark.parametrize(
    "broken", [{"python": '"/nowhere/python"'}, {"environment": '["echo no module >&2", "exit 3"]'}]
)
def test_jobs_that_end_before_they_work_end_the_run_with_their_log(
    cells: Path, tmp_path: Path, broken: dict[str, str]
) -> None:
    run = on_slurm(command(cells, tmp_path, TOY), tmp_path, **broken)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2, errors
    assert "ended before it could work; its log ends with: " in errors
    assert ("/nowhere/python" if "python" in broken else "no module") in errors.replace("\n", "")
    assert "Traceback" not in errors
    wait_for(lambda: not jobs())


def test_jobs_end_when_their_run_is_killed(cells: Path, tmp_path: Path) -> None:
    run = on_slurm(command(cells, tmp_path, LONG.format(300)), tmp_path)
    wait_for(has_checkpoint(tmp_path))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    wait_for(lambda: not jobs())


def test_a_failure_names_the_jobs_log(cells: Path, tmp_path: Path) -> None:
    killed = '{ name = "toy:MeanProfile", trouble = "A", kind_of_trouble = "killed" }'
    run = on_slurm(command(cells, tmp_path, killed), tmp_path, cores=1, maximum=1)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    failures = failures_of(tmp_path / "out")
    assert list(failures) == ["A"]
    log = Path(failures["A"].partition("whose log is ")[2].partition(";")[0])
    assert "distributed.worker" in log.read_text()
    assert "a job has 3.0 GB and 00:10:00 of time" in failures["A"]


MIXED = """
name = "mixed"
quality = { min_counts = 1, min_genes = 1 }
holdout = { b = { by = "cell", share = 0.3 }, t = { by = "cell", share = 0.3 } }
mixture = { sources = ["b", "t"], n_cells = 30, mixtures = 8, held_out = 0, rounds = 0 }
models = [{ name = "toy:MeanProfile" }]
tasks = [{ name = "reconstruction", on = ["b", "t"] }]
[sources]
"""


def test_a_search_has_the_same_jobs_for_all_its_stages(cells: Path, tmp_path: Path) -> None:
    sources = "\n".join(
        f"{kind.lower()} = {{ path = {str(cells)!r}, where = \"cell_type == '{kind}'\" }}" for kind in "BT"
    )
    words = [sys.executable, "-m", "corpuscle.cli", "recommend", "study.toml", "-o"]
    (tmp_path / "study.toml").write_text(MIXED + sources)
    finished(on_slurm([*words, "shared"], tmp_path, maximum=1))
    subprocess.run([*words, "alone", "-w", "1"], env=environment(), cwd=tmp_path, check=True, capture_output=True)
    one, other = (json.loads((tmp_path / name / "recommendation.json").read_text()) for name in ("alone", "shared"))
    assert one == other
    assert len(list((tmp_path / "shared" / "errors" / "jobs").glob("*.out"))) == 1
