"""Short stable hashes of settings and of content: what the store's folders are named after."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.paths import open_plain


def fingerprint(*parts: Any) -> str:
    """Hash plain data (numbers, strings, lists, dicts, arrays) to 16 hexadecimal digits.

    Dictionaries are hashed without regard to the order of their keys. The same data gives the same fingerprint on
    every machine and in every session.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": [2.5]}) == fingerprint({"b": [2.5], "a": 1})
    True
    >>> fingerprint(1) == fingerprint("1")
    False
    """
    text = json.dumps(parts, sort_keys=True, default=_plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    # An array of objects holds addresses, which differ from session to session.
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), list(value.shape), hash_array(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def hash_array(array: NDArray[Any]) -> str:
    """Hash an array's bytes (SHA-256, hexadecimal), whatever its memory layout."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash a file's content (SHA-256, hexadecimal), reading it in pieces."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
