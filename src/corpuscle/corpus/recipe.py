"""Recipe: how a corpus is made from sources; drawing it with a seed gives a `Corpus`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler
from corpuscle.source import where as where_expression


@dataclass(frozen=True)
class Part:
    """Cells from one source.

    Attributes
    ----------
    source
        Which source.
    sampler
        How to choose among its cells.
    n_cells, fraction
        How many cells: a number, or a share of what the source offers for training. Exactly one of them is set.
    """

    source: str
    sampler: Sampler
    n_cells: int | None = None
    fraction: float | None = None

    def size(self, pool: int) -> int:
        """How many cells this part asks of a pool of this size."""
        if self.n_cells is not None:
            return self.n_cells
        assert self.fraction is not None, "the study file requires one of n_cells and fraction"
        # Rounded down, so that fractions that sum to one never ask for a cell too many.
        return max(1, int(self.fraction * pool + 1e-6))

    def __str__(self) -> str:
        amount = f"{self.n_cells:,}" if self.n_cells is not None else f"{self.fraction:.0%}"
        parameters = {key: value for key, value in self.sampler.spec().items() if key != "name"}
        settings = "".join(f", {key} = {value}" for key, value in parameters.items())
        return f"{amount} of {self.source} ({self.sampler.name}{settings})"


@dataclass(frozen=True)
class Recipe:
    """How to make one corpus.

    Attributes
    ----------
    name
        The corpus' name.
    parts
        Where its cells come from. Parts of one source never share a cell.
    exclude
        Cells that are never in this corpus: a filter on labels.
    """

    name: str
    parts: tuple[Part, ...]
    exclude: str | None = None

    def __str__(self) -> str:
        parts = " + ".join(map(str, self.parts))
        return f"{parts}, without {self.exclude}" if self.exclude else parts

    @property
    def sources(self) -> list[str]:
        """The sources it draws from, in order, each once."""
        return list(dict.fromkeys(part.source for part in self.parts))

    def draw(self, pools: Mapping[str, Corpus], seed: int) -> Corpus:
        """Choose the cells.

        Parts are drawn in order. What a part draws hangs on the seed, its source and how many parts before it drew
        from that source, not on the corpus' name: so ``Blood`` and ``Blood+Pancreas`` hold the same blood cells at
        the same seed, and their difference is what was added.

        Parameters
        ----------
        pools
            For each source, the cells that training may use.
        seed
            Which draw.

        Raises
        ------
        CorpusError
            When a part asks for more cells than there are, `exclude` uses a label that a source lacks or excludes
            nothing, or a sampler does not return what it was asked for.
        """
        left = self._eligible(pools)
        offered = {source: len(pool) for source, pool in left.items()}
        turn: Counter[str] = Counter()
        tables, account = [], []
        for part in self.parts:
            pool, n_cells = left[part.source], part.size(offered[part.source])
            if n_cells > len(pool):
                raise CorpusError(self._too_few(part, n_cells, len(pool), offered[part.source], pools))
            rng = generator(seed, "part", part.source, turn[part.source])
            chosen = np.sort(part.sampler.choose(pool, n_cells, rng))
            _check_choice(part, chosen, n_cells, len(pool))
            tables.append(pool.cells.iloc[chosen])
            account.append({"part": str(part), "sampler": part.sampler.spec(), "source": part.source,
                            "n_cells": n_cells, "from": len(pool)})  # fmt: skip
            taken = np.zeros(len(pool), bool)
            taken[chosen] = True
            left[part.source] = pool.take(~taken)
            turn[part.source] += 1
        if self.exclude:
            account.append({"exclude": self.exclude})
        # A column of nothing would have its say in the type of the whole; without it, its cells are as missing.
        tables = [table.dropna(axis="columns", how="all") for table in tables]
        cells = pd.concat(tables, ignore_index=True).sort_values(["source", "row"], ignore_index=True)
        first = pools[self.sources[0]]
        return replace(first, name=self.name, cells=cells, account=tuple(account))

    def _eligible(self, pools: Mapping[str, Corpus]) -> dict[str, Corpus]:
        """Return the pools without the excluded cells."""
        left = {source: pools[source] for source in self.sources}
        if self.exclude is None:
            return left
        for source, pool in left.items():
            lacking = where_expression.columns(self.exclude) - set(pool.cells.columns)
            if lacking:
                raise CorpusError(
                    f"exclude uses {', '.join(sorted(lacking))}, which source {source!r} does not have: whether its "
                    "cells are meant cannot be known; label the source, or filter the others with where instead"
                )
            left[source] = pool.take(~where_expression.matches(self.exclude, pool.cells))
        if all(len(pool) == len(pools[source]) for source, pool in left.items()):
            raise CorpusError(
                f'exclude "{self.exclude}" excludes none of the cells for training of {", ".join(left)}: '
                "mend it, or leave it out"
            )
        return left

    def _too_few(self, part: Part, n_cells: int, left: int, offered: int, pools: Mapping[str, Corpus]) -> str:
        whole = len(pools[part.source])
        parts = [f"{whole:,} cells for training (after where, quality and hold-out)"]
        if offered != whole:
            parts.append(f"{offered:,} after exclude")
        if left != offered:
            parts.append(f"{left:,} after the corpus' earlier parts")
        return f"it asks for {n_cells:,} cells of {part.source}, which has {', '.join(parts)}; ask for at most {left:,}"


def _check_choice(part: Part, chosen: NDArray[np.int64], n_cells: int, n_pool: int) -> None:
    """Refuse what a sampler from elsewhere may get wrong; the table it would make is plausible but false."""
    ascending = bool(np.all(np.diff(chosen) > 0)) and (not len(chosen) or (chosen[0] >= 0 and chosen[-1] < n_pool))
    if len(chosen) != n_cells or not ascending:
        raise CorpusError(
            f"sampler {part.sampler.name!r} was to choose {n_cells:,} distinct cells of {n_pool:,}, but returned "
            f"{len(chosen):,} positions, {len(np.unique(chosen)):,} of them distinct; mend the sampler"
        )
