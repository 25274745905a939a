"""Profile: what one pass over the counts of some cells leaves for the measures.

Axes in names: N cells, U uses of cells, C common genes, H variable genes, K components.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cp10k
from corpuscle.measures.common_space import CommonSpace
from corpuscle.measures.donor_bootstrap import Donors, donors_of
from corpuscle.measures.table import Once

# Cells whose variable genes are dense at once: as many × 2,000 in float32 are 16 MB.
BLOCK_CELLS = 2048
# A gene is expressed where its mean is above this many counts per 10,000: the published threshold (Nadig et al. 2025).
EXPRESSED = 1.0


class Moments(NamedTuple):
    """Mean (H,) and mean outer product (H, H) of cells' log expression."""

    mean_H: NDArray[np.float64]
    second_HH: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Summary:
    """Some cells in the common space.

    Attributes
    ----------
    cells
        The distinct cells, N of them.
    use_U
        The position in `cells` of each use of a cell: a cell that training sees twice is there twice.
    order_U
        The uses in random order; see `drawn`.
    depth_N, complexity_N
        Each cell's counts, and genes with a count, in the common genes.
    mean_C
        Mean counts per 10,000 over uses.
    coordinates_NK
        Where the cells lie on the axes.
    log_NH
        log1p of counts per 10,000 in the variable genes, sparse, float32.
    """

    cells: Corpus
    use_U: NDArray[np.int64]
    order_U: NDArray[np.int64]
    depth_N: NDArray[np.float64]
    complexity_N: NDArray[np.float64]
    mean_C: NDArray[np.float64]
    coordinates_NK: NDArray[np.float32]
    log_NH: csr_matrix
    _rng: np.random.Generator = field(repr=False)

    @property
    def points_UK(self) -> NDArray[np.float32]:
        """The coordinates of all uses of cells, in the order of `use_U` and of their `donors`."""
        return self.coordinates_NK[self.use_U]

    def drawn(self, most: int) -> NDArray[np.float32]:
        """Return the coordinates of at most so many uses of cells; of more are all that fewer are of, and others."""
        return self.coordinates_NK[self.use_U[self.order_U[:most]]]

    @Once
    def donors(self) -> Donors:
        """The donors of all uses, drawn anew."""
        return donors_of(self.cells.take(self.use_U), self._rng)

    @cached_property
    def moments(self) -> Moments:
        """First and second moments of the variable genes' log expression, over uses."""
        times_N = np.bincount(self.use_U, minlength=len(self.cells)).astype(np.float32)
        n_genes, n_uses = self.log_NH.shape[1], len(self.use_U)
        total_H, second_HH = np.zeros(n_genes), np.zeros((n_genes, n_genes))
        for start in range(0, len(self.cells), BLOCK_CELLS):
            rows = slice(start, start + BLOCK_CELLS)
            log_BH = self.log_NH[rows].toarray()
            total_H += times_N[rows] @ log_BH
            log_BH *= np.sqrt(times_N[rows])[:, None]
            second_HH += log_BH.T @ log_BH
        return Moments(total_H / n_uses, second_HH / n_uses)


def profile(
    cells: Corpus,
    common: CommonSpace,
    most: int,
    rng: np.random.Generator,
) -> Summary:
    """Look at the counts of a corpus once.

    Parameters
    ----------
    cells
        The corpus.
    common
        The study's common space.
    most
        Of a corpus of more uses of cells than this, so many are drawn: time and memory are bounded.
    rng
        Decides which, the order in which fewer are drawn, and draws of donors.
    """
    use_U = np.repeat(np.arange(len(cells)), cells.cells["times"].to_numpy(np.int64))
    if len(use_U) > most:
        use_U = np.sort(rng.choice(use_U, most, replace=False))
    drawn, use_U = np.unique(use_U, return_inverse=True)
    seen = common.of(cells.take(drawn))
    times_N = np.bincount(use_U, minlength=len(seen)).astype(np.float64)
    axes = common.axes
    offset_K = axes.mean_H @ axes.axes_HK
    depth, complexity, coordinates, logs = [], [], [], []
    total_C = np.zeros(seen.n_genes)
    for rows, counts_BC in seen.blocks(BLOCK_CELLS):
        depth.append(np.asarray(counts_BC.sum(axis=1, dtype=np.float64)).ravel())
        complexity.append(np.diff(counts_BC.indptr).astype(np.float64))
        scaled_BC = cp10k(counts_BC)
        total_C += scaled_BC.T @ times_N[rows]
        log_BH = scaled_BC[:, axes.genes_H].astype(np.float32)
        log_BH.data = np.log1p(log_BH.data)
        coordinates.append((log_BH @ axes.axes_HK - offset_K).astype(np.float32))
        logs.append(log_BH)
    return Summary(
        cells=cells.take(drawn),
        use_U=use_U,
        order_U=rng.permutation(len(use_U)),
        depth_N=np.concatenate(depth),
        complexity_N=np.concatenate(complexity),
        mean_C=total_C / len(use_U),
        coordinates_NK=np.concatenate(coordinates),
        log_NH=vstack(logs, format="csr"),
        _rng=rng,
    )
