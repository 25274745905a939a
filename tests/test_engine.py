"""Worker processes."""

import json
import os

from corpuscle import engine
from threads import threads_in_use


def test_a_worker_keeps_to_one_thread_whatever_is_loaded_in_it() -> None:
    before = dict(os.environ)
    with engine._workers(1) as (worker,):
        worker.submit(threads_in_use)
        found = json.loads(worker.future.result())
    assert found == {"torch": 1, "numba": 1, "others": [1] * len(found["others"])}
    assert found["others"]
    assert dict(os.environ) == before
