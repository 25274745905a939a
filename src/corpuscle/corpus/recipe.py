"""Recipe: how a corpus is made from sources; drawing it with a seed gives a `Corpus`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import guarded, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import generator
from corpuscle.corpus.alteration import Alteration, altered
from corpuscle.corpus.balanced_order import rank_within
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler
from corpuscle.source import cell_filter as where_expression
from corpuscle.source.stacking import stack_tables


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
    only
        Which of the source's cells: a filter on labels; None: any.
    repeats
        How often a cell may be used where more are asked for than there are; each is then used as often as the others,
        or once more.
    """

    source: str
    sampler: Sampler
    n_cells: int | None = None
    fraction: float | None = None
    only: str | None = None
    repeats: int = 1

    def size(self, pool: int) -> int:
        """How many cells this part asks of a pool of this size."""
        if self.n_cells is not None:
            return self.n_cells
        assert self.fraction is not None, "the study file requires one of n_cells and fraction"
        # Rounded down, so that fractions that sum to one never ask for a cell too many.
        return max(1, int(self.fraction * pool + 1e-6))

    def __str__(self) -> str:
        amount = f"{self.n_cells:,}" if self.n_cells is not None else f"{self.fraction:.0%}"
        parameters = {key: value for key, value in self.sampler.spec().items() if key != "name" and value is not None}
        settings = "".join(f", {key} = {value}" for key, value in parameters.items())
        where = f" where {self.only}" if self.only else ""
        repeats = f", each at most {self.repeats} times" if self.repeats > 1 else ""
        return f"{amount} of {self.source}{where} ({self.sampler.name}{settings}){repeats}"


@dataclass(frozen=True)
class Rung:
    """One of a ladder's sizes.

    Attributes
    ----------
    size
        The corpus' size: a number of cells, or percent of what its parts ask for.
    unit
        ``"cells"`` or ``"%"``.
    larger
        The larger sizes of a nested ladder, in falling order: a corpus has its cells from the next larger one.
        None: the sizes are drawn independently of each other.
    """

    size: float
    unit: Literal["cells", "%"]
    larger: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return f"{self.size:g} %" if self.unit == "%" else f"{self.size:,} cells"

    def scale(self, full: list[int]) -> list[list[int]]:
        """Return the parts' sizes, for each of the larger sizes and then its own, from the parts' full sizes.

        Examples
        --------
        >>> Rung(10, "%", larger=(100, 50)).scale([40, 25])
        [[40, 25], [20, 12], [4, 2]]
        >>> Rung(7, "cells").scale([40, 25])
        [[4, 3]]
        """
        sizes = (*(self.larger or ()), self.size)
        if self.unit == "%":
            return [[max(1, int(n * size / 100 + 1e-6)) for n in full] for size in sizes]
        if max(sizes) > sum(full):
            raise CorpusError(f"its ladder asks for {max(sizes):,} cells, but its parts have only {sum(full):,}")
        # Parts take turns in proportion to their full sizes: so no part shrinks as the whole grows.
        part_N = np.repeat(np.arange(len(full)), full)
        in_turn = part_N[np.argsort((rank_within(part_N) + 0.5) / np.array(full)[part_N], kind="stable")]
        return [np.bincount(in_turn[: int(size)], minlength=len(full)).tolist() for size in sizes]


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
    rung
        Which size of a ladder it is; None: what its parts ask for.
    steps
        What is done to the cells that were drawn, in order; see `alter`.
    """

    name: str
    parts: tuple[Part, ...]
    exclude: str | None = None
    rung: Rung | None = None
    steps: tuple[Alteration, ...] = ()

    def __str__(self) -> str:
        parts = " + ".join(map(str, self.parts))
        if self.rung:
            nested = "nested" if self.rung.larger is not None else "independent"
            parts = f"{self.rung} ({nested}) of {parts}"
        parts = f"{parts}, without {self.exclude}" if self.exclude else parts
        return "; then ".join([parts, *map(str, self.steps)])

    @property
    def sources(self) -> list[str]:
        """The sources it draws from, in order, each once."""
        return list(dict.fromkeys(source for part in self.parts for source in (part.source, *part.sampler.sources)))

    @property
    def looks_at(self) -> list[str]:
        """The sources whose cells affect the choice, though they may not be drawn."""
        return list(dict.fromkeys(source for part in self.parts for source in part.sampler.looks_at))

    def draw(self, pools: Mapping[str, Corpus], seed: int, context: Context | None = None) -> Corpus:
        """Choose the cells.

        Parts are drawn in order. What a part draws depends on the seed, its source and how many parts before it drew
        from that source, not on the corpus' name: so ``Blood`` and ``Blood+Pancreas`` hold the same blood cells at
        the same seed, and their difference is what was added. The sizes of a nested ladder are drawn from the largest
        down, each part of a size from the cells that it has in the next larger one.

        Parameters
        ----------
        pools
            For each source, the cells that training may use.
        seed
            Which draw.
        context
            What the study gives to samplers; None: the pools alone.

        Raises
        ------
        CorpusError
            When a part asks for more cells than there are, `exclude` uses a label that a source lacks or excludes
            nothing, or a sampler does not return what it was asked for.
        """
        context = context or Context(pools=pools)
        left = self._eligible(pools)
        offered = {(part.source, part.only): len(self._own(part, left)) for part in self.parts}
        full = [part.size(offered[part.source, part.only]) for part in self.parts]
        for part, n in zip(self.parts, full, strict=True):
            # Before sizes are laid out: a slip of the finger may ask for more than memory holds.
            others = sum(len(left[source]) for source in part.sampler.sources if source != part.source)
            n_own = offered[part.source, part.only]
            if n > (n_own + others) * part.repeats:
                raise CorpusError(self._too_few(part, n, n_own, n_own, pools))
        steps = self.rung.scale(full) if self.rung else [full]
        apart = (str(self.rung),) if self.rung and self.rung.larger is None else ()
        turn: Counter[tuple[str, ...]] = Counter()
        tables, account = [], []
        for at, (part, *sizes) in enumerate(zip(self.parts, *steps, strict=True)):
            own = self._own(part, left)
            if sizes[0] > len(own) * part.repeats and not part.sampler.sources:
                whole = offered[part.source, part.only]
                raise CorpusError(self._too_few(part, sizes[0], len(own), whole, pools))
            pool = _pool(part, own, left)
            # What is drawn of a group does not depend on which other groups of its source a corpus has.
            named = (part.source,) if part.only is None else (part.source, part.only)
            rng = generator(seed, "part", *named, turn[named], *apart)
            largest, drawn = _drawn(part, pool, sizes, (rng, context))
            tables.append((drawn.cells, pool.gaps))
            account.append({"part": str(part), "sampler": part.sampler.spec(),
                            "version": part.sampler.code_version, "source": part.source, **_chosen_by(part),
                            "n_cells": drawn.n_cells, "from": len(own), **part.sampler.notes(drawn)})  # fmt: skip
            # What any size of the ladder may have is gone for the parts that follow, so that they nest, too.
            if not {part.source, *part.sampler.sources}.isdisjoint(_draws_from(self.parts[at + 1 :])):
                _remove(left, pool.take(largest))
            turn[named] += 1
        if self.rung:
            account.append({"ladder": str(self.rung), "nested": self.rung.larger is not None})
        if self.exclude:
            account.append({"exclude": self.exclude})
        if not any(len(table) for table, _ in tables):
            raise CorpusError("its parts drew no cell at all; ask for more cells, or take another sampler")
        filled = [(table, gaps) for table, gaps in tables if len(table)]
        one = len(filled) == 1
        cells = (
            _without_empty(*filled[0]) if one else stack_tables([table for table, _ in filled]).reset_index(drop=True)
        )
        cells = _in_order(cells)
        first = pools[self.parts[0].source]
        return replace(first, name=self.name, cells=cells, account=tuple(account))

    def alter(self, drawn: Corpus, seed: int, at: int, context: Context) -> Corpus:
        """Do one of the steps.

        What is random in a step depends on the seed and its place, not on what it is: where one corpus has a type
        ablated and another has it downsampled, both have the same type of the same batch touched at a seed.

        Parameters
        ----------
        drawn
            What `draw` returned, after the steps before.
        seed
            Which draw.
        at
            Which step.
        context
            What the study gives.

        Raises
        ------
        CorpusError
            When the step cannot be done, or would change nothing.
        """
        return altered(self.steps[at], drawn, generator(seed, "step", at), context)

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
                "fix it, or leave it out"
            )
        return left

    def _own(self, part: Part, left: Mapping[str, Corpus]) -> Corpus:
        """Return what is left of a part's source, as far as it is for this part."""
        own = left[part.source]
        if part.only is None:
            return own
        if lacking := where_expression.columns(part.only) - set(own.cells.columns):
            raise CorpusError(
                f"only uses {', '.join(sorted(lacking))}, which source {part.source!r} does not have; "
                f"{legal_names(sorted(lacking)[0], map(str, own.cells.columns))}"
            )
        return own.take(where_expression.matches(part.only, own.cells))

    def _too_few(self, part: Part, n_cells: int, left: int, offered: int, pools: Mapping[str, Corpus]) -> str:
        whole = len(pools[part.source])
        parts = [f"{whole:,} cells for training (after where, quality and hold-out)"]
        if offered != whole:
            by = [name for name, given in (("exclude", self.exclude), ("only", part.only)) if given]
            parts.append(f"{offered:,} after {' and '.join(by)}")
        if left != offered:
            parts.append(f"{left:,} after the corpus' earlier parts")
        repeated = f", each at most {part.repeats} times" if part.repeats > 1 else ""
        return (
            f"it asks for {n_cells:,} cells of {part.source}, which has {', '.join(parts)}; ask for at most "
            f"{left * part.repeats:,}{repeated}"
        )


def _draws_from(parts: Sequence[Part]) -> set[str]:
    return {source for part in parts for source in (part.source, *part.sampler.sources)}


def _without_empty(table: pd.DataFrame, gaps: Sequence[str]) -> pd.DataFrame:
    """Leave out the columns in which nothing stands; only those with gaps are looked through."""
    empty = [name for name in gaps if table[name].isna().all()]
    return table.drop(columns=empty) if empty else table


def _in_order(cells: pd.DataFrame) -> pd.DataFrame:
    """Sort cells by source and row; most tables are in order already."""
    codes, sources = pd.factorize(cells["source"].to_numpy(object))
    row_N = cells["row"].to_numpy(np.int64)
    if len(sources) == 1 and (np.diff(row_N) > 0).all():
        return cells
    order = np.lexsort((row_N, np.argsort(np.argsort(sources))[codes]))
    return cells.take(order).reset_index(drop=True)


def _chosen_by(part: Part) -> dict[str, str | int]:
    """Return what else than its sampler chose a part's cells, where anything did."""
    only: dict[str, str | int] = {} if part.only is None else {"only": part.only}
    return only | ({} if part.repeats == 1 else {"most_repeats": part.repeats})


def _pool(part: Part, own: Corpus, left: Mapping[str, Corpus]) -> Corpus:
    """Return what a part's sampler sees: its source's cells, then those of the other sources that it asks for."""
    others = [left[source].cells for source in part.sampler.sources if source != part.source]
    if not others:
        return own
    return replace(own, cells=stack_tables([own.cells, *others]).reset_index(drop=True))


def _drawn(
    part: Part, pool: Corpus, sizes: Sequence[int], given: tuple[np.random.Generator, Context]
) -> tuple[NDArray[np.int64], Corpus]:
    """Draw the cells of the last of falling sizes; return the positions that the first takes, and these cells."""
    if part.repeats == 1 or sizes[0] <= len(pool):
        largest, chosen = _choose(part, pool, sizes, given)
        return largest, pool.take(chosen)
    # A study has no ladder of a part that repeats cells: there is one size.
    whole, rest = divmod(sizes[0], len(pool))
    times_N = np.full(len(pool), whole, np.int64)
    if rest:
        times_N[_choose(part, pool, [rest], given)[1]] += 1
    everything = np.arange(len(pool))
    drawn = pool.take(everything)
    return everything, replace(drawn, cells=drawn.cells.assign(times=times_N))


def _choose(
    part: Part, pool: Corpus, sizes: Sequence[int], given: tuple[np.random.Generator, Context]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the first of falling sizes from the pool and each other from the one before; return the first and last."""
    largest = chosen = _checked(part, pool, sizes[0], *given)
    for larger, size in pairwise(sizes):
        # The larger size may have got fewer cells than it asked for: the smaller asks for its share of them.
        chosen = chosen[_checked(part, pool.take(chosen), size * len(chosen) // larger, *given)]
    return largest, chosen


def _remove(left: dict[str, Corpus], drawn: Corpus) -> None:
    """Take the cells that were drawn out of what is left of their sources."""
    for at, source in enumerate(drawn.sources):
        rows = drawn.cells["row"].to_numpy()[drawn.source_codes == at]
        left[source] = left[source].take(~np.isin(left[source].cells["row"].to_numpy(), rows))


def _checked(part: Part, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
    """Choose cells; refuse what a sampler from elsewhere may get wrong: its table would be plausible but false."""
    with guarded(part.sampler):
        chosen = np.sort(part.sampler.choose(pool, n_cells, rng, context))
    distinct = bool(np.all(np.diff(chosen) > 0)) and (not len(chosen) or (chosen[0] >= 0 and chosen[-1] < len(pool)))
    enough = len(chosen) == n_cells or (len(chosen) < n_cells and not part.sampler.exact)
    if not (distinct and enough):
        raise CorpusError(
            f"sampler {part.sampler.name!r} was to choose {n_cells:,} distinct cells of {len(pool):,}, but returned "
            f"{len(chosen):,} positions, {len(np.unique(chosen)):,} of them distinct; fix the sampler"
        )
    return chosen
