"""Processes killed at random moments: what goes on ends with the scores of a run that nothing happened to."""

import random
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import corpuscle
from victims import Victim, left_behind, write_study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
# About as many results as the whole study leaves in its store, to choose moments among.
N_RESULTS = 30


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A study, and its scores."""
    study = write_study(tmp_path / "study")
    return study, corpuscle.run(study, tmp_path / "reference", workers=0).scores


def _await(victim: Victim, rng: random.Random) -> bool:
    """Wait until the store has some more results, and a moment longer; return whether the run is still at work."""
    n_wanted = min(victim.n_results() + rng.randrange(N_RESULTS), N_RESULTS - 1)
    victim.wait_for(lambda: victim.n_results() >= n_wanted)
    end = time.monotonic() + rng.random() * 0.3
    return victim.wait_for(lambda: time.monotonic() >= end)


def _disturb(victim: Victim, kinds: list[str], rng: random.Random) -> float:
    """Kill processes of a run, one after the other; return for how long others lived on after the main one."""
    for kind in kinds:
        is_at_work = _await(victim, rng)
        if kind == "worker":
            for pid in victim.workers()[:1] if is_at_work else ():
                victim.kill(pid)
        else:
            victim.killed(*(victim.others() if kind == "group" else ()))
            return victim.seconds_of_orphans()
    code, printed = victim.ended()
    assert code in (0, 1)
    assert "Traceback" not in printed
    return victim.seconds_of_orphans()


def _trials(
    undisturbed: tuple[Path, pd.DataFrame], tmp_path: Path, trials: list[list[str]], rng: random.Random
) -> float:
    """Kill the same run again and again, each time at another moment, and let it end; return how long orphans lived."""
    study, expected = undisturbed
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    longest = max(_disturb(Victim(study, out, scratch), kinds, rng) for kinds in trials)
    last = Victim(study, out, scratch)
    code, printed = last.ended()
    assert code == 0, printed
    pd.testing.assert_frame_equal(pd.read_parquet(out / "scores.parquet"), expected)
    last.seconds_of_orphans()
    assert left_behind(out, scratch) == []
    return longest


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    undisturbed: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    trials = [["worker", "group"], ["worker", "worker", "main"]]
    _trials(undisturbed, tmp_path, trials, random.Random(0))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, 10))
def test_kills_at_random_moments(undisturbed: tuple[Path, pd.DataFrame], tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    trials = [[kind] for kind in rng.sample(["main", "worker", "group"], 3)]
    # By the clock, since that is what is promised: two seconds, but where the process that workers are forked from had
    # begun less than a second before (see docs/faults.md).
    assert _trials(undisturbed, tmp_path, trials, rng) < 20


@pytest.mark.faults
def test_ctrl_c_ends_a_run_whose_worker_is_stopped(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", 'toy:Slow", seconds = 60.0, label = "slow')
    study.write_text(study.read_text().replace("seeds = 3", "seeds = 1"))
    victim = Victim(study, tmp_path / "out", tmp_path / "scratch", workers=1)
    assert victim.wait_for(lambda: bool(list((tmp_path / "out").glob("store/models/.claim-*"))))
    for pid in victim.workers():
        victim.kill(pid, signal.SIGSTOP)
    victim.kill(victim.process.pid, signal.SIGINT)
    code, printed = victim.ended()
    assert code == 130
    assert "Nothing is lost" in printed
    victim.seconds_of_orphans()
    assert [
        path for path in left_behind(tmp_path / "out", tmp_path / "scratch") if path.name.startswith(".partial")
    ] == []


@pytest.mark.faults
def test_a_worker_that_is_killed_for_its_memory_fails_its_job_alone_and_says_what_it_took(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", 'toy:MeanProfile", trouble = "B", kind_of_trouble = "killed')
    study.write_text(study.read_text().replace("seeds = 3", "seeds = 1"))
    victim = Victim(study, tmp_path / "out", tmp_path / "scratch")
    code, printed = victim.ended()
    assert code == 1
    assert "failed B" in printed
    assert "its worker process was killed" in printed
    assert set(pd.read_parquet(tmp_path / "out" / "scores.parquet")["corpus"]) == {"A"}
