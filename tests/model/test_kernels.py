"""Compiled kernels give the same bits in the process that compiles them as in those that load them."""

import importlib
import pkgutil

import pytest
from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher

from corpuscle.model import kernels

MODULES = [f"{kernels.__name__}.{found.name}" for found in pkgutil.iter_modules(kernels.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_not_kept_on_disk_is_a_part_of_what_is(module: str) -> None:
    found = [each for each in vars(importlib.import_module(module)).values() if isinstance(each, CPUDispatcher)]
    assert found
    helpers = [each for each in found if isinstance(each._cache, NullCache)]
    assert [each.__name__ for each in helpers if not each.targetoptions.get("forceinline")] == []
