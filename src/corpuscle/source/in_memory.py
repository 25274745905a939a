"""InMemory: cells of an AnnData object, read where it is; nothing is written."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError, SourceError
from corpuscle.source.reader import Cells, Reader, all_rows
from corpuscle.source.storage.soundness import native, native_type

# Where counts can be, as a study file names it; a layer is "layers/NAME".
X, RAW, LAYERS = "X", "raw", "layers/"


def column_to_add(name: object) -> str:
    """Return the name of what is to be written into an AnnData; refuse what is none.

    Raises
    ------
    InputError
        When it is no text, or an empty one.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"key_added: expected a name, a text of a letter or more; got {name!r:.80}")
    return name


def place_of(adata: AnnData, layer: str | None) -> str:
    """Return where counts are, as a study file names it, by the name of a layer.

    None and ``"X"`` are X, ``"raw"`` is raw, where no layer has that name; ``"layers/NAME"`` is understood, too.

    Raises
    ------
    InputError
        When this is no AnnData, or it has no such layer; the message has those there are.
    """
    if not isinstance(adata, AnnData):
        raise InputError(f"expected an AnnData, got a {type(adata).__name__}; anndata.read_h5ad reads one from a file")
    places = {**({X: X} if adata.X is not None else {}), **({RAW: RAW} if adata.raw is not None else {})}
    places |= {str(name): f"{LAYERS}{name}" for name in adata.layers}
    wanted = X if layer is None else layer
    if isinstance(wanted, str):
        name = wanted if wanted in places else wanted.removeprefix(LAYERS)
        if name in places and (name == wanted or name in adata.layers):
            return places[name]
    raise SourceError(f"layer: this AnnData has no {wanted!r:.80}; {legal_names(str(wanted), places)}")


class InMemory(Reader):
    """An AnnData object, in memory or backed.

    Parameters
    ----------
    adata
        The cells. What is changed in it later is not noticed.
    counts
        Where the raw counts are: ``"X"``, ``"raw"`` (with its own genes) or ``"layers/NAME"``.

    Raises
    ------
    SourceError
        When there is no such place.
    """

    def __init__(self, adata: AnnData, counts: str = X) -> None:
        self.adata, self.counts = adata, counts
        # Not hashed: nothing that is kept is named after it.
        self._content = f"in memory {uuid4().hex}"
        if counts not in self.alternatives():
            raise SourceError(f"this AnnData has no {counts!r}; {legal_names(counts, self.alternatives())}")

    def spec(self) -> dict[str, Any]:
        """Return where the counts are."""
        return {"name": "in_memory", "counts": self.counts}

    def elsewhere(self, counts: str) -> "InMemory":
        """Return a reader of the same cells with other counts."""
        return InMemory(self.adata, counts)

    def place(self, counts: str, *, rounded: bool = False) -> str:
        """Return what to write to read counts elsewhere; see `Reader.place`."""
        if rounded:
            return "numpy.rint"
        return f'layer = "{counts.removeprefix(LAYERS)}"' if counts != X else "layer = None"

    def n_cells(self) -> int:
        """Count the cells."""
        return int(self.adata.n_obs)

    def read_cells(self, where: Any = None) -> Cells:
        """Return obs."""
        return all_rows(self.adata.obs.set_axis(self.adata.obs_names.astype(str)))

    def read_genes(self) -> pd.DataFrame:
        """Return var, or raw's."""
        table = self.adata.raw.var if self.counts == RAW else self.adata.var
        return table.set_axis(table.index.astype(str))

    def read_counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Return the counts of some cells; see `Reader.read_counts`.

        Raises
        ------
        SourceError
            When what is there is no numbers: texts, objects, complex numbers.
        """
        # Backed matrices take rows in ascending order, none twice.
        ascending, back = np.unique(rows, return_inverse=True)
        matrix = self._matrix()
        if matrix.dtype.kind not in "iufb":
            raise SourceError(
                f"{self.counts} holds values of the type {matrix.dtype}; expected numbers, such as float32"
            )
        if issparse(matrix):
            # Its rows are taken by SciPy, so its numbers have to be of a kind that SciPy computes with.
            matrix = matrix.astype(native_type(matrix.dtype), copy=False)
        found = matrix[ascending]
        found = found.to_memory() if hasattr(found, "to_memory") else found
        found = csr_matrix(found if issparse(found) else native(np.asarray(found)))
        return found if np.array_equal(ascending, rows) else found[back]

    def _matrix(self) -> Any:
        if self.counts == RAW:
            return self.adata.raw.X
        matrix = self.adata.X if self.counts == X else self.adata.layers[self.counts.removeprefix(LAYERS)]
        if isinstance(matrix, pd.DataFrame):
            return matrix.to_numpy()
        return matrix.tocsr() if hasattr(matrix, "tocsr") else matrix

    def alternatives(self) -> Sequence[str]:
        """List where counts could be."""
        raw = [RAW] if self.adata.raw is not None else []
        layers = [f"{LAYERS}{name}" for name in self.adata.layers]
        return [*([X] if self.adata.X is not None else []), *raw, *layers]

    def stamp(self) -> str:
        """Return a text that stays the same: changes are not noticed."""
        return self._content

    def content(self) -> str:
        """Return a text of its own."""
        return self._content
