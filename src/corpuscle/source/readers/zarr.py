"""Reads AnnData in a zarr folder: versions 2 and 3, sharded or not; dense, CSR or CSC counts in X, a layer, or raw."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from corpuscle.core.components import component
from corpuscle.core.errors import SourceError
from corpuscle.source.reader import Unstored, reading
from corpuscle.source.storage import soundness
from corpuscle.source.storage.anndata_layout import AnnDataReader, find_matrix


@component
class Zarr(AnnDataReader):
    """A zarr folder that anndata wrote.

    Of CSR and dense counts only the chunks that hold the cells are read, of a shard only the chunks it needs. Large CSC
    counts are laid out by cell first, in a copy in the temporary folder.

    Parameters
    ----------
    path
        The folder.
    counts
        Where the raw counts are: ``"X"``, ``"raw"`` (``raw/X``, with its own genes) or ``"layers/NAME"``.
    """

    suffixes = (".zarr",)
    markers = (".zgroup", "zarr.json")

    path: Path
    counts: str = "X"

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import zarr

        with reading(self.path, "zarr"), zarr.config.set(_pipeline()):
            if not self.path.is_dir():
                raise SourceError("this is a file; a zarr source is a folder")
            # The metadata of all parts in one place may be older than the parts.
            yield zarr.open_group(self.path, mode="r", use_consolidated=False)

    def unstored(self) -> Unstored:
        """Return the dense counts and the columns of obs of which a part is not stored; zarr stores no zeros."""
        with self._open() as root:
            counts = soundness.unstored_counts(find_matrix(root, self.counts), self.counts)
            return Unstored(counts, soundness.unstored_columns(root["obs"]))


def _pipeline() -> dict[str, str]:
    """Let zarrs unpack chunks, where it is installed (the extra ``fast``): in half the time where there are shards."""
    if find_spec("zarrs") is None:
        return {}
    import zarrs  # noqa: F401  # so that zarr knows it

    return {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
