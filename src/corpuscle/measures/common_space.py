"""The space in which a study's corpora are compared: the genes that all its sources measured, and one set of axes.

The axes are the principal components of cells drawn evenly from the sources, so that none dominates by its size; they
are found once and kept in the store. Every corpus and target of the study is looked at in this space and no other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import N_GENES, Axes, PrincipalComponents
from corpuscle.source.genes import GeneSpace
from corpuscle.store import Store

# Each source gives as many cells as the smallest has, but no fewer than the first (if it has them) nor more than the
# second: a source of a hundred cells must not leave the others with a hundred, too.
LEAST_CELLS, MOST_CELLS = 1000, 10_000
# Variance, of log1p counts per 10,000 in float32, that rounding leaves where there is none.
ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class CommonSpace:
    """Genes and axes for all corpora of a study.

    Attributes
    ----------
    genes_C
        The positions, in the study's gene space, of the genes that every source measured.
    axes
        The principal components, in these genes.
    """

    genes_C: NDArray[np.int64]
    axes: Axes

    def of(self, cells: Corpus) -> Corpus:
        """Return the same cells with the common genes only."""
        return _in_genes(cells, self.genes_C)


class Basis(NamedTuple):
    """What a common space is found from.

    Attributes
    ----------
    genes_C
        The positions, in the study's gene space, of the genes that every source measured.
    cells
        Cells drawn evenly from the sources, with these genes only.
    """

    genes_C: NDArray[np.int64]
    cells: Corpus


def basis_of(pools: Mapping[str, Corpus]) -> Basis:
    """Draw what the common space of some sources is found from.

    Parameters
    ----------
    pools
        Each source's cells that training may use: cells held out have no effect.

    Raises
    ------
    MeasureError
        When there is no gene that all sources measured.
    """
    first = next(iter(pools.values()))
    measured_G = reduce(np.logical_and, (pool.space.measured(source) for source, pool in pools.items()))
    genes_C = np.flatnonzero(measured_G)
    if not len(genes_C):
        raise MeasureError("there is no gene that all sources measured")
    n_each = min(max(min(map(len, pools.values())), LEAST_CELLS), MOST_CELLS)
    tables = []
    for source, pool in pools.items():
        rng = generator(0, "common space", source)
        drawn = np.sort(rng.choice(len(pool), min(n_each, len(pool)), replace=False))
        tables.append(pool.cells[["source", "row", "barcode", "times"]].iloc[drawn])
    return Basis(genes_C, _in_genes(replace(first, cells=pd.concat(tables, ignore_index=True)), genes_C))


def components_of(
    basis: Basis, store: Store | None = None, progress: Callable[[float], None] | None = None
) -> PrincipalComponents:
    """Return the principal components of a basis, which are kept in the store where there is one."""
    return PrincipalComponents(basis.cells, {}, store, progress, n_genes=N_GENES)


def common_space(basis: Basis, store: Store | None = None) -> CommonSpace:
    """Find the common space of some sources.

    Parameters
    ----------
    basis
        What it is found from; see `basis_of`.
    store
        Where the axes are kept; None: found anew.

    Raises
    ------
    MeasureError
        When no gene varies.
    """
    axes = components_of(basis, store).axes
    if axes.variance_K.max(initial=0) < ROUNDING:
        raise MeasureError("expression does not vary over cells in the genes that all sources measured")
    return CommonSpace(basis.genes_C, axes)


def _in_genes(cells: Corpus, genes_C: NDArray[np.int64]) -> Corpus:
    """Cut a corpus to some genes of its space."""
    space = cells.space
    # The last entry is for genes that are not in the space: their -1 stays.
    position = np.full(len(space) + 1, -1, np.int32)
    position[genes_C] = np.arange(len(genes_C), dtype=np.int32)
    columns = {source: position[columns] for source, columns in space.columns.items()}
    ids, symbols = (tuple(names[at] for at in genes_C) for names in (space.ids, space.symbols))
    return replace(cells, space=GeneSpace(ids, symbols, columns))
