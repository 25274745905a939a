"""How long a step of a training takes on this machine, measured by a few steps on random counts, or estimated."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, random_array
from torch import nn

from corpuscle.model.threads import one_thread

# The first step warms up caches and compiled loops; it lies before the first difference of times.
STEPS = 6


def random_counts(n_cells: int, n_genes: int) -> csr_matrix:
    """Draw counts of which 10 % are not zero."""
    counts_NG = csr_matrix(
        random_array((n_cells, n_genes), density=0.1, rng=np.random.default_rng(0), dtype=np.float32)
    )
    counts_NG.data = np.ceil(4 * counts_NG.data**2)
    return counts_NG


def seconds_per_step(first: nn.Module, train: Callable[[], object]) -> float:
    """Measure the processor seconds of a step, on one thread: the median over a short training.

    Parameters
    ----------
    first
        A layer that each step calls once; by its calls, steps are distinguished.
    train
        Takes a few steps.
    """
    ends: list[float] = []

    def hook(*_: Any) -> None:
        ends.append(time.process_time())

    handle = first.register_forward_pre_hook(hook)
    try:
        with one_thread():
            train()
    finally:
        handle.remove()
    return float(np.median(np.diff(ends)))


@cache
def multiply_adds_a_second() -> float:
    """Measure how many multiply-adds in 32 bits this machine does in a second, on one thread."""
    x, n_times = torch.ones(512, 512), 8
    with one_thread():
        x @ x
        start = time.perf_counter()
        for _ in range(n_times):
            x @ x
    return n_times * 512**3 / max(time.perf_counter() - start, 1e-9)
