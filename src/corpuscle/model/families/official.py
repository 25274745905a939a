"""Folders that others published: whose they are, what is in them, and what is missing."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from corpuscle.core import components
from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import fingerprint, hash_file
from corpuscle.model.model import Model


class Official(NamedTuple):
    """What a folder with published weights is.

    Attributes
    ----------
    title
        Which model, version and size, in words.
    files
        What was found: ``weights``, and dictionaries under a model's own names.
    lacking
        What was not found and is needed, in words, under the same names.
    config
        What the model needs to make its network: plain data of its own.
    """

    title: str
    files: Mapping[str, Path]
    lacking: Mapping[str, str]
    config: Mapping[str, Any]


def readers() -> Iterator[type[Model]]:
    """Yield the built-in models that open published folders: those with a class method ``official``."""
    for name in components.names(Model):
        model = components.find(Model, name)
        if hasattr(model, "official"):
            yield model


def whose(path: Path) -> tuple[type[Model], Official] | None:
    """Return which model a folder or file belongs to, and what it is; None where no model knows it."""
    for model in readers():
        found: Official | None = model.official(path)  # type: ignore[attr-defined]  # `readers` has only such
        if found is not None:
            return model, found
    return None


def official_of(model: type[Model], path: Path) -> Official:
    """Return what a folder is to a model.

    Raises
    ------
    ModelError
        When it is not there, is another model's, is nobody's, or lacks a file.
    """
    if not path.exists():
        raise ModelError(f"checkpoint: there is no folder {path}")
    found: Official | None = model.official(path)  # type: ignore[attr-defined]  # a model that has checkpoints
    if found is None:
        other = whose(path)
        what = f"is {other[1].title}: another model's" if other else "holds no published weights that are known here"
        raise ModelError(f"{path}: {what}; `corpuscle checkpoint PATH` shows what a folder is")
    if found.lacking:
        missing = "; ".join(found.lacking.values())
        raise ModelError(f"{path}: is {found.title}, and lacks {missing}")
    return found


def hashes(found: Official) -> dict[str, str]:
    """Return the hash (SHA-256) of each file of a published folder, under the file's name."""
    return {path.name: _hashed_file(path) for path in found.files.values()}


def content(path: Path) -> str:
    """Hash a file, or all files of a folder."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return fingerprint([[each.relative_to(path).as_posix(), _hashed_file(each)] for each in files])


def _hashed_file(path: Path) -> str:
    try:
        status = path.stat()
        return _hashed(str(path.resolve()), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


@cache
def _hashed(path: str, size: int, changed: int) -> str:
    """Hash a file that is read once, as long as its size and time are the same."""
    return hash_file(Path(path))
