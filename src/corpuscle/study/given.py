"""Given: an AnnData object as a source of a study: named after its content, and written where processes can open it."""

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core import scratch
from corpuscle.core.errors import SourceError
from corpuscle.core.fingerprint import fingerprint
from corpuscle.core.paths import safe_name
from corpuscle.corpus.obs import holdable
from corpuscle.source.in_memory import InMemory
from corpuscle.source.reader import Reader, Wrapper
from corpuscle.source.source import Source
from corpuscle.source.storage.change_guard import ChangeGuard
from corpuscle.store import atomic

# The folder, within a run's, that given cells are written into.
FOLDER = "sources"


class GivenCells:
    """An AnnData object that stands where a study file has a path.

    Its counts, cell table and genes are written as ``.h5ad`` when they are first needed. One that is backed by a file,
    and has the cell table and the genes of that file, is read there, and nothing is written.

    Parameters
    ----------
    name
        What the study calls the source.
    adata
        The cells.
    counts
        Where the raw counts are; see `corpuscle.source.in_memory.InMemory`.

    Raises
    ------
    SourceError
        When there is no such place.
    """

    def __init__(self, name: str, adata: AnnData, counts: str) -> None:
        self.name = name
        self._reader = InMemory(adata, counts)
        self.file = _own_file(adata)
        self.path = str(self.file or Path(FOLDER) / f"{safe_name(name)}-{self._content()}.h5ad")

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the cell table and the genes, as a file can hold them."""
        cells, genes = self._reader.read_cells().table, self._reader.read_genes()
        return (holdable(table).set_axis(table.index.astype(str).to_numpy(object)) for table in (cells, genes))  # type: ignore[return-value]

    def _counts(self) -> csr_matrix:
        found = self._reader.read_counts(np.arange(self._reader.n_cells()))
        found.sort_indices()
        return found

    def _content(self) -> str:
        counts = self._counts()
        tables = [_hashed(table) for table in self._tables()]
        return fingerprint("given", counts.shape, counts.data, counts.indices, counts.indptr, *tables)

    def written(self, folder: Path | None) -> Path:
        """Return the file, written if it is not there: into a run's folder, or one that is gone with this process."""
        if self.file is not None:
            return self.file
        path = (folder or _of_this_process()) / self.path
        if not path.exists():
            cells, genes = self._tables()
            with warnings.catch_warnings(), atomic(path) as partial:
                # anndata warns of changes to come in how it stores texts.
                warnings.simplefilter("ignore")
                try:
                    AnnData(self._counts(), obs=cells, var=genes).write_h5ad(partial)
                except (TypeError, ValueError, NotImplementedError) as error:
                    raise SourceError(
                        f"source {self.name!r}: this AnnData cannot be written as .h5ad ({error})"
                    ) from error
        return path

    def hinting(self, source: Source) -> Source:
        """Return a source, opened from what was written, that knows where in the AnnData object there are counts."""
        if self.file is not None:
            return source
        reader = ChangeGuard(source.reader.opened, GivenReader(source.reader.reader, self._reader))
        return replace(source, reader=reader)


class GivenReader(Wrapper):
    """A reader of what was written of an AnnData object, where only one place of it is; messages name the others.

    Parameters
    ----------
    written
        Reads the file.
    given
        Reads the AnnData object.
    """

    def __init__(self, written: Reader, given: InMemory) -> None:
        super().__init__(written)
        self.given, self.counts = given, given.counts

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Read the counts of some cells, as they were written."""
        return self.reader.read_counts(rows)

    def alternatives(self) -> Sequence[str]:
        """List the places of the AnnData object that could hold counts."""
        return self.given.alternatives()

    def elsewhere(self, counts: str) -> Reader:
        """Return a reader of the same cells that takes their counts from another place of the AnnData object."""
        return self.given.elsewhere(counts)

    def place(self, counts: str, *, rounded: bool = False) -> str:
        """Return what to write next to the AnnData object; see `Reader.place`."""
        if rounded:
            return f'counts = {{ layer = "{counts}", round = true }}'
        return f'counts = "{counts}"'


def _hashed(table: pd.DataFrame) -> list[object]:
    """Return plain data that differ where a table does."""
    names = [str(name) for name in table]
    columns = [pd.util.hash_pandas_object(table[name], index=False).to_numpy() for name in table]
    index: NDArray[np.uint64] = pd.util.hash_pandas_object(pd.Series(table.index)).to_numpy()
    return [names, index, *columns]


def _own_file(adata: AnnData) -> Path | None:
    """Return the file that an AnnData is backed by, where it holds the same cell table and genes."""
    if not adata.isbacked or adata.is_view or adata.filename is None:
        return None
    path = Path(adata.filename).absolute()
    with h5py.File(path, "r") as file:
        tables = [(read_elem(file[name]), getattr(adata, name)) for name in ("obs", "var")]
    return path if all(one.equals(other) for one, other in tables) else None


@cache
def _of_this_process() -> Path:
    place = Path(tempfile.mkdtemp(prefix=scratch.PREFIX, suffix=scratch.suffix()))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
