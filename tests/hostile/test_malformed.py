"""Malformed and hostile input: one message and exit code 2, or it is read right; never anything else.

Never a traceback, a hang, gigabytes of memory, code that runs, or a file outside the output folder.
"""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import anndata
import numpy as np
import pytest

import malformed
from corpuscle import cli
from corpuscle.core.usage import measured
from malformed import Case

# Seconds after which something hangs, and bytes above what the process had.
HANGS, MOST = 60, 2 << 30
REFUSED = dict(malformed.all_of(malformed.REFUSED))
LEGAL = dict(malformed.all_of(malformed.LEGAL))
Outcome = tuple[int, str]
# Seconds each, as it takes as long to write them or to look through them.
LONG = {
    "study: a text of 10**7 letters", "study: 100,000 keys", "study: 10**9 cells", "bomb: counts of a matrix",
    "bomb: a chunk of h5ad", "bomb: cells by the million", "study: where: 2 * 10**6 letters",
}  # fmt: skip


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[Case], Outcome]:
    """Run a case's command in this process; return exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def called(case: Case) -> Outcome:
        monkeypatch.setattr("sys.argv", ["corpuscle", *case.write(tmp_path)])
        before = _files(tmp_path)
        code = 0
        # What tests before it left in the process is not its own.
        with measured() as idle:
            pass
        with measured() as usage, _Patience():
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        printed = capsys.readouterr()
        assert (usage.peak_bytes or 0) - (idle.peak_bytes or 0) < MOST
        # Names of folders that are not there yet are no files of others.
        assert {path for path in _files(tmp_path) if path.parts[0] not in ("out", "o", "__pycache__")} <= before
        return code, printed.out + printed.err

    return called


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


class _Patience:
    """Stop what waits for ever."""

    def __enter__(self) -> None:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            raise TimeoutError(f"it hangs for {HANGS} seconds")

        self.before = signal.signal(signal.SIGALRM, stop)
        signal.alarm(HANGS)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.before)


def test_there_are_as_many_as_promised() -> None:
    assert len(REFUSED) >= 150


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.faults if name in LONG else ()) for name in REFUSED]
)
def test_it_is_refused_with_one_message(call: Callable[[Case], Outcome], tmp_path: Path, name: str) -> None:
    code, printed = call(REFUSED[name])
    assert code == 2, printed[-2000:]
    assert "Traceback" not in printed
    assert "fault of Corpuscle" not in printed
    assert REFUSED[name].says in printed
    assert len(printed) < 50_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed)
    left = {path.name for path in tmp_path.rglob("*")}
    assert not left & {"scores.parquet", "report.html", "corpus.h5ad", "pwned"} - {
        Path(name).name for name in _own(name)
    }


def _own(name: str) -> Iterator[str]:
    if (name.startswith("table: ") and "parquet" in name) or name == "table: a pickle":
        yield "scores.parquet"


@pytest.mark.parametrize("name", LEGAL)
def test_what_looks_odd_and_is_legal_is_read_right(call: Callable[[Case], Outcome], tmp_path: Path, name: str) -> None:
    code, printed = call(LEGAL[name])
    assert code == 0, printed[-2000:]
    assert not (tmp_path / "pwned").exists()
    if composed := next((tmp_path / "out").rglob("corpus.h5ad"), None):
        found = anndata.read_h5ad(composed)
        rows = [int(barcode.removeprefix("s:").removeprefix("cell")) for barcode in found.obs_names]
        genes = [int(name.removeprefix("G")) for name in found.var_names]
        np.testing.assert_array_equal(found.X.toarray(), malformed.counts()[np.ix_(rows, genes)])
