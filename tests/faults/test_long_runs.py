"""Runs that take long: what is left, what is there, what was said; and what goes wrong meanwhile."""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

import corpuscle
from corpuscle import cli
from corpuscle.core import scratch
from corpuscle.core.errors import CorpuscleError, FolderError, InputError, SourceError
from corpuscle.core.heard import heard
from corpuscle.core.usage import Meter
from corpuscle.execution.artifact import Address
from corpuscle.execution.listener import Listener
from corpuscle.execution.remaining import Part, Remaining
from corpuscle.execution.tracking import tracker
from corpuscle.execution.unfinished import gather
from corpuscle.source.source import open_source
from corpuscle.store import Store
from corpuscle.study.plan import Run
from victims import write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", "toy:MeanProfile")


class Doing(Listener):
    """Does something when so many runs are done."""

    def __init__(self, what: Callable[[], object], n_runs: int = 1) -> None:
        self.what, self.n_runs, self.done = what, n_runs, set[Run]()

    def update(self, run: Run, share: float) -> None:
        if share == 1:
            self.done.add(run)
        if len(self.done) == self.n_runs:
            self.what()


def stop() -> None:
    raise KeyboardInterrupt


# --- what is there of an unfinished run -------------------------------------------------------------------------------


def test_a_report_of_an_unfinished_run_is_of_what_is_there_and_says_what_is_not(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        corpuscle.run(study, tmp_path / "out", workers=0, listener=Doing(stop, 3))
    monkeypatch.setattr("sys.argv", ["corpuscle", "report", str(tmp_path / "out")])
    _called()
    printed = capsys.readouterr().out
    assert "The run is not finished: 3 runs lack a model or scores" in printed
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The run was not finished when this page was made: 3 runs lacked" in page
    there = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    whole = corpuscle.run(study, tmp_path / "out", workers=0)
    assert whole.reused == 3
    pd.testing.assert_frame_equal(whole.scores.iloc[: len(there)], there)
    assert gather(tmp_path / "out") is None
    assert "was not finished" not in whole.report.read_text(encoding="utf-8")


def _called() -> None:
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code


def test_a_run_without_any_scores_yet_says_so(study: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        corpuscle.run(study, tmp_path / "out", workers=0, listener=_Planned())
    with pytest.raises(FolderError, match="of 6 runs, none has scores yet"):
        gather(tmp_path / "out")


class _Planned(Listener):
    def planned(self, *_: object) -> None:
        stop()


def test_a_dry_run_prints_what_is_there_and_makes_nothing(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["corpuscle", "run", str(study), "-o", str(out), "--dry-run"])
    _called()
    assert "+ reconstruction on s" in capsys.readouterr().out
    assert not out.exists()
    with pytest.raises(KeyboardInterrupt):
        corpuscle.run(study, out, workers=0, listener=Doing(stop, 2))
    before = sorted(out.glob("store/models/*"))
    _called()
    printed = capsys.readouterr().out
    assert printed.count("= model") == 2
    assert printed.count("+ model") == 4
    assert sorted(out.glob("store/models/*")) == before


# --- what goes wrong meanwhile ----------------------------------------------------------------------------------------


def test_an_output_folder_that_is_removed_ends_the_run_with_its_name(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FolderError, match=r"out was removed, or replaced, while the run was writing there"):
        corpuscle.run(study, out, workers=0, listener=Doing(lambda: shutil.rmtree(out)))
    assert not (out / "scores.parquet").exists()
    assert corpuscle.run(study, out, workers=0).reused == 0


def test_an_input_that_changes_is_seen_with_equal_size_and_time_too(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpuscle.source.storage.change_guard.REST", 0)
    path = write("data", 12)
    source, status = open_source("blood", path), path.stat()
    whole = source.reader.read_counts(np.arange(12)).toarray()
    path.chmod(0o600)
    np.testing.assert_array_equal(source.reader.read_counts(np.arange(12)).toarray(), whole)
    with h5py.File(path, "r+") as file:
        file["X/data"][0] += 1
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    with pytest.raises(SourceError, match="'blood' has changed, or is gone"):
        source.reader.read_counts(np.arange(12))


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.faults
def test_a_disk_that_fills_while_any_kind_of_artifact_is_made_loses_nothing(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = corpuscle.run(study, tmp_path / "reference", workers=0).scores
    kinds = sorted({path.name for path in (tmp_path / "reference/store").iterdir()} - {"runs", "unfinished"})
    assert {"models", "scores", "measures", "corpora"} <= set(kinds)
    create = Store.create
    for kind in kinds:
        with _small_disk(tmp_path / kind) as disk:

            @contextmanager
            def on_a_full_disk(store: Store, made: str, *rest: Any) -> Iterator[Path]:
                with create(store, made, *rest) as folder:
                    if made == kind:  # noqa: B023
                        _fill(disk / "ballast")
                    yield folder

            monkeypatch.setattr(Store, "create", on_a_full_disk)
            try:
                failures = corpuscle.run(study, disk / "out", workers=0).failures
                assert failures
                assert all("the disk is full" in why for why in failures.values())
            except CorpuscleError as error:
                assert "the disk is full" in str(error)
            monkeypatch.setattr(Store, "create", create)
            (disk / "ballast").unlink()
            results = corpuscle.run(study, disk / "out", workers=0)
            assert not results.failures
            pd.testing.assert_frame_equal(results.scores, expected)
            assert not list((disk / "out").rglob(".partial-*"))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_what_a_killed_process_left_in_the_temporary_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "from corpuscle.core import scratch; print(scratch.suffix())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, others = scratch.scratch_folder(), done.stdout.strip()
    kept = [own / f"a{scratch.suffix()}.h5", tmp_path / "corpuscle-mine.txt"]
    left = [own / f"b{others}.h5", own / f".partial-c{others}.h5", tmp_path / f"corpuscle-d{others}"]
    for path in (*kept, *left[:2]):
        path.touch()
    left[2].mkdir()
    scratch.sweep()
    assert [path.exists() for path in (*kept, *left)] == [sys.platform == "linux"] * 2 + [sys.platform != "linux"] * 3


# --- what was said, and what it took ----------------------------------------------------------------------------------


def test_what_is_said_while_an_artifact_is_made_is_kept_with_it(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        logging.getLogger("mine").warning("slow \x1b[31m")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("odd", UserWarning, stacklevel=1)

    with pytest.warns(match="odd"):
        folder = Store(tmp_path).kept("models", "ab12", write, label="mine")
    lines = (folder / "log.txt").read_text().splitlines()
    assert lines[0] == r"WARNING mine: slow \x1b[31m"
    assert lines[1].startswith("UserWarning: odd (test_long_runs.py, line ")
    assert json.loads((folder / "made.json").read_text())["peak_bytes"] > 1e6
    assert not (Store(tmp_path).kept("models", "cd34", lambda _: None) / "log.txt").exists()


def test_what_is_said_before_an_error_goes_with_it() -> None:
    def fail() -> None:
        with heard():
            logging.getLogger("mine").warning("slow")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert caught.value.__notes__ == ["Before that:\nWARNING mine: slow"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak")
def test_the_peak_of_what_is_measured_within_is_the_wholes_too() -> None:
    whole = Meter()
    held = np.ones(40_000_000)
    del held
    inner = Meter().usage()
    assert whole.usage().peak_bytes > inner.peak_bytes + 200_000_000  # type: ignore[operator]


# --- what is left -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("of_scores", [0.1, 3.0])
def test_time_left_is_right_within_a_factor_of_two_after_a_tenth(seed: int, of_scores: float) -> None:
    """Four workers make 60 models, each with the scores of two tasks, one of which takes ten times as long."""
    rng, clock = random.Random(seed), SimpleNamespace(now=0.0)
    jobs = []
    for at in range(60):
        steps = rng.choice([100, 200, 400])
        jobs.append((Part(Address("models", f"{at}"), ("models", "scvi"), steps), steps / 20 * rng.uniform(0.8, 1.25)))
        for task, factor in (("quick", 0.2), ("slow", 2.0)):
            part = Part(Address("scores", f"{at}{task}"), ("scores", task, "blood", "scvi"))
            jobs.append((part, of_scores * factor * rng.uniform(0.8, 1.25)))
    remaining = Remaining([part for part, _ in jobs], 4, lambda: clock.now)
    # Whichever worker is free makes the next model, then its scores.
    free, events = [0.0] * 4, []
    for at in range(60):
        now = heappop(free)
        for part, seconds in jobs[3 * at : 3 * at + 3]:
            shares = [0.0, 0.25, 0.5, 0.75, 1.0] if part.address.kind == "models" else [0.0, 1.0]
            events += [(now + share * seconds, part.address, share) for share in shares]
            now += seconds
        heappush(free, now)
    end, checked = max(at for at, _, _ in events), 0
    for at, address, share in sorted(events, key=lambda event: event[0]):
        clock.now = at
        remaining.update(address, share)
        if 0.1 * end < at < 0.9 * end:
            left = remaining.seconds()
            assert left is not None
            assert 0.5 < left / (end - at) < 2
            checked += 1
    assert checked > 100
    assert remaining.seconds() == pytest.approx(0, abs=1e-6)


# --- who else hears ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["mlflow", "wandb"])
def test_progress_and_scores_go_to_a_service_by_its_own_client(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], service: str
) -> None:
    calls: list[tuple[str, Any]] = []

    class Client:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *given, **named: calls.append((name, given or named))

    monkeypatch.setitem(sys.modules, service, Client())  # type: ignore[arg-type]
    study.write_text(study.read_text().replace("seeds = 3", "seeds = 1"))
    arguments = ["run", str(study), "-o", str(tmp_path / "out"), "-w", "1", "--track", service]
    monkeypatch.setattr("sys.argv", ["corpuscle", *arguments])
    _called()
    names = [name for name, _ in calls]
    first, log, end = ("start_run", "log_metrics", "end_run") if service == "mlflow" else ("init", "log", "finish")
    assert names[0] == first
    assert names[-1] == end
    sent = [given[0] for name, given in calls if name == log]
    assert any("progress" in numbers for numbers in sent)
    assert any("toy_MeanProfile/A/reconstruction/s/r2_log" in numbers for numbers in sent)


def test_a_service_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--track wandb: its client is not installed .*pip install wandb"):
        tracker("wandb")
    with pytest.raises(InputError, match="there is no 'tensorboard'; Legal here: mlflow, wandb"):
        tracker("tensorboard")
