"""Reads AnnData's ``.h5ad``: dense, CSR or CSC counts in X, a layer, or raw.

h5py is used for the counts instead of a backed AnnData because that reads a CSR matrix cell by cell, a CSC matrix
number by number, and cannot open a layer without the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from corpuscle.core.components import component
from corpuscle.source.reader import reading
from corpuscle.source.storage import hdf5
from corpuscle.source.storage.anndata_layout import AnnDataReader


@component
class H5ad(AnnDataReader):
    """An ``.h5ad`` file.

    Of CSR and dense counts only the chunks that hold the cells are read. Large CSC counts are laid out by cell first,
    in a copy in the temporary folder.

    Parameters
    ----------
    path
        The file.
    counts
        Where the raw counts are: ``"X"``, ``"raw"`` (``raw/X``, with its own genes) or ``"layers/NAME"``.
    """

    suffixes = (".h5ad",)

    path: Path
    counts: str = "X"

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        with reading(self.path, ".h5ad"), hdf5.open_hdf5(self.path) as file:
            yield file
