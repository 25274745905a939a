"""Claims: one process at a time, and none that is gone for longer than it takes to see that."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corpuscle.core import claims
from corpuscle.core.claims import Watch, attempt, claimed, holds, release
from repository import environment

linux = pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="processes are listed in /proc")


def foreign(path: Path, **changed: object) -> dict[str, object]:
    """Write the claim of a process of another machine."""
    owner = {"token": "abc", "host": "far", "pid": 7, "machine": "another", "started": "1", "begun": 1, **changed}
    path.write_text(json.dumps(owner))
    return owner


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "SILENT_SECONDS", 0.05)


def over(path: Path) -> bool:
    """Watch until it is over."""
    watch = Watch(path)
    for _ in range(1000):
        if watch.is_over():
            return True
        claims.time.sleep(0.01)
    return False


def test_one_of_many_holds_a_claim(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        tokens = [token for token in pool.map(lambda _: attempt(tmp_path / "claim"), range(64)) if token]
    assert len(tokens) == 1
    assert holds(tmp_path / "claim", tokens[0])
    assert not Watch(tmp_path / "claim").is_over()
    release(tmp_path / "claim", tokens[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_claim_that_does_not_change_is_over_whatever_its_time_says(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    for time in (0, 4_000_000_000):
        foreign(path)
        os.utime(path, (time, time))
        assert not Watch(path).is_over(), "one look says nothing"
        assert over(path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_claim_that_changes_is_not_over(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    foreign(path)
    watch = Watch(path)
    for time in range(30):
        # As a clock that runs backwards would set it.
        os.utime(path, (1000 - time, 1000 - time))
        assert not watch.is_over()
        claims.time.sleep(0.01)
    assert watch.is_alive
    assert str(watch.owner) == "process 7 on far"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "x"}'], ids=repr)
def test_a_claim_that_was_never_written_whole_is_over_in_time(tmp_path: Path, content: str) -> None:
    (tmp_path / "claim").write_text(content)
    assert not Watch(tmp_path / "claim").is_over()
    assert over(tmp_path / "claim")


@linux
def test_the_claim_of_a_process_of_this_machine_that_ended_is_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    code = "import sys; from pathlib import Path; from corpuscle.core.claims import attempt; attempt(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment(), check=True)
    assert path.exists()
    assert Watch(path).is_over()
    # Another process has its number by now.
    foreign(path, machine=claims._machine(), pid=os.getpid(), started="0")
    assert Watch(path).is_over()


@linux
@pytest.mark.usefixtures("quick")
def test_a_process_of_this_machine_that_runs_keeps_its_claim_however_late_it_renews_it(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    foreign(path, machine=claims._machine(), pid=os.getpid(), started=claims._process(os.getpid())[0])
    watch = Watch(path)
    for _ in range(20):
        assert not watch.is_over()
        claims.time.sleep(0.01)


def test_a_claim_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    with claimed(tmp_path / "claim"):
        before, looks = (tmp_path / "claim").stat().st_mtime_ns, 0
        while (tmp_path / "claim").stat().st_mtime_ns == before and looks < 1000:
            claims.time.sleep(0.01)
            looks += 1
        assert looks < 1000


def test_what_another_took_over_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    with claimed(path) as token:
        path.unlink()
        other = foreign(path)
        assert not holds(path, token)
    assert json.loads(path.read_text()) == other


def test_of_two_that_remove_a_claim_the_slower_does_not_remove_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    foreign(path)
    seen = claims._look(path)
    assert seen is not None
    path.unlink()
    token = attempt(path)
    assert token
    # The slower saw only the old one.
    assert not claims._remove(path, seen)
    assert holds(path, token)
    release(path, token)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless device", "deep"])
def test_what_is_no_claim_of_a_process_is_over_in_time_and_gone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "claim"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "in it").mkdir(parents=True)
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 9000)
    assert attempt(path) is None
    assert over(path)
    assert not [*tmp_path.iterdir()]
