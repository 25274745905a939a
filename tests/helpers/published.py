"""The published studies under ``studies/``, whose modules are no part of the package."""

import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from corpuscle import Results
from corpuscle.evaluation import calibrated
from corpuscle.evaluation.metrics.neighbours import Neighbours
from corpuscle.evaluation.tasks.annotation import Annotation
from corpuscle.execution import workflow
from repository import ROOT

STUDIES = ROOT / "studies"


def module_at(path: Path) -> ModuleType:
    """Return a file of ``studies/`` as a module."""
    spec = importlib.util.spec_from_file_location(f"studies_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# It puts the folder of `claim` where claims.py finds it.
sys.path.insert(0, str(STUDIES))
summarise: Any = module_at(STUDIES / "summarise.py")


def changed(path: Path, changes: dict[str, str]) -> str:
    """Return a study file's text with each pattern, which must be there, replaced."""
    text = path.read_text(encoding="utf-8")
    for pattern, new in changes.items():
        text, n = re.subn(pattern, new, text)
        assert n, f"{path} has no {pattern}"
    return text


def claims_of(study: str, runs: Mapping[str, Results]) -> list[Any]:
    """Ask a study's claims.py for its claims, as ``studies/summarise.py`` does."""
    found: list[Any] = module_at(STUDIES / study / "claims.py").claims(dict(runs))
    return found


def without_slow_parts(patch: pytest.MonkeyPatch) -> None:
    """Leave out of a run what takes long and no claim is about: maps of cells, the report, and UMAP's weights."""
    patch.setattr(Annotation, "maps", False)
    patch.setattr(calibrated, "connectivities", _neighbour_graph)
    patch.setattr(workflow, "written", lambda folder: None)


def _neighbour_graph(found: Neighbours) -> csr_matrix:
    """Connect each cell with its nearest, all alike."""
    n_cells, n_nearest = found.index_NJ.shape
    ends = np.repeat(np.arange(n_cells), n_nearest), found.index_NJ.ravel()
    graph = csr_matrix((np.ones(found.index_NJ.size, np.float32), ends), (n_cells, n_cells))
    return graph.maximum(graph.T).tocsr()
