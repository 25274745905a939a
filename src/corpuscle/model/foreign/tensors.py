"""Weights in the files that others write: safetensors, and torch's, of which only numbers are read."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from corpuscle.core.errors import ModelError
from corpuscle.core.paths import open_plain
from corpuscle.core.text import shortened

ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
# What a file of torch's may have its weights under, next to an optimiser's state and the like.
STATES = ("model_state_dict", "state_dict", "model")
# What data-parallel training puts before every name.
PREFIX = "module."


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of weights, by name, on the CPU; nothing in the file is executed.

    Of a dictionary with weights under one of `STATES`, these are taken; ``module.`` before every name is taken off.

    Raises
    ------
    ModelError
        When the file cannot be read, holds something else than tensors, or would have code executed.
    """
    refuse_unfetched(path)
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _of_torch(path)
    except ModelError:
        raise
    # What a damaged file raises depends on where the damage is.
    except Exception as error:
        raise ModelError(
            f"{path}: no weights can be read here ({shortened(str(error))}); fetch the file again"
        ) from error
    if not found:
        raise ModelError(f"{path}: holds no tensors")
    if all(name.startswith(PREFIX) for name in found):
        found = {name.removeprefix(PREFIX): tensor for name, tensor in found.items()}
    return found


def refuse_unfetched(path: Path) -> None:
    """Refuse what is in a file's place where it was not fetched: nothing, a pointer of git LFS, a web page.

    Raises
    ------
    ModelError
        When it is one of these, or cannot be read.
    """
    try:
        with open_plain(path) as file:
            start = file.read(256).lstrip()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); fetch it again") from error
    if not start:
        raise ModelError(f"{path}: is empty; fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: is a pointer of git LFS in place of the file itself; fetch it with `git lfs pull`")
    if start[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise ModelError(f"{path}: is a web page in place of the file itself; fetch it again")


def _of_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_numbers()), warnings.catch_warnings():
            # Of unusual versions of the format, which are read or refused like others.
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: would have code executed, holds other objects than tensors and numbers, or is damaged, so it is "
            f"not opened ({shortened(_gist(error))}); fetch it again, or save its weights alone, as safetensors"
        ) from error
    for name in STATES:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: holds a {type(found).__name__}, not weights by name")
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise ModelError(f"{path}: {shortened(', '.join(others))} should be tensors; save the weights alone")
    return {str(name): tensor for name, tensor in found.items()}


def _numbers() -> list[Any]:
    """List what stands for single numbers of numpy in files of torch's: losses and the like, next to the weights."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def _gist(error: BaseException) -> str:
    text = str(error)
    found = [line.strip() for line in text.splitlines() if "GLOBAL" in line or "Unsupported" in line]
    return found[0] if found else text


class _CalledError(pickle.UnpicklingError):
    """A pickle names what could be executed."""


class _OnlyNumbers(pickle._Unpickler):
    """Opens pickled dictionaries of names and numbers, and nothing else.

    In Python: the one in C allocates as much memory as a file says that it needs.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for the few things that such a dictionary is made of."""
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        # How older versions of the format write bytes.
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        raise _CalledError(f"{module}.{name}")


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


def _scalar(kind: "np.dtype[Any]", data: bytes = b"") -> int | float:
    if kind.kind not in "iuf" or len(data) != kind.itemsize:
        raise pickle.UnpicklingError(f"a scalar of {kind}")
    number: int | float = np.frombuffer(data, kind)[0].item()
    return number


def read_pickled(path: Path) -> Any:
    """Read a pickled dictionary of texts and numbers; numbers of numpy become Python's.

    Raises
    ------
    ModelError
        When the file cannot be read, or names anything that could be executed.
    """
    refuse_unfetched(path)
    try:
        return _OnlyNumbers(io.BytesIO(path.read_bytes())).load()
    except _CalledError as error:
        raise ModelError(
            f"{path}: would have {shortened(str(error))} called when it is opened, so it is not; a dictionary of names "
            "and numbers, pickled or as JSON, is expected"
        ) from error
    # What a damaged pickle raises depends on where the damage is.
    except Exception as error:
        raise ModelError(f"{path}: no dictionary can be read here ({shortened(str(error))}); fetch it again") from error
