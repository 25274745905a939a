"""Corpuscle: design, train on, and measure training corpora for single-cell models.

Importing the package loads nothing heavy: what it offers is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the package offers, and where it is; `tests/test_public.py` holds this list.
_PUBLIC = {
    "Study": "corpuscle.study.spec",
    "Plan": "corpuscle.study.plan",
    "prepare": "corpuscle.study.plan",
    "run": "corpuscle.workflow",
    "compose": "corpuscle.workflow",
    "Results": "corpuscle.workflow",
    "render": "corpuscle.report.render",
    "open_source": "corpuscle.source.source",
    "dataset_path": "corpuscle.source.source",
    "CorpuscleError": "corpuscle.core.errors",
    "InputError": "corpuscle.core.errors",
}
__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from corpuscle.core.errors import CorpuscleError, InputError
    from corpuscle.report.render import render
    from corpuscle.source.source import dataset_path, open_source
    from corpuscle.study.plan import Plan, prepare
    from corpuscle.study.spec import Study
    from corpuscle.workflow import Results, compose, run


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
