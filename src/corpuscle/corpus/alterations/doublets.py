"""Doublets: add the sum of two cells, as a droplet that caught both."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.alteration import Alteration, Altered, batch_labels, counted, refuse_to_make, times_used
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, thinned, with_made


@component
class Doublets(Alteration):
    """Add cells that are the sum of two random cells of one source and batch, each molecule kept with a probability.

    The first of the two gives the label. How many clusters are mostly doublets is a score of the task ``clustering``,
    asked in place. Doublets whose cells look alike (of one type) are made, too, as droplets do.

    Parameters
    ----------
    share
        How many doublets are added, for each cell that there is.
    keep
        With which probability each molecule of the two is kept; 0.5: as deep as one cell, on average, so that depth
        does not give doublets away.
    batch
        The label column of batches.

    References
    ----------
    Wolock, Lopez and Klein 2019, Cell Syst 8:281 (Scrublet), which simulates doublets so.

    Examples
    --------
    >>> str(Doublets(share=0.1))
    'doublets (share = 0.1, keep = 0.5, batch = batch)'
    """

    share: Annotated[float, Field(gt=0, le=10)]
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    batch: str = "batch"

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Choose pairs of cells; see `Alteration.apply`."""
        if not corpus.is_whole:
            raise CorpusError(
                "doublets: a step before made cells whose counts are no whole numbers; add doublets first"
            )
        times_N = times_used(corpus)
        n_made = round(self.share * int(times_N.sum()))
        refuse_to_make(n_made, self)
        first, second = self._pairs(corpus, times_N, n_made, rng)
        made = with_made(corpus, _Doublets(corpus, first, second, self.keep, drawn_key(rng)), self.name,
                         corpus.cells.iloc[first])  # fmt: skip
        by_source = counted(np.ones(n_made, np.int64), corpus.labels("source")[first])
        return Altered(made, {"made": n_made, "by_source": by_source})

    def _pairs(
        self, corpus: Corpus, times_N: NDArray[np.int64], n_made: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs of two cells of one source and batch, in proportion to how often they are used."""
        groups = np.char.add(np.char.add(corpus.labels("source"), "\x1f"), batch_labels(corpus, self.batch, self))
        _, group_N, size_P = np.unique(groups, return_inverse=True, return_counts=True)
        can_N = size_P[group_N] > 1
        if n_made == 0 or not can_N.any():
            raise CorpusError(
                f"doublets: {self.share:g} of {int(times_N.sum()):,} cells, of batches with two cells or more, are no "
                "doublet; raise share, or leave the step out"
            )
        weight_N = np.where(can_N, times_N, 0)
        first = rng.choice(len(corpus), n_made, p=weight_N / weight_N.sum())
        members = [np.flatnonzero(group_N == group) for group in range(len(size_P))]
        place_N = np.empty(len(corpus), np.int64)
        for here in members:
            place_N[here] = np.arange(len(here))
        # Another one: so many places further on, at least one, around the end.
        size = size_P[group_N[first]]
        step = 1 + (rng.random(n_made) * (size - 1)).astype(np.int64)
        other = (place_N[first] + step) % size
        second = np.array([members[group][at] for group, at in zip(group_N[first], other, strict=True)], np.int64)
        return first.astype(np.int64), second


class _Doublets(Derived):
    """The sum of two parents, thinned."""

    is_whole = True

    def __init__(
        self, parents: Corpus, first: NDArray[np.int64], second: NDArray[np.int64], keep: float, key: int
    ) -> None:
        super().__init__(parents)
        self.first, self.second, self.keep, self.key = first, second, keep, key

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Add two parents' counts, and thin them."""
        both = csr_matrix(self.parents.counts(self.first[rows]) + self.parents.counts(self.second[rows]))
        both.sort_indices()
        return thinned(both, self.keep, self.key, rows)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Each is of two parents, half of each."""
        parents = np.sort(np.column_stack([self.first[rows], self.second[rows]]), axis=1)
        shape = (len(rows), len(self.parents))
        return csr_matrix(
            (np.full(2 * len(rows), 0.5), parents.ravel(), np.arange(0, 2 * len(rows) + 1, 2)), shape=shape
        )

    def state(self) -> dict[str, Any]:
        """Return the pairs, the share that is kept, and the random key."""
        return {"first": self.first, "second": self.second, "keep": self.keep, "key": self.key}
