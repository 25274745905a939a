"""Worker processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import threads
from corpuscle.core import scratch
from corpuscle.execution import workers
from repository import environment


def test_a_worker_keeps_to_one_thread_whatever_is_loaded_in_it() -> None:
    before = dict(os.environ)
    with workers.pool_of(1, Path()) as (worker,):
        worker.submit(threads.threads_in_use)
        found = json.loads(worker.future.result())
    assert found == {"torch": 1, "numba": 1, "others": [1] * len(found["others"])}
    assert found["others"]
    assert dict(os.environ) == before


def test_workers_have_the_environment_of_their_run_and_random_numbers_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in ("one", "other"):
        monkeypatch.setenv("CORPUSCLE_TEST", value)
        with workers.pool_of(2, Path()) as pool:
            for worker in pool:
                worker.submit(threads.environment_and_random_number)
            first, second = (json.loads(worker.future.result()) for worker in pool)
        assert first["environment"]["CORPUSCLE_TEST"] == second["environment"]["CORPUSCLE_TEST"] == value
        assert first["environment"]["OMP_NUM_THREADS"] == "1"
        assert first["random"] != second["random"]


def test_workers_start_where_the_folder_for_temporary_files_has_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    code = """if True:
        import threads
        from pathlib import Path
        from corpuscle.execution import workers
        if __name__ == "__main__":
            with workers.pool_of(1, Path()) as (worker,):
                worker.submit(threads.show_progress)
                print(worker.future.result())
    """
    given = {**environment(), "TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("2", 0), done.stderr


def test_a_worker_that_is_ended_leaves_nothing_behind() -> None:
    code = """if True:
        import threads
        from pathlib import Path
        from corpuscle.execution import workers
        if __name__ == "__main__":
            with workers.pool_of(1, Path()) as (worker,):
                worker.submit(threads.show_progress)
                print(worker.future.result())
    """
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
    assert "leaked" not in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped")
def test_a_worker_that_is_stopped_is_ended_too() -> None:
    with workers.pool_of(1, Path()) as (worker,):
        worker.submit(threads.environment_and_random_number)
        worker.future.result()
        os.kill(worker.process.pid, signal.SIGSTOP)
    assert not worker.process.is_alive()


def test_a_worker_that_is_killed_while_it_is_idle_is_replaced() -> None:
    with workers.pool_of(1, Path()) as (worker,):
        for _ in range(2):
            worker.submit(threads.environment_and_random_number)
            assert worker.future.result()
            worker.process.kill()
            worker.process.join()
            while not worker.pool._broken:
                time.sleep(0.01)


def test_the_folder_of_sockets_says_whose_it_is_and_goes_with_its_process() -> None:
    code = (
        "from multiprocessing.util import get_temp_dir; from corpuscle.execution import workers; "
        "workers._name_temporary_folder(); print(get_temp_dir())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    place = Path(done.stdout.strip())
    assert scratch._OWNED.search(place.name)
    assert place.name.startswith(scratch.PREFIX)
    assert not place.exists()


def test_what_ended_workers_hold_is_removed_without_a_word(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from numba.np.ufunc.parallel import _launch_threads\n"  # makes a lock that all processes may share
        "from corpuscle.execution.workers import pool_of\n"
        "with pool_of(1, Path(sys.argv[1])) as (worker,):\n"
        "    worker.submit(_launch_threads)\n"
        "    worker.answer()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
