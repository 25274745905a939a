"""Sampler: chooses cells from a pool."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.components import Component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import row_numbers
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import KEYS, Corpus
from corpuscle.corpus.named_labels import NamedLabels


class Sampler(Component, ABC):
    """A way to choose cells. Each is one file in ``corpus/samplers``.

    What most need is in the pool: its labels and its counts. The context has its principal components and the other
    sources.
    """

    home: ClassVar[str] = "corpuscle.corpus.samplers"
    kind: ClassVar[str] = "sampler"

    @property
    def sources(self) -> tuple[str, ...]:
        """Other sources that are drawn from: their cells follow the part's own in the pool."""
        return ()

    @property
    def looks_at(self) -> tuple[str, ...]:
        """Sources whose cells affect the choice: see `Context.pools`."""
        return ()

    @property
    def exact(self) -> bool:
        """Whether exactly `n_cells` are chosen; only a faithful copy of a published fault may choose fewer."""
        return True

    @property
    def names_labels(self) -> tuple[NamedLabels, ...]:
        """The labels that its settings name: a study checks that they are called so."""
        return ()

    def notes(self, chosen: Corpus) -> dict[str, Any]:
        """Return what the corpus' account should say of the cells that were chosen, as plain data."""
        return {}

    @abstractmethod
    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells from a pool.

        Parameters
        ----------
        pool
            The cells to choose from, at least `n_cells` of them; then those of `sources`.
        n_cells
            How many to choose.
        rng
            The only source of randomness.
        context
            What the study gives: principal components, other sources, a place to keep what is costly to find.

        Returns
        -------
        Positions in the pool's table: exactly `n_cells`, none twice.

        Raises
        ------
        CorpusError
            When this sampler cannot choose that many cells from this pool; it says why.
        """


def cell_numbers(pool: Corpus, key: int) -> NDArray[np.uint64]:
    """Give each cell of a pool a random number that depends on the key, its source and its row alone, shape (N,).

    A sampler that takes the cells with the smallest numbers draws uniformly, and what it draws is paired: where cells
    are left out of the pool (`exclude`, a stricter `where`), it draws the same cells otherwise, and the next in order
    in place of those that are gone.
    """
    code_N, sources = pd.factorize(pool.cells["source"])
    row_N = pool.cells["row"].to_numpy(np.int64)
    if len(sources) == 1:
        return row_numbers(key, str(sources[0]), row_N)
    number_N = np.empty(len(pool), np.uint64)
    for code, source in enumerate(sources):
        here_N = code_N == code
        number_N[here_N] = row_numbers(key, str(source), row_N[here_N])
    return number_N


class Groups(NamedTuple):
    """Cells by label: the names of K groups, and the group 0 … K - 1 of each of N cells.

    Cells without a label are a group of their own, of the name ``""``.
    """

    names: list[str]
    group_N: NDArray[np.int64]


def label_groups(pool: Corpus, column: str, sampler: Sampler) -> Groups:
    """Group a pool's cells by a label.

    Raises
    ------
    CorpusError
        When the pool has no such label.
    """
    if column not in pool.cells:
        hint = legal_names(column, (str(name) for name in pool.cells if name not in KEYS))
        raise CorpusError(f"{sampler.name}: there is no column {column!r} in {', '.join(pool.sources)}; {hint}")
    code_N, labels = pd.factorize(pool.labels(column))
    names, name_of = np.unique(np.append(labels, ""), return_inverse=True)
    return Groups(names.tolist(), name_of[code_N])


def n_missing(cells: Corpus, column: str) -> int:
    """Count the cells that have no label in a column."""
    return int(np.sum(cells.labels(column) == ""))
