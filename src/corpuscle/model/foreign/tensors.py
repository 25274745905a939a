"""Weights in the files that others write: safetensors, and torch's, of which only numbers are read."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from corpuscle.core.errors import ModelError
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
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _of_torch(path)
    except (OSError, SafetensorError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path}: no weights can be read here ({shortened(str(error))}); fetch the file again"
        ) from error
    if not found:
        raise ModelError(f"{path}: holds no tensors")
    if all(name.startswith(PREFIX) for name in found):
        found = {name.removeprefix(PREFIX): tensor for name, tensor in found.items()}
    return found


def _of_torch(path: Path) -> dict[str, Tensor]:
    # A file that was not fetched whole by git is a few lines of text that name it.
    if path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: is a pointer of git LFS in place of the weights; fetch them with `git lfs pull`")
    try:
        with torch.serialization.safe_globals(_numbers()):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: would have code executed, or holds other objects than tensors and numbers, so it is not opened "
            f"({shortened(_gist(error))}); save its weights alone, as safetensors"
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


class _OnlyNumbers(pickle.Unpickler):
    """Opens pickled dictionaries of names and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"{module}.{name}")


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
    try:
        return _OnlyNumbers(io.BytesIO(path.read_bytes())).load()
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: would have {shortened(str(error))} called when it is opened, so it is not; a dictionary of names "
            "and numbers, pickled or as JSON, is expected"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"{path}: no dictionary can be read here ({shortened(str(error))}); fetch it again") from error
