"""How much memory a corpus may take: what the user says, else what the system tells."""

from pathlib import Path

import pytest

from corpuscle.core.errors import InputError
from corpuscle.model.data import memory
from corpuscle.model.data.memory import VARIABLE, memory_limit


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with 8 GiB available, whose control groups are laid out as a test says."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroups")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {32 << 20} kB\nMemAvailable: {8 << 20} kB\n")

    def grouped(line: str, limits: dict[str, str]) -> None:
        (tmp_path / "proc" / "self" / "cgroup").write_text(line)
        for path, limit in limits.items():
            file = tmp_path / "cgroups" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(limit)

    return grouped


@pytest.mark.parametrize(("told", "limit"), [("4", 4 * 10**9), ("0.5", 5 * 10**8), ("0", 0)])
def test_the_variable_decides(monkeypatch, told, limit):
    monkeypatch.setenv(VARIABLE, told)
    assert memory_limit() == limit


@pytest.mark.parametrize("told", ["", "4GB", "-1", "nan", "inf"])
def test_a_wrong_variable_is_one_clear_error(monkeypatch, told):
    monkeypatch.setenv(VARIABLE, told)
    with pytest.raises(InputError, match=f"{VARIABLE} should be how many gigabytes"):
        memory_limit()


@pytest.mark.parametrize(
    ("line", "limits", "gigabytes"),
    [
        pytest.param("", {}, 4, id="no group"),
        pytest.param("0::/job/step", {"job/memory.max": f"{2 << 30}\n", "job/step/memory.max": "max\n"}, 1, id="v2"),
        pytest.param("0::/job", {"job/memory.max": f"{64 << 30}"}, 4, id="a group that allows more than there is"),
        pytest.param("4:cpu:/\n8:memory:/job", {"memory/job/memory.limit_in_bytes": f"{1 << 30}"}, 0.5, id="v1"),
    ],
)
def test_half_of_what_this_process_may_still_take(system, line, limits, gigabytes):
    system(line, limits)
    assert memory_limit() == gigabytes * (1 << 30)


def test_a_system_that_tells_nothing(system, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROC", Path(tmp_path / "nowhere"))
    monkeypatch.delattr(memory.os, "sysconf", raising=False)
    assert memory_limit() == memory.UNKNOWN_BYTES // 2
