"""What a worker process is asked to do, to see what its libraries start and leave behind."""

import json
import os
from typing import Any

import numba
import numpy as np
import sklearn.cluster
import torch
from threadpoolctl import threadpool_info
from tqdm import tqdm


@numba.njit(parallel=True)
def total(x: np.ndarray[Any, Any]) -> float:
    found = 0.0
    for at in numba.prange(len(x)):
        found += x[at]
    return found


def threads_in_use() -> str:
    """Use libraries that start threads; return how many each has then, as JSON."""
    total(np.zeros(8))
    sklearn.cluster.KMeans(2, n_init=1).fit(np.arange(8.0)[:, None])
    others = [pool["num_threads"] for pool in threadpool_info()]
    return json.dumps({"torch": torch.get_num_threads(), "numba": numba.get_num_threads(), "others": others})


def show_progress() -> str:
    """Count to two as libraries do that show progress."""
    return str(sum(1 for _ in tqdm(range(2))))


def environment_and_random_number() -> str:
    """Return what the process was given, and what its global generator draws, as JSON."""
    return json.dumps({"environment": dict(os.environ), "random": np.random.random()})  # noqa: NPY002
