"""Writing: a corpus streamed into an AnnData file, in bounded memory; stopped and called again, it goes on.

Counts go into segments of a fixed size in a work folder next to the file, each written whole or not at all, with a
journal of how many there are. When all cells are read, the segments become the file, which takes its name last.

Axes in names: N cells, G genes.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.disk import new_hdf5, writing
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.corpus import Corpus
from corpuscle.source.reader import gist
from corpuscle.store import PARTIAL, atomic, flush, flush_below, write_text

# Stored numbers in a segment (a shard of zarr), and in a chunk, the least that is read.
SEGMENT = 1 << 22
CHUNK = 1 << 16
# Cells read at once: 2,048 × 2,000 counts take 100 MB while they are carried to the study's genes.
BLOCK_CELLS = 2048
# Counts are written in the smallest of these that holds them all. Sources refuse counts above 2^24.
DTYPES = (np.dtype(np.uint16), np.dtype(np.uint32))
# Made cells may have counts that are not whole.
FRACTIONS = np.dtype(np.float32)
WORK = ".composing-"


class _TooLargeError(Exception):
    """A count does not fit the number type that is being written."""


def write_corpus(
    corpus: Corpus,
    path: Path,
    identity: str,
    uns: Mapping[str, str],
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a corpus as `Corpus.to_anndata` lays it out, counts as unsigned whole numbers where they are whole.

    Parameters
    ----------
    corpus
        What to write.
    path
        The file (``.h5ad``) or folder (``.zarr``: version 3, sharded). What is there is replaced when all is written.
    identity
        Hash of what the corpus holds. Work that was stopped is taken up only under the same one; it is also written
        as ``uns["corpuscle"]["fingerprint"]``.
    uns
        Further texts for ``uns["corpuscle"]``.
    progress
        Called now and then with which share of the cells is written.

    Raises
    ------
    CorpusError
        When there is a column that such a file cannot hold; nothing was written.
    DiskError, FolderError
        When the disk is full, or the folder cannot be written; the same command goes on where this one stopped.
    """
    _refuse_unholdable(corpus, path.suffix)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            work = _Work.open(
                path.with_name(f"{WORK}{path.name}"), identity, DTYPES[0] if corpus.is_whole else FRACTIONS
            )
            try:
                return _write(corpus, path, work, {"fingerprint": identity, **uns}, progress or (lambda _share: None))
            except _TooLargeError:
                work.restart(DTYPES[DTYPES.index(work.dtype) + 1])


def _refuse_unholdable(corpus: Corpus, suffix: str) -> None:
    """Write a cell's labels into memory, to find before any count is written what such a file cannot hold."""
    obs = corpus.take(np.arange(min(1, len(corpus)))).obs()
    if _write_error(obs, suffix) is None:
        return
    for name in obs:
        if (error := _write_error(obs[[name]], suffix)) is not None:
            raise CorpusError(
                f"corpus {corpus.name!r}: a {suffix} cannot hold the column {name!r} ({error}); leave it out of the "
                "source's file, or give it another name there"
            )


def _write_error(obs: pd.DataFrame, suffix: str) -> str | None:
    """Return what prevents a table from being written; None where nothing does."""
    from anndata.io import write_elem

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if suffix == ".zarr":
                import zarr

                write_elem(zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=3), "obs", obs)
            else:
                with h5py.File(BytesIO(), "w") as file:
                    write_elem(file, "obs", obs)
    # h5py, zarr and anndata raise errors of a dozen kinds.
    except Exception as error:
        return gist(error)
    return None


def written_identity(path: Path) -> str | None:
    """Return the identity of the corpus that a file or folder holds; None where no corpus was written there."""
    try:
        if path.suffix == ".zarr":
            import zarr

            return str(zarr.open_group(path, mode="r")["uns/corpuscle/fingerprint"][()])  # type: ignore[index]
        with h5py.File(path, "r") as file:
            return str(file["uns/corpuscle/fingerprint"].asstr()[()])
    # Nothing, somebody else's file, or a damaged one, for which h5py and zarr raise errors of a dozen kinds.
    except Exception:
        return None


@dataclass
class _Work:
    """The work folder: what was written so far.

    ``journal.json`` names the corpus, the number type and how many segments are whole; ``indptr`` says where each
    cell's counts begin, for at least the cells in them.
    """

    folder: Path
    identity: str
    dtype: np.dtype[Any] = DTYPES[0]
    n_segments: int = 0

    @staticmethod
    def open(folder: Path, identity: str, dtype: np.dtype[Any]) -> "_Work":
        """Take up the work of a folder, if it is for the same corpus; else begin with a number type."""
        work = _Work(folder, identity)
        try:
            journal = json.loads((folder / "journal.json").read_text(encoding="utf-8"))
            if journal["identity"] == work._identity and (folder / "indptr").stat().st_size:
                work.dtype, work.n_segments = np.dtype(journal["dtype"]), journal["n_segments"]
                return work
        except (OSError, ValueError, KeyError, TypeError):
            # None, or one that a failing disk cut: the work begins anew.
            pass
        work.restart(dtype)
        return work

    @property
    def _identity(self) -> list[Any]:
        return ["composing 1", SEGMENT, CHUNK, self.identity]

    def restart(self, dtype: np.dtype[Any]) -> None:
        """Throw away what there is and begin with a number type."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.dtype, self.n_segments = dtype, 0
        np.zeros(1, np.int64).tofile(self.folder / "indptr")
        self.note()

    def note(self) -> None:
        """Write the journal: all segments that it counts are whole."""
        journal = {"identity": self._identity, "dtype": self.dtype.name, "n_segments": self.n_segments}
        write_text(self.folder / "journal.json", json.dumps(journal))

    def indptr(self) -> NDArray[np.int64]:
        """Return where the counts of each cell begin that is written, wholly or in part; the last is the next's."""
        found = np.fromfile(self.folder / "indptr", np.int64)
        done = self.n_segments * SEGMENT
        return found[: np.searchsorted(found, done, side="right")]


class _Format(Protocol):
    """How segments are kept in the work folder, and become the file."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None: ...

    def write(self, at: int, data: NDArray[Any], genes: NDArray[np.int32]) -> None:
        """Write a segment, whole or not at all."""

    def finish(self, path: Path, n_segments: int, fill: Callable[[Any], None]) -> None:
        """Make the file of all segments; `fill` writes all else into its root."""


class _Pending:
    """Counts that were read and are not in a segment yet.

    Parameters
    ----------
    dtype
        The number type they get.
    skip
        How many of the first are in a segment already.
    """

    def __init__(self, dtype: np.dtype[Any], skip: int) -> None:
        self.dtype, self.skip = dtype, skip
        self.data, self.genes = np.empty(0, dtype), np.empty(0, np.int32)

    def add(self, data: NDArray[np.float32], genes: NDArray[Any]) -> None:
        """Take the counts of further cells."""
        if self.dtype != FRACTIONS and len(data) and data.max() > np.iinfo(self.dtype).max:
            raise _TooLargeError
        self.data = np.concatenate([self.data, data[self.skip :].astype(self.dtype)])
        self.genes = np.concatenate([self.genes, genes[self.skip :].astype(np.int32)])
        self.skip = max(0, self.skip - len(data))

    def segments(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int32]]]:
        """Give the whole segments there are."""
        while len(self.data) >= SEGMENT:
            yield self.data[:SEGMENT], self.genes[:SEGMENT]
            self.data, self.genes = self.data[SEGMENT:], self.genes[SEGMENT:]


def _write(corpus: Corpus, path: Path, work: _Work, uns: Mapping[str, str], progress: Callable[[float], None]) -> None:
    form: _Format = (_Zarr if path.suffix == ".zarr" else _H5ad)(work.folder, work.dtype)
    known = work.indptr()
    indptr = np.zeros(len(corpus) + 1, np.int64)
    indptr[: len(known)] = known
    pending = _Pending(work.dtype, skip=work.n_segments * SEGMENT - int(known[-1]))
    with (work.folder / "indptr").open("r+b") as ends:
        # Cut, not written anew: a kill in between would leave nothing to go on from.
        ends.seek(ends.truncate(known.nbytes))
        for start in range(len(known) - 1, len(corpus), BLOCK_CELLS):
            stop = min(start + BLOCK_CELLS, len(corpus))
            counts_NG = corpus.counts(slice(start, stop))
            pending.add(counts_NG.data, counts_NG.indices)
            indptr[start + 1 : stop + 1] = indptr[start] + counts_NG.indptr[1:]
            indptr[start + 1 : stop + 1].tofile(ends)
            ends.flush()
            for data, genes in pending.segments():
                form.write(work.n_segments, data, genes)
                flush(work.folder / "indptr")
                work.n_segments += 1
                work.note()
            progress(stop / len(corpus))
    # The last segment may be short. The journal does not count it: who is stopped from here on writes it again.
    form.write(work.n_segments, pending.data, pending.genes)
    form.finish(path, work.n_segments + 1, lambda root: _write_rest(root, corpus, indptr, uns))
    shutil.rmtree(work.folder, ignore_errors=True)


def _write_rest(root: Any, corpus: Corpus, indptr: NDArray[np.int64], uns: Mapping[str, str]) -> None:
    """Write all but the counts and their genes into the root of an AnnData hierarchy."""
    from anndata.io import write_elem

    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    for name in ("layers", "obsm", "varm", "obsp", "varp"):
        write_elem(root, name, {})
    write_elem(root, "obs", corpus.obs())
    write_elem(root, "var", corpus.var())
    write_elem(root, "uns", {"corpuscle": dict(uns)})
    matrix = root["X"]
    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    matrix.attrs["shape"] = [len(corpus), corpus.n_genes]
    if isinstance(root, h5py.Group):
        matrix.create_dataset("indptr", data=indptr)
    else:
        # One who was stopped after this has it already.
        matrix.create_array("indptr", data=indptr, overwrite=True)


class _H5ad:
    """Segments are HDF5 files; the whole takes over their compressed chunks as they are."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder, self.dtype = folder, dtype

    def _segment(self, at: int) -> Path:
        return self.folder / f"{at}.h5"

    def write(self, at: int, data: NDArray[Any], genes: NDArray[np.int32]) -> None:
        """Write a segment."""
        with atomic(self._segment(at)) as partial, new_hdf5(partial) as file:
            for name, values in (("data", data), ("indices", genes)):
                _create(file, name, values.dtype, len(values))[:] = values

    def finish(self, path: Path, n_segments: int, fill: Callable[[Any], None]) -> None:
        """Join the segments."""
        with h5py.File(self._segment(n_segments - 1), "r") as last:
            n_stored = (n_segments - 1) * SEGMENT + len(last["data"])
        with atomic(path) as partial, new_hdf5(partial) as file:
            matrix = file.create_group("X")
            joined = {
                "data": _create(matrix, "data", self.dtype, n_stored),
                "indices": _create(matrix, "indices", np.dtype(np.int32), n_stored),
            }
            for at in range(n_segments):
                with h5py.File(self._segment(at), "r") as segment:
                    for name, whole in joined.items():
                        _copy_chunks(segment[name], whole, at * SEGMENT)
            fill(file)


def _create(group: h5py.Group, name: str, dtype: np.dtype[Any], size: int) -> h5py.Dataset:
    return group.create_dataset(
        name, (size,), dtype, chunks=(CHUNK,), maxshape=(None,), compression="gzip", compression_opts=1, shuffle=True
    )


def _copy_chunks(segment: h5py.Dataset, whole: h5py.Dataset, start: int) -> None:
    for at in range(segment.id.get_num_chunks()):
        chunk = segment.id.get_chunk_info(at)
        mask, stored = segment.id.read_direct_chunk(chunk.chunk_offset)
        whole.id.write_direct_chunk((start + chunk.chunk_offset[0],), stored, mask)


class _Zarr:
    """Segments are the shards of the zarr arrays themselves; the folder takes its name when all is in it."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        import zarr

        self.folder = folder / "corpus.zarr"
        self.root = zarr.open_group(self.folder, mode="a", zarr_format=3)
        matrix = self.root.require_group("X")
        for name, kind in (("data", dtype), ("indices", np.dtype(np.int32))):
            if name not in matrix:
                matrix.create_array(name, shape=(0,), dtype=kind, chunks=(CHUNK,), shards=(SEGMENT,))

    def write(self, at: int, data: NDArray[Any], genes: NDArray[np.int32]) -> None:
        """Write a shard of each array."""
        for name, values in (("data", data), ("indices", genes)):
            array: Any = self.root[f"X/{name}"]
            array.resize((at * SEGMENT + len(values),))
            if len(values):
                array[at * SEGMENT :] = values
            shard = self.folder / "X" / name / "c" / str(at)
            # One of nothing but zeros has no file.
            if shard.exists():
                flush(shard)

    def finish(self, path: Path, n_segments: int, fill: Callable[[Any], None]) -> None:
        """Fill in the rest, and put the folder in its place."""
        with warnings.catch_warnings():
            # anndata and zarr warn of changes to come of their own, such as how texts are stored.
            warnings.simplefilter("ignore")
            fill(self.root)
        flush_below(self.folder)
        before = path.with_name(f"{PARTIAL}{uuid4().hex[:8]}-{path.name}")
        if path.exists():
            path.rename(before)
        self.folder.rename(path)
        shutil.rmtree(before, ignore_errors=True)
