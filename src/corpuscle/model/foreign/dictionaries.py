"""Dictionaries and settings that come with published weights: JSON, or pickled, of which only names and numbers."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from corpuscle.core.errors import ModelError
from corpuscle.core.paths import read_plain
from corpuscle.core.text import shortened
from corpuscle.model.foreign.tensors import read_pickled, refuse_unfetched
from corpuscle.model.size import MOST_UNITS


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ModelError
        When the file cannot be read or is no JSON object.
    """
    refuse_unfetched(path)
    try:
        found = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({shortened(str(error))}); fetch it again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: should be a JSON object with names; it is a {type(found).__name__}")
    return found


def read_dictionary(path: Path) -> dict[str, Any]:
    """Read a dictionary with texts as names, from JSON or a pickle.

    Raises
    ------
    ModelError
        When it cannot be read or is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    # A pickle of tens of thousands of names takes half a second, and each model of a plan asks which folder it has.
    return dict(_read_dictionary(path, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=8)
def _read_dictionary(path: Path, size: int, changed: int) -> dict[str, Any]:
    """Read a dictionary, once as long as the file's size and time are the same."""
    if path.suffix == ".json":
        return read_json(path)
    found = read_pickled(path)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ModelError(f"{path}: should be a dictionary with names; it is something else")
    return dict(found)


def whole_number(path: Path, table: Mapping[str, Any], name: str, default: int | None = None, least: int = 1) -> int:
    """Return a width or another number that a network is made by, of published settings.

    Parameters
    ----------
    path
        The settings' file, for errors.
    table, name
        The settings, and which of them.
    default
        What is meant where it is not there; None: it has to be.
    least
        The smallest that it may be.

    Raises
    ------
    ModelError
        When it is no whole number from `least` to `MOST_UNITS`.
    """
    found = table.get(name, default)
    if type(found) is not int or not least <= found <= MOST_UNITS:
        raise ModelError(
            f"{path}: {name} should be a whole number from {least} to {MOST_UNITS:,}; it is {shortened(repr(found))}"
        )
    return found


def token_ids(path: Path, n_rows: int | None = None) -> dict[str, int]:
    """Read which token each name has: whole numbers from 0, each once.

    Parameters
    ----------
    path
        A dictionary.
    n_rows
        How many rows the weights have for tokens; None: any number.

    Raises
    ------
    ModelError
        When a token is no whole number, is negative, has two names, or the weights have another number of rows.
    """
    found = read_dictionary(path)
    wrong = [name for name, token in found.items() if type(token) is not int or token < 0]
    if wrong:
        raise ModelError(f"{path}: {shortened(wrong[0])} should have a whole number from 0; {found[wrong[0]]!r}")
    if len(set(found.values())) < len(found):
        raise ModelError(f"{path}: two names have one token")
    if n_rows is not None and (len(found) != n_rows or max(found.values(), default=-1) >= n_rows):
        raise ModelError(
            f"{path}: has {len(found):,} tokens, the weights have rows for {n_rows:,}; it is the vocabulary of another "
            "model or version"
        )
    return found


def numbers(path: Path) -> dict[str, float]:
    """Read a number for each name.

    Raises
    ------
    ModelError
        When one is no finite number.
    """
    found = read_dictionary(path)
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(f"{path}: {shortened(name)} should have a finite number; {shortened(repr(value))}")
    return {name: float(value) for name, value in found.items()}
