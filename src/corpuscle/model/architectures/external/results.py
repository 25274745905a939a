"""Results: reads the embedding that a command wrote, and refuses what is none.

Axes in names: N cells, K dimensions.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.core.errors import ModelError

# The column of cells' names in a parquet file that does not have them as its index.
NAME = "cell"


def read_embedding(path: Path, names: pd.Index, n_latent: int | None) -> NDArray[np.float32]:
    """Read an embedding, a row for each cell in the order of the cells' file.

    Parameters
    ----------
    path
        A ``.npy`` of cells × dimensions; or a ``.parquet`` with a column for each dimension, and the cells' names as
        index or in a column ``cell``.
    names
        The cells' names.
    n_latent
        How many dimensions it should have; None: at least one.

    Returns
    -------
    The embedding, shape (N, K). What is not finite stays, for those to count who look at it.

    Raises
    ------
    ModelError
        When it is not there, cannot be read, or is no such embedding.
    """
    if not path.is_file():
        raise ModelError(f"it wrote no {path.name}; it should write the embedding to the path in {{embedding}}")
    kind = path.suffix.removeprefix(".")
    try:
        found_NK = _READERS[kind](path, names)
    except ModelError:
        raise
    # Arrow and numpy raise errors of many kinds for damaged files.
    except Exception as error:
        raise ModelError(f"its {path.name} cannot be read as {kind} ({error})") from error
    is_numbers = np.issubdtype(found_NK.dtype, np.floating) or np.issubdtype(found_NK.dtype, np.integer)
    if found_NK.ndim != 2 or not is_numbers or not found_NK.shape[1]:
        raise ModelError(
            f"its {path.name} has {found_NK.dtype} of shape {found_NK.shape}; expected numbers of shape "
            "(cells, dimensions)"
        )
    if len(found_NK) != len(names):
        raise ModelError(f"its {path.name} has {len(found_NK):,} rows for {len(names):,} cells; expected one for each")
    if n_latent is not None and found_NK.shape[1] != n_latent:
        raise ModelError(
            f"its {path.name} has {found_NK.shape[1]:,} dimensions, and {n_latent:,} when the model was fitted; they "
            "must be the same for all cells"
        )
    with np.errstate(over="ignore"):
        return found_NK.astype(np.float32)


def _read_npy(path: Path, _names: pd.Index) -> NDArray[np.generic]:
    found: NDArray[np.generic] = np.load(path, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        raise ModelError(f"its {path.name} is an archive of several arrays; write one with numpy.save")
    return found


def _read_parquet(path: Path, names: pd.Index) -> NDArray[np.generic]:
    table = pd.read_parquet(path)
    if NAME in table:
        table = table.set_index(NAME)
    elif isinstance(table.index, pd.RangeIndex):
        raise ModelError(
            f"its {path.name} does not name its cells; write the names (adata.obs_names) as the index, or in a column "
            f"{NAME!r}"
        )
    if len(table) == len(names):
        other_N = table.index.astype(str).to_numpy() != names.to_numpy()
        if other_N.any():
            at = int(other_N.argmax())
            raise ModelError(
                f"its {path.name} has {table.index[at]!r} in row {at:,}, where the cells' file has {names[at]!r}; "
                "write the cells in that file's order"
            )
    found: NDArray[np.generic] = table.to_numpy()
    return found


_READERS: dict[str, Callable[[Path, pd.Index], NDArray[np.generic]]] = {"npy": _read_npy, "parquet": _read_parquet}
