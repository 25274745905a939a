"""Pools whose cells lie at given coordinates, for samplers that look at principal components."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from corpuscle.corpus.corpus import Corpus


class _Placed:
    """Stands in for principal components: cells lie where they were put."""

    def __init__(self, pools: dict[str, Corpus], points: dict[str, Any]) -> None:
        self.pools, self.points = pools, points

    def of(self, cells: Corpus, n_components: int) -> Any:
        source, row = cells.cells["source"].to_numpy(), cells.cells["row"].to_numpy()
        return np.stack([self.points[name][at] for name, at in zip(source, row, strict=True)])[:, :n_components]


@pytest.fixture
def placed(make: Callable[..., Corpus]) -> Callable[..., Corpus]:
    """Make a pool of cells at some points, and other sources to look at, by name."""

    def made(points: Any, obs: Any = None, **others: Any) -> Corpus:
        points = {"blood": points, **others}
        pools = {name: make(len(rows), name, obs=obs if name == "blood" else None) for name, rows in points.items()}
        return replace(pools["blood"], components=_Placed(pools, {n: np.float32(p) for n, p in points.items()}))

    return made
