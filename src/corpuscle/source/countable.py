"""Countable: a source's counts where the file has normalised values, so that its cells can be compared with counts.

A cell's smallest value is one count in nearly all cells: values that were scaled, with or without a logarithm, are then
multiples of it. Whatever was done that leaves zeros zero, which genes a cell has is still known.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import SourceError
from corpuscle.source.count_kinds import SAMPLE, Kind, Undo, count_kind, places_of_counts, undone_by
from corpuscle.source.source import Source
from corpuscle.source.storage.change_guard import ChangeGuard

# Of a cell with fractions in more than this share of the genes, zeros are gone.
DENSE = 0.9


class CountableReader(ChangeGuard):
    """A reader that gives counts for values that are no raw counts; those that are counts stay as they are.

    Parameters
    ----------
    guard
        Reads the values.
    values
        What they are, as far as some cells show.
    undo
        What was done to scaled counts, undone: values × a factor of each cell's; None where they were not scaled.
    """

    def __init__(self, guard: ChangeGuard, values: Kind, undo: Undo | None) -> None:
        super().__init__(guard.opened, guard.reader)
        self.values, self.undo = values, undo

    def spec(self) -> dict[str, Any]:
        """Return the reader's settings; restored counts are other counts."""
        spec = super().spec()
        return spec if self.values == "counts" else {**spec, "counts": f"{spec['counts']}, from {self.values}"}

    def counted(self, stored: csr_matrix) -> csr_matrix:
        """Return counts of values as they are stored.

        Raises
        ------
        SourceError
            When they are negative or not finite: which genes a cell has is not known then.
        """
        stored = super().counted(stored)
        data = stored.data
        if not np.isfinite(data).all() or (data < 0).any():
            what = "negative values, as after centring," if (data < 0).any() else "NaN or infinite values"
            raise SourceError(
                f"source {self.opened.name!r}: {self.counts} holds {what} where counts or normalised counts are "
                "needed, whose zeros are genes that were not found; say where there are some: "
                f"{self._elsewhere() or 'this file has none'}"
            )
        if self.values == "counts" and (data.dtype.kind != "f" or np.array_equal(data, np.rint(data))):
            return stored
        counts = csr_matrix((self._restored(stored), stored.indices, stored.indptr), stored.shape, copy=True)
        if self._undetected():
            # Which genes such a cell has is not known: of nothing, nothing is concluded.
            counts.data[np.repeat(_zeros_gone(stored), np.diff(stored.indptr))] = 0
        counts.eliminate_zeros()
        return counts

    def refuse_without_zeros(self, stored: csr_matrix) -> None:
        """Refuse values of which most cells have no zeros, as after imputation or denoising.

        Raises
        ------
        SourceError
            With the places of the file that hold counts.
        """
        if self._undetected() and np.mean(_zeros_gone(stored)) > 0.5:
            raise SourceError(
                f"source {self.opened.name!r}: {self.counts} holds fractions in nearly all genes of most cells, as "
                "after imputation or denoising; raw counts are needed, whose zeros are genes that were not found; say "
                f"where there are some: {self._elsewhere() or 'this file has none'}"
            )

    def _undetected(self) -> bool:
        """Return whether a value above 0 may be no count at all."""
        return self.undo is None and self.values not in ("square roots", "nearly whole")

    def _restored(self, stored: csr_matrix) -> NDArray[np.float32]:
        values = stored.data.astype(np.float64)
        if self.values == "square roots":
            values = values**2
        elif self.undo is not None:
            values = self.undo(values)
            row = np.repeat(np.arange(stored.shape[0]), np.diff(stored.indptr))
            smallest = np.full(stored.shape[0], np.inf)
            np.minimum.at(smallest, row[values > 0], values[values > 0])
            values /= smallest[row]
        # What was detected stays detected.
        whole = np.where(values > 0, np.maximum(1, np.rint(values)), 0)
        return np.minimum(whole, 2**24).astype(np.float32)

    def _elsewhere(self) -> str:
        rows = np.arange(min(SAMPLE, self.n_cells()), dtype=np.int64)
        return " or ".join(self.reader.place(place) for place in places_of_counts(self.reader, rows))


def _zeros_gone(stored: csr_matrix) -> NDArray[np.bool_]:
    """Return which cells have values other than 0, and no whole ones, in nearly all genes, shape (N,)."""
    row = np.repeat(np.arange(stored.shape[0]), np.diff(stored.indptr))
    fractions = (stored.data != 0) & (stored.data != np.rint(stored.data))
    found: NDArray[np.bool_] = np.bincount(row[fractions], minlength=stored.shape[0]) > DENSE * stored.shape[1]
    return found


def countable(source: Source) -> tuple[Source, Kind]:
    """Return a source that gives counts, and which kind of values its file has.

    Parameters
    ----------
    source
        The source; some of its cells are read.

    Raises
    ------
    SourceError
        When there are negative values, some that are not finite, or none that are 0 (imputed, denoised).

    Examples
    --------
    >>> import anndata
    >>> from corpuscle.source.source import dataset_path, open_source
    >>> blood = anndata.read_h5ad(dataset_path("pbmc3k"))[:100].to_memory()
    >>> counts = blood.X.copy()
    >>> blood.X = counts.multiply(1e4 / counts.sum(axis=1)).tocsr().log1p()
    >>> found, kind = countable(open_source("logs", blood))
    >>> kind, bool((found.reader.read_counts(np.arange(100)) != counts).nnz == 0)
    ('log-normalised', True)
    """
    rows = source.cells["row"].to_numpy(np.int64)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64))]
    stored = source.reader.counted(source.reader.read_stored(rows))
    values = np.where(np.isfinite(stored.data), np.abs(stored.data), 0)
    sound = csr_matrix((values, stored.indices, stored.indptr), stored.shape)
    kind = count_kind(sound)
    reader = CountableReader(source.reader, kind, undone_by(sound, kind))
    # What cannot be restored is refused before anything is compared.
    reader.counted(stored)
    reader.refuse_without_zeros(stored)
    return replace(source, reader=reader), kind
