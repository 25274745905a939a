"""Plain data with arrays, as files: JSON and npz, from which nothing is executed when they are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAIN, ARRAYS = "data.json", "arrays.npz"
_MARK = "array"


def write_data(folder: Path, data: Any) -> None:
    """Write nested lists and dictionaries of numbers, texts and arrays into a folder.

    Tuples are read back as lists, and keys of dictionaries as texts.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> write_data(folder, {"keep": 0.5, "rows": [np.arange(3)]})
    >>> read_data(folder)
    {'keep': 0.5, 'rows': [array([0, 1, 2])]}
    """
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_without_arrays(data, arrays), allow_nan=False)
    (folder / PLAIN).write_text(text, encoding="utf-8")
    if arrays:
        np.savez(folder / ARRAYS, allow_pickle=False, **{str(at): array for at, array in enumerate(arrays)})


def read_data(folder: Path) -> Any:
    """Read what `write_data` wrote."""
    data, arrays = json.loads((folder / PLAIN).read_text(encoding="utf-8")), list[NDArray[Any]]()
    if (folder / ARRAYS).exists():
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = [file[str(at)] for at in range(len(file.files))]
    return _with_arrays(data, arrays)


def _without_arrays(data: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return the data with each array's place in a list instead of the array."""
    if isinstance(data, np.ndarray):
        arrays.append(data)
        return {_MARK: len(arrays) - 1}
    if isinstance(data, np.generic):
        return data.item()
    if isinstance(data, dict):
        return {"table": {key: _without_arrays(value, arrays) for key, value in data.items()}}
    if isinstance(data, list | tuple):
        return [_without_arrays(value, arrays) for value in data]
    return data


def _with_arrays(data: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(data, list):
        return [_with_arrays(value, arrays) for value in data]
    if not isinstance(data, dict):
        return data
    if _MARK in data:
        return arrays[data[_MARK]]
    return {key: _with_arrays(value, arrays) for key, value in data["table"].items()}
