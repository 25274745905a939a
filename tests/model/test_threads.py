"""One thread for every fit, whatever ran before it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from corpuscle.core.components import build
from corpuscle.model.model import Model
from corpuscle.model.threads import one_thread
from repository import environment

# In a process of its own: libraries that start threads are used first, as in a notebook after UMAP.
NOTEBOOK = """if True:
    import json, types
    import threads, toy, torch

    class Counting(toy.MeanProfile):
        def fit(self, corpus, seed):
            return json.loads(threads.threads_in_use())

    torch.set_num_threads(3)
    before = json.loads(threads.threads_in_use())
    found = Counting().fit(types.SimpleNamespace(n_cells=5, name="A"), 0)
    print(json.dumps([before, found, json.loads(threads.threads_in_use())]))
"""


def test_a_fit_keeps_to_one_thread_after_libraries_that_set_the_number_for_others() -> None:
    several = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"}
    command = [sys.executable, "-c", NOTEBOOK]
    done = subprocess.run(command, env=environment(**several), capture_output=True, text=True, check=True)
    before, inside, after = json.loads(done.stdout)
    assert before["torch"] == before["numba"] == 3
    assert inside == {"torch": 1, "numba": 1, "others": [1] * len(inside["others"])}
    assert inside["others"]
    assert after == before


def test_the_number_of_threads_is_restored_whatever_happens() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_weights_do_not_depend_on_the_number_of_threads(make_corpus, draw_counts) -> None:
    # Wide enough that torch would share its sums among threads.
    corpus = make_corpus(draw_counts(300, 2000))
    model = build(Model, "ldvae", {"budget": {"steps": 3}, "batch_size": 256})
    before, found = torch.get_num_threads(), []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        found.append(model.fit(corpus, 0))
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(before)
    one, two = (fitted.network.state_dict() for fitted in found)
    assert all(np.array_equal(one[name], two[name]) for name in one)
