"""Pools whose cells lie at given coordinates, and the context that says so to samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus


class _Placed:
    """Stands in for principal components: cells lie where they were put."""

    def __init__(self, pools: dict[str, Corpus], points: dict[str, Any]) -> None:
        self.pools, self.points = pools, points

    def of(self, cells: Corpus, n_components: int) -> Any:
        source, row = cells.cells["source"].to_numpy(), cells.cells["row"].to_numpy()
        return np.stack([self.points[name][at] for name, at in zip(source, row, strict=True)])[:, :n_components]


@dataclass(frozen=True, eq=False)
class PlacedPool(Corpus):
    """A pool that knows where its cells lie, and those of other sources."""

    where: _Placed | None = None


class PlacedContext(Context):
    """What a study gives, with the coordinates that a test put its cells at."""

    def __init__(self, pool: PlacedPool) -> None:
        super().__init__(pools=pool.where.pools)
        object.__setattr__(self, "placed", pool.where)

    def components(self, cells: Corpus) -> Any:
        return self.placed


@pytest.fixture
def placed(make: Callable[..., Corpus]) -> Callable[..., PlacedPool]:
    """Make a pool of cells at some points, and other sources to look at, by name."""

    def made(points: Any, obs: Any = None, **others: Any) -> PlacedPool:
        points = {"blood": points, **others}
        pools = {name: make(len(rows), name, obs=obs if name == "blood" else None) for name, rows in points.items()}
        blood, where = pools["blood"], _Placed(pools, {n: np.float32(p) for n, p in points.items()})
        return PlacedPool(blood.name, blood.cells, blood.readers, blood.space, where=where)

    return made


@pytest.fixture
def choose() -> Callable[..., Any]:
    """Let a sampler choose from a pool that knows where its cells lie, with the generator of a seed."""

    def chosen(sampler: Any, pool: PlacedPool, n_cells: int, seed: int = 0) -> Any:
        return sampler.choose(pool, n_cells, np.random.default_rng(seed), PlacedContext(pool))

    return chosen
