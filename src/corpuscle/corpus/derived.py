"""Derived: gives the counts of cells that are in no file, on demand; what an alteration that changes counts leaves.

It is small: what it was made from is a corpus (a table of cells), never its counts; and it can be written down
(`state`) and restored, so that worker processes need only its name in the store. The counts of a made cell depend on it
and on the cell's row alone, whatever rows are asked for together and in whatever order, so that streaming, training
from disk, worker processes and writing see the same cell bit for bit.

Axes in names: N made cells, P parent cells, G genes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.randomness import row_generators
from corpuscle.corpus.context import Context, Imputer
from corpuscle.corpus.corpus import KEYS, Corpus, DerivedCounts
from corpuscle.source.stacking import stack_tables

# Parents that are read at once: 8,192 × 2,000 counts take some 200 MB while they are added up.
BLOCK_PARENTS = 8192
# What cells that are made together are called in a store.
MADE_CELLS = "made_cells"


class Derived(ABC):
    """Counts of made cells.

    Parameters
    ----------
    parents
        The cells that they are made from.
    """

    def __init__(self, parents: Corpus) -> None:
        made = [column for column in ("made",) if column in parents.cells]
        # Their labels are not needed any more, and would travel to each worker.
        self.parents = Corpus(
            parents.name,
            parents.cells[[*KEYS, *made]].reset_index(drop=True),
            parents.readers,
            parents.space,
            makers=parents.used_makers,
        )

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether all its counts are whole numbers."""

    @abstractmethod
    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Make the counts of some cells: float32, shape (n, G), in the order of `rows`, indices sorted."""

    @abstractmethod
    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Return how much of which parent is in each cell, shape (n, P); no entry where all parents contributed."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that the counts depend on, the parents aside: numbers, texts and arrays, nested as is needed.

        `restored` makes an equal object of it, in another process too; and fingerprints are of it.
        """

    @classmethod
    def restored(cls, parents: Corpus, state: dict[str, Any], context: Context) -> Self:
        """Return what had a state (in which tuples are now lists); by default, its keys are the constructor's."""
        return cls(parents, **state)

    @property
    def made_key(self) -> str | None:
        """What all its cells are called in a store, for cells that are made together, once; None: made when asked."""
        return None

    @property
    def trainings(self) -> Sequence[tuple[Imputer, int]]:
        """The models that are trained to make them, each with its number of cells; mostly none."""
        return ()

    def make(self, folder: Path, notice: Callable[[str, float], None]) -> None:
        """Make all cells, and write them into a folder; only asked of what has a `made_key`."""
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> str:
        """Hash of how the cells are made and of what."""
        return fingerprint(self.kind, self.parents.fingerprint, self.state())

    @property
    def kind(self) -> str:
        """Where its class is."""
        return f"{type(self).__module__}:{type(self).__qualname__}"


def origins(corpus: Corpus) -> pd.DataFrame:
    """Return of which cells of files each made cell is made, through all steps.

    Returns
    -------
    Columns ``cell`` (its position in the corpus' table), ``source``, ``row`` (of a cell in a file) and ``weight`` (how
    much of that cell is in it). Synthetic cells, in which all cells of a label contributed, have no row.
    """
    tables = [_origins(corpus, key) for key in corpus.used_makers]
    columns = {"cell": np.int64, "source": str, "row": np.int64, "weight": np.float32}
    table = pd.concat([pd.DataFrame({name: np.empty(0, kind) for name, kind in columns.items()}), *tables])
    return table.sort_values(["cell", "source", "row"], ignore_index=True)


def _origins(corpus: Corpus, key: str) -> pd.DataFrame:
    """Return it of the cells of one `Derived`."""
    derived = corpus.used_makers[key]
    cell_n = np.flatnonzero(corpus.labels("made") == key)
    weights = derived.weights(corpus.cells["row"].to_numpy(np.int64)[cell_n]).tocoo()
    parents = derived.parents.cells
    table = pd.DataFrame(
        {"cell": cell_n[weights.row], "parent": weights.col, "weight": weights.data.astype(np.float32)}
    )
    in_file = derived.parents.labels("made") == ""
    own = table[in_file[weights.col]]
    own = own.assign(
        source=parents["source"].to_numpy(str)[own["parent"]], row=parents["row"].to_numpy()[own["parent"]]
    )
    if in_file.all():
        return own[["cell", "source", "row", "weight"]]
    through = table.merge(origins(derived.parents).rename(columns={"cell": "parent", "weight": "share"}), on="parent")
    through = through.assign(weight=through["weight"] * through["share"])
    found = pd.concat([own, through])[["cell", "source", "row", "weight"]]
    return found.groupby(["cell", "source", "row"], as_index=False)["weight"].sum()


def made_once(corpus: Corpus) -> "list[DerivedCounts]":
    """List what makes cells of a corpus together, once, and of what these are made from; in an order to make them."""
    found: dict[str, DerivedCounts] = {}
    for derived in corpus.used_makers.values():
        found |= {before.fingerprint: before for before in made_once(derived.parents)}
        if derived.made_key is not None:
            found[derived.fingerprint] = derived
    return [*found.values()]


def sums(members_NP: csr_matrix, parents: Corpus) -> csr_matrix:
    """Add up parents' counts, a few cells at a time.

    A cell's sum is taken in one order, whatever cells are asked for with it: fractions, too, give the same to the bit.

    Parameters
    ----------
    members_NP
        How often each parent goes into each cell; indices sorted.
    parents
        P cells.

    Returns
    -------
    float64, shape (N, G), indices sorted.
    """
    pieces, start = [csr_matrix((0, parents.n_genes))], 0
    while start < members_NP.shape[0]:
        # As many cells as have so many parents together; at least one.
        last = members_NP.indptr[start] + BLOCK_PARENTS
        stop = max(start + 1, int(np.searchsorted(members_NP.indptr, last, side="right")) - 1)
        pieces.append(_sum(members_NP[start:stop], parents))
        start = stop
    total_NG = vstack(pieces, format="csr")
    total_NG.sort_indices()
    return total_NG


def _sum(members_NP: csr_matrix, parents: Corpus) -> csr_matrix:
    """Add up; parents are read in several turns only where they are those of one cell."""
    used, column = np.unique(members_NP.indices, return_inverse=True)
    total_NG = csr_matrix((members_NP.shape[0], parents.n_genes))
    for start in range(0, len(used), BLOCK_PARENTS):
        block = used[start : start + BLOCK_PARENTS]
        here = (column >= start) & (column < start + BLOCK_PARENTS)
        ends = np.concatenate([[0], np.cumsum(here)])[members_NP.indptr]
        times = members_NP.data[here].astype(np.float64)
        weights = csr_matrix((times, column[here] - start, ends), shape=(members_NP.shape[0], len(block)))
        total_NG = total_NG + weights @ parents.counts(block)
    return total_NG


def thinned(counts_NG: csr_matrix, keep: float, key: int, rows: NDArray[np.int64]) -> csr_matrix:
    """Keep each molecule of some cells with a probability; whichever cells are asked for together, each is the same.

    Parameters
    ----------
    counts_NG
        Their counts, whole numbers.
    keep
        The probability.
    key, rows
        What a cell's draws depend on; see `corpuscle.core.randomness.row_generators`.
    """
    starts, data = counts_NG.indptr.tolist(), counts_NG.data.astype(np.int64)
    for at, rng in enumerate(row_generators(key, rows.tolist())):
        here = slice(starts[at], starts[at + 1])
        data[here] = rng.binomial(data[here], keep)
    found = csr_matrix((data.astype(np.float32), counts_NG.indices, counts_NG.indptr), shape=counts_NG.shape)
    found.eliminate_zeros()
    return found


def picked(parent_N: NDArray[np.int64], n_parents: int) -> csr_matrix:
    """Return the weights of cells that are of one parent each, shape (N, P)."""
    n = len(parent_N)
    return csr_matrix((np.ones(n, np.float32), parent_N, np.arange(n + 1)), shape=(n, n_parents))


def from_rows(genes: Sequence[NDArray[Any]], counts: Sequence[NDArray[Any]], n_genes: int) -> csr_matrix:
    """Put cells together, each given as its genes, ascending, and its counts of them; float32, shape (N, G)."""
    starts = np.concatenate([[0], np.cumsum([len(row) for row in genes])]).astype(np.int64)
    data = np.concatenate([np.empty(0, np.float32), *counts]).astype(np.float32)
    columns = np.concatenate([np.empty(0, np.int32), *genes]).astype(np.int32)
    return csr_matrix((data, columns, starts), shape=(len(genes), n_genes))


def with_made(kept: Corpus, derived: Derived, name: str, labels: pd.DataFrame) -> Corpus:
    """Return a corpus with all cells of a `Derived` after its own.

    Parameters
    ----------
    kept
        The cells to keep; may be none.
    derived
        What makes the new ones.
    name
        What makes them, for people; it goes into their barcodes.
    labels
        One row per new cell, in its order: ``source`` and labels.
    """
    key = free_key(kept, name)
    table = labels.drop(columns=[column for column in (*KEYS[1:], "made") if column in labels]).reset_index(drop=True)
    row_N = np.arange(len(table), dtype=np.int64)
    barcodes = pd.Series([f"{key}-{row}" for row in row_N.tolist()], dtype=object)
    table = table.assign(row=row_N, barcode=barcodes, times=1, made=key)
    before = kept.cells if "made" in kept.cells else kept.cells.assign(made="")
    cells = stack_tables([before, table]).reset_index(drop=True)
    cells = cells[[*KEYS, *(column for column in cells if column not in KEYS)]]
    return replace(kept, cells=cells, makers={**kept.makers, key: derived})


def free_key(corpus: Corpus, name: str) -> str:
    """Return a key for a further `Derived`: its name, with a number where another has that already."""
    taken, n = set(corpus.makers), 2
    key = name
    while key in taken:
        key, n = f"{name} {n}", n + 1
    return key
