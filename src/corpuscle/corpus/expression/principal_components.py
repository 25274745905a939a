"""Principal components of a source's cells, out of core: found once, kept in the store, read by samplers.

Cells are scaled to 10,000 counts, log1p-transformed and cut to the most variable genes, as scanpy's usual recipe does.
Counts are streamed three times, a block of cells at a time: for the genes' moments, for the covariance of the variable
genes, whose eigenvectors are the exact axes, and for the cells' coordinates. Besides one block and one H × H matrix,
only the coordinates (4 K bytes a cell) are held, in a memory-mapped file where there is a store.

Axes in names: N cells, G genes, H variable genes, K components.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_matrix

from corpuscle.core.errors import CorpusError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cell_scales, gene_moments, most_variable
from corpuscle.store import Store

N_GENES = 2000
N_COMPONENTS = 50
# Cells streamed at once: as many × 2,000 genes in float32 are 32 MB.
BLOCK_CELLS = 4096
# A product of two genes in a cell takes as long as so many in a dense multiplication: an eighth of the genes counted is
# where both are equal.
SPARSE_COST = 64
# From so many blocks on it is worth importing a compiler.
COMPILED_BLOCKS = 4

Progress = Callable[[float], None]


class Axes(NamedTuple):
    """What cells are projected on.

    Attributes
    ----------
    genes_H
        Positions of the variable genes in the gene space, sorted.
    mean_H
        Their mean log1p counts per 10,000.
    axes_HK
        The components, of length 1, by falling variance; each component's largest entry is positive.
    variance_K
        The variance of the cells along each (n - 1 in the denominator).
    """

    genes_H: NDArray[np.int64]
    mean_H: NDArray[np.float64]
    axes_HK: NDArray[np.float64]
    variance_K: NDArray[np.float64]


def find_axes(
    cells: Corpus, progress: Progress | None = None, *, n_genes: int = N_GENES, n_components: int = N_COMPONENTS
) -> Axes:
    """Find the principal components of a corpus by the covariance of its variable genes; `times` is not applied.

    Parameters
    ----------
    cells
        N cells; their counts are read twice.
    progress
        Called now and then with which share is done.
    n_genes
        How many variable genes to look at.
    n_components
        How many axes, at most.

    Returns
    -------
    At most `n_components` axes: fewer where there are fewer cells or genes that vary.
    """
    report = progress or (lambda _share: None)
    moments = gene_moments(cells, lambda share: report(share / 2), block_cells=BLOCK_CELLS)
    genes_H = most_variable(moments, n_genes)
    n_found = len(genes_H)
    total_H, square_HH = np.zeros(n_found), np.zeros((n_found, n_found))
    for log_BH in _log_blocks(cells, genes_H, lambda share: report((1 + share) / 2)):
        total_H += np.bincount(log_BH.indices, weights=log_BH.data, minlength=n_found)
        _add_square(log_BH, square_HH, compiled=len(cells) >= COMPILED_BLOCKS * BLOCK_CELLS)
    mean_H = total_H / len(cells)
    square_HH -= len(cells) * np.outer(mean_H, mean_H)
    n_components = min(n_components, n_found, len(cells) - 1)
    if n_components < 1:
        return Axes(genes_H, mean_H, np.zeros((n_found, 0)), np.zeros(0))
    wanted = [n_found - n_components, n_found - 1]
    values, vectors = eigh(square_HH / (len(cells) - 1), lower=False, subset_by_index=wanted)
    axes_HK = vectors[:, ::-1]
    # An axis may point either way; this makes it the same one each time.
    signs_K = np.sign(axes_HK[np.abs(axes_HK).argmax(axis=0), np.arange(n_components)])
    return Axes(genes_H, mean_H, axes_HK * signs_K, np.maximum(values[::-1], 0))


def _add_square(log_BH: csr_matrix, square_HH: NDArray[np.float64], *, compiled: bool) -> None:
    """Add the products of each two genes to the upper triangle, as sparse numbers where that is quicker than dense."""
    n_pairs = np.square(np.diff(log_BH.indptr), dtype=np.float64).sum()
    if compiled and n_pairs * SPARSE_COST < log_BH.shape[0] * square_HH.size:
        # numba takes longer to import than a few blocks to multiply.
        from corpuscle.corpus.expression.sparse_products import add_products

        add_products(log_BH, square_HH)
    else:
        dense_BH = log_BH.toarray()
        square_HH += dense_BH.T @ dense_BH


def project(cells: Corpus, axes: Axes, out_NK: NDArray[np.float32], progress: Progress | None = None) -> None:
    """Write the coordinates of cells on the axes to `out_NK`, shape (N, K); the counts are read once."""
    at = 0
    for block_BK in _projected(cells, axes, progress):
        out_NK[at : at + len(block_BK)] = block_BK
        at += len(block_BK)


def _projected(cells: Corpus, axes: Axes, progress: Progress | None = None) -> Iterator[NDArray[np.float32]]:
    """Yield the coordinates of cells on the axes, a block of cells at a time."""
    offset_K, axes_HK = axes.mean_H @ axes.axes_HK, axes.axes_HK.astype(np.float32)
    for log_BH in _log_blocks(cells, axes.genes_H, progress or (lambda _share: None)):
        yield (log_BH @ axes_HK - offset_K).astype(np.float32)


def _log_blocks(cells: Corpus, genes_H: NDArray[np.int64], progress: Progress) -> Iterator[csr_matrix]:
    """Stream log1p counts per 10,000 of some genes in float32, a block of cells at a time, indices sorted."""
    for rows, counts_NG in cells.blocks(BLOCK_CELLS):
        # Cut before anything in float64 is found; the totals are over all genes.
        log_BH: csr_matrix = counts_NG[:, genes_H]
        scale_P = np.repeat(cell_scales(counts_NG), np.diff(log_BH.indptr))
        log_BH.data = np.log1p(log_BH.data * scale_P).astype(np.float32)
        log_BH.sort_indices()
        yield log_BH
        progress(rows.stop / len(cells))


class PrincipalComponents:
    """The principal components of some cells, and where these and other cells lie on them.

    Everything is found when it is first asked for, and kept in the store where there is one.

    Parameters
    ----------
    basis
        The cells whose components these are.
    pools
        By source, the cells whose coordinates can be asked for.
    store
        Where results are kept; None: in memory.
    progress
        Called with which share of what is being done.
    n_genes
        How many variable genes to look at.
    """

    def __init__(
        self,
        basis: Corpus,
        pools: Mapping[str, Corpus],
        store: Store | None = None,
        progress: Progress | None = None,
        *,
        n_genes: int = N_GENES,
    ) -> None:
        self.basis, self.store, self.progress = basis, store, progress
        self.n_genes = n_genes
        self.pools = {source: pool.take(np.argsort(_rows(pool), kind="stable")) for source, pool in pools.items()}
        self._found: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def axes(self) -> Axes:
        """The components."""
        if self.store is None:
            return find_axes(self.basis, self.progress, n_genes=self.n_genes)
        folder = self.store.kept("components", self.key, self.write_axes, label="principal components")
        with np.load(folder / "axes.npz") as file:
            return Axes(**{name: file[name] for name in Axes._fields})

    def write_axes(self, folder: Path) -> None:
        """Find the components, and write them into a folder."""
        np.savez(folder / "axes.npz", **find_axes(self.basis, self.progress, n_genes=self.n_genes)._asdict())

    def of(self, cells: Corpus, n_components: int) -> NDArray[np.float32]:
        """Return the coordinates of cells on the first components.

        Parameters
        ----------
        cells
            N cells of `pools`.
        n_components
            How many components.

        Returns
        -------
        Shape (N, K): `n_components`, or as many as there are.

        Raises
        ------
        CorpusError
            When a source did not measure the genes that the components are made of.
        """
        n_components = min(n_components, len(self.axes.variance_K))
        source_N, row_N = cells.cells["source"].to_numpy(str), _rows(cells)
        coordinates_NK = np.empty((len(cells), n_components), np.float32)
        for source in cells.sources:
            here = np.flatnonzero(source_N == source)
            pool_rows = _rows(self.pools[source])
            place = np.minimum(np.searchsorted(pool_rows, row_N[here]), len(pool_rows) - 1)
            assert np.array_equal(pool_rows[place], row_N[here]), "cells are chosen from the pools"
            if source not in self._found:
                self._found[source] = self._coordinates(source)
            coordinates_NK[here] = self._found[source][place, :n_components]
        return coordinates_NK

    @cached_property
    def key(self) -> str:
        """What the components are called in a store."""
        parts = [self.basis.take(self.basis.source_codes == at) for at in range(len(self.basis.sources))]
        identity = [self._identity(part) for part in parts]
        return fingerprint("components 1", self.n_genes, N_COMPONENTS, list(self.basis.space.ids), identity)

    def _identity(self, pool: Corpus) -> list[Any]:
        """Return plain data that differ where the counts of a pool, all of one source, do."""
        (source,) = pool.sources
        return [pool.readers[source].identity(), pool.space.columns[source], _rows(pool)]

    def _coordinates(self, source: str) -> NDArray[np.float32]:
        """Find the coordinates of a source's pool, in the order of its table."""
        pool, shape = self.pools[source], (len(self.pools[source]), len(self.axes.variance_K))
        unmeasured = int(np.sum(~pool.space.measured(source)[self.axes.genes_H]))
        if unmeasured:
            raise CorpusError(
                f"principal components need {len(self.axes.genes_H):,} variable genes, of which {source!r} did not "
                f'measure {unmeasured:,}; set space = "intersection" under [genes]'
            )
        if self.store is None:
            found = np.empty(shape, np.float32)
            project(pool, self.axes, found, self.progress)
            return found

        def write(folder: Path) -> None:
            axes, kind = self.axes, dtype_to_descr(np.dtype(np.float32))
            # Plain writes: in a memory map, a full disk would be a signal that ends the process.
            with (folder / "coordinates.npy").open("wb") as file:
                write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
                for block_BK in _projected(pool, axes, self.progress):
                    file.write(block_BK.tobytes())

        key, label = fingerprint(self.key, self._identity(pool)), f"coordinates of the cells of {source}"
        folder = self.store.kept("coordinates", key, write, label=label, uses=[("components", self.key)])
        kept: NDArray[np.float32] = np.load(folder / "coordinates.npy", mmap_mode="r")
        return kept


def _rows(cells: Corpus) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = cells.cells["row"].to_numpy(np.int64)
    return rows
