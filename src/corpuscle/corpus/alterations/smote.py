"""SMOTE: fill small labels up with cells between a cell and one of its neighbours."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key, row_generators
from corpuscle.corpus.alteration import (
    MOST_MADE,
    Alteration,
    Altered,
    counted,
    label_or_refuse,
    refuse_to_make,
    times_used,
)
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, with_made
from corpuscle.corpus.expression.neighbours import nearest_others
from corpuscle.corpus.expression.principal_components import find_axes, project


@component
class Smote(Alteration):
    """Add cells to small labels by SMOTE (Chawla et al. 2002, doi 10.1613/jair.953), as imbalanced-learn does.

    A new cell is ``x + u (y - x)``: x a random cell of the label, y one of its nearest of that label, u uniform in
    [0, 1). Neighbours are sought within a source, on the principal components of the log counts per 10,000 of the
    labels to be filled up; the interpolation is of counts.

    A caveat for counts: an interpolation of two cells is no whole number and has the genes of both, more than a cell
    has; its variance is lower than theirs. With ``rounding = "stochastic"`` it is rounded up or down at random so that
    its expectation stays: whole numbers, but still not a draw of a count distribution.

    Parameters
    ----------
    by
        The label column.
    to
        How many cells each label gets that has fewer. None: as many as the largest has.
    n_neighbours
        How many neighbours a cell has; its label needs more cells than this.
    rounding
        ``"stochastic"``: whole numbers. ``"none"``: as interpolated; no whole numbers.

    Examples
    --------
    >>> str(Smote())
    'smote (by = cell_type, n_neighbours = 5, rounding = stochastic)'
    """

    by: str = "cell_type"
    to: Annotated[int, Field(gt=0, le=MOST_MADE)] | None = None
    n_neighbours: Annotated[int, Field(gt=0, le=1000)] = 5
    rounding: Literal["stochastic", "none"] = "stochastic"

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Choose pairs of cells; see `Alteration.apply`."""
        label_N, times_N = label_or_refuse(corpus, self.by, self), times_used(corpus)
        before = counted(times_N, label_N)
        missing = self._missing(before)
        parents = corpus.take(np.isin(label_N, list(missing)))
        neighbour_PK = self._neighbours(parents, parents.labels(self.by), context)
        refuse_to_make(sum(missing.values()), self)
        pairs = [_pairs(parents.labels(self.by) == label, n, neighbour_PK, rng) for label, n in missing.items()]
        joined = Pairs(*(np.concatenate(part) for part in zip(*pairs, strict=True)))
        derived = _Interpolated(parents, joined, drawn_key(rng) if self.rounding == "stochastic" else None)
        made = with_made(corpus, derived, "smote", parents.cells.iloc[joined.first])
        after = counted(times_used(made), made.labels(self.by))
        return Altered(made, {"by": self.by, "before": before, "after": after, "made": sum(missing.values())})

    def _missing(self, before: dict[str, int]) -> dict[str, int]:
        """Return how many cells each label lacks."""
        labelled = {label: n for label, n in before.items() if label}
        goal = self.to or max(labelled.values(), default=0)
        missing = {label: goal - n for label, n in labelled.items() if n < goal}
        if not missing:
            raise CorpusError(
                f"smote: every {self.by} has {goal:,} cells or more, so none would be made; raise to, or leave the "
                "step out"
            )
        return missing

    def _neighbours(self, parents: Corpus, label_P: NDArray[np.str_], context: Context) -> NDArray[np.int64]:
        """Find each cell's neighbours: of its label, in its source."""
        found = np.empty((len(parents), self.n_neighbours), np.int64)
        for at, source in enumerate(parents.sources):
            here = np.flatnonzero(parents.source_codes == at)
            cells, label = parents.take(here), label_P[here]
            for name, n in zip(*np.unique(label, return_counts=True), strict=True):
                if n <= self.n_neighbours:
                    raise CorpusError(
                        f"smote: {self.by} {str(name)!r} has {n} cells in {source!r}, too few for "
                        f"{self.n_neighbours} neighbours; lower n_neighbours, or take oversample"
                    )
            axes = find_axes(cells, lambda share: context.notice("smote: finding neighbours", share))
            points = np.empty((len(cells), axes.axes_HK.shape[1]), np.float32)
            project(cells, axes, points)
            for name in np.unique(label):
                own = np.flatnonzero(label == name)
                found[here[own]] = here[own][nearest_others(points[own], self.n_neighbours)]
        return found


class Pairs(NamedTuple):
    """What new cells are between: positions of two parents, and how far from the first to the second, in [0, 1)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    step: NDArray[np.float64]


def _pairs(mask_P: NDArray[np.bool_], n: int, neighbour_PK: NDArray[np.int64], rng: np.random.Generator) -> Pairs:
    first = rng.choice(np.flatnonzero(mask_P), n)
    second = neighbour_PK[first, rng.integers(neighbour_PK.shape[1], size=n)]
    return Pairs(first, second, rng.random(n))


class _Interpolated(Derived):
    """Cells between two parents."""

    def __init__(self, parents: Corpus, pairs: Iterable[NDArray[Any]], key: int | None) -> None:
        super().__init__(parents)
        self.pairs, self.key = Pairs(*pairs), key

    @property
    def is_whole(self) -> bool:
        """Rounded counts are whole."""
        return self.key is not None

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Interpolate, and round."""
        step_N = self.pairs.step[rows]
        between_NG = _scaled(self.parents.counts(self.pairs.first[rows]), 1 - step_N)
        between_NG = between_NG + _scaled(self.parents.counts(self.pairs.second[rows]), step_N)
        between_NG.sort_indices()
        if self.key is not None:
            starts, data = between_NG.indptr.tolist(), between_NG.data
            # In float64, a sum of whole numbers' shares can miss a whole number by a hair.
            near = np.rint(data)
            data = np.where(np.abs(data - near) < 1e-9, near, data)
            low = np.floor(data)
            for at, rng in enumerate(row_generators(self.key, rows.tolist())):
                here = slice(starts[at], starts[at + 1])
                low[here] += rng.random(here.stop - here.start) < data[here] - low[here]
            between_NG.data = low
        between_NG.eliminate_zeros()
        return between_NG.astype(np.float32)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Return how near each cell is to its two parents."""
        step_N = self.pairs.step[rows]
        parents = np.column_stack([self.pairs.first[rows], self.pairs.second[rows]])
        shares = np.column_stack([1 - step_N, step_N])
        shape = (len(rows), len(self.parents))
        found = csr_matrix((shares.ravel(), parents.ravel(), np.arange(0, 2 * len(rows) + 1, 2)), shape=shape)
        found.sort_indices()
        return found

    def state(self) -> dict[str, Any]:
        """Return the pairs and the random key."""
        return {"pairs": [*self.pairs], "key": self.key}


def _scaled(counts_NG: csr_matrix, by_N: NDArray[np.float64]) -> csr_matrix:
    data = counts_NG.data * np.repeat(by_N, np.diff(counts_NG.indptr))
    return csr_matrix((data, counts_NG.indices, counts_NG.indptr), shape=counts_NG.shape)
