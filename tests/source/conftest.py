"""Counts in every format that can be read, and scratch space of a test's own."""

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from stores import STORES


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies laid out by cell go into a folder of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("scratch")))


@pytest.fixture(params=STORES.values(), ids=STORES.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path, annotated: Callable[..., ad.AnnData]) -> Callable[..., Path]:
    """Write counts in each of the formats."""
    return lambda counts, **parts: request.param(tmp_path, annotated(np.asarray(counts), **parts))
